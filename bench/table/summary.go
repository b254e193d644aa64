//go:build linux

package main

import "slices"

// summary is the rounds of one scenario on one server: medians of costs and times, sums of what must be zero.
type summary struct {
	scenario, target    string
	rounds              int
	cpu                 float64 // CPU-seconds per 1,000, or per million packets
	latency             latency
	started, counted    int
	failed, bye, answer int
	challenged          int
	resent, duplicates  int
	driver, lag         float64
	sent, lost, dropped int
	odd                 int
	bytesPerCall        float64
	heapPerCall, kernel float64
	files, setUp, calls float64
	cpuLow, cpuHigh     float64
}

// names lists the scenarios or targets in the order in which they were measured.
func (all results) names(of func(record) string) (names []string) {
	for _, r := range all {
		if n := of(r); n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

func (all results) pick(scenario, target string) (picked results) {
	for _, r := range all {
		if r.Scenario == scenario && r.Target == target {
			picked = append(picked, r)
		}
	}
	return picked
}

// sum folds the rounds of a scenario on a target; ok is false when it was not measured.
func (all results) sum(scenario, target string) (s summary, ok bool) {
	s = summary{scenario: scenario, target: target}
	var cpu, p50, p99, p999, top, driver, lag, perCall, heap, kernel, files, setUp, calls []float64
	for _, r := range all.pick(scenario, target) {
		switch {
		case r.Report != nil:
			m := r.Report
			cpu = append(cpu, m.CPU*1000/float64(max(m.Started, 1)))
			p50, p99, p999, top = append(p50, m.Latency.P50), append(p99, m.Latency.P99), append(p999, m.Latency.P999), append(top, m.Latency.Max)
			driver, lag = append(driver, m.DriverCPU/max(m.Window, 1e-9)), append(lag, m.Lag.P99)
			s.started += m.Started
			s.counted += m.Counted
			s.failed += m.Failed
			s.bye += m.ByeBeforeAck
			s.answer += m.AnswerBeforeRing
			s.challenged += m.Challenged
			s.resent += m.Resent
			s.duplicates += m.Duplicates
		case r.Media != nil:
			m := r.Media
			if arrived := m.Sent - m.Lost; arrived > 0 {
				cpu = append(cpu, m.CPU*1e6/float64(arrived))
			}
			p50, p99, p999, top = append(p50, m.Latency.P50), append(p99, m.Latency.P99), append(p999, m.Latency.P999), append(top, m.Latency.Max)
			driver, lag = append(driver, m.DriverCPU/max(m.Window, 1e-9)), append(lag, m.Lag.P99)
			perCall, heap, kernel = append(perCall, float64(m.BytesPerCall)), append(heap, float64(m.HeapPerCall)), append(kernel, float64(m.KernelPerCall))
			files, setUp, calls = append(files, m.FilesPerCall), append(setUp, m.SetUpRate), append(calls, float64(m.Calls))
			s.sent += m.Sent
			s.lost += m.Lost
			s.dropped += m.DriverDropped
			s.odd += m.Repeated + m.Misdelivered
		default:
			continue
		}
		s.rounds++
	}
	s.cpu = median(cpu)
	if len(cpu) > 0 {
		s.cpuLow, s.cpuHigh = slices.Min(cpu), slices.Max(cpu)
	}
	s.latency = latency{median(p50), median(p99), median(p999), median(top)}
	s.driver, s.lag, s.bytesPerCall = median(driver), median(lag), median(perCall)
	s.heapPerCall, s.kernel, s.files, s.setUp, s.calls = median(heap), median(kernel), median(files), median(setUp), median(calls)
	return s, s.rounds > 0
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	values = slices.Sorted(slices.Values(values))
	if n := len(values); n%2 == 0 {
		return (values[n/2-1] + values[n/2]) / 2
	}
	return values[len(values)/2]
}

// moment is the memory of a target in a scenario, by its name.
func (all results) moment(scenario, target string, index int) (memory, bool) {
	for _, r := range all {
		if r.Name == scenario && r.Target == target && index < len(r.Memory) {
			return r.Memory[index], true
		}
	}
	return memory{}, false
}

// violations counts messages that overtook each other, in all scenarios.
func (all results) violations(target string) (n int, measured bool) {
	for _, r := range all {
		if r.Target == target && r.Report != nil && r.Report.Counted > 0 {
			n += r.Report.ByeBeforeAck + r.Report.AnswerBeforeRing
			measured = true
		}
	}
	return n, measured
}
