package sip

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/fakephone"
	"tandem/sip/transport"
)

// successor moves every answered call of the stage to another server at the same addresses, as two processes do it. between runs while
// neither of them handles anything.
func (s *stage) successor(between func()) {
	t := s.t
	t.Helper()
	if err := s.srv.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	if between != nil {
		between()
	}
	s.mu.Lock()
	var snapshots [][]byte
	for _, d := range s.dialogs {
		if snap, err := d.Export(t.Context()); err == nil {
			snapshots = append(snapshots, snap)
		}
	}
	s.dialogs = nil
	s.mu.Unlock()
	s.stop()
	held := s.srv.Held()
	s.start(func() {
		for _, snap := range snapshots {
			d, err := s.srv.Import(t.Context(), Arrival{Snapshot: snap, Media: s.callMedia(), Events: s})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.srv.Import(t.Context(), Arrival{Snapshot: snap, Events: s}); err == nil {
				t.Error("a call came twice")
			}
			s.dialogs = append(s.dialogs, d)
		}
		s.srv.Receive(held)
	})
}

// callMedia is the media of a call, nil for none.
func (s *stage) callMedia() Media {
	if s.media == nil {
		return nil
	}
	return s.media
}

func TestCallGoesOnInAnotherProcess(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		s.media = new(stageMedia)
		call, alice, bob := s.established("Supported: timer")
		expect(t, "asked before", s.ask(Request{Method: "OPTIONS"}).Status, 200)
		s.successor(nil)
		expect(t, "hold", call.Reinvite(strings.Replace(sdpOf("alice"), "sendrecv", "sendonly", 1)).Status(), 200)
		time.Sleep(100 * time.Millisecond)
		acks, invites := bob.Requests("ACK"), bob.Requests("INVITE")
		expect(t, "numbers go on", cseqOf(invites[1]), cseqOf(call.Phone.Sent("INVITE")[2])+1)
		expect(t, "ACK", cseqOf(acks[len(acks)-1]), cseqOf(invites[1]))
		expect(t, "hold by bob", bob.Calls()[0].Reinvite(sdpOf("bob")).Status(), 200)
		expect(t, "asked", s.ask(Request{Method: "OPTIONS", ToCaller: true}).Status, 200)
		s.successor(nil)
		expect(t, "BYE of bob", bob.Calls()[0].Bye().Status(), 200)
		expect(t, "the caller's call is over", call.WaitEnded(time.Second), true)
		expect(t, "BYE at alice", len(alice.Requests("BYE")), 1)
		expect(t, "story", s.told(), "ringing 180 bob, answered bob, ended BYE false")
	})
}

// What comes while calls move is handled behind it, in its order.
func TestNothingThatComesMeanwhileIsLost(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		call, alice, bob := s.established()
		accepting(bob, "INFO")
		carol := s.registered("carol")
		carol.OnInvite(answerAfter(time.Second))
		var info, bye *fakephone.Transaction
		var other *fakephone.Call
		s.successor(func() {
			info = call.Request("INFO", "crossing")
			other = alice.Call("carol", sdpOf("alice"))
			time.Sleep(20 * time.Millisecond)
			bye = call.Request("BYE", "")
			time.Sleep(20 * time.Millisecond)
		})
		expect(t, "INFO", info.Final().Status(), 200)
		expect(t, "BYE", bye.Final().Status(), 200)
		expect(t, "messages sent twice", len(bob.Requests("INFO")), 1)
		expect(t, "a call begun meanwhile", other.MustAnswer().Status(), 200)
		other.Bye()
	})
}

func TestTakeOverThatComesToNothingIsTakenBack(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair(func(c *fakephone.Config) { c.Eager = true })
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		s.srv.Hold()
		held := alice.Call("bob", sdpOf("alice"))
		gone := alice.Call("bob", sdpOf("alice"))
		time.Sleep(200 * time.Millisecond)
		expect(t, "calls that wait", len(bob.Calls()), 1)
		cancelled := gone.Cancel()
		if err := s.srv.Freeze(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		d := s.dialogs[0]
		s.mu.Unlock()
		if _, err := d.Export(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.Hangup("nobody may end a call that stands still")
		synctest.Wait()
		if err := s.srv.Thaw(t.Context()); err != nil {
			t.Fatal(err)
		}
		expect(t, "CANCEL of a call that waited", cancelled.Final().Status(), 200)
		expect(t, "it", gone.Final().Status(), 487)
		held.MustAnswer()
		held.Bye()
		expect(t, "hold", call.Reinvite(sdpOf("alice"), "Supported: timer", "Session-Expires: 90").Status(), 200)
		time.Sleep(2 * time.Minute) // nobody refreshes the session
		expect(t, "over", call.WaitEnded(time.Second), true)
	})
}

func TestOfferUnderWayIsToBeMadeAgain(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		s.media = new(stageMedia)
		call, _, bob := s.established()
		bob.OnRequest(func(m *fakephone.Message) bool {
			if m.Method() == "INVITE" {
				bob.Reply(m, 180)
			}
			return m.Method() == "INVITE"
		})
		tx := call.Request("INVITE", sdpOf("alice"))
		time.Sleep(100 * time.Millisecond)
		s.successor(nil)
		expect(t, "INVITE under way", tx.Final().Status(), 491)
		bob.OnRequest(func(*fakephone.Message) bool { return false })
		expect(t, "again", call.Reinvite(sdpOf("alice")).Status(), 200)
		call.Bye()
		s.dirty = true // bob was never told of the first one's end but by CANCEL
	})
}

func TestPhoneOnAConnectionIsAwaitedBehindATakeOver(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice"), s.registered("bob", overTCP)
		bob.OnInvite(answerAfter(time.Second))
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		time.Sleep(100 * time.Millisecond)
		s.successor(nil)
		bob.Reconnect()
		bob.MustRegister()
		expect(t, "BYE", call.Bye().Status(), 200)
		expect(t, "bob was told", len(bob.Requests("BYE")), 1)
	})
}

func TestSnapshotOfACallIsTheSameWhenReadAndWritten(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		call, _, _ := s.established("Supported: timer")
		s.ask(Request{Method: "OPTIONS"})
		s.mu.Lock()
		d := s.dialogs[0]
		s.mu.Unlock()
		first, err := d.Export(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d octets", len(first))
		if len(first) > 600 {
			t.Errorf("a snapshot has %d octets", len(first))
		}
		s.successor(nil)
		second, err := s.dialogs[0].Export(t.Context())
		if err != nil || !bytes.Equal(first, second) {
			t.Errorf("%v\n%q\n%q", err, first, second)
		}
		call.Bye()
		if _, err := s.dialogs[0].Export(t.Context()); !errors.Is(err, ErrNotMovable) {
			t.Errorf("a call that is over: %v", err)
		}
		for n := range first {
			if _, err := readDialog(first[:n]); !errors.Is(err, ErrSnapshot) && !errors.Is(err, ErrSnapshotVersion) {
				t.Fatalf("%d octets of it: %v", n, err)
			}
		}
		if _, err := readDialog(append([]byte{9}, first[1:]...)); !errors.Is(err, ErrSnapshotVersion) {
			t.Errorf("another version: %v", err)
		}
		if _, err := readDialog(append(bytes.Clone(first), 0)); !errors.Is(err, ErrSnapshot) {
			t.Errorf("more than it: %v", err)
		}
	})
}

func FuzzReadDialog(f *testing.F) {
	w := snapshotWriter{b: []byte{dialogVersion}}
	w.text("call@example.com")
	w.time(time.UnixMilli(1795000000000))
	w.time(time.Time{})
	w.uint(1800)
	w.uint(flagByCallee)
	for _, tag := range [...]string{"a", "b"} {
		p := party{tag: tag, value: "<sip:x@example.com>;tag=" + tag, contact: "sip:x@192.0.2.9", routes: []string{"<sip:192.0.2.8;lr>"}, cseq: 7}
		p.numbers.own(7)
		w.party(&p, transport.Place{Remote: netip.MustParseAddrPort("192.0.2.9:5060")})
	}
	f.Add(w.b)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := readDialog(b)
		if err != nil {
			return
		}
		if s.callID == "" || len(s.caller.routes) > maxRoutes || len(s.callee.numbers.steps) > maxSteps {
			t.Errorf("read %+v", s)
		}
	})
}

// What a call that rings is made of again is read as it was written, and nothing else is read.
func TestSnapshotOfACallThatRings(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice"), s.registered("bob")
		var in *Inbound
		s.onInvite = func(i *Inbound) { in = i; s.ring(i, s.template()) }
		bob.OnInvite(func(c *fakephone.Call) { c.Ring() })
		call := alice.Call("bob", sdpOf("alice"))
		call.AwaitStatus(180)
		text, err := in.ExportRinging(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r, err := readRinging(text)
		if err != nil {
			t.Fatal(err)
		}
		expect(t, "caller", r.user, "alice")
		expect(t, "phones", len(r.rings), 1)
		expect(t, "heard", r.rings[0].heard, true)
		for n := range text {
			if _, err := readRinging(text[:n]); err == nil {
				t.Fatalf("%d of %d octets make a call", n, len(text))
			}
		}
		call.Cancel()
		expect(t, "cancelled", call.Final().Status(), 487)
		if _, err := in.ExportRinging(t.Context()); !errors.Is(err, ErrNotMovable) {
			t.Errorf("a call that is over: %v", err)
		}
	})
}

func FuzzReadRinging(f *testing.F) {
	invite := "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1a.2b\r\nMax-Forwards: 70\r\nFrom: <sip:a@example.com>;tag=1\r\n" +
		"To: <sip:bob@example.com>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContact: <sip:a@192.0.2.9>\r\nContent-Length: 0\r\n\r\n"
	w := snapshotWriter{b: []byte{ringingVersion}}
	at := transport.Place{Remote: netip.MustParseAddrPort("192.0.2.9:5060")}
	w.uint(1)
	w.place(at)
	for _, s := range [...]string{"acme", "alice", "", "sip:bob@example.com", invite} {
		w.text(s)
	}
	w.uint(1)
	w.place(at)
	w.uint(1)
	w.text(invite)
	f.Add(w.b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := readRinging(b); err == nil && (s.invite == nil || len(s.rings) > maxRings) {
			t.Errorf("read %+v", s)
		}
	})
}
