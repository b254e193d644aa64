package sip

import (
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"tandem/sip/message"
	"tandem/sip/transport"
)

// Times of subscriptions (RFC 6665). A phone whose node died subscribes again when its time is over, or earlier if it looks after its registration.
const (
	mostSubscribed  = time.Hour
	leastSubscribed = time.Minute
	notifyAgain     = time.Second // when a shard has too much to do
)

// A Notifier is what a subscription is about.
type Notifier struct {
	// State is what phones are told now. On the shard of the subscription; it must not block.
	State func() (contentType, body string)
	// Ended is told once that the subscription is over, and why. On the shard.
	Ended func(reason string)
}

// A Subscription is a phone's wish to be told of something that is kept here (RFC 6665): a dialog of its own, made by a SUBSCRIBE, in which NOTIFYs go
// out one after the other. It belongs to its shard; Notify and End may be called from anywhere.
type Subscription struct {
	sh       *shard
	callID   string
	tag      string // ours
	local    string // From value of our requests
	remote   party
	cseq     uint32 // last number we used
	event    string // with its id, as the phone wrote it
	notifier Notifier
	until    time.Time
	timer    timer
	told     bool // a NOTIFY is on its way
	again    bool // and there is more to tell
	over     bool
	wanted   atomic.Bool // Notify was called and has not been heeded
}

// Subscribe accepts a SUBSCRIBE and sends the first NOTIFY. A nil Subscription without an error was a question and no more (Expires: 0). With an error
// the request has been refused. From the shard.
func (in *Inbound) Subscribe(n Notifier) (*Subscription, error) {
	sh, tx := in.sh, in.tx
	if tx.state != txProceeding || tx.m == nil {
		return nil, ErrGone
	}
	m := tx.m
	contact := remoteTarget(m)
	lasts, ok := subscribedFor(m)
	switch unknown := unknownOptions(m); {
	case unknown != nil:
		tx.respond(&message.Response{Status: 420, Extra: message.AppendHeader(nil, "Unsupported", strings.Join(unknown, ", "))})
		return nil, errors.New("sip: a subscriber requires " + strings.Join(unknown, ", "))
	case contact == "":
		in.Refuse(400, "a SUBSCRIBE needs a Contact")
		return nil, errors.New("sip: a SUBSCRIBE without Contact")
	case !ok:
		tx.respond(tooBrief())
		return nil, errors.New("sip: a subscription that is too short")
	}
	seq, _, _ := m.CSeq()
	tx.toTag = sh.statelessTag(m)
	s := &Subscription{
		sh: sh, callID: m.CallID(), tag: tx.toTag, local: m.Get(message.To) + ";tag=" + tx.toTag, event: m.Get(message.Event), notifier: n,
		remote: party{tag: m.FromTag(), value: m.Get(message.From), contact: contact, routes: m.List(message.RecordRoute), cseq: seq, tenant: in.Tenant, user: in.User},
	}
	s.remote.flow = sh.partyFlow(&s.remote, in.Flow)
	key := sh.dialogKey(s.callID)
	sh.dialogs[key] = append(sh.dialogs[key], s)
	sh.count.subscriptions.Add(1)
	s.accept(tx, lasts)
	if s.over {
		return nil, nil
	}
	return s, nil
}

// subscribedFor is how long a SUBSCRIBE asks for, an hour at most; false when that is too short to be kept (RFC 6665 §4.2.1.1).
func subscribedFor(m *message.Message) (time.Duration, bool) {
	text := m.Get(message.Expires)
	if text == "" {
		return mostSubscribed, true
	}
	seconds, ok := message.ParseUint(text)
	if !ok {
		return mostSubscribed, true
	}
	d := min(time.Duration(seconds)*time.Second, mostSubscribed)
	return d, d == 0 || d >= leastSubscribed
}

func tooBrief() *message.Response {
	return &message.Response{Status: 423, Extra: []byte("Min-Expires: " + deltaSeconds(leastSubscribed) + "\r\n")}
}

// accept answers a SUBSCRIBE, and tells the phone how things stand, whatever it knew (RFC 6665 §4.2.1.2).
func (s *Subscription) accept(tx *transaction, lasts time.Duration) {
	s.until = s.sh.now().Add(lasts)
	extra := append(s.sh.srv.appendOwnURI([]byte("Contact: <"), tx.flow, s.sh.srv.homeUser(), wantsSIPS(tx.m)), ">\r\n"...)
	extra = message.AppendHeader(extra, "Expires", deltaSeconds(lasts))
	tx.respond(&message.Response{Status: 200, ToTag: s.tag, RecordRoute: true, Extra: extra})
	if lasts == 0 {
		s.end("unsubscribed", "timeout")
		return
	}
	s.sh.timers.stop(&s.timer)
	s.sh.arm(&s.timer, s, lasts)
	s.notify()
}

// Notify tells the phone how things stand, soon. Any goroutine; it does not wait. What changes in between is told once.
func (s *Subscription) Notify() {
	if s.wanted.Swap(true) {
		return
	}
	s.heed()
}

func (s *Subscription) heed() {
	if s.sh.post(func() {
		s.wanted.Store(false)
		s.notify()
	}) == transport.ErrBusy {
		time.AfterFunc(notifyAgain, s.heed)
	}
}

// End ends the subscription; the phone may make another one. Any goroutine.
func (s *Subscription) End(reason string) {
	_ = s.sh.post(func() { s.end(reason, "deactivated") })
}

func (s *Subscription) notify() {
	switch {
	case s.over || s.sh.srv.frozen():
	case s.told:
		s.again = true
	default:
		s.told = true
		left := max(s.until.Sub(s.sh.now()).Round(time.Second), time.Second)
		s.send("active;expires="+deltaSeconds(left), func(r Reply) {
			s.told = false
			switch again := s.again; {
			case s.over:
			case r.Status >= 300: // RFC 6665 §4.2.2: it is not there, or does not know the subscription
				s.forget("NOTIFY was answered " + strconv.Itoa(r.Status))
			case again:
				s.again = false
				s.notify()
			}
		})
	}
}

// send sends a NOTIFY.
func (s *Subscription) send(state string, done func(Reply)) {
	s.cseq++
	contentType, body := s.notifier.State()
	extra := append(s.sh.srv.appendOwnURI([]byte("Contact: <"), s.remote.flow, s.sh.srv.homeUser(), isSIPS(s.remote.contact)), ">\r\n"...)
	extra = message.AppendHeader(extra, "Event", s.event)
	extra = message.AppendHeader(extra, "Subscription-State", state)
	extra = message.AppendHeader(extra, "Content-Type", contentType)
	s.sh.count.notified.Add(1)
	s.sh.sendOwn(ownRequest{method: "NOTIFY", to: s.remote, from: s.local, callID: s.callID, cseq: s.cseq, extra: extra, body: body, done: done})
}

// end tells the phone that the subscription is over.
func (s *Subscription) end(reason, code string) {
	if s.over {
		return
	}
	if !s.sh.srv.frozen() {
		s.send("terminated;reason="+code, func(Reply) {})
	}
	s.forget(reason)
}

func (s *Subscription) forget(reason string) {
	if s.over {
		return
	}
	s.over = true
	sh := s.sh
	sh.timers.stop(&s.timer)
	key := sh.dialogKey(s.callID)
	list := sh.dialogs[key]
	for i, o := range list {
		if o == dialog(s) {
			list[i] = list[len(list)-1]
			list[len(list)-1] = nil
			list = list[:len(list)-1]
			break
		}
	}
	if sh.dialogs[key] = list; len(list) == 0 {
		delete(sh.dialogs, key)
	}
	sh.count.subscriptions.Add(-1)
	s.notifier.Ended(reason)
}

func (s *Subscription) owns(fromTag, toTag string) (fromCaller, ok bool) {
	return true, fromTag == s.remote.tag && toTag == s.tag
}

func (s *Subscription) expire(time.Time) { s.end("expired", "timeout") }

func (s *Subscription) ack(*message.Message, transport.Packet, bool) {}

// request answers requests inside the dialog: a SUBSCRIBE prolongs it, or ends it.
func (s *Subscription) request(m *message.Message, p transport.Packet, key uint64, _ bool) {
	n, _, _ := m.CSeq()
	if n <= s.remote.cseq { // RFC 3261 §12.2.2
		s.sh.refuse(m, p, 500, "CSeq is not higher than the last one")
		return
	}
	tx := s.sh.newTransaction(m, p, key)
	if tx == nil {
		return
	}
	s.remote.cseq = n
	tx.toTag = s.tag
	lasts, ok := subscribedFor(m)
	switch {
	case m.Method != "SUBSCRIBE":
		tx.respond(&message.Response{Status: 405, Extra: []byte("Allow: SUBSCRIBE\r\n")})
	case !strings.EqualFold(m.Get(message.Event), s.event): // RFC 6665 §4.1.2.2: the event of a subscription does not change
		tx.respond(&message.Response{Status: 489, Extra: []byte("Allow-Events: message-summary\r\n")})
	case !ok:
		tx.respond(tooBrief())
	default:
		if uri := remoteTarget(m); uri != "" {
			s.remote.contact = uri
		}
		s.remote.flow = s.sh.partyFlow(&s.remote, p.Flow)
		s.accept(tx, lasts)
	}
}
