//go:build linux

package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"tandem/bench/internal/phone"
)

const (
	defaultSoak = 30 * time.Minute
	expires     = 3600 // seconds, of what phones register
)

// times are how long things are measured.
type times struct {
	window time.Duration // of a load
	stall  time.Duration // of registrations around a fault
	hold   time.Duration // of calls before and behind a fault
	soak   time.Duration
}

func (t *times) set(quick bool) {
	t.window, t.stall, t.hold = 20*time.Second, 3*time.Second, 6*time.Second
	if quick {
		t.window, t.hold = 4*time.Second, 4*time.Second
	}
}

// fleet is some of the users as phones of one node.
func (c *trio) fleet(m *node, first, users, contacts int) (*phone.Fleet, error) {
	return phone.NewFleet(phone.Config{
		Server: m.sip, Domain: domain, First: first, Users: users, Contacts: contacts, Host: c.phones, Sockets: 4, Algorithm: phone.MD5, Expires: expires,
	})
}

// fleets divides the next users among nodes, with new phones: what they register are new bindings.
func (c *trio) fleets(nodes []*node, users, contacts int) (list []*phone.Fleet, err error) {
	each := users / len(nodes)
	for _, m := range nodes {
		if c.next+each > c.users {
			c.next = 0
		}
		f, err := c.fleet(m, c.next, each, contacts)
		if err != nil {
			return list, err
		}
		list = append(list, f)
		c.next += each
	}
	return list, nil
}

// together plays a load on all fleets at once, each with its share of the rate and of the count.
func together(fleets []*phone.Fleet, l phone.Load) (reports []phone.Report, err error) {
	l.Rate /= float64(len(fleets))
	l.Count /= len(fleets)
	reports = make([]phone.Report, len(fleets))
	errs := make([]error, len(fleets))
	var all sync.WaitGroup
	for i, f := range fleets {
		all.Go(func() { reports[i], errs[i] = f.Run(l, nil) })
	}
	all.Wait()
	return reports, errors.Join(errs...)
}

func closeAll(fleets []*phone.Fleet) {
	for _, f := range fleets {
		f.Close()
	}
}

// sums adds up what several fleets have seen; of latencies it takes the worst fleet's.
func sums(reports []phone.Report) (s phone.Report) {
	s.Causes = map[string]int{}
	for _, r := range reports {
		s.Started += r.Started
		s.Counted += r.Counted
		s.Done += r.Done
		s.Failed += r.Failed
		s.Challenged += r.Challenged
		s.Resent += r.Resent
		s.Window = max(s.Window, r.Window)
		s.Latency.P50, s.Latency.P99, s.Latency.Max = max(s.Latency.P50, r.Latency.P50), max(s.Latency.P99, r.Latency.P99), max(s.Latency.Max, r.Latency.Max)
		s.Lag.P99 = max(s.Lag.P99, r.Lag.P99)
		for cause, n := range r.Causes {
			s.Causes[cause] += n
		}
	}
	return s
}

// besides is what else is worth knowing of a load.
func besides(s phone.Report) string {
	text := fmt.Sprintf("%d of %d; p50 %.1f, p99 %.1f, max %.0f ms; sent again %d; driver late p99 %.1f ms", s.Counted, s.Started, s.Latency.P50, s.Latency.P99, s.Latency.Max, s.Resent, s.Lag.P99)
	for _, cause := range sorted(maps.Clone(s.Causes)) {
		text += fmt.Sprintf("; %d x %s", s.Causes[cause], cause)
	}
	return text
}

// fresh registers new bindings through all nodes.
func (p *plan) fresh(c *trio, rate float64, window time.Duration) (phone.Report, error) {
	count := min(int(rate*window.Seconds()), p.users)
	fleets, err := c.fleets(c.nodes, count, 1)
	defer closeAll(fleets)
	if err != nil {
		return phone.Report{}, err
	}
	reports, err := together(fleets, phone.Load{Kind: phone.Register, Rate: rate, Count: count})
	c.acknowledged += sums(reports).Done
	return sums(reports), err
}

func (p *plan) register(c *trio) error {
	s, err := p.fresh(c, 500, p.times.window)
	if err != nil {
		return err
	}
	return p.found(figure{
		What: "REGISTER (new binding, digest) through any node at 500/s, p50 / p99", Promised: "<= 12 / 50 ms", Measured: fmt.Sprintf("%.1f / %.1f ms", s.Latency.P50, s.Latency.P99),
		Met: s.Latency.P50 <= 12 && s.Latency.P99 <= 50 && s.Failed == 0, Of: besides(s),
	})
}

// bindings raises the rate as long as the nodes keep up.
func (p *plan) bindings(c *trio) error {
	best, of := 0.0, ""
	for rate := 2000.0; rate <= 8000; rate += 500 {
		s, err := p.fresh(c, rate, p.times.window/4)
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%.0f/s: %s\n", rate, besides(s))
		if s.Failed > 0 || s.Latency.P99 > 500 || s.Counted < s.Started {
			of += fmt.Sprintf("; at %.0f/s: %s", rate, besides(s))
			break
		}
		best, of = rate, besides(s)
	}
	return p.found(figure{What: "new bindings/s end to end with digest (p99 below 500 ms, none refused)", Promised: ">= 3,000/s", Measured: fmt.Sprintf("%.0f/s", best), Met: best >= 3000, Of: of})
}

// refresh registers again what is registered, on the nonce that the phones have.
func (p *plan) refresh(c *trio) error {
	fleets, err := c.fleets(c.nodes, min(p.users, 12000), 1)
	defer closeAll(fleets)
	if err != nil {
		return err
	}
	first, err := together(fleets, phone.Load{Kind: phone.Register, Rate: 2000, Count: min(p.users, 12000)})
	c.acknowledged += sums(first).Done
	if err != nil || sums(first).Failed > 0 {
		return fmt.Errorf("the phones could not register: %s, %w", besides(sums(first)), err)
	}
	best, of := 0.0, ""
	for rate := 8000.0; rate <= 30000; rate += 2000 {
		reports, err := together(fleets, phone.Load{Kind: phone.Refresh, Rate: rate, Window: p.times.window / 4})
		if err != nil {
			return err
		}
		s := sums(reports)
		fmt.Fprintf(os.Stderr, "%.0f/s: %s\n", rate, besides(s))
		if s.Failed > 0 || s.Latency.P99 > 500 {
			of += fmt.Sprintf("; at %.0f/s: %s", rate, besides(s))
			break
		}
		best, of = rate, besides(s)
	}
	return p.found(figure{What: "refreshes/s inside the lease (p99 below 500 ms, none refused)", Promised: ">= 10,000/s", Measured: fmt.Sprintf("%.0f/s", best), Met: best >= 10000, Of: of})
}

// writes measures what reaches the device while phones register.
func (p *plan) writes(c *trio) error {
	const rate = 2000
	before := make([]int64, len(c.nodes))
	for i, m := range c.nodes {
		before[i] = m.written()
	}
	began := time.Now()
	s, err := p.fresh(c, rate, p.times.window/2)
	if err != nil {
		return err
	}
	took := time.Since(began).Seconds()
	worst, of := 0.0, ""
	for i, m := range c.nodes {
		// The load lasts for a part of that time; what is written belongs to it.
		each := float64(m.written()-before[i]) / float64(s.Done) * rate / 1e6
		worst = max(worst, each)
		of += fmt.Sprintf("%s %.2f MB/s; ", m.name, each)
	}
	return p.found(figure{
		What: "log device writes per node at 2,000 registrations/s", Promised: "<= 5 MB/s", Measured: fmt.Sprintf("%.2f MB/s", worst), Met: worst <= 5 && s.Failed == 0,
		Of: fmt.Sprintf("%s%s; in %.1f s", of, besides(s), took),
	})
}

// written is what the process has had written to devices (/proc/PID/io).
func (m *node) written() int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/io", m.pid()))
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
			return n
		}
	}
	return 0
}
