package sip

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"tandem/events"
	"tandem/sip/message"
	"tandem/sip/transport"
)

// A registration is this node's binding at a carrier (RFC 3261 §10.2): asked for, renewed before it ends, tried again with growing pauses
// when it is refused. One node of a cluster registers, the one that leads; the contact it gives is known to all.
type registration struct {
	uri     message.URI
	host    *carrierHost
	callID  string
	tag     string
	cseq    uint32
	expires time.Duration // what to ask for, 0 = as the trunk says: a carrier may want more (423)
	routes  []string      // Service-Route of the last answer (RFC 3608)

	state    string
	until    time.Time
	at       string // who has answered
	fault    string
	failures int
	next     time.Time
	asked    bool // an answer is awaited
	turn     int  // which address is asked
}

// The states of a registration.
const (
	regTrying    = "trying"
	regDone      = "registered"
	regFailed    = "failed"
	regElsewhere = "elsewhere"
)

const (
	registerPause  = 5 * time.Second // before the second try
	registerLimit  = 5 * time.Minute // longest pause between tries
	refusedPause   = time.Minute     // before the next try with credentials that were refused
	mostExpires    = 24 * time.Hour
	leastExpires   = 10 * time.Second
	mostRetryAfter = time.Hour
)

// RegistrationState is what is known of a registration at a carrier.
type RegistrationState struct {
	State     string    `json:"state" doc:"trying, registered, failed, or elsewhere: another node of the cluster registers."`
	Address   string    `json:"address" doc:"Ours, at the carrier."`
	Registrar string    `json:"registrar,omitempty" doc:"Who has answered."`
	Until     time.Time `json:"until,omitzero"`
	Next      time.Time `json:"next,omitzero" doc:"When it is renewed, or tried again."`
	Fault     string    `json:"fault,omitempty"`
}

func (r *registration) init(uri message.URI, now time.Time) {
	r.uri, r.callID, r.tag, r.state, r.next = uri, rand.Text(), rand.Text(), regTrying, now
}

func (r *registration) aor() string {
	return message.URI{Scheme: "sip", User: r.uri.User, Host: r.uri.Host, Port: r.uri.Port}.String()
}

func (r *registration) view(leads bool) *RegistrationState {
	v := &RegistrationState{State: r.state, Address: r.aor(), Registrar: r.at, Until: r.until, Next: r.next, Fault: r.fault}
	if !leads {
		*v = RegistrationState{State: regElsewhere, Address: r.aor()}
	}
	return v
}

// due registers when the time has come.
func (r *registration) due(t *Trunks, c *carrier, now time.Time, leads bool) chore {
	if !r.until.IsZero() && !now.Before(r.until) && r.state == regDone {
		r.lost(t, c, "the carrier has not answered in time")
	}
	if !leads || r.asked || now.Before(r.next) {
		return nil
	}
	addrs := r.host.addrs
	if len(addrs) == 0 {
		r.fault = r.host.fault
		r.next = now.Add(time.Second)
		return nil
	}
	a := *addrs[r.turn%len(addrs)]
	r.asked, r.next = true, time.Time{}
	r.cseq++
	expires := c.Expires
	if r.expires > 0 {
		expires = r.expires
	}
	return func(context.Context, *sync.WaitGroup) {
		err := t.register(&a, c, expires, func(reply Reply) {
			t.mu.Lock()
			r.answered(t, c, &a, reply, time.Now())
			t.mu.Unlock()
			t.stir()
		})
		if err != nil {
			t.mu.Lock()
			r.answered(t, c, &a, Reply{Status: 480}, time.Now())
			t.mu.Unlock()
		}
	}
}

// register sends a REGISTER. expires 0 ends the binding.
func (t *Trunks) register(a *carrierAddr, c *carrier, expires time.Duration, done func(Reply)) error {
	srv := t.srv.Load()
	if srv == nil {
		return transport.ErrClosed
	}
	f, err := srv.net.FlowTo(a.net, a.addr)
	if err != nil {
		return err
	}
	r := &c.reg
	t.count.registers.Add(1)
	seconds := strconv.Itoa(int(expires / time.Second))
	extra := srv.appendOwnURI([]byte("Contact: <"), f, c.token, false)
	extra = append(extra, ">;expires="+seconds+"\r\nExpires: "+seconds+"\r\nSupported: path\r\n"...)
	return t.ask(ownRequest{
		method: "REGISTER", to: party{contact: a.uri(""), value: "<" + r.aor() + ">", flow: f, login: c.Login}, from: "<" + r.aor() + ">;tag=" + r.tag, callID: r.callID,
		cseq: r.cseq * (mostChallenges + 1), extra: extra, done: done, // challenges take the numbers between
	})
}

// answered is told what came of a REGISTER.
func (r *registration) answered(t *Trunks, c *carrier, a *carrierAddr, reply Reply, now time.Time) {
	if !r.asked {
		return
	}
	r.asked = false
	m := reply.msg
	switch {
	case reply.Status/100 == 2 && m != nil:
		r.registered(t, c, a, m, now)
		return
	case reply.Status == 423 && m != nil:
		least, ok := message.ParseUint(strings.TrimSpace(m.Get(message.MinExpires)))
		if want := time.Duration(least) * time.Second; ok && want > max(r.expires, c.Expires) && want <= mostExpires {
			r.expires, r.next = want, now
			return
		}
	}
	t.count.registerFailed.Add(1)
	r.failures++
	r.turn++
	r.fault = faultOf(reply, c.Login != nil)
	pause := min(registerPause<<min(r.failures-1, 10), registerLimit)
	if reply.Status == 401 || reply.Status == 407 || reply.Status == 403 || reply.Status == 404 {
		pause = max(pause, refusedPause)
	}
	if m != nil {
		after, _, _ := strings.Cut(m.Get(message.RetryAfter), ";")
		if n, ok := message.ParseUint(strings.TrimSpace(after)); ok {
			pause = max(pause, min(time.Duration(n)*time.Second, mostRetryAfter))
		}
	}
	r.next = now.Add(between(pause/2, pause)) // so that all that a carrier has lost do not come back at once
	if r.state != regDone {
		if r.state != regFailed {
			r.tellFailure(t, c)
		}
		r.state = regFailed
	}
}

func (r *registration) tellFailure(t *Trunks, c *carrier) {
	t.cfg.Log.Warn("a trunk cannot be registered; it is tried again", "trunk", c.Name, "tenant", c.Tenant, "reason", r.fault)
	t.publish(c, events.TrunkUnregistered, r.fault)
}

// lost is the end of a binding that was not renewed.
func (r *registration) lost(t *Trunks, c *carrier, why string) {
	if r.fault == "" {
		r.fault = why
	}
	r.state, r.until, r.routes = regFailed, time.Time{}, nil
	r.tellFailure(t, c)
}

func faultOf(reply Reply, login bool) string {
	switch status := reply.Status; {
	case status == 401, status == 407:
		if !login {
			return "the carrier wants credentials and there are none: name user and secret in the trunk, and set the secret"
		}
		return "the carrier refuses the credentials"
	case status == 408:
		return "the carrier does not answer"
	case reply.msg == nil:
		return "the carrier cannot be reached"
	}
	return fmt.Sprintf("the carrier answers %d %s", reply.Status, message.ReasonPhrase(reply.Status))
}

// registered takes a 2xx: how long the binding lasts, and the way that requests to the carrier take.
func (r *registration) registered(t *Trunks, c *carrier, a *carrierAddr, m *message.Message, now time.Time) {
	granted := min(max(grantedExpires(m, c.token, max(c.Expires, r.expires)), leastExpires), mostExpires)
	was := r.state
	r.state, r.until, r.at, r.fault, r.failures = regDone, now.Add(granted), a.addr.String(), "", 0
	r.next = now.Add(between(granted*7/10, granted*17/20)) // RFC 5626 §4.4.1 has 80 %, spread
	r.routes = r.routes[:0:0]
	for i := range m.Len() {
		if h := m.Header(i); strings.EqualFold(h.Name, "Service-Route") {
			for v, rest := message.CutValue(h.Value); v != ""; v, rest = message.CutValue(rest) {
				r.routes = append(r.routes, strings.Clone(v))
			}
		}
	}
	if was != regDone {
		t.cfg.Log.Info("a trunk is registered", "trunk", c.Name, "tenant", c.Tenant, "registrar", r.at, "for", granted)
		t.publish(c, events.TrunkRegistered, "")
	}
}

// grantedExpires is how long the binding of a contact of ours lasts by a 2xx (RFC 3261 §10.2.4).
func grantedExpires(m *message.Message, token string, asked time.Duration) time.Duration {
	out := asked
	if n, ok := message.ParseUint(m.Get(message.Expires)); ok {
		out = time.Duration(n) * time.Second
	}
	m.Values(message.Contact, func(v string) bool {
		a, err := message.ParseAddress(v)
		if err != nil {
			return true
		}
		u, err := message.ParseURI(a.URI)
		if err != nil || u.User != token {
			return true
		}
		text, _ := a.Param("expires")
		if n, ok := message.ParseUint(text); ok {
			out = time.Duration(n) * time.Second
		}
		return false
	})
	return out
}

// leave gives a binding back that is not wanted any more: the trunk is gone or has changed, or another node leads now.
func (r *registration) leave(t *Trunks, c *carrier) {
	if r.state != regDone || r.host == nil || len(r.host.addrs) == 0 {
		return
	}
	a := *r.host.addrs[r.turn%len(r.host.addrs)]
	r.cseq++
	r.state, r.until, r.next, r.routes, r.asked = regTrying, time.Time{}, time.Now(), nil, false
	t.leaving = append(t.leaving, func(context.Context, *sync.WaitGroup) { _ = t.register(&a, c, 0, nil) })
}
