package pbx

import (
	"context"
	"crypto/subtle"
	"slices"
	"strings"
	"sync"
	"time"

	"tandem/dialplan"
	"tandem/events"
	"tandem/pbx/mailbox"
	"tandem/rtpengine"
)

const (
	visitPause = 10 * time.Second // how long a caller in his mailbox may do nothing
	visitIdle  = 3                // times that he may
	visitTries = 3                // mailbox and PIN
	greetTime  = time.Minute      // longest greeting
	mostDigits = 20               // of a mailbox or PIN
)

// room is where a caller in a mailbox is.
type room uint8

const (
	asksBox   room = iota // he is asked whose mailbox he wants
	asksPIN               // and for its PIN
	hall                  // he hears how many messages there are, and his messages
	asksGreet             // what he wants to do about his greeting
	greets                // he speaks it
	likesIt               // he has heard it
)

// visit is a caller in a mailbox. It belongs to the leg's shard.
type visit struct {
	in     room
	box    *dialplan.Mailbox // nil until it is known that he may
	list   []mailbox.Item    // new ones first
	at     int               // in list; -1 before the first
	heard  map[string]bool
	gone   map[string]bool // to be deleted when he leaves
	digits []byte
	number string // of the mailbox he asks for
	tries  int
	idle   int
	draft  *mailbox.Draft // of a greeting
	take   uint64         // counts its recordings
}

// enterMailbox lets a caller into his own mailbox, or asks him which one he wants.
func (l *leg) enterMailbox() {
	c := l.call
	v := &visit{at: -1, heard: map[string]bool{}, gone: map[string]bool{}}
	l.visit = v
	if c.trunk == nil {
		if own := c.pbx.cfg.Plan().MailboxesOf(c.home(), c.from); len(own) > 0 {
			v.box = own[0]
			l.openMailbox()
			return
		}
	}
	l.askBox(nil)
}

// askBox asks for a mailbox; before is said first.
func (l *leg) askBox(before []string) {
	v := l.visit
	l.leaveMailbox()
	v.in, v.box, v.digits, v.number = asksBox, nil, v.digits[:0], ""
	l.setSecret(true)
	l.tell(append(before, prompt("which-mailbox")), func() { l.after(visitPause, l.bye) })
}

func (l *leg) askPIN() {
	v := l.visit
	v.in, v.number, v.digits = asksPIN, string(v.digits), v.digits[:0]
	l.tell(prompts("which-pin"), func() { l.after(visitPause, l.checkPIN) })
}

// checkPIN lets the caller in or asks again, in the same words for mailboxes there are and are not.
func (l *leg) checkPIN() {
	v, c := l.visit, l.call
	pin := string(v.digits)
	v.digits = v.digits[:0]
	box, ok := c.pbx.cfg.Plan().Mailbox(c.home(), v.number)
	if ok && c.pbx.pins.open(c.home(), box, pin, time.Now()) {
		v.box, v.tries = box, 0
		l.openMailbox()
		return
	}
	c.pbx.pinsRefused.Add(1)
	if v.tries++; v.tries >= visitTries {
		l.visit = nil
		l.tell(prompts("that-is-wrong", "goodbye"), func() { l.sip.Hangup("the mailbox stays closed") })
		return
	}
	l.askBox(prompts("that-is-wrong"))
}

// openMailbox tells what is in the mailbox.
func (l *leg) openMailbox() {
	v, c := l.visit, l.call
	l.setSecret(false)
	v.in, v.at, v.list = hall, -1, nil
	all := c.pbx.cfg.Messages.Messages(c.home(), v.box.Name)
	for _, heard := range []bool{false, true} {
		for _, m := range all {
			if m.Heard == heard {
				v.list = append(v.list, m)
			}
		}
	}
	fresh := 0
	for _, m := range all {
		if !m.Heard {
			fresh++
		}
	}
	l.say(append(countWords(fresh, len(all)-fresh), l.hallWords()...))
}

func countWords(fresh, old int) []string {
	if fresh+old == 0 {
		return prompts("no-messages")
	}
	words := prompts("you-have")
	one := func(n int, single, several string) {
		words = append(words, spokenNumber(n)...)
		if n == 1 {
			several = single
		}
		words = append(words, prompt(several))
	}
	if fresh > 0 {
		one(fresh, "new-message", "new-messages")
	}
	if fresh > 0 && old > 0 {
		words = append(words, prompt("and"))
	}
	if old > 0 {
		one(old, "old-message", "old-messages")
	}
	return words
}

// hallWords are what a caller can do.
func (l *leg) hallWords() []string {
	v := l.visit
	switch {
	case v.at >= 0 && v.at < len(v.list):
		return prompts("message-keys")
	case len(v.list) > 0:
		return prompts("to-hear", "mailbox-keys")
	}
	return prompts("mailbox-keys")
}

// say tells a caller in a mailbox something and waits for a key.
func (l *leg) say(words []string) {
	l.tell(words, func() { l.after(visitPause, l.unmoved) })
}

// unmoved is a caller who does nothing.
func (l *leg) unmoved() {
	v := l.visit
	if v.idle++; v.idle >= visitIdle {
		l.bye()
		return
	}
	switch v.in {
	case hall:
		l.say(l.hallWords())
	case asksGreet:
		l.say(prompts("greeting-keys"))
	default:
		l.say(prompts("keep-greeting"))
	}
}

func (l *leg) bye() {
	l.leaveMailbox()
	l.visit = nil
	l.tell(prompts("goodbye"), func() { l.sip.Hangup("the mailbox is closed") })
}

// leaveMailbox does what the caller wanted done behind him. It may be called more than once.
func (l *leg) leaveMailbox() {
	v := l.visit
	if v == nil {
		return
	}
	if v.draft != nil && v.in == likesIt {
		l.dropGreeting()
	}
	var ids []string
	for id := range v.gone {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	l.call.pbx.cfg.Messages.RemoveLater(ids...)
	clear(v.gone)
}

// visitKey is a key of a caller in a mailbox.
func (l *leg) visitKey(key byte) {
	v := l.visit
	v.idle = 0
	switch v.in {
	case asksBox, asksPIN:
		l.visitDigit(key)
	case hall:
		l.hallKey(key)
	case asksGreet:
		l.greetKey(key)
	case greets:
		if key == '#' {
			l.media.StopRecording()
		}
	case likesIt:
		l.likesKey(key)
	}
}

// visitDigit gathers the digits of a mailbox or PIN, until # or a pause.
func (l *leg) visitDigit(key byte) {
	v := l.visit
	on := l.askPIN
	if v.in == asksPIN {
		on = l.checkPIN
	}
	if len(v.digits) == 0 {
		l.hush()
	}
	if key == '#' {
		l.hush()
		on()
		return
	}
	if len(v.digits) < mostDigits {
		v.digits = append(v.digits, key)
	}
	l.after(betweenKeys, on)
}

func (l *leg) hallKey(key byte) {
	v := l.visit
	here := v.at >= 0 && v.at < len(v.list)
	switch {
	case key == '1' && !here, key == '6', key == '9':
		l.playMessage(v.at + 1)
	case key == '1', key == '5' && here:
		l.playMessage(v.at)
	case key == '4':
		l.playMessage(max(0, min(v.at, len(v.list))-1))
	case key == '7' && here:
		l.deleteMessage()
	case key == '0':
		v.in = asksGreet
		l.say(prompts("greeting-keys"))
	case key == '*':
		v.tries = 0
		l.askBox(nil)
	case key == '#':
		l.bye()
	default:
		l.say(append(prompts("that-is-wrong"), l.hallWords()...))
	}
}

func (l *leg) deleteMessage() {
	v := l.visit
	id := v.list[v.at].ID
	if v.gone[id] {
		delete(v.gone, id)
		l.say(prompts("message-restored"))
		return
	}
	v.gone[id] = true
	l.say(prompts("message-deleted", "message-keys"))
}

// playMessage plays a message with its number, who left it and when.
func (l *leg) playMessage(at int) {
	v, c := l.visit, l.call
	if at >= len(v.list) {
		v.at = len(v.list)
		l.say(append(prompts("no-more-messages"), l.hallWords()...))
		return
	}
	v.at = at
	m := v.list[at]
	words := append(prompts("message"), spokenNumber(at+1)...)
	if digits := spokenDigits(m.From); digits != nil {
		words = append(append(words, prompt("from")), digits...)
	}
	words = append(words, spokenTime(m.Time, time.Now().In(c.pbx.zone(c.home())))...)
	l.hush()
	turn := l.speech.turn.Load()
	l.sip.Go(func() func() {
		ctx, cancel := context.WithTimeout(context.Background(), fetchTime)
		defer cancel()
		path, err := c.pbx.cfg.Messages.File(ctx, m)
		return func() {
			switch {
			case l.visit != v || l.speech.turn.Load() != turn: // he has pressed a key meanwhile
			case err != nil:
				c.pbx.cfg.Log.Warn("a message cannot be played", "call", c.id, "mailbox", m.Box, "message", m.ID, "error", err)
				l.say(prompts("not-now"))
			default:
				l.tell(words, func() {
					l.noteHeard(m)
					l.tell([]string{path}, func() { l.say(prompts("message-keys")) })
				})
			}
		}
	})
}

func (l *leg) noteHeard(m mailbox.Item) {
	v, c := l.visit, l.call
	if m.Heard || v.heard[m.ID] {
		return
	}
	v.heard[m.ID] = true
	c.pbx.cfg.Messages.MarkHeard(m.ID)
	c.publish(messageEvent(events.VoicemailRead, m, c.id))
}

// zone is that of a tenant.
func (p *PBX) zone(tenant string) *time.Location {
	for _, t := range p.cfg.Plan().Tenants() {
		if t.Name == tenant {
			if zone, err := time.LoadLocation(t.TimeZone); err == nil {
				return zone
			}
		}
	}
	return time.UTC
}

func (l *leg) greetKey(key byte) {
	v, c := l.visit, l.call
	switch key {
	case '1':
		v.in = greets
		l.tell(append(prompts("speak-greeting"), beep), l.recordGreeting)
	case '2':
		if i, ok := c.pbx.cfg.Messages.Greeting(c.home(), v.box.Name); ok {
			c.pbx.cfg.Messages.RemoveLater(i.ID)
		}
		v.in = hall
		l.say(append(prompts("greeting-removed"), l.hallWords()...))
	default:
		v.in = hall
		l.say(l.hallWords())
	}
}

func (l *leg) recordGreeting() {
	v, c := l.visit, l.call
	v.take++
	mine := v.take
	item := mailbox.Item{Kind: mailbox.Greeting, Tenant: c.home(), Box: v.box.Name, From: c.from, To: c.to, Call: c.id, Time: time.Now()}
	l.sip.Go(func() func() {
		draft, err := c.pbx.cfg.Messages.Begin(item, 0)
		if err == nil {
			_, err = l.media.Take(rtpengine.TakeConfig{File: draft.File(), MaxTime: greetTime, Silence: messageSilence, OnEnd: func(end rtpengine.RecordingEnd) {
				time.AfterFunc(0, func() { l.sip.Post(func() { l.greeted(v, mine, draft, end) }) })
			}})
			if err != nil {
				draft.Drop()
			}
		}
		return func() {
			if err != nil && l.visit == v {
				c.pbx.cfg.Log.Warn("a greeting cannot be recorded", "call", c.id, "error", err)
				v.in = hall
				l.say(prompts("not-now"))
			}
		}
	})
}

// messageSilence ends a greeting.
const messageSilence = 5 * time.Second

// greeted is told that the caller has spoken his greeting.
func (l *leg) greeted(v *visit, take uint64, draft *mailbox.Draft, end rtpengine.RecordingEnd) {
	said := end.Err == nil && end.Length >= mailbox.MinLength && end.Spoken >= leastSaid
	if l.visit != v || v.take != take || v.in != greets || !said || l.call.isOver() {
		l.sip.Go(func() func() { draft.Drop(); return func() {} })
		if l.visit == v && v.in == greets {
			v.in = asksGreet
			l.say(prompts("nothing-recorded", "greeting-keys"))
		}
		return
	}
	v.in, v.draft = likesIt, draft
	l.tell([]string{end.File}, func() { l.say(prompts("keep-greeting")) })
}

func (l *leg) likesKey(key byte) {
	v := l.visit
	switch key {
	case '1':
		v.draft.Keep()
		v.draft, v.in = nil, hall
		l.say(append(prompts("greeting-saved"), l.hallWords()...))
	case '2':
		l.dropGreeting()
		v.in = greets
		l.tell(append(prompts("speak-greeting"), beep), l.recordGreeting)
	default:
		l.dropGreeting()
		v.in = asksGreet
		l.say(prompts("greeting-keys"))
	}
}

func (l *leg) dropGreeting() {
	draft := l.visit.draft
	l.visit.draft = nil
	l.sip.Go(func() func() { draft.Drop(); return func() {} })
}

// pins remembers who has tried wrong PINs, so that nobody finds one by trying.
type pins struct {
	mu     sync.Mutex
	failed map[string]*pinFailures // "tenant\x00mailbox"
}

type pinFailures struct {
	count int
	until time.Time // when they are forgotten
}

const (
	pinFailuresMost = 10
	pinFailuresTime = 15 * time.Minute
	pinMailboxes    = 10_000 // that are remembered; beyond it no PIN opens any other
)

// open tells whether a PIN opens a mailbox; one that was tried too often opens to none for a while.
func (p *pins) open(tenant string, box *dialplan.Mailbox, pin string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := tenant + "\x00" + box.Name
	f := p.failed[key]
	if f != nil && now.After(f.until) {
		delete(p.failed, key)
		f = nil
	}
	if f != nil && f.count >= pinFailuresMost {
		return false
	}
	if box.PIN != "" && subtle.ConstantTimeCompare([]byte(pin), []byte(box.PIN)) == 1 {
		delete(p.failed, key)
		return true
	}
	if f == nil {
		for old, g := range p.failed {
			if len(p.failed) < pinMailboxes {
				break
			}
			if now.After(g.until) {
				delete(p.failed, old)
			}
		}
		if len(p.failed) >= pinMailboxes {
			return false
		}
		f = &pinFailures{}
		if p.failed == nil {
			p.failed = map[string]*pinFailures{}
		}
		p.failed[key] = f
	}
	f.count++
	f.until = now.Add(pinFailuresTime)
	return false
}

// setSecret keeps what the caller presses from the world.
func (l *leg) setSecret(on bool) { l.secret.Store(on) }

// voicemailKey takes a key of a caller who leaves or hears messages; false when he does neither.
func (l *leg) voicemailKey(key byte) bool {
	if l.visit == nil && l.taking == nil || strings.IndexByte("0123456789*#", key) < 0 {
		return l.visit != nil || l.taking != nil
	}
	if l.visit != nil {
		l.visitKey(key)
	} else {
		l.takingKey(key)
	}
	return true
}
