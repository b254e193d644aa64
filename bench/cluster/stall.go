//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"tandem/bench/internal/phone"
)

// A fault is what happens to a node, and how that is undone.
type fault struct {
	name   string
	do     func(c *trio, m *node) error
	undo   func(c *trio, m *node) error
	within time.Duration // promised, for changes of those at other nodes
}

var (
	killed = fault{
		"killed", func(_ *trio, m *node) error { return m.cmd.Process.Kill() }, func(c *trio, m *node) error { <-m.gone; return c.launch(m, "") }, 100 * time.Millisecond,
	}
	frozen = fault{
		"frozen", func(_ *trio, m *node) error { return m.cmd.Process.Signal(syscall.SIGSTOP) },
		func(_ *trio, m *node) error { return m.cmd.Process.Signal(syscall.SIGCONT) }, 300 * time.Millisecond,
	}
	cut = fault{
		"cut off", func(_ *trio, m *node) error { return shell("ip link set %s down", m.link()) }, func(_ *trio, m *node) error { return shell("ip link set %s up", m.link()) },
		300 * time.Millisecond,
	}
	hung = fault{
		"hung at its disk", func(_ *trio, m *node) error { return shell("fsfreeze -f %s", m.dir) }, func(_ *trio, m *node) error { return shell("fsfreeze -u %s", m.dir) },
		500 * time.Millisecond,
	}
)

const (
	stallRate   = 200 // registrations a second at each surviving node
	beforeFault = time.Second
)

// stall has something happen to the leader, again and again, while phones register at the other nodes.
func (p *plan) stall(c *trio, what fault) error {
	runs := p.runs
	if p.quick {
		runs = min(runs, 3)
	}
	each := int(stallRate * p.times.stall.Seconds())
	var worst time.Duration
	var of []string
	asked, refused := 0, 0
	for range runs {
		lead, err := c.whole()
		if err != nil {
			return err
		}
		leader := c.nodes[lead]
		var others []*node
		for _, m := range c.nodes {
			if m != leader {
				others = append(others, m)
			}
		}
		fleets, err := c.fleets(others, 2*each, 1)
		if err != nil {
			closeAll(fleets)
			return err
		}
		var reports []phone.Report
		var loading sync.WaitGroup
		loading.Go(func() {
			reports, err = together(fleets, phone.Load{Kind: phone.Register, Rate: 2 * stallRate, Count: 2 * each})
		})
		time.Sleep(beforeFault)
		did := what.do(c, leader)
		loading.Wait()
		closeAll(fleets)
		if undid := what.undo(c, leader); did != nil || undid != nil || err != nil {
			return fmt.Errorf("%v, %v, %w", did, undid, err)
		}
		s := sums(reports)
		took := time.Duration(s.Latency.Max * float64(time.Millisecond))
		fmt.Fprintf(os.Stderr, "%s %s: %v; %s\n", leader.name, what.name, took, besides(s))
		c.acknowledged += s.Done
		asked += s.Started
		refused += s.Failed
		worst = max(worst, took)
		of = append(of, fmt.Sprintf("%.0f", s.Latency.Max))
	}
	if err := p.lost(c, what); err != nil {
		return err
	}
	if err := p.found(figure{
		What: fmt.Sprintf("write stall, leader %s, worst of %d", what.name, runs), Promised: fmt.Sprintf("<= %d ms", what.within.Milliseconds()),
		Measured: fmt.Sprintf("%d ms", worst.Milliseconds()), Met: worst <= what.within, Of: "longest REGISTER with digest of each run, ms: " + strings.Join(of, " "),
	}); err != nil {
		return err
	}
	return p.found(figure{
		What: fmt.Sprintf("phones at surviving nodes that see an error, leader %s", what.name), Promised: "0", Measured: fmt.Sprint(refused), Met: refused == 0, Of: fmt.Sprintf("%d registrations", asked),
	})
}

// lost compares what phones were told with what the nodes hold.
func (p *plan) lost(c *trio, what fault) error {
	if _, err := c.whole(); err != nil {
		return err
	}
	worst := 0
	var of []string
	_ = await("every binding to be everywhere", 5*time.Second, func() (bool, error) {
		worst, of = 0, nil
		for _, m := range c.nodes {
			held := int(m.metric("tandem_location_bindings"))
			worst = max(worst, c.acknowledged-held)
			of = append(of, fmt.Sprintf("%s holds %d", m.name, held))
		}
		return worst == 0, nil
	})
	return p.found(figure{
		What: "acknowledged registrations lost, leader " + what.name, Promised: "0", Measured: fmt.Sprint(worst), Met: worst == 0,
		Of: fmt.Sprintf("%d acknowledged; %s", c.acknowledged, strings.Join(of, ", ")),
	})
}
