package transport

import "time"

// LiveLimits are the limits that can be exchanged while a Transport runs; they mean what they mean in Limits. Connections that are open
// stay, even when there are more of them now than may be.
type LiveLimits struct {
	Connections, PerIP                     int
	ReadTimeout, WriteTimeout, IdleTimeout time.Duration
}

// SetLimits exchanges the limits; 0 leaves one as it is. A reader that waits already waits on under its old time limit. Any goroutine.
func (t *Transport) SetLimits(l LiveLimits) {
	next := *t.limits()
	for _, n := range []struct{ to, from *int }{{&next.Connections, &l.Connections}, {&next.PerIP, &l.PerIP}} {
		if *n.from > 0 {
			*n.to = *n.from
		}
	}
	for _, d := range []struct{ to, from *time.Duration }{
		{&next.ReadTimeout, &l.ReadTimeout}, {&next.WriteTimeout, &l.WriteTimeout}, {&next.IdleTimeout, &l.IdleTimeout},
	} {
		if *d.from > 0 {
			*d.to = *d.from
		}
	}
	t.bounds.Store(&next)
}

// limits are those in force.
func (t *Transport) limits() *Limits { return t.bounds.Load() }
