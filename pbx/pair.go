package pbx

import (
	"errors"

	"tandem/rtpengine"
)

// pair are two callers whom Tandem has answered and who talk with each other: one has fetched the other from a slot, or has picked up his call.
type pair struct {
	legs [2]*leg
	room *rtpengine.Room
}

// other is who a leg talks with.
func (r *pair) other(l *leg) *leg {
	if r.legs[0] == l {
		return r.legs[1]
	}
	return r.legs[0]
}

// talk joins two callers; when one hangs up the other is hung up. False: that could not be done, and both are ended. Any goroutine.
func (l *leg) talk(other *leg) bool {
	c := l.call
	l.cede()
	other.cede()
	room, err := c.pbx.cfg.Media.OpenRoom(rtpengine.RoomConfig{ID: c.id, MaxMembers: 2})
	if err == nil {
		_, here := room.Join(l.media)
		_, there := room.Join(other.media)
		err = errors.Join(here, there)
	}
	if err != nil {
		c.pbx.cfg.Log.Error("two callers cannot be joined; both calls are ended", "call", c.id, "other", other.call.id, "error", err)
		if room != nil {
			room.Close()
		}
		l.sip.Hangup("the call could not be joined")
		other.sip.Hangup("the call could not be joined")
		return false
	}
	r := &pair{[2]*leg{l, other}, room}
	c.pbx.mu.Lock()
	l.pair, other.pair = r, r
	c.pbx.mu.Unlock()
	for _, end := range r.legs { // one that is gone by now has not seen the pair
		if !end.call.talking() {
			r.other(end).sip.Hangup("the other has hung up")
			room.Close()
		}
	}
	return true
}

// unpair is told that a leg is over: who it has talked with is hung up, and what it was about to do to other calls is left.
func (l *leg) unpair(reason string) {
	p := l.call.pbx
	p.mu.Lock()
	k, r, fetches, picks := l.parked, l.pair, l.fetches, l.pickup
	l.pair, l.fetches, l.pickup = nil, nil, nil
	p.mu.Unlock()
	if p.unpark(l, k) && k.clock != nil {
		k.clock.Stop()
	}
	if fetches != nil {
		fetches.putBack()
	}
	if picks != nil {
		picks.drop()
	}
	if r != nil {
		r.room.Close()
		r.other(l).sip.Hangup(reason)
	}
}
