package sip

import (
	"strings"

	"tandem/sip/message"
)

// InfoEvents may be satisfied by a LegEvents that understands INFO (RFC 6086): digits, the wish for a picture. It answers with the status of
// the response: 200, or 415 for a body of no known kind. It runs on the leg's shard and must not block.
type InfoEvents interface {
	Info(contentType, body string) (status int)
}

// InfoMedia may be satisfied by a Media that can do in the media what an INFO of a relayed call asks for; true means that it is done, and the
// sender is told 200. Both run on the call's shard and must not block.
type InfoMedia interface {
	// TakeInfo is asked before the INFO goes on: for what the other phone is told in the media as a rule.
	TakeInfo(fromCaller bool, contentType, body string) bool
	// Info is asked when the other phone has refused the INFO. What both phones understand passes untouched.
	Info(fromCaller bool, contentType, body string) bool
}

// acceptedInfo are the bodies of INFO that are understood here.
const acceptedInfo = "application/dtmf-relay, application/dtmf, application/media_control+xml"

// maxInfo bounds the body of an INFO that is looked into.
const maxInfo = 4096

// info answers an INFO inside the dialog. One without a body asks whether the leg is alive.
func (l *Leg) info(tx *transaction, m *message.Message) {
	extra := []byte("Allow: " + allowed + "\r\n")
	kind, body := infoBody(m)
	events, ok := l.events.(InfoEvents)
	status := 200
	switch {
	case hasInfoPackage(m): // RFC 6086 §4.2.2: none was agreed on
		status, extra = 469, append(extra, "Recv-Info:\r\n"...)
	case body != "" && ok && len(body) <= maxInfo:
		status = events.Info(kind, body)
	case body != "":
		status = 415
	}
	if status == 415 {
		extra = message.AppendHeader(extra, "Accept", acceptedInfo)
	}
	tx.respond(&message.Response{Status: status, Extra: extra})
}

// infoBody gives the type of a body without its parameters, in lower case, and the body.
func infoBody(m *message.Message) (kind, body string) {
	kind, _, _ = strings.Cut(m.Get(message.ContentType), ";")
	return strings.ToLower(strings.TrimSpace(kind)), m.Body()
}

func hasInfoPackage(m *message.Message) bool {
	for i := range m.Len() {
		if strings.EqualFold(m.Header(i).Name, "Info-Package") {
			return true
		}
	}
	return false
}

// doneInMedia tells whether an INFO that the other phone refused was carried out in the media.
func (f *fork) doneInMedia(status int) bool {
	media, ok := f.relay.Media.(InfoMedia)
	if !ok || f.dialog == nil || f.tx.m == nil || f.tx.m.Method != "INFO" || f.tx.state != txProceeding {
		return false
	}
	switch status {
	case 405, 415, 489, 500, 501, 603: // it does not know the method or the body
	default:
		return false
	}
	kind, body := infoBody(f.tx.m)
	return body != "" && len(body) <= maxInfo && !hasInfoPackage(f.tx.m) && media.Info(f.fromCaller, kind, body)
}

// takenByMedia tells whether a request is an INFO that was carried out in the media.
func (d *Dialog) takenByMedia(m *message.Message, fromCaller bool) bool {
	media, ok := d.media.(InfoMedia)
	if !ok || m.Method != "INFO" || d.state != dialogConfirmed {
		return false
	}
	kind, body := infoBody(m)
	return body != "" && len(body) <= maxInfo && !hasInfoPackage(m) && media.TakeInfo(fromCaller, kind, body)
}

// allows notes whether a party takes INFO. Many that do say nothing (RFC 3261 §20.5).
func (p *party) allows(m *message.Message) {
	if m.Has(message.Allow) {
		p.noInfo = !m.HasToken(message.Allow, "INFO")
	}
}

// deaf tells whether a party takes no INFO.
func (d *Dialog) deaf(caller bool) bool {
	_, p := d.sides(!caller)
	return p.noInfo
}
