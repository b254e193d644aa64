package pbx

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"time"

	"tandem/dialplan"
	"tandem/events"
	"tandem/rtpengine"
)

// ErrNotInConference says that a call is in no conference.
var ErrNotInConference = errors.New("the call is in no conference")

// conference is the room of a node of the dialplan while anybody is in it. It is set up as the node said when the first one came.
type conference struct {
	key          string // of PBX.conferences
	tenant, node string
	room         *rtpengine.Room
	began        time.Time
	legs         []*leg // in it, or about to be; guarded by PBX.mu
}

// Conference is one as it is shown.
type Conference struct {
	Tenant  string     `json:"tenant"`
	Name    string     `json:"name"` // of its node: "sales" for conference.sales
	Began   time.Time  `json:"began"`
	Members []Attendee `json:"members" nullable:"false"` // by the time they came
}

// Attendee is a call in a conference.
type Attendee struct {
	Call    string        `json:"call"`
	User    string        `json:"user"`
	Since   time.Time     `json:"since"`
	Muted   bool          `json:"muted"`
	Talking bool          `json:"talking"`
	Level   float64       `json:"level"`   // how loud, in dB below full scale: 0 is the loudest, -127 silence
	Wait    time.Duration `json:"wait_ns"` // depth of the jitter buffer
	Lost    uint64        `json:"lost"`    // packets that never came, or too late to be heard
	Skipped uint64        `json:"skipped"` // packets left out to catch up with a clock that runs fast
	Untold  uint64        `json:"untold"`  // packets that the member was not sent because the node was too slow
}

// join takes a leg into the conference of a step, which begins with it if there is none. It may read a file.
func (p *PBX) join(l *leg, step dialplan.Step) error {
	c := l.call
	key := c.tenant + "\x00" + step.Node
	conf := p.enter(key, l, nil)
	if conf == nil {
		room, err := p.cfg.Media.OpenRoom(rtpengine.RoomConfig{
			ID: step.Node, MaxMembers: step.MaxMembers, Music: step.Play, Announce: step.Announce,
		})
		if err != nil {
			return err
		}
		fresh := &conference{key: key, tenant: c.tenant, node: step.Node, room: room, began: time.Now()}
		if conf = p.enter(key, l, fresh); conf != fresh {
			room.Close() // somebody else was first
		} else if step.Record {
			c.recordRoom(room)
		}
	}
	member, err := conf.room.Join(l.media)
	if err != nil {
		p.leave(l)
		return err
	}
	p.mu.Lock()
	l.member = member
	p.mu.Unlock()
	return nil
}

// recordRoom starts to record a conference; the recording belongs to the call that began it.
func (c *Call) recordRoom(room *rtpengine.Room) {
	rec, err := room.Record(c.recorded)
	if err != nil {
		c.pbx.cfg.Log.Error("a conference that the dialplan wants recorded is not", "call", c.id, "error", err)
		c.publish(events.Event{Kind: events.RecordingFailed, Reason: err.Error()})
		return
	}
	c.publish(events.Event{Kind: events.RecordingStarted, File: rec.File})
}

// enter puts a leg into the conference of a key, or into fresh when there is none; nil when there is neither.
func (p *PBX) enter(key string, l *leg, fresh *conference) *conference {
	p.mu.Lock()
	defer p.mu.Unlock()
	conf := p.conferences[key]
	if conf == nil {
		if fresh == nil {
			return nil
		}
		conf = fresh
		p.conferences[key] = conf
	}
	conf.legs = append(conf.legs, l)
	l.conference = conf
	return conf
}

// leave takes a leg out of its conference, if it is in one. A conference ends with its last member.
func (p *PBX) leave(l *leg) {
	p.mu.Lock()
	conf := l.conference
	l.conference, l.member = nil, nil
	if conf == nil {
		p.mu.Unlock()
		return
	}
	conf.legs = slices.DeleteFunc(conf.legs, func(o *leg) bool { return o == l })
	last := len(conf.legs) == 0
	if last {
		delete(p.conferences, conf.key)
	}
	p.mu.Unlock()
	if last {
		conf.room.Close()
	}
}

// tellConference tells the world that a leg has come or gone, and how many there are now.
func (l *leg) tellConference(kind events.Kind, node string, members int) {
	l.call.publish(events.Event{Kind: kind, From: l.call.from, To: node, Detail: map[string]string{"members": strconv.Itoa(members)}})
}

// size is how many are in the conference of a leg, and its node; 0 when it is in none.
func (p *PBX) size(l *leg) (node string, members int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.conference == nil {
		return "", 0
	}
	return l.conference.node, len(l.conference.legs)
}

// Conferences lists those of now, by tenant and name.
func (p *PBX) Conferences() []Conference {
	type one struct {
		Conference
		room *rtpengine.Room
		user map[string]string // by call
	}
	var all []one
	p.mu.Lock()
	for _, conf := range p.conferences {
		o := one{Conference{Tenant: conf.tenant, Name: nodeName(conf.node), Began: conf.began}, conf.room, make(map[string]string)}
		for _, l := range conf.legs {
			o.user[l.call.id] = l.call.from
		}
		all = append(all, o)
	}
	p.mu.Unlock()
	list := make([]Conference, 0, len(all))
	for _, o := range all {
		o.Members = []Attendee{}
		for _, m := range o.room.Stats().Members {
			o.Members = append(o.Members, Attendee{
				Call: m.ID, User: o.user[m.ID], Since: m.Since, Muted: m.Muted, Talking: m.Talking, Level: m.Level,
				Wait: m.Wait, Lost: m.Lost + m.Late, Skipped: m.Left, Untold: m.Untold,
			})
		}
		list = append(list, o.Conference)
	}
	slices.SortFunc(list, func(a, b Conference) int { return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Name, b.Name)) })
	return list
}

// nodeName is the name of a node without its kind.
func nodeName(node string) string {
	return node[len("conference."):]
}

// Mute keeps a call, by its id or its Call-ID, from being heard in its conference, or no longer. Errors: ErrNoCall, ErrNotInConference.
func (p *PBX) Mute(id string, muted bool) error {
	l, err := p.attendee(id)
	if err != nil {
		return err
	}
	p.mu.Lock()
	member := l.member
	p.mu.Unlock()
	if member == nil {
		return ErrNotInConference
	}
	member.Mute(muted)
	return nil
}

// Kick ends a call that is in a conference. Errors: ErrNoCall, ErrNotInConference.
func (p *PBX) Kick(id, reason string) error {
	l, err := p.attendee(id)
	if err != nil {
		return err
	}
	l.call.hangup(reason)
	return nil
}

// attendee is the leg of a call that is in a conference.
func (p *PBX) attendee(id string) (*leg, error) {
	c := p.find(id)
	if c == nil {
		return nil, ErrNoCall
	}
	c.mu.Lock()
	l := c.leg
	c.mu.Unlock()
	if l == nil {
		return nil, ErrNotInConference
	}
	if _, members := p.size(l); members == 0 {
		return nil, ErrNotInConference
	}
	return l, nil
}
