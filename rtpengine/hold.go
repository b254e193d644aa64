package rtpengine

// HoldMusic says what the other side hears while holder keeps it on hold with a=sendonly, in place of what holder's phone sends then, which
// is often nothing; "" leaves it to the phone (RFC 3264 §8.4). It begins within a second and ends with the hold. a=inactive asks for
// silence, and gets it. The sound is looked for when it is needed; one that cannot be played is said in the log and not tried again.
func (s *Session) HoldMusic(holder Side, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.music[holder] = name
}

// holds tells whether a side hears nothing by its own wish, and the other one listens; mu is held.
func (s *Session) holds(holder Side) bool {
	x := s.latest
	if x != nil && !x.inForce {
		x = s.before
	}
	if x == nil || !x.inForce || s.closed {
		return false
	}
	mine, other := x.said[holder].lines, x.said[holder.Other()].lines
	for i, l := range s.lines {
		if l.kind == "audio" && i < len(mine) && i < len(other) && mine[i].active && other[i].active {
			return mine[i].dir == sendonly && other[i].dir&recvonly != 0
		}
	}
	return false
}

// tendHolds begins the music of new holds. It may read a file; housekeeping calls it.
func (s *Session) tendHolds() {
	for _, holder := range [...]Side{A, B} {
		held := holder.Other()
		s.mu.Lock()
		name := s.music[holder]
		due := name != "" && s.plays[held] == nil && s.holds(holder)
		s.mu.Unlock()
		if !due {
			continue
		}
		_, err := s.Play(held, name, PlayOptions{})
		s.mu.Lock()
		switch {
		case err != nil:
			s.music[holder] = ""
			s.engine.log.Warn("hold music cannot be played", "call", s.cfg.ID, "side", held.String(), "sound", name, "error", err)
		case !s.holds(holder): // it was over meanwhile
			s.stopPlay(held)
		default:
			s.onHold[held] = s.plays[held]
		}
		s.mu.Unlock()
	}
}

// endHolds ends the music of holds that are over; mu is held.
func (s *Session) endHolds() {
	for _, held := range [...]Side{A, B} {
		if s.onHold[held] == nil || s.holds(held.Other()) {
			continue
		}
		if s.plays[held] == s.onHold[held] { // nobody has played something else since
			s.stopPlay(held)
		}
		s.onHold[held] = nil
	}
}
