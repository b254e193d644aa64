package sip

import (
	"strconv"
	"strings"

	"tandem/sip/message"
)

// A numbering is how one party's CSeq numbers read at the other. They are the same until the node sends a request of its own in the
// party's name: that takes the next number, so those of the party go up by one from there on, and come down again in what is answered.
// The other party sees one sequence without a gap or a repetition (RFC 3261 §12.2.1.1), and neither notices anything.
type numbering struct {
	steps  []step // by from; none before the first request of the node's own
	leap   uint32 // how much further than need be the next number of the node's own is; see Arrival.Old
	invite step   // of the last INVITE relayed: its ACK is told by it, however many steps were taken since
}

// A step is what is added to numbers from one on.
type step struct{ from, shift uint32 }

const (
	// maxSteps bounds the memory of a numbering. What is older than the oldest step counts as belonging to it; only answers and ACKs to
	// requests from before that many changes of turn between phone and node would ask for more, and an INVITE's are told by its own step.
	maxSteps = 16
	// lastOwn is the highest number for a request of the node's own. Numbers end at 2**31 (RFC 3261 §8.1.1.5), and the party needs the rest.
	lastOwn = 1<<31 - 1<<20
)

// raised is the numbering of a party whose INVITE went on under a number so much higher: a challenge was answered on the way, or the call had begun at
// another node.
func raised(n, by uint32) numbering {
	if by == 0 {
		return numbering{}
	}
	return numbering{steps: []step{{n, by}}, invite: step{n, by}}
}

func (n *numbering) shift() uint32 {
	if len(n.steps) == 0 {
		return 0
	}
	return n.steps[len(n.steps)-1].shift
}

// out is the number under which the other party gets the party's.
func (n *numbering) out(seq uint32) uint32 {
	if seq == n.invite.from && seq != 0 {
		return seq + n.invite.shift
	}
	for i := len(n.steps) - 1; i >= 0; i-- {
		if s := n.steps[i]; seq >= s.from {
			return seq + s.shift
		}
	}
	return seq
}

// in is the inverse of out.
func (n *numbering) in(seq uint32) uint32 {
	if seq == n.invite.from+n.invite.shift && n.invite.from != 0 {
		return n.invite.from
	}
	for i := len(n.steps) - 1; i >= 0; i-- {
		if s := n.steps[i]; seq >= s.from+s.shift {
			return seq - s.shift
		}
	}
	return seq
}

// own takes the number for a request of the node's own. last is the highest that the party has used, 0 for none. false: there is hardly one
// left, and what follows is not moved behind it; only the end of a call may have it.
func (n *numbering) own(last uint32) (seq uint32, ok bool) {
	next, shift := last+1, n.shift()+n.leap
	if last == 0 { // it may begin with 0 as well as with 1 (§8.1.1.5)
		next, shift = 0, max(shift, 1)
	}
	if seq = next + shift; seq > lastOwn || last > lastOwn {
		return seq, false
	}
	n.leap = 0
	if k := len(n.steps); k > 0 && n.steps[k-1].from == next {
		n.steps[k-1].shift = shift + 1
		return seq, true
	}
	if len(n.steps) == maxSteps {
		n.steps = append(n.steps[:0], n.steps[1:]...)
		n.steps[0].from = 0
	}
	n.steps = append(n.steps, step{next, shift + 1})
	return seq, true
}

// renumber writes the numbers of a request as the other party is to see them: CSeq, the INVITE that a PRACK speaks of (RFC 3262 §7.2), and
// the REFER that a subscription comes from (RFC 3515 §2.4.6), which is one of the other party's where it notifies.
func (d *Dialog) renumber(m *message.Message, e *message.Edit, fromCaller bool) {
	from, to := d.sides(fromCaller)
	if len(from.numbers.steps) == 0 && len(to.numbers.steps) == 0 {
		return
	}
	n, method, _ := m.CSeq()
	setCSeq(m, e, from.numbers.out(n), method)
	switch method {
	case "PRACK":
		rseq, of, _ := strings.Cut(m.Get(message.RAck), " ")
		if n, method, ok := message.ParseCSeq(strings.TrimSpace(of)); ok {
			e.Set(m.Index(message.RAck), rseq+" "+strconv.FormatUint(uint64(from.numbers.out(n)), 10)+" "+method)
		}
	case "SUBSCRIBE":
		setReferID(m, e, from.numbers.out)
	case "NOTIFY":
		setReferID(m, e, to.numbers.in)
	}
}

func setCSeq(m *message.Message, e *message.Edit, seq uint32, method string) {
	if n, _, _ := m.CSeq(); n != seq {
		e.Set(m.Index(message.CSeq), strconv.FormatUint(uint64(seq), 10)+" "+method)
	}
}

// setReferID gives "Event: refer;id=93809823" another number.
func setReferID(m *message.Message, e *message.Edit, renumbered func(uint32) uint32) {
	parts := strings.Split(m.Get(message.Event), ";")
	if !strings.EqualFold(strings.TrimSpace(parts[0]), "refer") {
		return
	}
	for i, p := range parts[1:] {
		name, value, _ := strings.Cut(p, "=")
		if n, ok := message.ParseUint(strings.TrimSpace(value)); ok && strings.EqualFold(strings.TrimSpace(name), "id") {
			parts[1+i] = "id=" + strconv.FormatUint(uint64(renumbered(n)), 10)
			e.Set(m.Index(message.Event), strings.Join(parts, ";"))
			return
		}
	}
}
