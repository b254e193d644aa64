package events

import (
	"context"
	"slices"
)

// subscriber is one reader of the live stream. Its fields belong to Log.mu.
type subscriber struct {
	ch    chan Event
	stats *Stats
}

// offer hands the event over or counts it as missed. It is called with Log.mu held, which keeps every subscriber's
// stream in the order of Seq, and it never blocks.
func (s *subscriber) offer(e *Event) {
	select {
	case s.ch <- *e:
	default:
		s.stats.Missed++
	}
}

// Subscribe returns the events published from now on, in order. The channel holds buffer of them (at least 1); what
// comes while it is full is lost to this reader and counted (Seq shows the gap). It is closed when ctx ends or Run
// does.
func (l *Log) Subscribe(ctx context.Context, buffer int) <-chan Event {
	s := &subscriber{ch: make(chan Event, max(buffer, 1)), stats: &l.stats}
	l.mu.Lock()
	l.subs = append(l.subs, s)
	l.mu.Unlock()
	context.AfterFunc(ctx, func() { l.unsubscribe(s) })
	return s.ch
}

func (l *Log) unsubscribe(s *subscriber) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.subs, s); i >= 0 {
		l.subs = slices.Delete(l.subs, i, i+1)
		close(s.ch)
	}
}

func (l *Log) endSubscriptions() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.subs {
		close(s.ch)
	}
	l.subs = nil
}
