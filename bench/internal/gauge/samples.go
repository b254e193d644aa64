//go:build linux

package gauge

import (
	"slices"
	"time"
)

// Samples keeps every duration measured, so that percentiles are exact.
type Samples struct {
	nanos  []int64
	sorted bool
}

// NewSamples makes room for n durations.
func NewSamples(n int) *Samples { return &Samples{nanos: make([]int64, 0, n)} }

// Add records a duration in nanoseconds.
func (s *Samples) Add(nanos int64) {
	s.nanos = append(s.nanos, nanos)
	s.sorted = false
}

// Quantile is the duration that the share q (0..1) of all durations do not exceed, 0 when there are none.
func (s *Samples) Quantile(q float64) time.Duration {
	if len(s.nanos) == 0 {
		return 0
	}
	if !s.sorted {
		slices.Sort(s.nanos)
		s.sorted = true
	}
	i := min(int(q*float64(len(s.nanos))), len(s.nanos)-1)
	return time.Duration(s.nanos[i])
}

// Latency is what a table shows of Samples, in milliseconds.
type Latency struct {
	P50, P99, P999, Max float64
}

// Latency summarises.
func (s *Samples) Latency() Latency {
	ms := func(q float64) float64 { return float64(s.Quantile(q).Microseconds()) / 1000 }
	return Latency{P50: ms(0.5), P99: ms(0.99), P999: ms(0.999), Max: ms(1)}
}
