package pbx

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"tandem/internal/fakephone"
	"tandem/pbx/mailbox"
)

// lit is an office whose phones may be told of messages; say changes what is in mailboxes.
func lit(t *testing.T, fn func(t *testing.T, o *office, say func(do string, i *mailbox.Item, ids ...string))) {
	t.Helper()
	live(t, func(t *testing.T, o *office) {
		index := mailbox.NewIndex()
		index.OnChange(o.pbx.MailboxChanged)
		messages, err := mailbox.New(mailbox.Config{
			Index: index, Dir: t.TempDir(), Node: "n1", Propose: func(_ context.Context, cmd []byte) (any, error) { return index.Apply(cmd), nil },
			Measure: o.pbx.cfg.Media.SoundLength, Left: o.pbx.LeftMessage,
		})
		if err != nil {
			t.Fatal(err)
		}
		o.pbx.cfg.Messages = messages
		o.change(voicemailPlan)
		fn(t, o, func(do string, i *mailbox.Item, ids ...string) {
			cmd, err := json.Marshal(map[string]any{"v": 1, "do": do, "item": i, "ids": ids})
			if err != nil {
				t.Fatal(err)
			}
			index.Apply(cmd)
		})
	})
}

const summary = "Event: message-summary"

// told waits until a phone has had so many NOTIFYs, and gives the last.
func (o *office) told(p *fakephone.Phone, n int) *fakephone.Message {
	o.t.Helper()
	o.soon(func() bool { return len(p.Requests("NOTIFY")) >= n })
	return p.Requests("NOTIFY")[n-1]
}

func (o *office) tells(m *fakephone.Message, state, lamp, count string) {
	o.t.Helper()
	expect(o.t, "state", strings.HasPrefix(m.Header("Subscription-State"), state), true)
	want := "Messages-Waiting: " + lamp + "\r\nMessage-Account: sip:alice@acme.example\r\nVoice-Message: " + count + " (0/0)\r\n"
	if m.Body() != want || m.Header("Event") != "message-summary" || m.Header("Content-Type") != "application/simple-message-summary" {
		o.t.Errorf("alice is told %q, want %q:\n%s", m.Body(), want, m)
	}
}

func TestPhoneIsToldOfMessages(t *testing.T) {
	lit(t, func(t *testing.T, o *office, say func(string, *mailbox.Item, ...string)) {
		alice := o.phone("alice", rings)
		const id = "0123456789abcdef0123456789abcdef"
		ok := alice.Do("SUBSCRIBE", "sip:alice@acme.example", []string{summary, "Expires: 7200"}, "")
		expect(t, "SUBSCRIBE", ok.Status(), 200)
		expect(t, "for an hour at most", ok.Header("Expires"), "3600")
		o.tells(o.told(alice, 1), "active;expires=3600", "no", "0/0")
		say("add", &mailbox.Item{ID: id, Kind: mailbox.Message, Tenant: "acme", Box: "alice", From: "bob", Time: time.Now()})
		o.tells(o.told(alice, 2), "active", "yes", "1/0")
		say("heard", nil, id)
		o.tells(o.told(alice, 3), "active", "no", "0/1")
		expect(t, "phones", o.pbx.Stats().Lamps, 1)
		alice.OnRequest(func(m *fakephone.Message) bool {
			if m.Method() == "NOTIFY" {
				alice.Reply(m, 481) // it was switched off and on
			}
			return m.Method() == "NOTIFY"
		})
		say("remove", nil, id)
		o.soon(func() bool {
			st := o.pbx.Stats()
			return st.Lamps == 0 && st.LampsLost == 1 && o.srv.Stats().Subscriptions == 0
		})
	})
}

func TestSubscriptionsToMessagesAreRefusedForAReason(t *testing.T) {
	lit(t, func(t *testing.T, o *office, _ func(string, *mailbox.Item, ...string)) {
		alice, bob := o.phone("alice", rings), o.phone("bob", rings)
		for _, c := range []struct {
			why     string
			by      *fakephone.Phone
			to      string
			headers []string
			status  int
		}{
			{"a question", alice, "alice", []string{summary, "Expires: 0"}, 200},
			{"by its extension", alice, "201", []string{summary, "Expires: 0"}, 200},
			{"somebody else's", bob, "alice", []string{summary}, 403},
			{"a mailbox that has a PIN", bob, "600", []string{summary}, 403},
			{"no mailbox", bob, "bob", []string{summary}, 404},
			{"nobody", bob, "nobody", []string{summary}, 404},
			{"too short", alice, "alice", []string{summary, "Expires: 10"}, 423},
			{"in another language", alice, "alice", []string{summary, "Accept: text/html"}, 406},
		} {
			expect(t, c.why, c.by.Do("SUBSCRIBE", "sip:"+c.to+"@acme.example", c.headers, "").Status(), c.status)
		}
		o.tells(o.told(alice, 1), "terminated;reason=timeout", "no", "0/0")
		st := o.pbx.Stats()
		expect(t, "nobody is told", st.Lamps, 0)
		expect(t, "refused", st.LampsRefused, 5)
		for range lampsOfUser + 2 {
			expect(t, "SUBSCRIBE", alice.Do("SUBSCRIBE", "sip:alice@acme.example", []string{summary}, "").Status(), 200)
		}
		o.soon(func() bool { return o.pbx.Stats().Lamps == lampsOfUser })
	})
}
