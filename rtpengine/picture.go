package rtpengine

import "errors"

// Errors of RequestPicture that callers branch on.
var (
	ErrNoVideo    = errors.New("rtpengine: that side sends no video")
	ErrNoFeedback = errors.New("rtpengine: that side has not agreed to be asked for pictures in the media")
)

// RequestPicture asks a side for a full picture of each video that it sends, for who comes late or has lost something: by PLI, or by FIR where
// it has agreed to that alone. A side is asked once a second at most, whoever wants it; a picture that is wanted again within that second is
// on its way, so that is no error.
//
// Errors: ErrClosed, ErrNoVideo, ErrNoFeedback when only signalling could ask.
func (s *Session) RequestPicture(side Side) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	err := ErrNoVideo
	var legs []*leg
	for _, l := range s.lines {
		switch g := l.legs[side]; {
		case g == nil || !l.pictures:
		case l.takes[side]&feedPictures != 0:
			legs = append(legs, g)
		default:
			err = ErrNoFeedback
		}
	}
	if len(legs) == 0 {
		return err
	}
	s.shard.order(func(sh *shard) {
		for _, g := range legs {
			sh.askPicture(g)
		}
	})
	return nil
}

// RequestPicture asks the phone of an echo for a full picture, because that is what the phone sees. Errors: ErrClosed, ErrNoVideo.
func (p *Endpoint) RequestPicture() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	var legs []*leg
	for i, g := range p.legs {
		if g != nil && p.kinds[i] == "video" && p.echo {
			legs = append(legs, g)
		}
	}
	if len(legs) == 0 {
		return ErrNoVideo
	}
	p.shard.order(func(sh *shard) {
		for _, g := range legs {
			sh.askPicture(g)
		}
	})
	return nil
}

// feedTerms decides what the sides of an m-line may be told of each other's feedback; mu is held.
func (s *Session) feedTerms(x *exchange, i int, l *line, lines *[2]said, active bool) (terms [2]*feedTerms) {
	l.pictures, l.takes = false, [2]feedback{}
	if !active || x.struck.opaque { // what the phones encrypt for each other is not ours to read
		return terms
	}
	l.pictures = l.kind == "video"
	free := lines[A].feedback|lines[B].feedback == 0
	for _, side := range [...]Side{A, B} {
		l.takes[side] = agreedFeedback(side, lines) | s.pathFeedback(x, i, side)
		if free && !l.pictures {
			continue
		}
		terms[side] = &feedTerms{
			takes: l.takes[side], free: free, whole: !(lines[A].rsize && lines[B].rsize), video: l.pictures, most: lines[side].most,
			repairs: repairsOf(lines[A].codecs, lines[B].codecs), listener: &s.cfg, side: side,
		}
	}
	return terms
}

// pathFeedback is what a side has agreed to on any m-line that shares the transport of this one, and that is of the transport as a whole.
func (s *Session) pathFeedback(x *exchange, i int, side Side) (path feedback) {
	mine, other := x.said[side].lines, x.said[side.Other()].lines
	if s.wires[side].bundle == nil || !mine[i].theirs.bundled {
		return 0
	}
	for n := range min(len(mine), len(other)) {
		if mine[n].active && mine[n].theirs.bundled && other[n].active {
			lines := [2]said{}
			lines[side], lines[side.Other()] = mine[n], other[n]
			path |= agreedFeedback(side, &lines) & feedPath
		}
	}
	return path
}

// feedTerms are an endpoint's: it asks the phone for pictures because the phone wants to see its own. Who asks without having named any way
// understands the usual one.
func (p *Endpoint) feedTerms(i int, l *said) *feedTerms {
	if !l.active || p.kinds[i] != "video" {
		return nil
	}
	t := &feedTerms{takes: l.feedback & feedPictures, whole: true, video: true, repairs: repairsOf(l.codecs), listener: &p.cfg}
	if t.takes == 0 {
		t.takes = feedPLI
	}
	return t
}

// repairsOf are the payload types of packets that repeat or repair others, under a source of their own (RFC 4588, RFC 8627).
func repairsOf(lists ...[]codec) (p payloads) {
	for _, list := range lists {
		for _, c := range list {
			if c.named("rtx") || c.named("flexfec-03") || c.named("flexfec") {
				p.add(c.payload)
			}
		}
	}
	return p
}
