package app

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"tandem/dialplan"
	"tandem/internal/simnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const crmAddress = "192.0.2.80:80"

// crm is a server of the operator's on a simulated network, in fake time, and a client that asks it.
type crm struct {
	t      *testing.T
	client *Client
	app    dialplan.App
	net    *simnet.Network
	serve  http.HandlerFunc

	mu    sync.Mutex
	asked []*http.Request
	body  []byte // of the latest request
}

func asks(t *testing.T, serve http.HandlerFunc, fn func(c *crm)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := simnet.ForTest(t, 1)
		c := &crm{t: t, net: n, serve: serve, app: dialplan.App{
			URL: "http://" + crmAddress + "/route", Timeout: 800 * time.Millisecond, MaxRequests: 2, Answers: []string{"gold", "silver"},
		}}
		l, err := n.Host("192.0.2.80").Listen("tcp", crmAddress)
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			c.mu.Lock()
			c.asked, c.body = append(c.asked, r), body
			c.mu.Unlock()
			c.serve(w, r)
		})}
		go func() { _ = server.Serve(l) }()
		own := n.Host("192.0.2.1")
		c.client = New(Config{
			Secret: func(tenant, name string) string {
				return map[string]string{"acme/crm": "open sesame", "acme/hmac": "whsec_" + base64.StdEncoding.EncodeToString([]byte("key"))}[tenant+"/"+name]
			},
			Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				to, err := netip.ParseAddrPort(address)
				if err != nil {
					return nil, err
				}
				return own.Dial(ctx, network, netip.AddrPortFrom(own.Addr(), 0), to)
			},
		})
		defer server.Close()
		defer c.client.Close()
		fn(c)
	})
}

func (c *crm) ask() Answer { return c.askFor(context.Background()) }

func (c *crm) askFor(ctx context.Context) Answer {
	return c.client.Ask(ctx, &c.app, Question{
		Call: "k3-1", Tenant: "acme", App: "crm", From: "+447700900456", To: "+442079460000", DID: "+442079460000", Keys: []string{"1"}, Time: time.Now().UTC(),
		Node: "n1", Plan: "hash", Answers: c.app.Answers,
	})
}

func (c *crm) requests() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.asked)
}

func (c *crm) stats() Stats {
	c.t.Helper()
	all := c.client.Stats(func(tenant, app string) bool { return tenant == "acme" && app == "crm" })
	if len(all) != 1 {
		c.t.Fatalf("figures of %d apps", len(all))
	}
	return all[0]
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

func TestServerIsToldOfTheCallAndChooses(t *testing.T) {
	asks(t, says(`{"answer": "gold", "reason": "a good customer", "more": 1}`), func(c *crm) {
		c.app.Secret, c.app.Sign = "crm", "hmac"
		if a := c.ask(); a.Name != "gold" || a.Fault != "" || a.Reason != "a good customer" {
			t.Fatalf("it answers %+v", a)
		}
		r := c.asked[0]
		var q map[string]any
		if err := json.Unmarshal(c.body, &q); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]any{"call": "k3-1", "tenant": "acme", "app": "crm", "from": "+447700900456", "did": "+442079460000", "node": "n1", "plan": "hash", "time": "2000-01-01T00:00:00Z"} {
			if q[name] != want {
				t.Errorf("%s is %v, want %v", name, q[name], want)
			}
		}
		if r.Method != "POST" || r.URL.Path != "/route" || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Authorization") != "Bearer open sesame" {
			t.Errorf("the request is %s %s with %v", r.Method, r.URL, r.Header)
		}
		mac := hmac.New(sha256.New, []byte("key"))
		mac.Write([]byte(r.Header.Get("Webhook-Id") + "." + r.Header.Get("Webhook-Timestamp") + "." + string(c.body)))
		if got, want := r.Header.Get("Webhook-Signature"), "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)); got != want || r.Header.Get("Webhook-Timestamp") != "946684800" {
			t.Errorf("signature %q at %s, want %q", got, r.Header.Get("Webhook-Timestamp"), want)
		}
		if c.ask(); c.asked[1].Header.Get("Webhook-Id") == r.Header.Get("Webhook-Id") {
			t.Error("two requests have the same id")
		}
	})
}

func TestWhateverGoesWrongIsAFaultWithAName(t *testing.T) {
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://"+crmAddress+"/elsewhere")
			w.WriteHeader(code)
		}
	}
	for name, c := range map[string]struct {
		serve    http.HandlerFunc
		fault    string
		requests int
	}{
		"not found":        {status(404), dialplan.AppRefused, 1},
		"a redirect":       {status(302), dialplan.AppRefused, 1},
		"nothing":          {status(204), dialplan.AppRefused, 1},
		"an error":         {status(500), dialplan.AppError, 2},
		"no JSON":          {says("gold"), dialplan.AppInvalid, 1},
		"no answer in it":  {says(`{"reason": "?"}`), dialplan.AppInvalid, 1},
		"another type":     {says(`{"answer": 7}`), dialplan.AppInvalid, 1},
		"more than can be": {says(`{"answer": "gold", "x": "` + strings.Repeat("x", maxAnswer) + `"}`), dialplan.AppInvalid, 1},
		"not declared":     {says(`{"answer": "platinum"}`), dialplan.AppUndeclared, 1},
		"a fault's name":   {says(`{"answer": "timeout"}`), dialplan.AppUndeclared, 1},
		"half an answer": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"answer":`)
		}, dialplan.AppUnreachable, 1},
		"nothing in time": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, dialplan.AppTimeout, 1},
		"half of it in time": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"answer":`)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, dialplan.AppTimeout, 1},
	} {
		t.Run(name, func(t *testing.T) {
			asks(t, c.serve, func(crm *crm) {
				began := time.Now()
				if a := crm.ask(); a.Fault != c.fault || a.Name != "" || a.Reason == "" || crm.requests() != c.requests {
					t.Errorf("it comes to %+v after %d requests, want %s after %d", a, crm.requests(), c.fault, c.requests)
				}
				if took := time.Since(began); took > crm.app.Timeout {
					t.Errorf("the call has waited for %v", took)
				}
				if n := crm.stats().Outcomes[c.fault]; n != 1 {
					t.Errorf("%d are counted", n)
				}
			})
		})
	}
}

func TestFailureIsTriedAgainOnceInsideTheTimeout(t *testing.T) {
	failed := false
	asks(t, func(w http.ResponseWriter, _ *http.Request) {
		if !failed {
			failed = true
			w.WriteHeader(503)
			return
		}
		_, _ = io.WriteString(w, `{"answer": "silver"}`)
	}, func(c *crm) {
		if a := c.ask(); a.Name != "silver" || c.stats().Retries != 1 {
			t.Errorf("it answers %+v, %d tries besides", a, c.stats().Retries)
		}
		if c.asked[0].Header.Get("Idempotency-Key") != c.asked[1].Header.Get("Idempotency-Key") {
			t.Error("the second try looks like another question")
		}
	})
}

func TestServerThatIsDownIsTriedAgain(t *testing.T) {
	asks(t, says(""), func(c *crm) {
		c.app.URL = "http://192.0.2.80:81/" // nobody listens
		if a := c.ask(); a.Fault != dialplan.AppUnreachable || c.stats().Retries != 1 {
			t.Errorf("it comes to %+v, %d tries besides", a, c.stats().Retries)
		}
		c.app.URL = "http://192.0.2.99/" // nothing comes back
		if a := c.ask(); a.Fault != dialplan.AppTimeout || a.Took != c.app.Timeout {
			t.Errorf("it comes to %+v", a)
		}
	})
}

func TestServerThatFailsAgainAndAgainIsLeftAlone(t *testing.T) {
	fails := true
	asks(t, func(w http.ResponseWriter, _ *http.Request) {
		if fails {
			w.WriteHeader(500)
			return
		}
		_, _ = io.WriteString(w, `{"answer": "gold"}`)
	}, func(c *crm) {
		for range breakerWindow { // the breaker has seen that many before it judges
			c.ask()
		}
		before := c.requests()
		if a := c.ask(); a.Fault != dialplan.AppOpen || a.Took != 0 || c.requests() != before || !c.stats().Open {
			t.Fatalf("it comes to %+v, asked %d times", a, c.requests()-before)
		}
		time.Sleep(breakerRest)
		if a := c.ask(); a.Fault != dialplan.AppError {
			t.Errorf("the trial comes to %+v", a)
		}
		if a := c.ask(); a.Fault != dialplan.AppOpen {
			t.Errorf("behind the trial it comes to %+v", a)
		}
		fails = false
		time.Sleep(breakerRest)
		for range 2 {
			if a := c.ask(); a.Name != "gold" {
				t.Errorf("it is well again, and comes to %+v", a)
			}
		}
		if c.stats().Open {
			t.Error("it is still left alone")
		}
	})
}

func TestWhatTheServerDoesNotLikeIsNoReasonToLeaveItAlone(t *testing.T) {
	asks(t, says(`{"answer": "platinum"}`), func(c *crm) {
		for range 3 * breakerWindow {
			if a := c.ask(); a.Fault != dialplan.AppUndeclared {
				t.Fatalf("it comes to %+v", a)
			}
		}
	})
}

func TestNoMoreCallsAskThanMay(t *testing.T) {
	asks(t, func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(100 * time.Millisecond)
		_, _ = io.WriteString(w, `{"answer": "gold"}`)
	}, func(c *crm) {
		var wg sync.WaitGroup
		for range c.app.MaxRequests {
			wg.Go(func() {
				if a := c.ask(); a.Name != "gold" {
					t.Errorf("it answers %+v", a)
				}
			})
		}
		synctest.Wait()
		if a := c.ask(); a.Fault != dialplan.AppBusy || a.Took != 0 || c.stats().InFlight != c.app.MaxRequests {
			t.Errorf("one more comes to %+v", a)
		}
		wg.Wait()
		if a := c.ask(); a.Name != "gold" || c.stats().InFlight != 0 {
			t.Errorf("then it answers %+v", a)
		}
	})
}

func TestCallerWhoHangsUpEndsTheRequest(t *testing.T) {
	ended := make(chan struct{})
	asks(t, func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(ended)
	}, func(c *crm) {
		ctx, hangUp := context.WithCancel(c.t.Context())
		time.AfterFunc(100*time.Millisecond, hangUp)
		if a := c.askFor(ctx); a.Fault != Gone || a.Took != 100*time.Millisecond {
			t.Errorf("it comes to %+v", a)
		}
		<-ended
		if st := c.stats(); st.Outcomes[Gone] != 1 || st.Outcomes[dialplan.AppTimeout] != 0 {
			t.Errorf("counted are %v", st.Outcomes)
		}
	})
}

func TestNodeThatStopsEndsTheRequest(t *testing.T) {
	asks(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, func(c *crm) {
		time.AfterFunc(100*time.Millisecond, c.client.Close)
		if a := c.ask(); a.Fault != Gone || a.Took != 100*time.Millisecond {
			t.Errorf("it comes to %+v", a)
		}
	})
}

func TestSecretThatIsNotSetAsksNobody(t *testing.T) {
	asks(t, says(`{"answer": "gold"}`), func(c *crm) {
		for _, set := range []*string{&c.app.Secret, &c.app.Sign} {
			*set = "missing"
			if a := c.ask(); a.Fault != dialplan.AppNoSecret || a.Reason != "secret missing is not set" || c.requests() != 0 {
				t.Errorf("it comes to %+v", a)
			}
			*set = ""
		}
	})
}

func TestFiguresTellHowLongAppsTake(t *testing.T) {
	asks(t, func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(30 * time.Millisecond)
		_, _ = io.WriteString(w, `{"answer": "gold"}`)
	}, func(c *crm) {
		c.ask()
		c.ask()
		st := c.stats()
		if h := st.Took; h.Count != 2 || h.AtMost[25*time.Millisecond] != 0 || h.AtMost[50*time.Millisecond] != 2 || h.AtMost[10*time.Second] != 2 || h.Sum < 60*time.Millisecond || st.Outcomes["answered"] != 2 {
			t.Errorf("figures are %+v", st)
		}
		if all := c.client.Stats(func(string, string) bool { return false }); len(all) != 0 || len(c.client.servers) != 0 {
			t.Errorf("an app that the plan has no more is remembered: %v", all)
		}
	})
}

func TestCertificateThatNobodyVouchesForIsNotAccepted(t *testing.T) {
	asked := false
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	server.Config.ErrorLog = nil
	server.StartTLS()
	defer server.Close()
	client := New(Config{})
	defer client.Close()
	a := client.Ask(t.Context(), &dialplan.App{URL: server.URL, Timeout: 5 * time.Second, MaxRequests: 1}, Question{})
	if a.Fault != dialplan.AppUnreachable || !strings.Contains(a.Reason, "certificate") || asked {
		t.Errorf("it comes to %+v", a)
	}
}

func FuzzAnswer(f *testing.F) {
	for _, text := range []string{`{"answer": "gold"}`, `{"answer": 7}`, `{}`, `[`, "", `{"answer":"a","reason":"\ud800"}`, `{"answer":"a","reason":"` + strings.Repeat("é", maxReason) + `"}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		a := read(bytes.NewReader(body))
		if (a.Name == "") == (a.Fault == "") || len(a.Reason) > maxReason+3 && a.Fault == "" {
			t.Errorf("%q comes to %+v", body, a)
		}
	})
}
