package fakephone

import (
	"cmp"
	"slices"
)

// request takes a request off the wire, in the reader (RFC 3261 §17.2).
func (p *Phone) request(m *Message) {
	method := m.Method()
	if method == "ACK" {
		p.ack(m)
		return
	}
	key := m.Branch() + " " + method
	p.mu.Lock()
	s := p.servers[key]
	if s == nil {
		p.servers[key] = &answered{req: m}
	}
	last := ""
	if s != nil {
		last = s.last
	}
	other := p.onOther
	p.mu.Unlock()
	if s != nil {
		if last != "" && !(method == "INVITE" && m.ToTag() == "" && last[8] == '2') {
			p.sendOn(m.link, last, m.Peer)
		}
		return
	}
	if other != nil && other(m) {
		return
	}
	switch method {
	case "INVITE":
		p.invite(m)
	case "CANCEL":
		p.cancel(m)
	case "BYE":
		p.bye(m)
	default:
		p.answer(m, p.newID("t"), 200, "", nil, nil)
	}
}

// find is the call a request belongs to.
func (p *Phone) find(m *Message) *Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.calls, func(c *Call) bool {
		return c.CallID == m.CallID() && (c.Tag == m.ToTag() || m.ToTag() == "" && c.incoming)
	})
	if i < 0 {
		return nil
	}
	return p.calls[i]
}

func (p *Phone) invite(m *Message) {
	if m.ToTag() != "" {
		p.reinvite(m)
		return
	}
	c := p.newCall(m.CallID(), p.newID("t"))
	c.mu.Lock()
	c.incoming, c.Invite = true, m
	c.remote, c.peer, c.local = m.FromTag(), m.Header("From"), m.Header("To")+";tag="+c.Tag
	c.target, c.routes = Addr(m.Header("Contact")), splitList(m.Headers("Record-Route"))
	c.mu.Unlock()
	p.mu.Lock()
	fn := p.onInvite
	p.mu.Unlock()
	if fn == nil {
		c.Ring()
		return
	}
	p.run(func() { fn(c) })
}

// reinvite answers an INVITE inside a dialog: with the session description it came with, or with its own where there is none, unless
// OnRequest did otherwise.
func (p *Phone) reinvite(m *Message) {
	c := p.find(m)
	if c == nil {
		p.answer(m, "none", 481, "", nil, nil)
		return
	}
	c.mu.Lock()
	if contact := m.Header("Contact"); contact != "" {
		c.target = Addr(contact)
	}
	sdp := cmp.Or(m.Body(), c.said)
	c.mu.Unlock()
	p.answer(m, c.Tag, 200, sdp, nil, nil)
}

func (p *Phone) cancel(m *Message) {
	var c *Call
	for _, o := range p.Calls() { // a call may ring again under the Call-ID that it has rung with before
		if o.Invite != nil && o.CallID == m.CallID() && o.Invite.Branch() == m.Branch() {
			c = o
		}
	}
	if c == nil {
		p.answer(m, "none", 481, "", nil, nil)
		return
	}
	p.answer(m, c.Tag, 200, "", nil, nil)
	c.mu.Lock()
	final := len(c.last) > 8 && c.last[8] >= '2'
	c.mu.Unlock()
	if !final {
		c.Refuse(487)
		c.once.cancel.Do(func() { close(c.cancelled) })
	}
}

func (p *Phone) bye(m *Message) {
	c := p.find(m)
	c2 := c != nil
	if c2 {
		c.mu.Lock()
		c2 = !c.dead
		c.mu.Unlock()
	}
	if !c2 {
		p.answer(m, "none", 481, "", nil, nil)
		return
	}
	p.answer(m, c.Tag, 200, "", nil, nil)
	c.end()
}

func (p *Phone) ack(m *Message) {
	if c := p.find(m); c != nil && c.incoming {
		c.once.ack.Do(func() { close(c.acked) })
	}
}

// Calls are the calls the phone has been rung for, in order.
func (p *Phone) Calls() []*Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.calls), func(c *Call) bool { return !c.incoming })
}
