package rtpengine

import (
	"encoding/binary"
	"math"
)

// senderTime is what a sender report says: at which time of the sender's wall clock a timestamp was due.
type senderTime struct {
	there bool
	ntp   uint64 // seconds since 1900, 32 bits before the point and 32 behind it
	stamp uint32
}

// report takes a sender report of any track of the call. Where both the sound and the pictures of a side have told, the pictures are moved to
// where they belong by the sender's own clock (RFC 3550 §6.4.1), whatever delayed the one more than the other on their way here.
func (r *Recording) report(e *tapped) {
	if len(e.body) < 8 {
		return
	}
	for i := range r.tracks {
		if t := &r.tracks[i]; t.started && t.ssrc == e.ssrc {
			r.clocks[i] = senderTime{true, binary.BigEndian.Uint64(e.body), e.stamp}
			r.synchronise(i & 1)
		}
	}
}

func (r *Recording) synchronise(side int) {
	sound, sight := r.clocks[side], r.clocks[2+side]
	if !sound.there || !sight.there || r.tracks[side].clock == 0 {
		return
	}
	apart := int64(sight.ntp - sound.ntp)
	if most := int64(600) << 32; apart > most || apart < -most {
		return
	}
	shift := r.tracks[side].at(sound.stamp) + apart*sampleRate>>32 - r.tracks[2+side].at(sight.stamp)
	if shift > 2*sampleRate || shift < -2*sampleRate { // clocks that have nothing to do with each other
		return
	}
	r.shift[side] = shift
}

// develop makes pictures of the packets that have come, and asks for a key picture where one is needed.
func (r *Recording) develop(now int64, all bool) {
	for side, p := range r.films {
		if p == nil {
			continue
		}
		t := &r.tracks[2+side]
		p.turn(now, func(q *filmed) int64 {
			anchors := t.anchors
			pos := t.follow(p.ssrc, q.stamp, videoClock, q.pos)
			if t.anchors != anchors {
				r.shift[side], r.clocks[2+side] = 0, senderTime{}
			}
			return pos + r.shift[side]
		}, all)
		if p.wants(now) {
			r.ask(side)
		}
	}
}

// project gives the pictures of the time that is about to be written to the file.
func (r *Recording) project() {
	if r.film == nil {
		return
	}
	to := r.mix.from
	if r.closed.Load() != 0 {
		to = math.MaxInt64
	}
	for side, p := range r.films {
		if p == nil {
			continue
		}
		for _, one := range p.until(to) {
			if !r.film.picture(side, &one, p) {
				p.shown--
				p.another++
			}
		}
	}
}

func (r *Recording) shown() (n uint64) {
	for _, p := range r.films {
		if p != nil {
			n += p.shown
		}
	}
	return n
}

func (r *Recording) spoilt() (n uint64) {
	for _, p := range r.films {
		if p != nil {
			n += p.spoilt
		}
	}
	return n
}

// compose says what there is to be recorded of a call besides the sound of sc.line: the first video of both sides, when the engine records video
// and at least one of them sends any that can be; mu is held.
func (s *Session) compose(sc *scene) {
	words, rate := s.spoken(sc.line)
	sc.words, sc.rate = [4]*vocabulary{words[A], words[B]}, rate
	x := s.inForce()
	if !s.engine.recorder.cfg.Video || x == nil {
		return
	}
	for i, l := range s.lines {
		if l.kind != "video" || l.legs[A] == nil || l.legs[B] == nil || i >= len(x.said[A].lines) || i >= len(x.said[B].lines) {
			continue
		}
		lines := [2]*said{A: &x.said[A].lines[i], B: &x.said[B].lines[i]}
		if !lines[A].active || !lines[B].active {
			continue
		}
		first := firstVideo(lines[x.from.Other()].codecs)
		for side := range sc.scenes {
			if lines[side].dir&sendonly != 0 && lines[1-side].dir&recvonly != 0 {
				sc.scenes[side] = first
			}
		}
		if sc.scenes != [2]medium{} {
			words, _ := s.spoken(i)
			sc.video, sc.legs[2], sc.legs[3], sc.words[2], sc.words[3] = i, l.legs[A], l.legs[B], words[A], words[B]
		}
		return
	}
}

// firstVideo is the first codec of an answer that can be recorded, which phones usually send; 0 when there is none.
func firstVideo(list []codec) medium {
	for _, c := range list {
		if m := c.medium(nil); m >= mediumVP8 && m <= mediumH264 {
			return m
		}
	}
	return 0
}
