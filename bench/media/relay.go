//go:build linux

package main

import (
	"encoding/base64"
	"fmt"
	"time"

	"tandem/bench/internal/gauge"
	"tandem/bench/internal/phone"
	"tandem/bench/internal/wire"
)

// relay is a way to put calls onto a media relay.
type relay interface {
	loop() *wire.Loop
	setUp(s *streams) error
	tearDown() error
	close()
}

// sdp is a phone's body, with a key when it speaks SRTP.
func sdp(out []byte, id int, phone string, port uint16, suite string) []byte {
	proto, crypto := "RTP/AVP", ""
	if suite != "" {
		proto, crypto = "RTP/SAVP", "a=crypto:1 "+suite+" inline:"+base64.StdEncoding.EncodeToString(keyOf(id, suite))+"\r\n"
	}
	return fmt.Appendf(out, "v=0\r\no=- %d 1 IN IP4 %s\r\ns=-\r\nc=IN IP4 %s\r\nt=0 0\r\nm=audio %d %s 0\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\na=sendrecv\r\n%s",
		id, phone, phone, port, proto, crypto)
}

// direct is no relay at all: each phone sends straight to the other.
type direct struct{ l *wire.Loop }

func newDirect() (*direct, error) {
	l, err := wire.NewLoop()
	return &direct{l}, err
}

func (d *direct) loop() *wire.Loop { return d.l }
func (d *direct) tearDown() error  { return nil }
func (d *direct) close()           { d.l.Close() }

func (d *direct) setUp(s *streams) error {
	for call := range s.load.calls {
		s.list[call].to = wire.AddrFrom(s.callee(call))
		s.list[call+s.load.calls].to = wire.AddrFrom(s.caller(call))
	}
	return nil
}

// sipRelay sets calls up through SIP, between phones that register first: the relay is in place as it is in production.
type sipRelay struct {
	target  gauge.Target
	calls   int
	fleet   *phone.Fleet
	streams *streams
	problem error
}

func newSIPRelay(t gauge.Target, p *plan, l load) (*sipRelay, error) {
	r := &sipRelay{target: t, calls: l.calls}
	fleet, err := phone.NewFleet(phone.Config{
		Server: t.SIP, Domain: p.domain, Users: min(2*l.calls, 1000), Sockets: 8, MaxCalls: l.calls, Algorithm: phone.MD5,
		Ring: 20 * time.Millisecond, Hold: -1, Expires: 3600,
		Offer: func(slot uint32, out []byte) []byte {
			at := r.streams.caller(int(slot))
			return sdp(out, int(slot), at.Addr().String(), at.Port(), "")
		},
		Answer: func(slot uint32, out []byte) []byte {
			at := r.streams.callee(int(slot))
			return sdp(out, int(slot), at.Addr().String(), at.Port(), "")
		},
		OnOffer:    func(slot uint32, body []byte) { r.note(r.streams.towards(int(slot), false, body)) },
		OnAnswered: func(slot uint32, body []byte) { r.note(r.streams.towards(int(slot), true, body)) },
	})
	r.fleet = fleet
	return r, err
}

func (r *sipRelay) note(err error) {
	if err != nil && r.problem == nil {
		r.problem = err
	}
}

func (r *sipRelay) loop() *wire.Loop { return r.fleet.Loop }
func (r *sipRelay) close()           { r.fleet.Close() }

func (r *sipRelay) setUp(s *streams) error {
	r.streams = s
	for _, load := range []phone.Load{
		{Kind: phone.Register, Rate: 500, Count: min(2*r.calls, 1000)},
		{Kind: phone.Call, Rate: 200, Count: r.calls},
	} {
		report, err := r.fleet.Run(load, nil)
		if err != nil {
			return err
		}
		if report.Failed > 0 {
			return fmt.Errorf("%s: %d of %d failed: %v", load.Kind, report.Failed, load.Count, report.Causes)
		}
	}
	return r.problem
}

func (r *sipRelay) tearDown() error {
	held := r.fleet.Held()
	if held == 0 {
		return fmt.Errorf("the server ended all calls while packets flowed")
	}
	report, err := r.fleet.Run(phone.Load{Kind: phone.HangUp, Rate: 500, Count: held}, nil)
	if err == nil && (report.Failed > 0 || held != r.calls) {
		err = fmt.Errorf("%d of %d calls were still up; hanging up failed %d times: %v", held, r.calls, report.Failed, report.Causes)
	}
	return err
}
