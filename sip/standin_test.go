package sip

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/fakephone"
	"tandem/sip/transport"
)

// survivor is another server of the stage's network, with calls of its own, that can bind the addresses of the first once that has died.
func (s *stage) survivor() *stage {
	s.t.Helper()
	first := s.cfg.Transport
	o := &stage{t: s.t, net: s.net, loc: s.loc, hosts: s.hosts, byHost: s.byHost, cfg: s.cfg}
	h := s.net.Host("192.0.2.2")
	o.cfg.Handler = o
	tr := &o.cfg.Transport
	tr.UDP, tr.TCP = []string{"192.0.2.2:5060"}, []string{"192.0.2.2:5060"}
	choose := func(addr string) bool { ap, _ := netip.ParseAddrPort(addr); return ap.Addr() == h.Addr() }
	tr.ListenPacket = func(network, addr string) (net.PacketConn, error) {
		if choose(addr) {
			return h.ListenPacket(network, addr)
		}
		return first.ListenPacket(network, addr)
	}
	tr.Listen = func(network, addr string) (net.Listener, error) {
		if choose(addr) {
			return h.Listen(network, addr)
		}
		return first.Listen(network, addr)
	}
	o.start(nil)
	s.t.Cleanup(func() { o.stop() }) // before the network ends
	synctest.Wait()
	return o
}

// snapshots are of all calls as they are now.
func (s *stage) snapshots() (list [][]byte) {
	s.t.Helper()
	s.mu.Lock()
	dialogs := s.dialogs
	s.mu.Unlock()
	for _, d := range dialogs {
		snap, err := d.Export(s.t.Context())
		if err != nil {
			s.t.Fatal(err)
		}
		list = append(list, snap)
	}
	return list
}

// die ends the server without a word to anybody.
func (s *stage) die() {
	s.stop()
	s.stop, s.dirty = func() {}, true
}

// replace has the survivor go on in the place of a server that has died.
func (s *stage) replace(dead *stage, snapshots [][]byte) (ends []*transport.StandIn) {
	s.t.Helper()
	for _, n := range []transport.Net{transport.UDP, transport.TCP} {
		e, err := s.srv.Transport().StandIn(transport.Foreign{Net: n, Addr: netip.MustParseAddrPort(stageServer + ":5060")})
		if err != nil {
			s.t.Fatal(err)
		}
		ends = append(ends, e)
	}
	time.Sleep(50 * time.Millisecond) // what comes meanwhile waits
	for _, snap := range snapshots {
		d, err := s.srv.Import(s.t.Context(), Arrival{Snapshot: snap, Media: dead.callMedia(), Events: s, Old: true})
		if err != nil {
			s.t.Fatal(err)
		}
		s.mu.Lock()
		s.dialogs = append([]*Dialog{d}, s.dialogs...)
		s.mu.Unlock()
	}
	for _, e := range ends {
		e.Serve()
	}
	return ends
}

// at moves phones to another of the servers.
func foreignAt(server string) func(*fakephone.Config) {
	return func(c *fakephone.Config) { c.Server = netip.MustParseAddrPort(server + ":5060") }
}

func TestCallsOfADeadNodeGoOnInOneThatHasItsOwn(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		s.media = new(stageMedia)
		call, alice, bob := s.established("Supported: timer")
		o := s.survivor()
		o.hosts = s.hosts
		carol, dave := o.registered("carol", foreignAt("192.0.2.2")), o.registered("dave", foreignAt("192.0.2.2"))
		dave.OnInvite(answerAfter(time.Second))
		own := carol.Call("dave", sdpOf("carol"))
		own.MustAnswer()
		old := s.snapshots()
		expect(t, "asked by the first, which nobody heard of", s.ask(Request{Method: "OPTIONS", ToCaller: true}).Status, 200)
		s.die()
		hold := call.Request("INVITE", strings.Replace(sdpOf("alice"), "sendrecv", "sendonly", 1)) // to nobody
		time.Sleep(460 * time.Millisecond)                                                         // it is sent again while calls come
		o.replace(s, old)
		expect(t, "hold begun before anybody was there", hold.Final().Status(), 200)
		time.Sleep(100 * time.Millisecond)
		acks := bob.Requests("ACK")
		expect(t, "ACK", cseqOf(acks[len(acks)-1]), cseqOf(bob.Requests("INVITE")[1]))
		expect(t, "asked", o.ask(Request{Method: "OPTIONS", ToCaller: true}).Status, 200)
		expect(t, "back by bob", bob.Calls()[0].Reinvite(sdpOf("bob")).Status(), 200)
		asked, offers := alice.Requests("OPTIONS"), alice.Requests("INVITE")
		if first, second, third := cseqOf(asked[0]), cseqOf(asked[1]), cseqOf(offers[0]); second <= first+1 || third <= second {
			t.Errorf("to alice go %d, %d and %d", first, second, third)
		}
		expect(t, "BYE of bob", bob.Calls()[0].Bye().Status(), 200)
		expect(t, "the caller's call is over", call.WaitEnded(time.Second), true)
		expect(t, "from the address that alice knows", alice.Requests("BYE")[0].Header("Via")[:26], "SIP/2.0/UDP 192.0.2.1:5060")
		expect(t, "hold of the survivor's own call", own.Reinvite(sdpOf("carol")).Status(), 200)
		expect(t, "its BYE", own.Bye().Status(), 200)
		expect(t, "dialogs left", o.srv.Stats().Dialogs, 0)
	})
}

func TestAPhoneOnAConnectionToADeadNodeComesToTheSurvivor(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice"), s.registered("bob", overTCP)
		bob.OnInvite(answerAfter(time.Second))
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		time.Sleep(100 * time.Millisecond)
		o := s.survivor()
		old := s.snapshots()
		s.die()
		ends := o.replace(s, old)
		bob.Reconnect()
		bob.MustRegister()
		expect(t, "hold", call.Reinvite(sdpOf("alice")).Status(), 200)
		if _, err := o.srv.Import(t.Context(), Arrival{Snapshot: old[0], Events: o}); err == nil {
			t.Error("a call came twice")
		}
		expect(t, "BYE", call.Bye().Status(), 200)
		expect(t, "bob was told", len(bob.Requests("BYE")), 1)
		for _, e := range ends {
			if err := e.End(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}
