package rtpengine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	audio "tandem/rtpengine/codec"
	"tandem/rtpengine/srtp"
)

// takeOver has another engine go on with a session. The first one is gone without a word.
func takeOver(t testing.TB, s *Session, change func(*Config)) *Session {
	t.Helper()
	snapshot, err := s.Export()
	if err != nil {
		t.Fatal(err)
	}
	return resume(t, s, snapshot, change)
}

func resume(t testing.TB, s *Session, snapshot []byte, change func(*Config)) *Session {
	t.Helper()
	vanish(s)
	other := startEngine(t, change)
	again, err := other.Import(SessionConfig{ID: t.Name()}, snapshot)
	if err != nil {
		t.Fatal(err)
	}
	settle(again.shard)
	return again
}

// moved has the other one of two engines go on with a session, and wants the same snapshot of both. A session that cannot be moved yet stays.
func moved(t rapid.TB, s *Session, one, other *Engine) *Session {
	t.Helper()
	snapshot, err := s.Export()
	if errors.Is(err, ErrNotMovable) {
		return s
	}
	if err != nil {
		t.Fatal(err)
	}
	s.Leave()
	if s.engine == other {
		other = one
	}
	again, err := other.Import(s.cfg, snapshot)
	if err != nil {
		t.Fatal(err)
	}
	settle(again.shard)
	second, err := again.Export()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(unleapt(t, snapshot), unleapt(t, second)) {
		t.Fatalf("exported again it is\n%x, was\n%x", second, snapshot)
	}
	return again
}

// unleapt is a snapshot without the numbers of reports, which jump.
func unleapt(t rapid.TB, snapshot []byte) []byte {
	t.Helper()
	n, err := unseal(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range n.keys {
		clear(n.states[i][3+len(k.Master()):][:4])
	}
	out, err := n.seal()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// vanish closes a session's ports as the kernel does for a process that was killed.
func vanish(s *Session) {
	s.engine.closeMembers()
	s.shard.order(func(sh *shard) {
		for _, k := range sh.ice.sockets {
			if k != nil {
				sh.detach(k)
			}
		}
	})
	settle(s.shard)
}

// chat has two phones talk, n packets each.
func chat(t testing.TB, a, b *phone, n int) {
	t.Helper()
	for i := range n {
		a.say(fmt.Sprint("from a ", i))
		b.hears(fmt.Sprint("from a ", i))
		b.say(fmt.Sprint("from b ", i))
		a.hears(fmt.Sprint("from b ", i))
	}
}

func TestPlainCallGoesOnInAnotherEngine(t *testing.T) {
	a, b := newPhone(t, loop4), newPhone(t, loop6)
	s := call(t, startEngine(t, nil), a, b)
	chat(t, a, b, 4)
	before := calm(s).Stats().Media[0].Sides
	s = takeOver(t, s, nil)
	chat(t, a, b, 4)
	st := calm(s).Stats().Media[0].Sides
	for side := range st {
		if st[side].Packets != before[side].Packets+4 || st[side].Forwarded != before[side].Forwarded+4 || st[side].Bytes <= before[side].Bytes || st[side].Lost != 0 ||
			st[side].Port != before[side].Port || st[side].Peer != before[side].Peer || st[side].Drops.Total() != before[side].Drops.Total() {
			t.Errorf("side %d: %+v, before %+v", side, st[side], before[side])
		}
	}
	stranger := newPhone(t, loop4)
	stranger.to = a.to
	for range 5 {
		stranger.say("let me in")
	}
	a.say("end")
	b.hears("end")
	if got := calm(s).Stats().Media[0].Sides[A].Drops[DropSource]; got != 5 {
		t.Errorf("%d packets of a stranger were dropped, want 5: the latch is open", got)
	}
}

// The phones send on while nobody is there, and the counts of what was before stay.
func TestWhatPhonesSendMeanwhileIsNobodysLoss(t *testing.T) {
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, startEngine(t, nil), a, b)
	chat(t, a, b, 4)
	a.seq += 3 // lost
	chat(t, a, b, 1)
	snapshot, err := s.Export()
	if err != nil {
		t.Fatal(err)
	}
	chat(t, a, b, 5) // in no count
	a.seq += 100
	s = resume(t, s, snapshot, nil)
	chat(t, a, b, 4)
	if st := calm(s).Stats().Media[0].Sides[A]; st.Lost != 3 || st.Packets != 9 {
		t.Errorf("%+v", st)
	}
}

func TestEncryptedCallGoesOnInAnotherEngine(t *testing.T) {
	const avp, savp = "RTP/AVP", "RTP/SAVP"
	for _, c := range []struct {
		name           string
		a, b           string
		suiteA, suiteB srtp.Suite
		aKeyed, bKeyed bool
	}{
		{"AES-CM both", savp, savp, srtp.AES128CM80, srtp.AES128CM32, true, true},
		{"GCM both", savp, savp, srtp.AES128GCM, srtp.AES256GCM, true, true},
		{"the caller only", avp, avp, srtp.AES128CM80, 0, true, false},
		{"the callee only", avp, avp, 0, srtp.AES128GCM, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			policy := SRTPMirror
			if !c.aKeyed {
				policy = SRTPPreferred
			}
			configured := func(e *Config) { e.SRTP = policy }
			s := newSecureSession(t, policy)
			a, b := newSecure(t, c.a, c.suiteA), newSecure(t, c.b, c.suiteB)
			a.seq, b.seq = 65530, 65000
			agree(t, s, A, a, b, c.aKeyed, c.bKeyed)
			talk(t, a, b)
			toA, toB := a.heard, b.heard
			snapshot, err := s.Export()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d octets", len(snapshot))
			for range 10 { // over the rollover of both
				talk(t, a, b)
			}
			a.seq, b.seq = a.seq+2000, b.seq+2000 // nobody is there
			old := a.wire
			s = resume(t, s, snapshot, configured)
			talk(t, a, b)
			if c.aKeyed {
				a.raw(a.rtp, a.to, old)
			}
			// Either side refreshes the call: it hears of the keys that it knows.
			offered, _ := agree(t, s, A, a, b, c.aKeyed, c.bKeyed)
			talk(t, a, b)
			agree(t, s, B, b, a, c.bKeyed, c.aKeyed)
			talk(t, a, b)
			if fmt.Sprint(a.heard) != fmt.Sprint(toA) && c.aKeyed && len(toA) == len(a.heard) || fmt.Sprint(b.heard) != fmt.Sprint(toB) && c.bKeyed && len(toB) == len(b.heard) {
				t.Errorf("keys have changed: %v and %v, were %v and %v (%s)", a.heard, b.heard, toA, toB, offered)
			}
		})
	}
}

// Keys that the phones have for each other are none of the engine's, and so need not move.
func TestACallEncryptedEndToEndGoesOnInAnotherEngine(t *testing.T) {
	s := newSecureSession(t, SRTPMirror)
	a, b := newSecure(t, "RTP/SAVP", srtp.AES128GCM), newSecure(t, "RTP/SAVP", srtp.AES128GCM)
	passThrough(t, s, a, b)
	talk(t, a, b)
	s = takeOver(t, s, nil)
	talk(t, a, b)
	passThrough(t, s, a, b)
	talk(t, a, b)
	if _, err := s.Record(); !errors.Is(err, ErrEndToEnd) {
		t.Errorf("recording: %v", err)
	}
}

// o= gives the version of a description's o= line.
func originOf(t testing.TB, sdp []byte) string {
	t.Helper()
	_, rest, _ := strings.Cut(string(sdp), "\r\no=")
	words := strings.Fields(rest)
	if len(words) < 3 {
		t.Fatalf("no o= in\n%s", sdp)
	}
	return strings.Join(words[:3], " ")
}

func TestNextDescriptionAfterATakeoverContinuesTheLast(t *testing.T) {
	s := newSession(t, startEngine(t, nil))
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	offer, err := s.Offer(A, a.sdp(), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := s.Answer(B, b.sdp(), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	s = takeOver(t, s, nil)
	again, err := s.Offer(A, a.sdp(), loop4, loop4)
	if err != nil || string(again) != string(offer) {
		t.Errorf("a refresh says\n%s, was\n%s (%v)", again, offer, err)
	}
	if again, err = s.Answer(B, b.sdp(), loop4, loop4); err != nil || string(again) != string(answer) {
		t.Errorf("a refresh is answered\n%s, was\n%s (%v)", again, answer, err)
	}
	held, err := s.Offer(A, a.sdp("a=sendonly"), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	was, is := strings.Fields(originOf(t, offer)), strings.Fields(originOf(t, held))
	if was[0] != is[0] || was[1] != is[1] || was[2] != "1" || is[2] != "2" {
		t.Errorf("o=%v, was %v", is, was)
	}
}

// resum makes the sum of a snapshot right.
func resum(snapshot []byte) []byte {
	body := snapshot[:len(snapshot)-4]
	return binary.BigEndian.AppendUint32(slices.Clone(body), crc32.Checksum(body, castagnoli))
}

func TestWhatHasLeftCanBeTakenBackAtOnce(t *testing.T) {
	e := startEngine(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, e, a, b)
	for range 200 {
		snapshot, err := s.Export()
		if err != nil {
			t.Fatal(err)
		}
		s.Leave()
		if s, err = e.Import(s.cfg, snapshot); err != nil {
			t.Fatal(err)
		}
	}
	s.Leave()
	s.Leave()
}

func TestImportSaysWhyItCannot(t *testing.T) {
	e := startEngine(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, e, a, b)
	snapshot, err := s.Export()
	if err != nil {
		t.Fatal(err)
	}
	refused := func(name string, in *Engine, snapshot []byte, want error) {
		t.Helper()
		before := in.Stats()
		if _, err := in.Import(SessionConfig{}, snapshot); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		} else {
			t.Log(err)
		}
		if after := in.Stats(); after.Sessions != before.Sessions || fmt.Sprint(after.Ports[0].Used) != fmt.Sprint(before.Ports[0].Used) {
			t.Errorf("%s: something stayed behind", name)
		}
	}
	refused("the same engine", e, snapshot, ErrPortTaken)
	refused("another program", startEngine(t, nil), snapshot, ErrPortTaken)
	refused("other ports", startEngine(t, func(c *Config) { c.PortMin, c.PortMax = 31000, 31999 }), snapshot, ErrForeignAddress)
	other := startEngine(t, nil)
	for i := range snapshot {
		bad := []byte(string(snapshot))
		bad[i] ^= 0x10
		if _, err := other.Import(SessionConfig{}, bad); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("octet %d damaged: %v", i, err)
		}
		if _, err := other.Import(SessionConfig{}, snapshot[:i]); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("cut off at %d: %v", i, err)
		}
	}
	n, _ := unseal(snapshot)
	n.bound[v4] = loop4.Next()
	elsewhere, err := n.seal()
	if err != nil {
		t.Fatal(err)
	}
	refused("another address", other, elsewhere, ErrForeignAddress)
	refused("a later form", other, resum(append([]byte{snapshotVersion + 1}, snapshot[1:]...)), ErrSnapshotVersion)
	s.Close()
	if _, err := s.Export(); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := newSession(t, e).Export(); !errors.Is(err, ErrNotMovable) {
		t.Error(err)
	}
}

func TestRevisionChangesWithWhatASurvivorNeeds(t *testing.T) {
	s := newSecureSession(t, SRTPPreferred)
	a, b := newSecure(t, "RTP/AVP", 0), newSecure(t, "RTP/AVP", srtp.AES128GCM)
	known := map[uint64]string{}
	news := func(what string, want bool) {
		t.Helper()
		settle(s.shard)
		r := s.Revision()
		if before, had := known[r]; had == want {
			t.Errorf("%s: revision %x, known as that of %q", what, r, before)
		}
		known[r] = what
	}
	news("nothing", true)
	agree(t, s, A, a, b, false, true)
	news("an answer", true)
	talk(t, a, b)
	news("the phones are found", true)
	talk(t, a, b)
	talk(t, a, b)
	news("talk", false)
	agree(t, s, A, a, b, false, true)
	news("a refresh", true)
	talk(t, a, b)
	news("more talk", false)
	a.ssrc++
	talk(t, a, b)
	news("another source", true)
	s.Block(A, BlockDTMF)
	news("a block", true)
	s.Block(A, 0)
	news("and its end", false)
	s.lines[0].legs[A].tally.packets.Add(revisionStep)
	news("many packets that were encrypted", true)

	s = newSecureSession(t, SRTPPreferred)
	a, b = newSecure(t, "RTP/AVP", 0), newSecure(t, "RTP/AVP", 0)
	agree(t, s, A, a, b, false, false)
	talk(t, a, b)
	settle(s.shard)
	r := s.Revision()
	s.lines[0].legs[A].tally.packets.Add(revisionStep)
	if s.Revision() != r {
		t.Error("many packets of a plain call are news")
	}
}

func TestEndpointsSayThatTheyCannotBeMoved(t *testing.T) {
	p, err := startEngine(t, nil).NewEndpoint(SessionConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Export(); !errors.Is(err, ErrNotMovable) {
		t.Error(err)
	}
}

// FuzzImport gives an engine snapshots of all kinds of mischief. Whatever it takes must stand all that can be done with a session.
func FuzzImport(f *testing.F) {
	e := startEngine(f, nil)
	a, b := newSecure(f, "RTP/SAVP", srtp.AES128GCM), newSecure(f, "RTP/SAVP", srtp.AES128CM80)
	s, err := e.NewSession(SessionConfig{})
	if err != nil {
		f.Fatal(err)
	}
	agree(f, s, A, a, b, true, true)
	talk(f, a, b)
	w, p := newWebPhone(f, loop4), newPhone(f, loop4)
	web := browserToPhone(f, e, w, p)
	w.connect(web)
	for _, s := range []*Session{s, web, call(f, e, newPhone(f, loop4), newPhone(f, loop4)), call(f, e, newPhone(f, loop4), newPhone(f, loop6), "a=sendonly", "a=mid:x")} {
		snapshot, err := s.Export()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(snapshot[1 : len(snapshot)-4])
	}
	vanish(s)
	other := startEngine(f, func(c *Config) { c.PortMin, c.PortMax, c.Transcode.Off = 20000, 29999, false })
	f.Fuzz(func(t *testing.T, body []byte) {
		reading := &packing{b: body, reading: true}
		new(snapshot).pass(reading)
		if slices.ContainsFunc(reading.hosts, func(a netip.Addr) bool { return !a.IsLoopback() }) {
			return // nobody outside of this machine gets packets of a test
		}
		s, err := other.Import(SessionConfig{}, resum(append(append([]byte{snapshotVersion}, body...), 0, 0, 0, 0)))
		if err != nil {
			return
		}
		defer s.Close()
		if _, err := s.Export(); err != nil && !errors.Is(err, ErrNotMovable) {
			t.Error(err)
		}
		s.Revision()
		s.Quality()
		s.shard.order(func(sh *shard) { hearAll(sh, s) })
		settle(s.shard)
		_, _ = s.Play(A, "tone:busy", PlayOptions{})
		_ = s.SendDigits(B, "1")
		_, _ = s.Answer(B, p.sdp(), loop4, loop4)
		_, _ = s.Answer(A, p.sdp(), loop4, loop4)
		for _, side := range []Side{A, B} {
			if _, err := s.Offer(side, p.sdp(), loop4, loop4); err == nil {
				_, _ = s.Answer(side.Other(), w.sdp("active"), loop4, loop4)
				_, _ = s.Answer(side.Other(), p.sdp(), loop4, loop4)
			}
			if _, err := s.OfferWith(side, w.sdp("actpass"), loop4, loop4, OfferOptions{Speaks: WebRTC}); err == nil {
				_, _ = s.Answer(side.Other(), w.sdp("active"), loop4, loop4)
			}
		}
		s.Rollback()
	})
}

// hearAll gives a session packets of all kinds, from everybody that it would listen to.
func hearAll(sh *shard, s *Session) {
	hear := func(k *socket, src netip.AddrPort) {
		if k == nil || !src.IsValid() {
			return
		}
		var raw rawAddr
		raw.set(src)
		for _, b := range [][]byte{
			packet(0, 1, 160, 7, "sound"), packet(111, 2, 160, 7, "sound"), packet(101, 3, 160, 7, "\x01\x80\x01\x00"), packet(96, 4, 160, 8, "picture"),
			emptyReport(7), clientHelloLike(),
			{21, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 9, 0, 2, 1, 0},
			make([]byte, stunHeader),
		} {
			sh.receive(k, src, &raw, append(make([]byte, 0, 256), b...))
		}
	}
	for _, l := range s.lines {
		for _, g := range l.legs {
			for c := range 2 {
				for family := range 2 {
					if g != nil {
						hear(g.sockets[family][c], g.latch[c].source.addrPort())
						hear(g.sockets[family][c], g.latch[c].kept.addrPort())
						hear(g.sockets[family][c], g.latch[c].exact.addrPort())
					}
				}
			}
		}
	}
	for side := range s.wires {
		for _, t := range s.wires[side].all {
			for _, i := range slices.Clone(t.pairs) {
				hear(i.to.socket, i.to.addr())
			}
		}
	}
}

// A browser that calls a phone hears no handshake when another engine takes over: keys, addresses and the consent that it gave go on. Its next
// offer or answer names the other engine's certificate, and there a handshake belongs to it.
func TestABrowsersCallGoesOnInAnotherEngine(t *testing.T) {
	for _, setup := range []string{"actpass", "active"} {
		web, desk := newWebPhone(t, loop4), newPhone(t, loop4)
		s, err := startEngine(t, nil).NewSession(SessionConfig{ID: t.Name()})
		if err != nil {
			t.Fatal(err)
		}
		browserCalls(t, s, web, desk, setup)
		web.connect(s)
		for range 3 {
			web.say(0, 77, "", "hello desk")
			desk.hears("hello desk")
			desk.say("hello browser")
			web.hears("hello browser")
		}
		before := web.remote.sections[0].wiring
		s = takeOver(t, s, nil)
		desk.say("who are you?")
		web.hears("who are you?")
		web.say(0, 77, "", "the same as ever")
		desk.hears("the same as ever")
		web.check() // under the credentials of before
		web.send(clientHelloLike())
		web.send([]byte{21, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 9, 0, 2, 1, 0})
		web.report(emptyReport(77))
		if got := desk.next(desk.rtcp); !bytes.Equal(got, emptyReport(77)) {
			t.Errorf("the phone's RTCP is %x", got)
		}

		browserCalls(t, s, web, desk, setup)
		after := web.remote.sections[0].wiring
		if after.ufrag != before.ufrag || after.pwd != before.pwd || fmt.Sprint(after.prints) == fmt.Sprint(before.prints) || after.setup != before.setup {
			t.Errorf("%+v, was %+v", after, before)
		}
		desk.say("still under the keys of before")
		web.hears("still under the keys of before")
		web.connect(s)
		desk.say("new keys")
		web.hears("new keys")
		web.say(0, 77, "", "for both")
		desk.hears("for both")

		again := takeOver(t, s, nil)
		desk.say("and on")
		web.hears("and on")
		again.Close()
	}
}

// Of a bundle, sound and pictures find their way though their source was named before.
func TestABundleGoesOnInAnotherEngine(t *testing.T) {
	alice, bob := newWebPhone(t, loop4), newWebPhone(t, loop4)
	s, err := startEngine(t, nil).NewSession(SessionConfig{ID: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	offer, err := s.OfferWith(A, alice.sdp("actpass"), loop4, loop4, OfferOptions{Speaks: WebRTC})
	if err != nil {
		t.Fatal(err)
	}
	bob.hear(offer)
	answer, err := s.Answer(B, bob.sdp("active"), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	alice.hear(answer)
	settle(s.shard)
	alice.connect(s)
	bob.connect(s)
	alice.say(111, 1001, "0", "sound")
	bob.hears("sound")
	alice.say(96, 1002, "1", "picture")
	bob.hears("picture")
	bob.say(96, 2002, "1", "face")
	alice.hears("face")
	settle(s.shard)
	before, err := s.Export()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d octets", len(before))
	s = resume(t, s, before, nil)
	after, err := s.Export()
	if err != nil || !bytes.Equal(unleapt(t, before), unleapt(t, after)) {
		t.Errorf("exported again it is\n%x, was\n%x (%v)", after, before, err)
	}
	alice.say(0, 1002, "", "a payload type that both m-lines might have, of a known source")
	alice.say(96, 1002, "", "more pictures")
	bob.hears("more pictures")
	bob.say(111, 2001, "", "words")
	alice.hears("words")
	bob.say(96, 2002, "", "face")
	alice.hears("face")
	settle(s.shard)
	settle(s.shard)
	if st := s.Stats(); st.Media[1].Sides[A].Packets != 2 || st.Media[1].Sides[A].Drops[DropPayload] != 1 || st.Media[1].Sides[B].Packets != 2 || st.Media[0].Sides[B].Packets != 1 {
		t.Errorf("%+v", st.Media)
	}
}

func TestAFaxGoesOnInAnotherEngine(t *testing.T) {
	a, b := newPhone(t, loop4), newPhone(t, loop6)
	s := call(t, startEngine(t, nil), a, b)
	offer, err := s.Offer(B, b.fax(), loop6, loop4)
	if err != nil {
		t.Fatal(err)
	}
	a.dial(offer)
	answer, err := s.Answer(A, a.fax(), loop4, loop6)
	if err != nil {
		t.Fatal(err)
	}
	b.dial(answer)
	settle(s.shard)
	for i := range 4 {
		a.sendsDatagram(b, fmt.Sprint("page ", i))
	}
	takeOver(t, s, nil)
	a.sendsDatagram(b, "the rest")
	b.sendsDatagram(a, "understood")
}

// A held call is held afterwards, the music begins again, and the call can be taken back.
func TestAHeldCallGoesOnInAnotherEngine(t *testing.T) {
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, startEngine(t, nil), a, b)
	chat(t, a, b, 4)
	s.HoldMusic(A, "tone:dial")
	offer, err := s.Offer(A, a.sdp("a=sendonly"), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	b.dial(offer)
	if _, err = s.Answer(B, b.sdp("a=recvonly"), loop4, loop4); err != nil {
		t.Fatal(err)
	}
	s = takeOver(t, s, nil)
	s.silent(s.engine.now())
	if h, _ := parseRTP(b.next(b.rtp)); h.ssrc == a.ssrc {
		t.Error("no music, but the holder")
	}
	b.say("is anybody there?")
	dropsOneOf(t, s, B, DropHold)
	renew(t, s, a, b)
	drain(b)
	chat(t, a, b, 4)
}

// dropsOneOf is dropsOne for either side.
func dropsOneOf(t *testing.T, s *Session, side Side, why Drop) {
	t.Helper()
	for range 20000 {
		settle(s.shard)
		if s.Stats().Media[0].Sides[side].Drops[why] == 1 {
			return
		}
		runtime.Gosched()
	}
	t.Fatalf("%v, want one %s", s.Stats().Media[0].Sides[side].Drops.ByReason(), why)
}

func TestATranscodedCallGoesOnInAnotherEngine(t *testing.T) {
	for _, kinds := range [][2]audio.Kind{{audio.PCMA, audio.G722}, {audio.PCMU, audio.Opus}} {
		numbers := map[audio.Kind]uint8{audio.PCMA: 8, audio.PCMU: 0, audio.G722: 9, audio.Opus: 111}
		a, b := newSpeaker(t, kinds[0], numbers[kinds[0]]), newSpeaker(t, kinds[1], numbers[kinds[1]])
		s := quietSession(t, startEngine(t, transcoding))
		answer := []string{fmt.Sprint(b.sends)}
		if b.kind == audio.Opus {
			answer = append(answer, "a=rtpmap:111 opus/48000/2")
		}
		settleOn(t, s, a.phone, b.phone, a.formats(fmt.Sprint(a.sends)), b.formats(answer[0], answer[1:]...))
		hums(t, a, b, 700)
		hums(t, b, a, 500)
		snapshot, err := s.Export()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := startEngine(t, func(c *Config) { c.Transcode.Opus = "none" }).Import(SessionConfig{}, snapshot); b.kind == audio.Opus && !errors.Is(err, ErrNotMovable) {
			t.Errorf("without the library: %v", err)
		}
		s = resume(t, s, snapshot, transcoding)
		hums(t, a, b, 700)
		hums(t, b, a, 500)
		if st := s.engine.Stats().Coders; st.Calls != 1 || st.Streams != 2 {
			t.Errorf("%+v", st)
		}
		s.Close()
		if st := s.engine.Stats().Coders; st.Calls != 0 || st.Streams != 0 {
			t.Errorf("%+v", st)
		}
	}
}

func BenchmarkExport(b *testing.B) {
	s := benchmarked(b)
	b.ReportAllocs()
	size := 0
	for b.Loop() {
		snapshot, err := s.Export()
		if err != nil {
			b.Fatal(err)
		}
		size = len(snapshot)
	}
	b.ReportMetric(float64(size), "octets")
}

func BenchmarkRevision(b *testing.B) {
	s := benchmarked(b)
	b.ReportAllocs()
	for b.Loop() {
		s.Revision()
	}
}

// BenchmarkImport takes a call over and closes it again, ports and all.
func BenchmarkImport(b *testing.B) {
	s := benchmarked(b)
	snapshot, err := s.Export()
	if err != nil {
		b.Fatal(err)
	}
	vanish(s)
	e := startEngine(b, nil)
	b.ReportAllocs()
	for b.Loop() {
		again, err := e.Import(SessionConfig{}, snapshot)
		if err != nil {
			b.Fatal(err)
		}
		again.Close()
		settle(again.shard)
	}
}

// benchmarked is a plain call that has been heard.
func benchmarked(b *testing.B) *Session {
	one, other := newPhone(b, loop4), newPhone(b, loop4)
	s := call(b, startEngine(b, nil), one, other)
	chat(b, one, other, 4)
	settle(s.shard)
	return s
}
