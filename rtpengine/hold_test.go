package rtpengine

import (
	"testing"
	"time"

	audio "tandem/rtpengine/codec"
)

func TestHeldPartyHearsMusicUntilTheCallGoesOn(t *testing.T) {
	e := startEngine(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, e, a, b)
	defer s.Close()
	s.HoldMusic(A, "tone:dial")
	s.silent(e.now())
	settle(s.shard)
	a.say("before")
	b.hears("before")

	hold := func(holder *phone, from Side, other *phone, dir, answer string) {
		t.Helper()
		offer, err := s.Offer(from, holder.sdp(dir), loop4, loop4)
		if err != nil {
			t.Fatal(err)
		}
		other.dial(offer)
		back, err := s.Answer(from.Other(), other.sdp(answer), loop4, loop4)
		if err != nil {
			t.Fatal(err)
		}
		holder.dial(back)
		s.silent(e.now())
		settle(s.shard)
	}
	hold(a, A, b, "a=sendonly", "a=recvonly")
	a.say("what the phone itself plays")
	var heard []int16
	for range 25 {
		p := b.next(b.rtp)
		h, _ := parseRTP(p)
		for _, code := range p[h.body:] {
			heard = append(heard, audio.DecodeUlaw(code))
		}
	}
	if got := amplitude(heard, 350); got < 1500 {
		t.Errorf("the music is heard at %.0f", got)
	}
	hold(a, A, b, "a=sendrecv", "a=sendrecv")
	for e.Stats().Playing > 0 {
		t.Fatal("the music goes on")
	}
	drain(b)
	a.say("after")
	b.hears("after")

	hold(b, B, a, "a=sendonly", "a=recvonly") // who is not to play leaves it to the phone
	hold(a, A, b, "a=inactive", "a=inactive") // and silence is what was asked for
	if n := e.Stats().Playing; n != 0 {
		t.Errorf("%d sounds play", n)
	}
	hold(a, A, b, "a=sendonly", "a=recvonly")
	if _, err := s.Play(B, "tone:busy", PlayOptions{}); err != nil { // a third party's sound stays
		t.Fatal(err)
	}
	hold(a, A, b, "a=sendrecv", "a=sendrecv")
	if n := e.Stats().Playing; n != 1 {
		t.Errorf("%d sounds play, want the third party's", n)
	}
	s.StopPlaying(B)
	s.HoldMusic(A, "no such sound")
	hold(a, A, b, "a=sendonly", "a=recvonly")
	if s.music[A] != "" || e.Stats().Playing != 0 {
		t.Error("a sound that is not there is tried for ever")
	}
}

// drain takes everything that waits in a phone's socket.
func drain(p *phone) {
	room := make([]byte, 2048)
	for {
		_ = p.rtp.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err := p.rtp.Read(room); err != nil {
			return
		}
	}
}
