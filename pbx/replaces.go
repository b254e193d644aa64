package pbx

import (
	"strings"

	"tandem/sip"
	"tandem/sip/message"
)

// replaces is what a Replaces header says (RFC 3891 §6.1): the dialog in whose place a call is to come.
type replaces struct{ callID, toTag, fromTag string }

func replacesOf(m *message.Message) (r replaces) {
	callID, params, _ := strings.Cut(m.Get(message.Replaces), ";")
	r.callID = strings.TrimSpace(callID)
	for param := range strings.SplitSeq(params, ";") {
		switch name, value, _ := strings.Cut(strings.TrimSpace(param), "="); strings.ToLower(name) {
		case "to-tag":
			r.toTag = value
		case "from-tag":
			r.fromTag = value
		}
	}
	return r
}

// place is what an INVITE with Replaces comes in place of here: a parked call, or one that rings. The rest of them are for phones.
type place struct {
	number string // under which the plan has it, "" = none
	parked *leg
	rings  *Call
}

// placeOf looks for it. Calls that ring are taken where the plan says how they are picked up.
func (p *PBX) placeOf(in *sip.Inbound) (at place) {
	if in.Trunk != "" || !in.Msg.Has(message.Replaces) {
		return at
	}
	r := replacesOf(in.Msg)
	c := p.find(r.callID)
	if c == nil || c.tenant != in.Tenant {
		return at
	}
	l := c.answeredHere()
	if l == nil {
		step, ok := p.cfg.Plan().Pickup(c.tenant)
		if users, _ := c.ringsAt(); ok && len(users) > 0 {
			return place{number: step.Code, rings: c}
		}
		return at
	}
	if !l.sip.Has(r.toTag, r.fromTag) {
		return at
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.parked == nil {
		return at
	}
	return place{number: l.parked.slot, parked: l}
}
