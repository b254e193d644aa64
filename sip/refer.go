package sip

import "tandem/sip/message"

// ReferEvents may be satisfied by a CallEvents that wants to know when one party asks the other's phone to call somebody else (REFER, RFC 3515). The
// phones do that among themselves: the REFER passes, and it is not known yet whether it is followed. It runs on the call's shard and must not block.
type ReferEvents interface {
	Refers(fromCaller bool, to message.URI)
}

// refers tells of a REFER inside the dialog.
func (d *Dialog) refers(m *message.Message, fromCaller bool) {
	e, ok := d.events.(ReferEvents)
	if !ok || m.Method != "REFER" || d.state != dialogConfirmed {
		return
	}
	a, err := message.ParseAddress(m.Get(message.ReferTo))
	if err != nil {
		return
	}
	if uri, err := message.ParseURI(a.URI); err == nil {
		e.Refers(fromCaller, uri)
	}
}
