package pbx

import (
	"cmp"
	"crypto/subtle"
	"strings"
	"time"

	"tandem/dialplan"
)

const (
	pinTries = 3
	pinTime  = 10 * time.Second // for the first digit, after the prompt
)

// gate is a caller's being asked for the PIN of a conference. It belongs to the leg's shard.
type gate struct {
	step  dialplan.Step
	keys  []byte
	tries int  // that were wrong
	asked bool // its prompt has begun; digits that were pressed before wait
}

// barred reports whether a step lets the caller in with its PIN alone, and he has not pressed it.
func (l *leg) barred(step dialplan.Step) bool {
	return step.Kind == dialplan.StepConference && step.PIN != "" && l.passed != step.Node
}

// askAtGate is told that the prompt has begun.
func (l *leg) askAtGate(step dialplan.Step) {
	if l.gate == nil { // the call's first step
		l.gate = &gate{step: step}
	}
	l.gate.asked = true
	if len(l.gate.keys) > 0 {
		l.media.Hush()
		l.considerGate()
		return
	}
	l.after(l.said+pinTime, l.refusedAtGate)
}

// keyAtGate takes a key when a PIN is asked for: a digit, # behind a shorter one, * to begin anew.
func (l *leg) keyAtGate(key byte) (taken bool) {
	g := l.gate
	if g == nil || len(g.keys) >= mostKeys || strings.IndexByte("0123456789*#", key) < 0 {
		return g != nil
	}
	if len(g.keys) == 0 && g.asked {
		l.media.Hush()
	}
	if g.keys = append(g.keys, key); g.asked {
		l.considerGate()
	}
	return true
}

// considerGate looks at the keys so far.
func (l *leg) considerGate() {
	g := l.gate
	keys := string(g.keys[strings.LastIndexByte(string(g.keys), '*')+1:])
	digits, ended := strings.CutSuffix(keys, "#")
	switch {
	case subtle.ConstantTimeCompare([]byte(digits), []byte(g.step.PIN)) == 1:
		l.gate, l.passed = nil, g.step.Node
		l.do(g.step)
	case ended || len(digits) >= len(g.step.PIN):
		l.refusedAtGate()
	default:
		l.after(betweenKeys, l.refusedAtGate)
	}
}

// refusedAtGate is a caller who has pressed another PIN, or none in time. After three tries the conference is busy for him.
func (l *leg) refusedAtGate() {
	g := l.gate
	l.stopClock()
	l.call.pbx.wrongPINs.Add(1)
	if g.tries++; g.tries >= pinTries {
		l.gate = nil
		l.call.next(486)
		return
	}
	g.keys, g.asked = g.keys[:0], false
	l.sip.Go(func() func() {
		err := l.promptAtGate(g.step)
		return func() {
			switch {
			case l.gate != g:
			case err != nil:
				l.call.next(l.call.unperformed(g.step, err))
			default:
				l.askAtGate(g.step)
			}
		}
	})
}

// promptAtGate asks: by the prompt of the conference, else by a dial tone until the first digit.
func (l *leg) promptAtGate(step dialplan.Step) error {
	return l.prompting(cmp.Or(step.Prompt, "tone:dial"))
}
