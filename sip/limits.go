package sip

import "time"

// Limits are the settings of a Server that can be exchanged while it runs. What has begun goes on under the old ones: a call
// keeps the longest time it was given when it was answered.
type Limits struct {
	MaxTransactions int           // as in Config, all of them
	MaxDialogs      int           //
	MaxCallTime     time.Duration //
	TimerC          time.Duration //
	Recurse         bool          //
}

// SetLimits exchanges the limits. Any goroutine.
func (s *Server) SetLimits(l Limits) { s.bounds.Store(&l) }

// limits are those in force.
func (s *Server) limits() *Limits { return s.bounds.Load() }

// RegistrarLimits are the settings of a Registrar that can be exchanged while it runs. Bindings that are there keep the expiry their phone
// was told.
type RegistrarLimits struct {
	MinExpires, MaxExpires, DefaultExpires time.Duration // as in RegistrarConfig
	MaxBindings                            int
}

// SetLimits exchanges the limits, or says what is wrong with them and keeps the old ones. Any goroutine.
func (r *Registrar) SetLimits(l RegistrarLimits) error {
	c := r.cfg
	c.MinExpires, c.MaxExpires, c.DefaultExpires, c.MaxBindings = l.MinExpires, l.MaxExpires, l.DefaultExpires, l.MaxBindings
	c.MaxLease = max(24*time.Hour, c.MaxExpires)
	if err := c.defaults(); err != nil {
		return err
	}
	r.bounds.Store(&c)
	return nil
}

// limits are those in force; only what RegistrarLimits names may differ from cfg, and MaxLease, which follows MaxExpires.
func (r *Registrar) limits() *RegistrarConfig { return r.bounds.Load() }

// SetLifetime exchanges how long a nonce is good, also for those that are out. Any goroutine.
func (d *Digest) SetLifetime(life time.Duration) { d.nonces.life.Store(int64(max(life, time.Second))) }
