package pbx

import (
	"strings"
	"time"

	"tandem/dialplan"
)

const (
	betweenKeys = 3 * time.Second // how long a caller may take for the next key of several
	sureKeys    = 2 * time.Second // and when those he has pressed mean something already
	mostKeys    = 32              // that are remembered
	agentDone   = 2 * time.Second // how long an agent has for hearing that he is in or out
	sorryTime   = 4 * time.Second // how long a caller who was answered hears why nothing comes of his call
)

// menu is a caller's being asked for keys. It belongs to the leg's shard.
type menu struct {
	step  dialplan.Step
	keys  []byte
	tries int  // that came to nothing
	asked bool // its prompt has begun; keys that were pressed before wait
}

// do performs a step for a caller whom Tandem has answered. 0: it is under way. Else it came to that status at once.
func (l *leg) do(step dialplan.Step) (status int) {
	l.menu, l.gate = nil, nil
	l.stopClock()
	switch {
	case step.Kind == dialplan.StepMenu:
		l.menu = &menu{step: step}
	case l.barred(step):
		l.gate = &gate{step: step}
	}
	switch step.Kind {
	case dialplan.StepRing:
		return l.ring(step)
	case dialplan.StepTrunk:
		return l.overTrunk(step)
	case dialplan.StepApp:
		l.askApp(step)
	case dialplan.StepReject:
		l.sorry(step.Status, step.Reason)
	default:
		l.sip.Go(func() func() {
			if err := l.perform(step); err != nil {
				return func() { l.call.next(l.call.unperformed(step, err)) }
			}
			return func() { l.performing(step) }
		})
	}
	return 0
}

// performing is told that a step that was asked of the media engine is under way.
func (l *leg) performing(step dialplan.Step) {
	if step.Kind == dialplan.StepMenu {
		if l.menu == nil { // the call's first step
			l.menu = &menu{step: step}
		}
		l.ask()
		return
	}
	switch step.Kind {
	case dialplan.StepVoicemail:
		l.voicemail(step)
		return
	case dialplan.StepQueue:
		l.wait(step)
		return
	case dialplan.StepPark:
		l.parking(step)
		return
	case dialplan.StepPickup:
		l.picking()
		return
	case dialplan.StepPage:
		if status := l.page(step); status != 0 {
			l.call.next(status)
		}
		return
	case dialplan.StepAgent:
		l.after(agentDone, func() { l.sip.Hangup("done") })
		return
	}
	if l.barred(step) {
		l.askAtGate(step)
		return
	}
	l.joinedConference()
	if step.Timeout > 0 {
		l.after(step.Timeout, func() { l.sip.Hangup("time of " + step.Node + " is over") })
	}
}

// ask is told that the prompt has begun, and waits for a key: as long as the prompt lasts, and then for the time of the menu.
func (l *leg) ask() {
	l.menu.asked = true
	if len(l.menu.keys) > 0 {
		l.media.Hush()
		l.consider()
		return
	}
	l.after(l.said+l.menu.step.Timeout, l.unheard)
}

// pressed takes a key of the caller.
func (l *leg) pressed(key byte) {
	m := l.menu
	if m == nil && l.queue != nil {
		l.queue.pressed(key)
	}
	if l.keyAtGate(key) || l.voicemailKey(key) || m == nil || len(m.keys) >= mostKeys || strings.IndexByte("0123456789*#", key) < 0 {
		return
	}
	if len(m.keys) == 0 && m.asked {
		l.media.Hush()
	}
	if m.keys = append(m.keys, key); m.asked {
		l.consider()
	}
}

// consider looks at the keys so far.
func (l *leg) consider() {
	m := l.menu
	complete, more := l.call.walk.Keyed(string(m.keys))
	switch {
	case complete && !more:
		l.choose()
	case complete:
		l.after(sureKeys, l.choose)
	case more:
		l.after(betweenKeys, l.choose)
	default:
		l.choose()
	}
}

// choose goes where the keys lead.
func (l *leg) choose() {
	m := l.menu
	keys := strings.TrimSuffix(string(m.keys), "#")
	if !l.call.press(string(m.keys)) && !l.call.press(keys) {
		l.again()
		return
	}
	l.menu = nil
	l.call.perform(404)
}

// unheard is a caller who has pressed nothing in time.
func (l *leg) unheard() {
	m := l.menu
	if m.tries++; m.tries > m.step.Retries {
		l.call.next(408)
		return
	}
	l.askAgain(m, "")
}

// again is a caller whose keys led nowhere.
func (l *leg) again() {
	m := l.menu
	if m.tries++; m.tries > m.step.Retries {
		l.call.next(404)
		return
	}
	l.askAgain(m, m.step.Wrong)
}

// askAgain plays what is to be said of the last try, and the menu's prompt.
func (l *leg) askAgain(m *menu, first string) {
	m.keys, m.asked = m.keys[:0], false
	l.sip.Go(func() func() {
		var before time.Duration
		if first != "" {
			before, _ = l.media.Say(first) // it could be played when the plan was checked; a caller can do without
		}
		return func() { l.after(before, func() { l.prompt(m) }) }
	})
}

func (l *leg) prompt(m *menu) {
	if l.menu != m {
		return
	}
	l.sip.Go(func() func() {
		err := l.perform(m.step)
		return func() {
			switch {
			case l.menu != m:
			case err != nil:
				l.call.next(l.call.unperformed(m.step, err))
			default:
				l.ask()
			}
		}
	})
}

// sorry tells a caller who was answered by a tone why nothing comes of his call, and ends it.
func (l *leg) sorry(status int, reason string) {
	l.menu, l.gate = nil, nil
	tone := "tone:congestion"
	switch status {
	case 486, 600, 603:
		tone = "tone:busy"
	case 404, 410, 484, 604:
		tone = "tone:info"
	}
	l.sip.Go(func() func() {
		err := l.media.Play(tone)
		return func() {
			if err != nil {
				l.sip.Hangup(reason)
				return
			}
			l.after(sorryTime, func() { l.sip.Hangup(reason) })
		}
	})
}

// after does something later, in place of what was to be done until now.
func (l *leg) after(d time.Duration, fn func()) {
	l.stopClock()
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		l.sip.Post(func() {
			if l.clock == t { // it was not replaced while it waited for the shard
				l.clock = nil
				defer l.call.recovered()
				fn()
			}
		})
	})
	l.clock = t
}

func (l *leg) stopClock() {
	if l.clock != nil {
		l.clock.Stop()
		l.clock = nil
	}
}
