// Package app answers one question: what does a server of the operator's say about a call?
//
// The dialplan names the server, how long it may think, and what it may answer; a Client asks it over HTTP. Whatever goes wrong comes back as one of
// dialplan's faults and never as a surprise: the call then goes on by otherwise. A server that fails again and again is left alone for a
// while, so that callers do not wait for nothing and it can come back to its senses.
package app

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"tandem/dialplan"
)

// When a server is left alone, and for how long.
const (
	breakerFailures = 4 // of the last breakerWindow requests
	breakerWindow   = 5
	breakerRest     = 10 * time.Second // then one request tries it out
)

// Config is what a Client needs.
type Config struct {
	Secret func(tenant, name string) string // "" = it is not set
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	Log    *slog.Logger
}

// A Client asks servers. Its methods may be called from any goroutine. Close ends it.
type Client struct {
	cfg    Config
	http   *http.Client
	asked  atomic.Uint64
	closed context.Context // from then on nobody is asked
	end    context.CancelFunc

	mu      sync.Mutex
	servers map[serverName]*server
}

// New makes a client that has asked nobody yet. Config.Dial may be nil, which is TCP; so may Log.
func New(cfg Config) *Client {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{cfg: cfg, http: newHTTP(cfg.Dial), servers: make(map[serverName]*server)}
	c.closed, c.end = context.WithCancel(context.Background())
	return c
}

// Close ends the requests that are under way, and the connections that are kept for the next one.
func (c *Client) Close() {
	c.end()
	c.http.CloseIdleConnections()
}

// A Question is what a server is told of a call. Its JSON is the body of the request.
type Question struct {
	Call    string    `json:"call"`            // id of the call, as in its record and in events
	Tenant  string    `json:"tenant"`          //
	App     string    `json:"app"`             // name of the node of the plan: "crm"
	From    string    `json:"from"`            // name of a user, or number outside; "" = withheld
	To      string    `json:"to"`              // as dialled
	DID     string    `json:"did,omitempty"`   // number of ours that the call came to
	Trunk   string    `json:"trunk,omitempty"` // that it came in over
	Keys    []string  `json:"keys"`            // that the caller has pressed, one text for each choice; no secrets
	Time    time.Time `json:"time"`            // when the call began
	Node    string    `json:"node"`            // of the cluster, that asks
	Plan    string    `json:"plan"`            // hash of the dialplan that the call goes by
	Answers []string  `json:"answers"`         // those that the plan knows
}

// An Answer is what has come of a question.
type Answer struct {
	Name   string        // one of the plan's answers; "" with a fault
	Fault  string        // one of dialplan.AppFaults, or Gone; "" without
	Reason string        // what the server says to its answer, or what the fault was
	Took   time.Duration // all of it
}

// Gone is the fault of a question whose caller has hung up.
const Gone = "gone"

// Ask asks the server of an app, and waits at most for the time that the app gives it. The end of ctx, the caller's, ends the request.
func (c *Client) Ask(ctx context.Context, a *dialplan.App, q Question) Answer {
	began := time.Now()
	s := c.server(a, q)
	answer := Answer{Fault: dialplan.AppBusy, Reason: strconv.Itoa(a.MaxRequests) + " calls ask it already"}
	if s.enter(a.MaxRequests) {
		answer = c.askServer(ctx, s, a, q)
		s.leave()
	}
	answer.Took = time.Since(began)
	s.count(answer)
	return answer
}

// askServer asks unless the server is left alone.
func (c *Client) askServer(ctx context.Context, s *server, a *dialplan.App, q Question) Answer {
	r, fault := c.request(a, q)
	if fault != nil {
		return *fault
	}
	if !s.breaker.TryAcquirePermit() {
		return Answer{Fault: dialplan.AppOpen, Reason: "it has failed too often and is left alone for a while"}
	}
	answer := c.askTwice(ctx, s, a, r)
	switch answer.Fault {
	case dialplan.AppTimeout, dialplan.AppUnreachable, dialplan.AppError:
		s.breaker.RecordFailure()
	case Gone: // it says nothing about the server, unless that was to be tried out
		if s.breaker.IsHalfOpen() {
			s.breaker.RecordFailure()
		}
	default: // it answers, whatever that is
		s.breaker.RecordSuccess()
	}
	return answer
}

// retryPause is between the two tries.
const retryPause = 50 * time.Millisecond

// askTwice asks a second time when the first try cannot have decided anything: there was no connection, or the server has said that it failed.
func (c *Client) askTwice(ctx context.Context, s *server, a *dialplan.App, r *request) Answer {
	ctx, end := context.WithCancel(ctx)
	defer end()
	defer context.AfterFunc(c.closed, end)()
	patience, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	answer, again := c.try(patience, r)
	if again {
		select {
		case <-patience.Done():
		case <-time.After(retryPause):
			s.retries.Add(1)
			answer, _ = c.try(patience, r)
		}
	}
	switch {
	case answer.Fault == "" || patience.Err() == nil:
	case ctx.Err() != nil:
		return Answer{Fault: Gone, Reason: "the caller has hung up, or the node stops"}
	case answer.Fault == dialplan.AppUnreachable:
		return Answer{Fault: dialplan.AppTimeout, Reason: "no answer within " + a.Timeout.String()}
	}
	if answer.Fault == "" && !slices.Contains(a.Answers, answer.Name) {
		return Answer{Fault: dialplan.AppUndeclared, Reason: "it answers " + strconv.Quote(answer.Name) + ", which the plan does not name"}
	}
	return answer
}

// server is an app as this node sees it.
type server struct {
	serverName
	url      string // that the breaker is about
	breaker  circuitbreaker.CircuitBreaker[any]
	inFlight atomic.Int64
	retries  atomic.Uint64

	mu       sync.Mutex
	outcomes map[string]uint64
	took     [len(bounds) + 1]uint64
	sum      time.Duration
}

type serverName struct{ tenant, app string }

// server finds what is known of the server of an app. One that has moved is not known.
func (c *Client) server(a *dialplan.App, q Question) *server {
	name := serverName{q.Tenant, q.App}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.servers[name]
	if s == nil || s.url != a.URL {
		s = &server{serverName: name, url: a.URL, outcomes: make(map[string]uint64)}
		s.breaker = circuitbreaker.NewBuilder[any]().WithFailureThresholdRatio(breakerFailures, breakerWindow).WithDelay(breakerRest).WithSuccessThreshold(1).
			OnStateChanged(func(e circuitbreaker.StateChangedEvent) { c.changed(s, e) }).Build()
		c.servers[name] = s
	}
	return s
}

func (c *Client) changed(s *server, e circuitbreaker.StateChangedEvent) {
	switch e.NewState {
	case circuitbreaker.OpenState:
		if e.OldState == circuitbreaker.ClosedState {
			c.cfg.Log.Warn("an app fails again and again; its calls go on by otherwise until it answers", "tenant", s.tenant, "app", s.app, "url", s.url)
		}
	case circuitbreaker.ClosedState:
		c.cfg.Log.Info("an app answers again", "tenant", s.tenant, "app", s.app)
	}
}

func (s *server) enter(most int) bool {
	if s.inFlight.Add(1) > int64(most) {
		s.inFlight.Add(-1)
		return false
	}
	return true
}

func (s *server) leave() { s.inFlight.Add(-1) }

// bounds are the upper ends of the histogram's buckets.
var bounds = [...]time.Duration{
	5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
	500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

func (s *server) count(a Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outcomes[cmp.Or(a.Fault, "answered")]++
	i, _ := slices.BinarySearch(bounds[:], a.Took)
	s.took[i]++
	s.sum += a.Took
}

// Stats are counters since the first request to an app, or since its address changed, and gauges of now.
type Stats struct {
	Tenant, App string
	Outcomes    map[string]uint64 // "answered", one of dialplan.AppFaults, or Gone
	Retries     uint64            // second tries
	InFlight    int               //
	Open        bool              // it is left alone
	Took        Histogram
}

// A Histogram tells how long things took.
type Histogram struct {
	AtMost map[time.Duration]uint64 // how many took at most so long
	Count  uint64                   // all of them
	Sum    time.Duration
}

// Stats are those of all apps that were asked and that keep still wants; the others are forgotten.
func (c *Client) Stats(keep func(tenant, app string) bool) (all []Stats) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, s := range c.servers {
		if !keep(name.tenant, name.app) && s.inFlight.Load() == 0 {
			delete(c.servers, name)
			continue
		}
		all = append(all, s.stats())
	}
	slices.SortFunc(all, func(a, b Stats) int {
		return cmp.Or(strings.Compare(a.Tenant, b.Tenant), strings.Compare(a.App, b.App))
	})
	return all
}

func (s *server) stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{
		Tenant: s.tenant, App: s.app, Outcomes: make(map[string]uint64), Retries: s.retries.Load(), InFlight: int(s.inFlight.Load()), Open: s.breaker.IsOpen(),
		Took: Histogram{AtMost: make(map[time.Duration]uint64), Sum: s.sum},
	}
	for _, outcome := range append(dialplan.AppFaults(), "answered", Gone) { // those that have not happened too, so that their rates begin at 0
		st.Outcomes[outcome] = s.outcomes[outcome]
	}
	for i, n := range s.took {
		if st.Took.Count += n; i < len(bounds) {
			st.Took.AtMost[bounds[i]] = st.Took.Count
		}
	}
	return st
}

// reply is what a server says.
type reply struct {
	Answer string `json:"answer"`
	Reason string `json:"reason"`
}

// maxReason bounds what is kept of a server's reason.
const maxReason = 200

func (r reply) reason() string {
	text := strings.ToValidUTF8(r.Reason, "?")
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "..."
	}
	return text
}

func readReply(body []byte) (r reply, err error) {
	err = json.Unmarshal(body, &r)
	return r, err
}
