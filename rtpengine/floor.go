package rtpengine

import (
	"cmp"
	"slices"
)

const (
	// mostTalkers are mixed at once. More voices than that nobody follows, and each one brings its room's noise along.
	mostTalkers = 5
	// floorLevel is the least that counts as speech in a room that has more members than talkers, dBov.
	floorLevel = -50
	// floorFall is what a score falls by in a packet time: a speaker keeps the floor over a pause of a second or two.
	floorFall = 0.4
	// floorLead is how much louder than the quietest talker somebody must be to take its place, dB.
	floorLead = 6
)

// floor says who of a room is mixed: everybody while they are few, else the loudest, who keep it until they are silent for a while or
// somebody is clearly louder.
type floor struct{ talkers []*Member }

// give decides for the next packet time.
func (f *floor) give(members []*Member) {
	few := len(members) <= mostTalkers
	for _, m := range members {
		m.score = max(m.level, m.score-floorFall)
		if m.talks && (m.muted || !few && m.score < floorLevel) {
			f.leave(m)
		}
	}
	for _, m := range members {
		if m.talks || m.muted || !few && m.score < floorLevel {
			continue
		}
		if len(f.talkers) < mostTalkers {
			f.enter(m)
			continue
		}
		if quietest := f.quietest(); m.score > quietest.score+floorLead {
			f.leave(quietest)
			f.enter(m)
		}
	}
}

func (f *floor) enter(m *Member) {
	m.talks = true
	f.talkers = append(f.talkers, m)
}

func (f *floor) leave(m *Member) {
	m.talks = false
	if i := slices.Index(f.talkers, m); i >= 0 {
		f.talkers = slices.Delete(f.talkers, i, i+1)
	}
}

func (f *floor) quietest() *Member {
	return slices.MinFunc(f.talkers, func(a, b *Member) int { return cmp.Compare(a.score, b.score) })
}
