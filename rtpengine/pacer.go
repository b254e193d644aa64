package rtpengine

import (
	"context"
	"time"
)

const frameTime = 20 * time.Millisecond

// pace is the one clock of all players: while any plays, it tells their shards of each packet time.
func (e *Engine) pace(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.beat:
			e.paceWhilePlaying(ctx)
		}
	}
}

func (e *Engine) paceWhilePlaying(ctx context.Context) {
	ticker := time.NewTicker(frameTime)
	defer ticker.Stop()
	began, given := e.now(), int64(0)
	for e.playing.Load() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		// A ticker drops beats when we are late; the clock does not.
		due := (e.now() - began) / int64(frameTime)
		if due <= given {
			continue
		}
		for _, s := range e.shards {
			if s.gauges.playing.Load() > 0 {
				s.tick(int(due - given))
			}
		}
		given = due
	}
}

// startPlaying and stopPlaying count players; the pacer wakes with the first.
func (e *Engine) startPlaying() {
	e.playing.Add(1)
	select {
	case e.beat <- struct{}{}:
	default:
	}
}

func (e *Engine) stopPlaying() { e.playing.Add(-1) }

// enlist makes a leg's app or player play sound from its start, over and over; delist takes it off the list. Shard only.
func (s *shard) enlist(l *leg, sound *loop, payload uint8) {
	a := l.voice()
	a.speak(sound, payload)
	a.at, a.marker, a.echo = 0, true, false
	a.left, a.over = 0, nil
	s.list(l)
}

// list has what speaks to a leg told of each packet time.
func (s *shard) list(l *leg) {
	if a := l.voice(); !a.listed {
		a.listed = true
		s.players = append(s.players, l)
		s.gauges.playing.Add(1)
	}
}

func (s *shard) delist(l *leg) {
	a := l.voice()
	if a == nil || !a.listed {
		return
	}
	if l.app == nil {
		l.out.bars &^= barPlay
	}
	if a.sound = nil; a.digits != nil {
		return // they are sent to the end
	}
	a.listed = false
	for i, p := range s.players {
		if p == l {
			last := len(s.players) - 1
			s.players[i], s.players[last] = s.players[last], nil
			s.players = s.players[:last]
			break
		}
	}
	s.gauges.playing.Add(-1)
}
