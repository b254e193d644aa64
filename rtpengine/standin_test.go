package rtpengine

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"tandem/rtpengine/srtp"
)

// survivor is an engine at an address of its own that stands in the place of one at loop4, with a call of its own that goes on.
func survivor(t testing.TB, change func(*Config)) (e *Engine, end *StandIn, undisturbed func()) {
	t.Helper()
	e = startEngine(t, func(c *Config) {
		c.Bind = []netip.Addr{netip.MustParseAddr("127.0.0.3"), loop6}
		if change != nil {
			change(c)
		}
	})
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s, err := e.NewSession(SessionConfig{})
	if err != nil {
		t.Fatal(err)
	}
	renew(t, s, a, b)
	undisturbed = func() { chat(t, a, b, 2) }
	undisturbed()
	end, err = e.StandIn(Foreign{Addrs: []netip.Addr{loop4}})
	if err != nil {
		t.Fatal(err)
	}
	return e, end, undisturbed
}

// goesOn has a survivor take a session whose engine is gone.
func goesOn(t testing.TB, e *Engine, s *Session, snapshot []byte) *Session {
	t.Helper()
	vanish(s)
	again, err := e.Import(SessionConfig{ID: t.Name()}, snapshot)
	if err != nil {
		t.Fatal(err)
	}
	settle(again.shard)
	return again
}

func exported(t testing.TB, s *Session) []byte {
	t.Helper()
	snapshot, err := s.Export()
	if err != nil {
		t.Fatal(err)
	}
	return snapshot
}

func TestACallOfADeadEngineGoesOnAtItsAddress(t *testing.T) {
	few := func(c *Config) { c.PortMin, c.PortMax = 21000, 21015 } // so that both engines have the same numbers
	a, b := newPhone(t, loop4), newPhone(t, loop6)
	s := call(t, startEngine(t, few), a, b)
	chat(t, a, b, 4)
	e, end, undisturbed := survivor(t, few)
	before, was := e.Stats(), a.to
	s = goesOn(t, e, s, exported(t, s))
	chat(t, a, b, 4)
	undisturbed()
	if st := e.Stats(); st.Ports[v4].Used != before.Ports[v4].Used {
		t.Errorf("ports of the engine's own: %+v, were %+v", st.Ports, before.Ports)
	}
	renew(t, s, a, b) // refreshed: nothing moves
	if a.to != was {
		t.Errorf("the phone is sent to %v, was %v", a.to, was)
	}
	chat(t, a, b, 4)
	second := "m=video 4000 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n"
	offer, err := s.Offer(A, []byte(string(a.sdp())+second), loop4, loop6)
	if err != nil {
		t.Fatal(err)
	}
	b.dial(offer)
	answer, err := s.Answer(B, []byte(string(b.sdp())+second), loop6, loop4)
	if err != nil || strings.Contains(string(answer), "127.0.0.3") {
		t.Errorf("another m-line is answered\n%s%v", answer, err)
	}
	settle(s.shard)
	if got := s.lines[1].legs[A].pairs[v4].pool.addr; got != loop4 {
		t.Errorf("its ports are at %v", got)
	}
	chat(t, a, b, 4)
	if local, ours := e.Reach(loop4); !ours || local != loop4 {
		t.Errorf("the address is reached at %v, %v", local, ours)
	}
	end.End()
	end.End()
	chat(t, a, b, 4) // it ends with itself
	s.Close()
	undisturbed()
	settle(s.shard)
	for range 4 { // and leaves nothing
		k := newSession(t, startEngine(t, few))
		renew(t, k, a, b)
		chat(t, a, b, 1)
		k.Close()
		settle(k.shard)
	}
}

// A node that has been dead for ten seconds has sent 500 packets that the copy does not know of, over the rollover of both sides' numbers.
func TestAnEncryptedCallGoesOnAtADeadEnginesAddressWithAnOldCopy(t *testing.T) {
	for _, missed := range []int{0, 500, 45000} {
		s := newSecureSession(t, SRTPMirror)
		a, b := newSecure(t, "RTP/SAVP", srtp.AES128CM80), newSecure(t, "RTP/SAVP", srtp.AES128GCM)
		a.seq, b.seq = 65400, 65500
		agree(t, s, A, a, b, true, true)
		talk(t, a, b)
		snapshot := exported(t, s)
		talk(t, a, b)
		skip(a, b, missed)
		skip(b, a, missed)
		talk(t, a, b) // the phones have heard each other until the end
		e, _, undisturbed := survivor(t, func(c *Config) { c.SRTP = SRTPMirror })
		s = goesOn(t, e, s, snapshot)
		talk(t, a, b)
		undisturbed()
		agree(t, s, A, a, b, true, true)
		talk(t, a, b)
		agree(t, s, B, b, a, true, true)
		talk(t, a, b)
		s.Close()
	}
}

// skip has a phone send n packets, most of which nobody hears.
func skip(from, to *secure, n int) {
	from.t.Helper()
	for range n / 1000 {
		from.seq += 999
		from.say("one of a thousand")
		to.hears("one of a thousand")
	}
	from.seq += uint16(n % 1000)
}

func TestABrowserOfADeadEngineGoesOnAtItsAddress(t *testing.T) {
	fixed := func(c *Config) { c.ICEPort, c.Bind = 20990, c.Bind[:1] }
	web, desk := newWebPhone(t, loop4), newPhone(t, loop4)
	s, err := startEngine(t, fixed).NewSession(SessionConfig{ID: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	browserCalls(t, s, web, desk, "actpass")
	web.connect(s)
	web.say(0, 77, "", "hello desk")
	desk.hears("hello desk")
	e, end, undisturbed := survivor(t, fixed)
	own, ownDesk := newWebPhone(t, loop4), newPhone(t, loop4)
	mine := newSession(t, e)
	browserCalls(t, mine, own, ownDesk, "actpass") // at the same port of another address
	own.connect(mine)
	snapshot := exported(t, s)
	s = goesOn(t, e, s, snapshot)
	desk.say("who are you?")
	web.hears("who are you?")
	web.say(0, 77, "", "the same as ever")
	desk.hears("the same as ever")
	web.check()
	before := web.remote.sections[0].wiring
	browserCalls(t, s, web, desk, "actpass")
	if after := web.remote.sections[0].wiring; after.ufrag != before.ufrag {
		t.Errorf("%+v, was %+v", after, before)
	}
	web.connect(s)
	desk.say("new keys")
	web.hears("new keys")
	undisturbed()
	ownDesk.say("and I")
	own.hears("and I")
	s.Close()
	end.End()
	settle(e.shards[0])
	last := newSession(t, startEngine(t, fixed)) // the address is free
	browserCalls(t, last, web, desk, "actpass")
	web.connect(last)
}

func TestStandInSaysWhyItCannot(t *testing.T) {
	e := startEngine(t, func(c *Config) { c.Bind = []netip.Addr{loop4} })
	for _, f := range []Foreign{
		{Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.77")}}, // none of this machine's
		{Addrs: []netip.Addr{loop6}},
		{Addrs: []netip.Addr{{}}},
		{Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.3"), netip.MustParseAddr("127.0.0.4")}},
	} {
		if _, err := e.StandIn(f); !errors.Is(err, ErrForeignAddress) {
			t.Errorf("%v: %v", f, err)
		} else {
			t.Log(err)
		}
	}
	if end, err := e.StandIn(Foreign{Addrs: []netip.Addr{loop4}}); err != nil || end.at != nil {
		t.Errorf("its own address: %v", err)
	}
	for i := range maxSites + 1 {
		_, err := e.StandIn(Foreign{Addrs: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 1, byte(i + 1)})}})
		if (err != nil) != (i == maxSites) {
			t.Fatalf("%d: %v", i, err)
		}
	}
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	site, err := startEngine(t, func(c *Config) { c.Bind = []netip.Addr{netip.MustParseAddr("127.0.0.5")} }).StandIn(Foreign{
		Addrs: []netip.Addr{loop4}, Advertise: []netip.Addr{netip.MustParseAddr("203.0.113.9")},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := call(t, startEngine(t, nil), a, b)
	s = goesOn(t, site.at.engine, s, exported(t, s))
	offer, err := s.Offer(A, a.sdp(), loop4, loop4)
	if err != nil || !strings.Contains(string(offer), "c=IN IP4 203.0.113.9\r\n") {
		t.Errorf("it says\n%s%v", offer, err)
	}
}
