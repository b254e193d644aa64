//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"tandem/bench/internal/gauge"
	"tandem/bench/internal/phone"
)

const (
	soakRound    = 15 * time.Second // phones are new in each
	soakRegister = 100              // new bindings a second, all nodes together
	soakRefresh  = 200              // registrations again
	soakCalls    = 30               // calls a second
	soakExpires  = 60               // seconds, so that bindings come and go
	soakUsers    = 3000
	mostGrowth   = 1.10 // of the last quarter's mean over that of the second quarter
)

// sample is what a node takes at a moment.
type sample struct{ heap, resident, files, goroutines float64 }

// soak loads all nodes for a long time. Nothing happens to them: no leader may change, and nothing may grow.
func (p *plan) soak(c *trio) error {
	lead, err := c.whole()
	if err != nil {
		return err
	}
	term := c.status(lead).Term
	samples := make([][]sample, len(c.nodes))
	var total phone.Report
	total.Causes = map[string]int{}
	began := time.Now()
	for time.Since(began) < p.times.soak {
		r, err := p.soakRound(c)
		if err != nil {
			return err
		}
		total = sums([]phone.Report{total, r})
		for i, m := range c.nodes {
			s, err := m.sample()
			if err != nil {
				return err
			}
			samples[i] = append(samples[i], s)
		}
		fmt.Fprintf(os.Stderr, "%v: %s; term %d\n", time.Since(began).Round(time.Second), besides(r), c.status(lead).Term)
	}
	took := time.Since(began).Round(time.Second)
	elections := 0.0
	for _, m := range c.nodes {
		elections += m.metric("tandem_cluster_elections_total")
	}
	changes := c.status(lead).Term - term
	if err := p.found(figure{
		What: fmt.Sprintf("false leader changes in %v under load", took), Promised: "0", Measured: fmt.Sprint(changes), Met: changes == 0,
		Of: fmt.Sprintf("%.0f elections called; %s", elections, besides(total)),
	}); err != nil {
		return err
	}
	worst, of := grown(samples)
	return p.found(figure{What: "growth of heap, files and goroutines meanwhile, worst", Promised: fmt.Sprintf("<= %.0f %%", 100*(mostGrowth-1)), Measured: fmt.Sprintf("%.1f %%", 100*(worst-1)), Met: worst <= mostGrowth, Of: of})
}

// soakRound has new phones register, register again and call each other at every node.
func (p *plan) soakRound(c *trio) (phone.Report, error) {
	var work sync.WaitGroup
	var mu sync.Mutex
	var reports []phone.Report
	var failed error
	each := float64(len(c.nodes))
	for i, m := range c.nodes {
		for _, way := range []phone.Kind{phone.Register, phone.Refresh, phone.Call} {
			work.Go(func() {
				r, err := soakLoad(c, m, i, way, each)
				mu.Lock()
				defer mu.Unlock()
				reports = append(reports, r)
				if err != nil {
					failed = err
				}
			})
		}
	}
	work.Wait()
	return sums(reports), failed
}

// soakLoad is one kind of load at one node. Refreshes and calls have phones of their own, which register at first.
func soakLoad(c *trio, m *node, i int, way phone.Kind, nodes float64) (phone.Report, error) {
	users := soakUsers / 3 / len(c.nodes)
	first := i * soakUsers / len(c.nodes)
	rate := soakRegister / nodes
	switch way {
	case phone.Refresh:
		first, rate = first+users, soakRefresh/nodes
	case phone.Call:
		first, rate = first+2*users, soakCalls/nodes
	}
	f, err := phone.NewFleet(phone.Config{
		Server: m.sip, Domain: domain, First: first, Users: users, Host: c.phones, Sockets: 4, MaxCalls: 2000, Algorithm: phone.MD5, Expires: soakExpires, Ring: 20 * time.Millisecond, Hold: 3 * time.Second,
	})
	if err != nil {
		return phone.Report{}, err
	}
	defer f.Close()
	if way == phone.Register {
		return f.Run(phone.Load{Kind: way, Rate: rate, Count: min(users, int(rate*soakRound.Seconds()))}, nil)
	}
	known, err := f.Run(phone.Load{Kind: phone.Register, Rate: 200, Count: users}, nil)
	if err != nil || known.Failed > 0 {
		return known, err
	}
	return f.Run(phone.Load{Kind: way, Rate: rate, Window: soakRound / 2}, nil)
}

func (m *node) sample() (s sample, err error) {
	s.heap = m.heap()
	s.goroutines = m.metric("go_goroutines")
	process, err := gauge.NewProcess(m.pid())
	if err != nil {
		return s, err
	}
	resident, err := process.Memory()
	s.resident, s.files = float64(resident), float64(process.Files())
	return s, err
}

// grown compares the last quarter of the samples with the second one.
func grown(samples [][]sample) (worst float64, of string) {
	var words []string
	for i, list := range samples {
		n := len(list)
		if n < 4 {
			return 0, "too short to tell"
		}
		mean := func(list []sample, of func(sample) float64) (sum float64) {
			for _, s := range list {
				sum += of(s)
			}
			return sum / float64(len(list))
		}
		text := fmt.Sprintf("n%d:", i+1)
		for _, what := range []struct {
			name string
			of   func(sample) float64
			unit float64
		}{
			{"heap MB", func(s sample) float64 { return s.heap }, 1e6},
			{"resident MB", func(s sample) float64 { return s.resident }, 1e6},
			{"files", func(s sample) float64 { return s.files }, 1},
			{"goroutines", func(s sample) float64 { return s.goroutines }, 1},
		} {
			early, late := mean(list[n/4:n/2], what.of), mean(list[3*n/4:], what.of)
			if what.name != "resident MB" { // the collector gives memory back when it likes
				worst = max(worst, late/early)
			}
			text += fmt.Sprintf(" %s %.1f, then %.1f,", what.name, early/what.unit, late/what.unit)
		}
		words = append(words, strings.TrimSuffix(text, ","))
	}
	return worst, strings.Join(words, "; ")
}
