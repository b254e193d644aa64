package rtpengine

import "time"

// watch follows whether a side that should send does.
type watch struct {
	expected bool
	reported bool
	since    int64 // nothing older than this counts as silence
}

func (w *watch) arm(expected bool, now int64) { *w = watch{expected: expected, since: now} }

// check reports for how long the side has been silent, when that is news. last is when its last
// packet came, in engine ns.
func (w *watch) check(last, now int64, limit time.Duration) (time.Duration, bool) {
	quiet := time.Duration(now - max(last, w.since))
	if quiet < limit {
		w.reported = false
		return 0, false
	}
	if !w.expected || w.reported {
		return 0, false
	}
	w.reported = true
	return quiet, true
}

// silent tells OnSilence of the sides that have newly fallen silent, and looks after sounds that end and holds that begin.
func (s *Session) silent(now int64) {
	var quiet [2]time.Duration
	s.mu.Lock()
	for side := range s.watch {
		var last int64
		for _, l := range s.lines {
			if g := l.legs[side]; g != nil {
				last = max(last, g.counts().seen)
			}
		}
		if d, news := s.watch[side].check(last, now, s.engine.patience()); news && !s.closed {
			quiet[side] = d
		}
	}
	tell := s.reap()
	alarms := s.sample(now)
	s.mu.Unlock()
	s.engine.tellQuality(&s.cfg, alarms)
	for _, ended := range tell {
		if ended != nil {
			ended()
		}
	}
	for side, d := range quiet {
		if d > 0 {
			s.engine.tellSilence(&s.cfg, Side(side), d)
		}
	}
	s.tendHolds()
}

// tellSilence calls back, with no lock held.
func (e *Engine) tellSilence(c *SessionConfig, side Side, d time.Duration) {
	e.silences.Add(1)
	e.log.Info("media silent", "call", c.ID, "side", side.String(), "for", d.Round(time.Second))
	if c.OnSilence != nil {
		c.OnSilence(side, d)
	}
}
