package rtpengine

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

// loud is 20 ms of a voice in mu-law: nothing that a generated sound or silence contains.
const loud = "LOUDLOUDLOUDLOUD"

// until reads packets until one fits.
func (p *phone) until(what string, fits func([]byte) bool) []byte {
	p.t.Helper()
	for range 400 {
		if b := p.next(p.rtp); fits(b) {
			return b
		}
	}
	p.t.Fatalf("%s never came", what)
	return nil
}

func says(word string) func([]byte) bool {
	return func(b []byte) bool { return string(b[12:]) == word }
}

func tells(b []byte) bool { return b[1]&0x7f == 101 }

// empties reads what has arrived.
func (p *phone) empties() (heard [][]byte) {
	p.t.Helper()
	for b := unread(p.t, p.rtp); b != nil; b = unread(p.t, p.rtp) {
		heard = append(heard, b)
	}
	return heard
}

func (p *phone) presses(event byte) {
	p.t.Helper()
	p.seq++
	p.raw(p.rtp, p.to, packet(101, p.seq, uint32(p.seq)*160, p.ssrc, string([]byte{event, 0x8a, 0, 160})))
}

func TestOneSideHearsASoundWhileTheOtherIsNotHeard(t *testing.T) {
	e := startEngine(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, e, a, b)
	defer s.Close()
	a.say("before")
	b.hears("before")

	length, err := s.Play(B, "tone:ring", PlayOptions{})
	if err != nil || length != 3*time.Second {
		t.Fatalf("%v, %v", length, err)
	}
	first := b.next(b.rtp)
	if len(first) != 172 || first[1] != 0x80|payloadPCMU {
		t.Fatalf("the sound begins with %x", first[:12])
	}
	a.say(loud)
	a.presses(5)
	b.until("the digit", tells)
	b.say("who is there?")
	a.hears("who is there?") // the other direction goes on
	for _, p := range b.empties() {
		if says(loud)(p) {
			t.Error("the other side is heard besides the sound")
		}
	}
	if got := calm(s).Stats().Media[0].Sides[A].Drops[DropReplaced]; got != 1 {
		t.Errorf("%d packets replaced, want the voice alone", got)
	}

	if !s.StopPlaying(B) || s.StopPlaying(B) {
		t.Error("what played was not stopped once")
	}
	settle(s.shard)
	a.say("after")
	b.until("the voice", says("after"))
	settle(s.shard)
	if st := e.Stats(); st.Playing != 0 || st.Shards[0].Playing != 0 || e.sounds.kept["tone:ring"].players != 0 {
		t.Errorf("something still plays: %+v", st)
	}
}

func TestASoundThatEndsLetsTheOtherSideBeHeardAgain(t *testing.T) {
	e := startEngine(t, func(c *Config) { c.Silence = 40 * time.Millisecond }) // housekeeping looks often
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, e, a, b)
	defer s.Close()
	ended := make(chan struct{})
	length, err := s.PlayWAV(B, wavOf(wavPCM, 16, 1, sampleRate, 440, 0.2), PlayOptions{
		Rounds: 2, Start: 5 * frameTime, Limit: 12 * frameTime, Ended: func() { close(ended) },
	})
	if err != nil || length != 10*frameTime {
		t.Fatalf("%v, %v", length, err)
	}
	<-ended
	if got := len(b.empties()); got != 12 {
		t.Errorf("%d packets, want the 12 of the limit", got)
	}
	a.say("still here")
	b.hears("still here")
	if s.StopPlaying(B) {
		t.Error("what is over was stopped")
	}
	if st := e.Stats(); st.Playing != 0 || st.Sounds.Bytes != 0 {
		t.Errorf("something is left: %+v", st)
	}
}

func TestPlayingIsRefusedWithTheReason(t *testing.T) {
	e := startEngine(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s, err := e.NewSession(SessionConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Play(A, "music", PlayOptions{}); !errors.Is(err, ErrNoAudio) {
		t.Errorf("before the answer: %v", err)
	}
	renew(t, s, a, b)
	for _, try := range []struct {
		name    string
		options PlayOptions
		want    error
	}{
		{"music", PlayOptions{Start: time.Hour}, ErrPastEnd},
		{"music", PlayOptions{Start: -time.Hour}, ErrPastEnd},
	} {
		if _, err := s.Play(A, try.name, try.options); !errors.Is(err, try.want) {
			t.Errorf("%s %+v: %v", try.name, try.options, err)
		}
	}
	if _, err := s.Play(A, "nothing", PlayOptions{}); err == nil || !strings.Contains(err.Error(), "no sound") {
		t.Errorf("an unknown sound: %v", err)
	}
	if _, err := s.PlayWAV(A, []byte("RIFFnothing"), PlayOptions{}); err == nil {
		t.Error("no WAV file was played")
	}
	offer := bytes.Replace(a.sdp("a=rtpmap:96 iLBC/8000"), []byte("0 8 101"), []byte("96"), 1)
	if _, err := s.Offer(A, offer, loop4, loop4); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Answer(B, offer, loop4, loop4); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Play(A, "music", PlayOptions{}); !errors.Is(err, ErrNoLaw) {
		t.Errorf("to a phone that speaks iLBC alone: %v", err)
	}
	s.Close()
	if _, err := s.Play(A, "music", PlayOptions{}); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	if st := e.Stats(); st.Playing != 0 || e.sounds.kept["music"].players != 0 {
		t.Errorf("a refused sound is still held: %+v", st)
	}
}

func TestASoundFollowsTheLawOfANewAgreementAndTheCallsEnd(t *testing.T) {
	e := startEngine(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, e, a, b)
	if _, err := s.Play(A, "music", PlayOptions{}); err != nil {
		t.Fatal(err)
	}
	a.until("mu-law", func(p []byte) bool { return p[1]&0x7f == payloadPCMU })
	onlyA := func(sdp []byte) []byte { return bytes.Replace(sdp, []byte("0 8 101"), []byte("8 101"), 1) }
	if _, err := s.Offer(A, onlyA(a.sdp()), loop4, loop4); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Answer(B, onlyA(b.sdp()), loop4, loop4); err != nil {
		t.Fatal(err)
	}
	a.until("A-law", func(p []byte) bool { return p[1]&0x7f == payloadPCMA })
	s.Close()
	settle(s.shard)
	if st := e.Stats(); st.Playing != 0 || st.Shards[0].Playing != 0 {
		t.Errorf("the dead hear music: %+v", st)
	}
}

// awaitDrops waits until so many packets of side A were dropped for a reason: what was sent has then passed the bars of its time.
func awaitDrops(s *Session, why Drop, want uint64) {
	for range 100_000 {
		if calm(s).Stats().Media[0].Sides[A].Drops[why] >= want {
			return
		}
	}
}

func TestABlockedSideIsNotHeardUntilItIsUnblocked(t *testing.T) {
	e := startEngine(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, e, a, b)
	defer s.Close()

	s.Block(A, BlockMedia)
	settle(s.shard)
	a.say("blocked")
	a.presses(1)
	if got := b.next(b.rtp); got[12] != 1 {
		t.Errorf("heard %x, want the digit", got)
	}
	renew(t, s, a, b) // a re-INVITE does not unblock
	a.say("blocked")
	awaitDrops(s, DropBlocked, 2)
	s.Block(A, BlockDTMF)
	settle(s.shard)
	a.say("one")
	b.hears("one")
	a.presses(2)
	awaitDrops(s, DropBlocked, 3)
	s.Block(A, SilenceMedia)
	settle(s.shard)
	a.say(loud)
	b.hears(strings.Repeat("\xff", len(loud)))
	a.presses(3)
	if got := b.next(b.rtp); got[12] != 3 {
		t.Errorf("heard %x, want the digit", got)
	}
	if s.Blocked(A) != SilenceMedia || s.Blocked(B) != 0 {
		t.Errorf("%v and %v are blocked", s.Blocked(A), s.Blocked(B))
	}
	s.Block(A, 0)
	settle(s.shard)
	a.say("free")
	b.hears("free")
	if got := calm(s).Stats().Media[0].Sides[A].Drops[DropBlocked]; got != 3 {
		t.Errorf("%d packets blocked, want 3", got)
	}
}

func TestSilenceLeavesThePaddingOfAPacketAlone(t *testing.T) {
	b := packet(8, 1, 1, 1, "voice\x00\x00\x03")
	b[0] |= 0x20
	h, ok := parseRTP(b)
	l := &leg{bars: barSilence}
	if !ok || new(relay).barred(l, &h, b) {
		t.Fatal("dropped")
	}
	if got, want := string(b[12:]), strings.Repeat("\xd5", 5)+"\x00\x00\x03"; got != want {
		t.Errorf("%x, want %x", got, want)
	}
}

func TestBarredPacketsDoNotAllocate(t *testing.T) {
	r, from, k, raw, b, _ := pipe(t)
	for _, why := range []bars{barMedia, barSilence, barPlay} {
		from.bars = why
		if n := testing.AllocsPerRun(200, func() {
			b[3]++
			r.receive(k, raw.source(), &raw, b)
		}); n != 0 {
			t.Errorf("%v allocations a packet, barred by %d", n, why)
		}
	}
}

func BenchmarkRelayBarredPacket(b *testing.B) {
	r, from, k, raw, pkt, _ := pipe(b)
	from.bars = barMedia
	b.ReportAllocs()
	for b.Loop() {
		pkt[3]++
		r.receive(k, raw.source(), &raw, pkt)
	}
}
