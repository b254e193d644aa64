package pbx

import (
	"context"
	"errors"
	"time"

	"tandem/dialplan"
	"tandem/events"
	"tandem/pbx/mailbox"
	"tandem/rtpengine"
)

// errNoMessages says that a node keeps no messages: it was not set up for it.
var errNoMessages = errors.New("this node keeps no messages")

const (
	firstPause = 300 * time.Millisecond // before a caller who was just answered is told anything: his phone may still be setting up
	leastSaid  = 500 * time.Millisecond // what is shorter was a noise
	fetchTime  = 10 * time.Second       // how long a message may take to come from another node
)

// taking is a caller who leaves a message. It belongs to the leg's shard.
type taking struct {
	step      dialplan.Step
	recording bool // he may speak
	ending    bool // he has pressed # while that began
}

// mailboxOpen tells why a voicemail step cannot be performed; nil when it can.
func (l *leg) mailboxOpen(step dialplan.Step) error {
	messages := l.call.pbx.cfg.Messages
	if messages == nil {
		return errNoMessages
	}
	l.media.Hush()
	if step.Mailbox == nil {
		return nil
	}
	return messages.Room(l.call.home(), step.Mailbox.Name, step.Mailbox.MaxMessages)
}

// home is the tenant by whose plan the call goes.
func (c *Call) home() string {
	if t := c.walk.Tenant(); t != "" {
		return t
	}
	return c.tenant
}

// voicemail takes a message, or lets the caller hear his.
func (l *leg) voicemail(step dialplan.Step) {
	if step.Mailbox == nil {
		l.after(firstPause, l.enterMailbox)
		return
	}
	t := &taking{step: step}
	l.taking = t
	l.after(firstPause, func() {
		l.sip.Go(func() func() {
			greeting := l.greetingOf(step)
			return func() {
				if l.taking == t {
					l.tell(greeting, func() { l.takeDown(t) })
				}
			}
		})
	})
}

// greetingOf is what callers of a mailbox hear first: what its owner has recorded, else what the plan says, else words of ours. It may wait for another node.
func (l *leg) greetingOf(step dialplan.Step) []string {
	messages := l.call.pbx.cfg.Messages
	if i, ok := messages.Greeting(l.call.home(), step.Mailbox.Name); ok {
		ctx, cancel := context.WithTimeout(context.Background(), fetchTime)
		defer cancel()
		if path, err := messages.File(ctx, i); err == nil {
			return []string{path}
		}
	}
	if step.Mailbox.Greeting != "" {
		return []string{step.Mailbox.Greeting}
	}
	return prompts("leave-a-message")
}

// takeDown lets the caller speak: a beep, and then the recording.
func (l *leg) takeDown(t *taking) {
	l.tell([]string{beep}, func() {
		l.sip.Go(func() func() {
			err := l.beginMessage(t)
			return func() {
				switch {
				case l.taking != t:
				case err != nil:
					l.call.pbx.cfg.Log.Warn("a message cannot be taken", "call", l.call.id, "mailbox", t.step.Mailbox.Name, "error", err)
					l.taking = nil
					l.tell(prompts("mailbox-full", "goodbye"), func() { l.sip.Hangup("the mailbox takes no message") })
				default:
					if t.recording = true; t.ending {
						l.media.StopRecording()
					}
				}
			}
		})
	})
}

func (l *leg) beginMessage(t *taking) error {
	c, box := l.call, t.step.Mailbox
	draft, err := c.pbx.cfg.Messages.Begin(mailbox.Item{
		Kind: mailbox.Message, Tenant: c.home(), Box: box.Name, From: c.from, Name: c.display, To: c.to, Call: c.id, Time: time.Now(),
	}, box.MaxMessages)
	if err != nil {
		return err
	}
	_, err = l.media.Take(rtpengine.TakeConfig{File: draft.File(), MaxTime: box.MaxLength, Silence: box.Silence, OnEnd: func(end rtpengine.RecordingEnd) {
		said := end.Length >= mailbox.MinLength && end.Spoken >= leastSaid
		if said {
			draft.Keep()
		} else {
			draft.Drop()
		}
		time.AfterFunc(0, func() { l.sip.Post(func() { l.taken(t, said) }) }) // whoever writes recordings waits for no shard
	}})
	if err != nil {
		draft.Drop()
	}
	return err
}

// taken ends the call of somebody who has left a message and is still there.
func (l *leg) taken(t *taking, said bool) {
	if l.taking != t {
		return
	}
	l.taking = nil
	words := prompts("message-saved", "goodbye")
	if !said {
		words = prompts("nothing-recorded", "goodbye")
	}
	l.tell(words, func() { l.sip.Hangup("message taken") })
}

// takingKey is a key of somebody who leaves a message: # ends the greeting, and then the message.
func (l *leg) takingKey(key byte) {
	t := l.taking
	switch {
	case key != '#':
	case t.recording:
		l.media.StopRecording()
	case t.ending:
	default:
		l.hush()
		l.takeDown(t)
	}
}

// leftMessage tells the world of a message that is agreed on (mailbox.Config.Left).
func (p *PBX) LeftMessage(i mailbox.Item) {
	p.cfg.Events.Publish(messageEvent(events.VoicemailLeft, i, i.Call))
}

func messageEvent(kind events.Kind, i mailbox.Item, call string) events.Event {
	return events.Event{Kind: kind, Tenant: i.Tenant, Call: call, From: i.From, To: i.Box, Duration: i.Length, Detail: map[string]string{"message": i.ID}}
}
