package pbx

import (
	"context"
	"slices"
	"time"

	"tandem/dialplan"
	"tandem/sip"
)

// seize takes what a call needs of a trunk and of its caller's limits. outcome is 0, or says why not. waits: other nodes are asked first; then hears
// a moment later, on the shard, what came of it, unless the caller has gone. What was taken is put in at.
// From the shard.
func (c *Call) seize(l *line, at **line, then func(outcome int)) (outcome int, waits bool) {
	outcome, lack := c.pbx.lines.seize(l, time.Now())
	if lack != nil {
		c.borrow(l, at, lack, time.Now().Add(borrowTime), then)
		return 0, true
	}
	c.seized(l, at, outcome)
	return outcome, false
}

func (c *Call) seized(l *line, at **line, outcome int) {
	if outcome != 0 {
		c.pbx.lines.count(outcome)
		return
	}
	c.mu.Lock()
	*at = l
	c.mu.Unlock()
}

// borrow asks the other nodes, and tries once more.
func (c *Call) borrow(l *line, at **line, lack *claim, until time.Time, then func(outcome int)) {
	in, work := c.in, func() func() {
		ctx, cancel := context.WithDeadline(context.Background(), until)
		got := c.pbx.lines.quota.Borrow(ctx, lack.pool, lack.limit, lack.until, 1)
		cancel()
		return func() {
			defer c.recovered()
			switch {
			case c.isOver():
				return
			case c.in != nil && c.in.Gone():
				if c.pbx.find(c.id) != nil {
					c.end(487, c.whyEnded())
				}
				return
			}
			outcome, more := c.pbx.lines.seize(l, time.Now())
			if more != nil && got { // another call was quicker, or something else is missing
				c.borrow(l, at, more, until, then)
				return
			}
			c.seized(l, at, outcome)
			then(outcome)
		}
	}
	if leg := c.answeredHere(); leg != nil {
		leg.sip.Go(work)
		return
	}
	in.Go(work)
}

// lineSnapshot is a line as another process can go on with it.
type lineSnapshot struct {
	Tenant   string          `json:"tenant"`
	Trunk    string          `json:"trunk"`
	Channels int             `json:"channels,omitempty"`
	Exempt   bool            `json:"exempt,omitempty"`
	Limits   []limitSnapshot `json:"limits,omitempty"`
	Price    int64           `json:"price,omitempty"`
	Spoken   time.Time       `json:"spoken,omitzero"`
	User     string          `json:"user,omitempty"`
}

type limitSnapshot struct {
	Tenant  string `json:"tenant"`
	Name    string `json:"name"`
	Each    bool   `json:"each,omitempty"`
	Calls   int    `json:"calls,omitempty"`
	Minutes int    `json:"minutes,omitempty"`
	Money   int64  `json:"money,omitempty"`
	Zone    string `json:"zone,omitempty"`
}

// snapshot is nil of nil; Call.mu is held.
func (l *line) snapshot() *lineSnapshot {
	if l == nil {
		return nil
	}
	s := &lineSnapshot{Tenant: l.trunk.Tenant, Trunk: l.trunk.Name, Channels: l.trunk.Channels, Exempt: l.exempt, Price: l.price, Spoken: l.spoken, User: l.user}
	for _, m := range l.limits {
		s.Limits = append(s.Limits, limitSnapshot{m.Tenant, m.Name, m.Each, m.Calls, m.Minutes, m.Money, m.Zone.String()})
	}
	return s
}

// line of a snapshot. A call keeps the limits that it began with.
func (s *lineSnapshot) line() *line {
	l := &line{trunk: &dialplan.Trunk{Tenant: s.Tenant, Name: s.Trunk, Channels: s.Channels}, exempt: s.Exempt, price: s.Price, spoken: s.Spoken, user: s.User}
	for _, m := range s.Limits {
		zone, err := time.LoadLocation(m.Zone)
		if err != nil {
			zone = time.UTC
		}
		l.limits = append(l.limits, &dialplan.Limit{Tenant: m.Tenant, Name: m.Name, Each: m.Each, Calls: m.Calls, Minutes: m.Minutes, Money: m.Money, Zone: zone})
	}
	return l
}

// lineOf is the line of a call that has come, and its trunk by name; nil of nil. A trunk that the plan has lost keeps its name: the call goes on.
func (p *PBX) lineOf(s *lineSnapshot) (*line, *sip.TrunkName) {
	if s == nil {
		return nil, nil
	}
	l := s.line()
	if t := p.trunk(s.Tenant, s.Trunk); t != nil {
		l.trunk = t
	}
	return l, &sip.TrunkName{Tenant: s.Tenant, Name: s.Trunk}
}

// GiveBack gives the other nodes what this one has not used of limits, before it ends in order.
func (p *PBX) GiveBack(ctx context.Context) {
	p.lines.tally(time.Now())
	p.lines.quota.GiveBack(ctx)
}

// tally counts what calls use up, and ends what may be somebody else's, until ctx ends.
func (p *PBX) tally(ctx context.Context) {
	tick := time.NewTicker(tallyEvery)
	defer tick.Stop()
	heard := time.Now()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		p.lines.tally(now)
		if p.cfg.Entitled == nil || p.cfg.Entitled() {
			heard = now
		} else if p.lines.shared && now.Sub(heard) > doubtTime {
			p.endDoubtful()
		}
	}
}

// endDoubtful ends calls of a node that nobody hears: those that no other node goes on with, and that take more of a trunk or limit than what is kept for
// such a node. The others will use it.
func (p *PBX) endDoubtful() {
	excess := make(map[string]int64)
	for _, c := range p.all() {
		c.mu.Lock()
		lines, given := [...]*line{c.came, c.line}, c.copy.given
		c.mu.Unlock()
		if !given && slices.ContainsFunc(lines[:], func(l *line) bool { return l != nil && !l.exempt && p.lines.beyond(l, excess) }) {
			c.hangup("the node is cut off from the others, which may give away what the call takes of a limit")
		}
	}
}
