package rtpengine

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	audio "tandem/rtpengine/codec"
)

// A third party intervenes in a relayed call: it plays a sound to one side while the other is not heard, or keeps what a side says from
// going on. A direction that nobody intervenes in pays one comparison with zero a packet (leg.bars).

// Errors of Play that callers branch on.
var (
	ErrNoAudio = errors.New("rtpengine: no audio has been agreed on")
	ErrNoLaw   = errors.New("rtpengine: that side hears no codec that can be encoded here")
	ErrPastEnd = errors.New("rtpengine: the sound ends before the place to start from")
)

// PlayOptions say how a sound is played to a side of a call. The zero value plays it over and over.
type PlayOptions struct {
	Rounds int           // how often; 0 is without end
	Start  time.Duration // where in the sound the first round begins; in steps of 20 ms
	Limit  time.Duration // at the longest; 0 is without limit
	// Ended is told once when the playing ended by itself, up to a second afterwards: not when it was stopped, another sound took its
	// place or the session was closed. It runs in the engine's housekeeping with no lock held and must not block.
	Ended func()
}

// playing is a sound that a side of a session hears. Signalling's, but for over.
type playing struct {
	sound *keptSound
	ended func()
	over  atomic.Bool // the shard has sent the last packet
}

// Play plays a sound to a side, in place of what the other side says in the first audio m-line. It takes the place of an earlier sound.
// sounds.go says how sounds are named. The answer is how long one round lasts. It may read a file.
//
// Errors: ErrClosed, ErrNoAudio before the first answer, ErrNoLaw, ErrPastEnd, ErrSoundMemory and those of files.
func (s *Session) Play(to Side, name string, o PlayOptions) (time.Duration, error) {
	snd, err := s.engine.sounds.take(name)
	if err != nil {
		return 0, err
	}
	return s.play(to, snd, &o)
}

// PlayWAV is Play with a WAV file that is given as a whole and kept for as long as it plays.
func (s *Session) PlayWAV(to Side, wav []byte, o PlayOptions) (time.Duration, error) {
	snd, err := s.engine.sounds.lend(wav)
	if err != nil {
		return 0, err
	}
	return s.play(to, snd, &o)
}

// play takes a sound over from its giver, also when it fails.
func (s *Session) play(to Side, snd *keptSound, o *PlayOptions) (length time.Duration, err error) {
	defer func() {
		if err != nil {
			s.engine.sounds.release(snd)
		}
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.prepare(to, snd); err != nil {
		return 0, err
	}
	switch {
	case s.closed:
		return 0, ErrClosed
	case s.endToEnd():
		return 0, ErrEndToEnd
	}
	line, tongue := s.hearing(to)
	frames := snd.packets()
	first := int(o.Start / frameTime)
	switch {
	case line == nil:
		return 0, ErrNoAudio
	case tongue.kind == audio.None:
		return 0, ErrNoLaw
	case first < 0 || first >= frames:
		return 0, ErrPastEnd
	}
	sound, err := s.engine.sounds.loop(snd, tongue.kind)
	if err != nil {
		return 0, err
	}
	left := 0
	if o.Rounds > 0 {
		left = min(o.Rounds, 1<<20)*frames - first
	}
	if limit := int((o.Limit + frameTime - 1) / frameTime); limit > 0 && (left == 0 || limit < left) {
		left = limit
	}
	s.engine.startPlaying() // before the old sound stops, so that the pacer need not wake up again
	s.dropPlay(to)
	p := &playing{sound: snd, ended: o.Ended}
	s.plays[to] = p
	g := line.legs[to]
	s.shard.order(func(sh *shard) {
		if g.player == nil {
			g.player = newApp()
		}
		sh.enlist(g, sound, tongue.payload)
		g.player.at, g.player.left, g.player.over = first, left, &p.over
		g.out.withdraw(&sh.relay)
		g.out.bars |= barPlay
	})
	return time.Duration(frames) * frameTime, nil
}

// StopPlaying ends what Play began, so that the side hears the other one again; false when nothing plays.
func (s *Session) StopPlaying(to Side) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopPlay(to)
}

// stopPlay has the shard stop; mu is held.
func (s *Session) stopPlay(to Side) bool {
	if s.plays[to] == nil {
		return false
	}
	over := s.plays[to].over.Load()
	s.dropPlay(to)
	legs := s.audioLegs(to)
	s.shard.order(func(sh *shard) {
		for _, g := range legs {
			sh.delist(g)
		}
	})
	return !over
}

// dropPlay gives a sound back without a word to the shard; mu is held.
func (s *Session) dropPlay(to Side) {
	if p := s.plays[to]; p != nil {
		s.engine.sounds.release(p.sound)
		s.engine.stopPlaying()
		s.plays[to] = nil
	}
}

func (s *Session) audioLegs(side Side) (legs []*leg) {
	for _, l := range s.lines {
		if g := l.legs[side]; g != nil && l.kind == "audio" {
			legs = append(legs, g)
		}
	}
	return legs
}

// reap gives back the sounds that have ended by themselves, and tells whom to tell; mu is held.
func (s *Session) reap() (tell [2]func()) {
	for side, p := range s.plays {
		if p != nil && p.over.Load() {
			tell[side] = p.ended
			s.dropPlay(Side(side))
		}
	}
	return tell
}

// carryOn makes what plays fit a new agreement: another law, or no audio any more; mu is held.
func (s *Session) carryOn() {
	for side, p := range s.plays {
		if p == nil {
			continue
		}
		line, tongue := s.hearing(Side(side))
		sound, err := s.engine.sounds.loop(p.sound, tongue.kind)
		if line == nil || err != nil {
			s.stopPlay(Side(side))
			continue
		}
		g := line.legs[side]
		s.shard.order(func(*shard) {
			if a := g.player; a != nil && a.listed {
				a.speak(sound, tongue.payload)
			}
		})
	}
}

// prepare has a sound encoded as a side hears it while mu, which is held, is not.
func (s *Session) prepare(to Side, snd *keptSound) (err error) {
	if _, tongue := s.hearing(to); tongue.kind != audio.None {
		s.mu.Unlock()
		_, err = s.engine.sounds.loop(snd, tongue.kind)
		s.mu.Lock()
	}
	return err
}

// hearing is the first audio that a side takes part in, and the codec that it can be told something in there, which both sides have named or it
// is transcoded to; mu is held.
func (s *Session) hearing(side Side) (l *line, to tongue) {
	x := s.inForce()
	if x == nil {
		return nil, to
	}
	mine, answer := x.said[side], x.said[x.from.Other()]
	for i, l := range s.lines {
		if l.kind != "audio" || i >= len(mine.lines) || i >= len(answer.lines) || !mine.lines[i].active || !answer.lines[i].active {
			continue
		}
		if t := l.vias[side.Other()]; t != nil {
			return l, tongue{t.to.kind, t.to.payload}
		}
		var shared []codec
		for _, c := range answer.lines[i].codecs {
			at := slices.IndexFunc(mine.lines[i].codecs, func(m codec) bool { return m.kind() == c.kind() })
			if at >= 0 && c.kind().Speech() {
				shared = append(shared, mine.lines[i].codecs[at])
			}
		}
		return l, s.engine.tongueOf(shared)
	}
	return nil, to
}

// Block says what of a side is kept from the other one. The side is not told.
type Block uint8

const (
	BlockMedia   Block = 1 << iota // its RTP, but for telephone events
	BlockDTMF                      // its telephone events (RFC 4733)
	SilenceMedia                   // its voice, instead of which the other side hears silence; other codecs than G.711 and pictures are left out
)

// bars are the reasons why what a leg says does not go on as it is: those of Block, and barPlay.
type bars uint8

const (
	barMedia   = bars(BlockMedia)
	barEvents  = bars(BlockDTMF)
	barSilence = bars(SilenceMedia)
	barPlay    = bars(1 << 7) // the other side hears a sound instead
)

// Block sets what of a side is kept from the other one, in all m-lines, and replaces what was set before; 0 lets everything through. It outlives
// offers and answers.
func (s *Session) Block(side Side, what Block) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blocks[side] == what || s.closed {
		return
	}
	s.blocks[side] = what
	var legs []*leg
	for _, l := range s.lines {
		if g := l.legs[side]; g != nil {
			legs = append(legs, g)
		}
	}
	s.shard.order(func(sh *shard) {
		for _, g := range legs {
			g.withdraw(&sh.relay)
			g.block(what)
		}
	})
}

// Blocked is what Block has set.
func (s *Session) Blocked(side Side) Block {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blocks[side]
}

func (l *leg) block(what Block) { l.bars = l.bars&barPlay | bars(what) }

// barred takes a packet of a leg with bars; true when it goes no further. RTCP always passes.
func (r *relay) barred(l *leg, h *rtpHeader, b []byte) bool {
	if l.events.has(h.payload) { // whom a voice asks to press a key must be understood
		if l.bars&barEvents == 0 {
			return false
		}
		r.drop(l, DropBlocked)
		return true
	}
	switch {
	case l.bars&barMedia != 0:
		r.drop(l, DropBlocked)
	case l.bars&barPlay != 0:
		r.drop(l, DropReplaced)
	case l.bars&barSilence == 0:
		return false
	case h.payload == payloadPCMU:
		fillWith(h.samples(b), ulawSilence)
		return false
	case h.payload == payloadPCMA:
		fillWith(h.samples(b), alawSilence)
		return false
	default:
		r.drop(l, DropBlocked)
	}
	return true
}

// Silence in the laws of G.711.
const (
	ulawSilence = 0xff
	alawSilence = 0xd5
)

// samples is the payload without padding.
func (h *rtpHeader) samples(b []byte) []byte {
	end := len(b)
	if b[0]&0x20 != 0 {
		end -= int(b[end-1]) // parseRTP has seen that it fits
	}
	return b[h.body:end]
}

func fillWith(b []byte, silence byte) {
	for i := range b {
		b[i] = silence
	}
}

// payloads is a set of payload types.
type payloads [2]uint64

func (p *payloads) add(payload uint8)      { p[payload>>6&1] |= 1 << (payload & 63) }
func (p *payloads) has(payload uint8) bool { return p[payload>>6&1]>>(payload&63)&1 != 0 }

// eventsOf are the payload types that either side gave telephone events.
func eventsOf(lists ...[]codec) (p payloads) {
	for _, list := range lists {
		for _, c := range list {
			if c.named("telephone-event") {
				p.add(c.payload)
			}
		}
	}
	return p
}

// lend makes a sound of a whole WAV file that nobody else can name. The player gives it back with release.
func (s *sounds) lend(wav []byte) (*keptSound, error) {
	file, err := openWAV(bytes.NewReader(wav))
	if err != nil {
		return nil, fmt.Errorf("rtpengine: the sound: %w", err)
	}
	limit := int(s.limit / 2)
	samples, whole := read(file, sampleRate, limit)
	switch {
	case !whole:
		return nil, s.tooLong("that was sent")
	case len(samples) == 0:
		return nil, errors.New("rtpengine: the sound holds no samples")
	}
	k := &keptSound{sound: newSound(samples), players: 1, gone: true}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.bytes+k.bytes() > s.limit {
		if !s.evict() {
			s.failures++
			return nil, ErrSoundMemory
		}
	}
	s.loads++
	s.bytes += k.bytes()
	return k, nil
}
