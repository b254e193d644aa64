package pbx

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/events"
	"tandem/pbx/app"
)

const appPlan = `
dialplan "acme" { domains = ["acme.example"] }
user "alice" { extension = "201" }
user "bob"   { extension = "202" }
user "carol" { extension = "203" }
app "crm" {
  extension = "300"
  url       = "http://192.0.2.80/route"
  timeout   = "800ms"
  answer "gold" { go = user.bob }
  answer "menu" { go = menu.main }
  otherwise { go = user.carol }
}
menu "main" {
  extension = "0"
  key "1" { go = app.late }
  otherwise { go = reject.no }
}
app "late" {
  url     = "http://192.0.2.80/late"
  timeout = "500ms"
  answer "gold" { go = user.bob }
  otherwise { go = user.carol }
}
reject "no" { status = 486 }
`

// crm is the server that the apps of appPlan ask.
type crm struct {
	mu    sync.Mutex
	asked []app.Question
}

func (c *crm) latest() app.Question {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked[len(c.asked)-1]
}

// inFakeTime is an office without a media engine, as live is one with it.
func inFakeTime(t *testing.T, fn func(t *testing.T, o *office)) {
	t.Helper()
	work(t, nil, fn)
}

// consults is an office whose apps ask a server.
func consults(t *testing.T, in func(*testing.T, func(*testing.T, *office)), serve http.HandlerFunc, fn func(t *testing.T, o *office, c *crm)) {
	t.Helper()
	in(t, func(t *testing.T, o *office) {
		o.change(appPlan)
		c := &crm{}
		l, err := o.net.Host("192.0.2.80").Listen("tcp", "192.0.2.80:80")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var q app.Question
			if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
				t.Error(err)
			}
			c.mu.Lock()
			c.asked = append(c.asked, q)
			c.mu.Unlock()
			serve(w, r)
		})}
		go func() { _ = server.Serve(l) }()
		own := o.net.Host("192.0.2.7")
		o.pbx.cfg.Apps = app.New(app.Config{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			return own.Dial(ctx, network, netip.AddrPortFrom(own.Addr(), 0), netip.MustParseAddrPort(address))
		}})
		defer server.Close()
		defer o.pbx.cfg.Apps.Close()
		fn(t, o, c)
	})
}

func replies(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

func TestServerChoosesWhoseTelephoneRings(t *testing.T) {
	consults(t, inFakeTime, replies(`{"answer": "gold", "reason": "a good customer"}`), func(t *testing.T, o *office, c *crm) {
		alice, bob := o.phone("alice", rings), o.phone("bob", atOnce)
		call := alice.Call("300", description("alice"))
		call.MustAnswer()
		expect(t, "bob's telephone", len(bob.Calls()), 1)
		call.Bye()
		cdr := o.awaitRecord()
		expect(t, "route", strings.Join(cdr.Route, " "), "app.crm user.bob")
		expect(t, "answer", cdr.Answers["app.crm"], "gold")
		said := o.last(events.AppAnswered)
		expect(t, "event", said.To+" "+said.Detail["answer"]+" "+said.Reason+" "+said.Call, "app.crm gold a good customer "+cdr.Call)
		q := c.latest()
		expect(t, "question", q.Call+" "+q.Tenant+" "+q.App+" "+q.From+" "+q.To+" "+strings.Join(q.Answers, ","), cdr.Call+" acme crm alice 300 gold,menu")
		expect(t, "plan", q.Plan, o.plan.Hash())
		if st := o.pbx.AppStats(); len(st) != 1 || st[0].App != "crm" || st[0].Outcomes["answered"] != 1 {
			t.Errorf("figures: %+v", st)
		}
	})
}

func TestServerThatIsSilentCostsItsTimeoutAndNoMore(t *testing.T) {
	consults(t, inFakeTime, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, func(t *testing.T, o *office, _ *crm) {
		alice, carol := o.phone("alice", rings), o.phone("carol", atOnce)
		began := time.Now()
		call := alice.Call("300", description("alice"))
		call.MustAnswer()
		if took := time.Since(began); took < 800*time.Millisecond || took > time.Second {
			t.Errorf("the caller has waited for %v", took)
		}
		expect(t, "carol's telephone", len(carol.Calls()), 1)
		call.Bye()
		cdr := o.awaitRecord()
		expect(t, "route", strings.Join(cdr.Route, " ")+": "+cdr.Answers["app.crm"], "app.crm user.carol: timeout")
		failed := o.last(events.AppFailed)
		expect(t, "event", failed.Detail["answer"]+": "+failed.Reason, "timeout: no answer within 800ms")
	})
}

func TestCallerWhoHangsUpDoesNotKeepTheServerBusy(t *testing.T) {
	ended := make(chan time.Time, 1)
	asking := make(chan struct{})
	consults(t, inFakeTime, func(_ http.ResponseWriter, r *http.Request) {
		close(asking)
		<-r.Context().Done()
		ended <- time.Now()
	}, func(t *testing.T, o *office, _ *crm) {
		alice, carol := o.phone("alice", rings), o.phone("carol", atOnce)
		call := alice.Call("300", description("alice"))
		<-asking
		began := time.Now()
		call.Cancel()
		expect(t, "answer", call.Final().Status(), 487)
		if took := (<-ended).Sub(began); took > 300*time.Millisecond {
			t.Errorf("the request has ended after %v", took)
		}
		cdr := o.awaitRecord()
		expect(t, "record", cdr.Result+" "+cdr.Answers["app.crm"], "cancelled ")
		expect(t, "carol's telephone", len(carol.Calls()), 0)
		expect(t, "gone", o.pbx.AppStats()[0].Outcomes[app.Gone], 1)
	})
}

func TestServerHearsWhatTheCallerHasPressed(t *testing.T) {
	consults(t, live, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, map[string]string{"/route": `{"answer": "menu"}`, "/late": `{"answer": "gold"}`}[r.URL.Path])
	}, func(t *testing.T, o *office, c *crm) {
		alice, bob := o.phone("alice", rings), o.phone("bob", atOnce)
		call := alice.Call("300", description("alice"))
		call.MustAnswer()
		press(call, "1")
		o.reaches("bob")
		q := c.latest()
		expect(t, "question", q.App+" "+strings.Join(q.Keys, ","), "late 1")
		call.Bye()
		expect(t, "bob is hung up", bob.Calls()[0].WaitEnded(time.Minute), true)
		cdr := o.awaitRecord()
		expect(t, "route", strings.Join(cdr.Route, " "), "app.crm menu.main app.late user.bob")
		expect(t, "answers", cdr.Answers["app.crm"]+" "+cdr.Answers["app.late"], "menu gold")
	})
}

func TestCallerInAMenuWhoHangsUpEndsTheRequest(t *testing.T) {
	asking, ended := make(chan struct{}), make(chan time.Time, 1)
	consults(t, live, func(_ http.ResponseWriter, r *http.Request) {
		close(asking)
		<-r.Context().Done()
		ended <- time.Now()
	}, func(t *testing.T, o *office, _ *crm) {
		alice := o.phone("alice", rings)
		call := alice.Call("0", description("alice"))
		call.MustAnswer()
		press(call, "1")
		<-asking
		hungUp := time.Now()
		call.Bye()
		if took := (<-ended).Sub(hungUp); took > 300*time.Millisecond {
			t.Errorf("the request has ended %v behind the BYE", took)
		}
		expect(t, "route", o.route(), "menu.main app.late")
	})
}

func TestNodeWithoutAppsGoesOnByOtherwise(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		o.change(appPlan)
		alice, _ := o.phone("alice", rings), o.phone("carol", atOnce)
		call := alice.Call("300", description("alice"))
		call.MustAnswer()
		call.Bye()
		cdr := o.awaitRecord()
		expect(t, "route", strings.Join(cdr.Route, " ")+": "+cdr.Answers["app.crm"], "app.crm user.carol: unreachable")
	})
}
