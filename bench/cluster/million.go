//go:build linux

package main

import (
	"fmt"
	"os"
	"time"

	"tandem/bench/internal/phone"
)

const (
	millionUsers    = 100_000
	contactsEach    = 10
	fillRate        = 1500 // REGISTERs a second, each of them with ten contacts
	millionPromised = 450  // bytes of heap for a binding
)

// million fills the table and measures what that costs, and how long a node takes that has nothing.
func (p *plan) million(c *trio) error {
	users := millionUsers
	if p.quick {
		users /= 10
	}
	before := make([]float64, len(c.nodes))
	for i, m := range c.nodes {
		before[i] = m.heap()
	}
	fleets, err := c.fleets(c.nodes, users, contactsEach)
	defer closeAll(fleets)
	if err != nil {
		return err
	}
	reports, err := together(fleets, phone.Load{Kind: phone.Register, Rate: fillRate, Count: users})
	s := sums(reports)
	if err != nil || s.Failed > 0 {
		return fmt.Errorf("the table could not be filled: %s, %w", besides(s), err)
	}
	time.Sleep(5 * time.Second) // transactions end, traces stay
	worst, held, of := 0.0, 0.0, ""
	for i, m := range c.nodes {
		held = m.metric("tandem_location_bindings")
		each := (m.heap() - before[i]) / held
		worst = max(worst, each)
		of += fmt.Sprintf("%s %.0f B, ", m.name, each)
	}
	if err := p.found(figure{
		What: fmt.Sprintf("heap per binding, with %.0f", held), Promised: fmt.Sprintf("<= %d B", millionPromised), Measured: fmt.Sprintf("%.0f B", worst), Met: worst <= millionPromised, Of: of + besides(s),
	}); err != nil {
		return err
	}
	if err := p.snapshot(c, held); err != nil {
		return err
	}
	return p.catchUp(c, held)
}

// snapshot reads the longest time for which a snapshot has kept changes waiting.
func (p *plan) snapshot(c *trio, held float64) error {
	worst, of := 0.0, ""
	for _, m := range c.nodes {
		pause := m.metric("tandem_cluster_snapshot_pause_seconds") * 1000
		worst = max(worst, pause)
		of += fmt.Sprintf("%s %.0f snapshots, %.0f MB, %.2f ms; ", m.name, m.metric("tandem_cluster_snapshots_total"), m.metric("tandem_cluster_snapshot_bytes")/1e6, pause)
	}
	return p.found(figure{What: fmt.Sprintf("longest pause of changes for a snapshot, up to %.0f bindings", held), Promised: "<= 10 ms", Measured: fmt.Sprintf("%.2f ms", worst), Met: worst <= 10 && worst > 0, Of: of})
}

// catchUp measures a fresh node from the start of its process until it is ready and votes.
func (p *plan) catchUp(c *trio, held float64) error {
	began := time.Now()
	if err := c.add(4); err != nil {
		return err
	}
	m := c.nodes[3]
	var joined, knows time.Duration
	err := await("the fresh node to catch up", 2*time.Minute, func() (bool, error) {
		if joined == 0 && m.get("/healthz") == nil {
			joined = time.Since(began)
		}
		if m.metric("tandem_location_bindings") >= held && m.metric("tandem_cluster_ready") == 1 {
			knows = time.Since(began)
			return true, nil
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	whole := time.Duration(0)
	if _, err := c.whole(); err == nil {
		whole = time.Since(began)
	}
	fmt.Fprintln(os.Stderr, "answers after", joined, "knows all after", knows, "votes after", whole)
	return p.found(figure{
		What: fmt.Sprintf("a fresh node has %.0f bindings", held), Promised: "<= 10 s", Measured: fmt.Sprintf("%.1f s", knows.Seconds()), Met: knows <= 10*time.Second,
		Of: fmt.Sprintf("from the start of its process; it votes after %.1f s", whole.Seconds()),
	})
}
