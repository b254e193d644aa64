package pbx

import (
	"encoding/xml"
	"strings"

	"tandem/rtpengine"
	"tandem/sip"
)

// Who sees a broken picture says so in the media (PLI, FIR) or, as older phones do, by an INFO (RFC 5168). Each phone is asked in the way that it
// has agreed to, whichever the other one uses.

const mediaControl = "application/media_control+xml"

// fastUpdate is the body of an INFO that wants a full picture (RFC 5168 §3).
const fastUpdate = `<?xml version="1.0" encoding="utf-8"?>
<media_control><vc_primitive><to_encoder><picture_fast_update/></to_encoder></vc_primitive></media_control>
`

// wantsPicture tells whether the body of an INFO is the like of fastUpdate. It is short: sip looks into no others.
func wantsPicture(kind, body string) bool {
	if kind != mediaControl {
		return false
	}
	d := xml.NewDecoder(strings.NewReader(body))
	for {
		t, err := d.Token()
		if err != nil {
			return false
		}
		if e, ok := t.(xml.StartElement); ok && e.Name.Local == "picture_fast_update" {
			return true
		}
	}
}

// TakeInfo asks in the media for the picture that an INFO wants, where the other phone has agreed to that (sip.InfoMedia). Else the INFO goes on.
func (m *relayMedia) TakeInfo(fromCaller bool, kind, body string) bool {
	if !wantsPicture(kind, body) {
		return false
	}
	m.mu.Lock()
	s := m.session
	m.mu.Unlock()
	if s == nil || s.RequestPicture(side(fromCaller).Other()) != nil {
		return false
	}
	m.call.pbx.picturesWanted.Add(1)
	return true
}

// askPicture asks a phone by INFO for the picture that the other one wants. It comes from the engine, once a second at most. A phone
// that does not know such an INFO is left alone from then on.
func (m *relayMedia) askPicture(of rtpengine.Side) {
	c := m.call
	c.mu.Lock()
	dialog, talking := c.dialog, c.state == Answered
	c.mu.Unlock()
	m.mu.Lock()
	blind := m.blind[of]
	m.mu.Unlock()
	if dialog == nil || !talking || blind {
		return
	}
	c.pbx.picturesAsked.Add(1)
	answered := func(r sip.Reply) {
		if r.Status < 300 || r.Status == 408 {
			return
		}
		c.pbx.picturesRefused.Add(1)
		m.mu.Lock()
		m.blind[of] = true
		m.mu.Unlock()
	}
	if dialog.Request(sip.Request{Method: "INFO", ToCaller: of == rtpengine.A, ContentType: mediaControl, Body: fastUpdate, Done: answered}) != nil {
		c.pbx.picturesRefused.Add(1)
	}
}
