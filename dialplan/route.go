package dialplan

import (
	"fmt"
	"strings"
	"time"
)

// Directory knows the accounts that the plan does not name. It is asked at most once per Route.
type Directory interface {
	// User finds an account by user name or extension and gives its user name.
	User(tenant, name string) (user string, ok bool)
}

// Call is the question to a plan.
type Call struct {
	Tenant   string
	FromUser string    // user name of the caller, "" = from outside
	To       string    // user part of what was dialled
	At       time.Time // when; nothing in this version depends on it

	// Given says how nodes answered or would answer, by SIP status: {"ring.sales": 408}. When it is not nil the route
	// ends with the first step that does not fail by it; when it is nil all steps are in the route.
	Given map[string]int
}

// StepKind is what a step does.
type StepKind uint8

const (
	StepRing       StepKind = iota + 1 // ring the phones of Users
	StepEcho                           // answer and send back what is heard
	StepMusic                          // answer and play Play
	StepConference                     // answer and join the room of Node
	StepReject                         // refuse with Status
)

func (k StepKind) String() string {
	switch k {
	case StepRing:
		return "ring"
	case StepEcho:
		return "echo"
	case StepMusic:
		return "music"
	case StepConference:
		return "conference"
	case StepReject:
		return "reject"
	}
	return "nothing"
}

// MarshalText writes the kind as a word.
func (k StepKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Strategy is the order in which a ring step rings its users.
type Strategy uint8

const (
	All     Strategy = iota // all at once
	InOrder                 // one after the other, as listed
	Random                  // one after the other, shuffled for each call by whoever carries it
)

func (s Strategy) String() string {
	switch s {
	case InOrder:
		return "in_order"
	case Random:
		return "random"
	}
	return "all"
}

// MarshalText writes the strategy as plans do.
func (s Strategy) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Step is one thing to try. Its slices are shared with other calls: read only.
type Step struct {
	Kind       StepKind
	Node       string        // "ring.sales", "user.bob"; "" for a rejection
	Users      []string      // StepRing: user names
	Strategy   Strategy      // StepRing
	Timeout    time.Duration // StepRing: of each round of phones; of what is answered: then the call ends
	Play       string        // StepMusic: "music", a tone like "tone:busy", a prompt like "acme/welcome", or the path of a file; StepConference: the same for who is alone, "" = silence
	Record     bool          // StepRing: a call that is answered here is recorded; StepConference: the room is
	MaxMembers int           // StepConference: 0 = as many as the node allows
	Announce   bool          // StepConference: tones tell who comes and goes
	Status     int           // StepReject: SIP status
	Reason     string        // StepReject: for people
	At         Position      // where the plan says so; zero for accounts that the plan does not name
}

// Trace is one line of why a call goes where it goes.
type Trace struct {
	At   Position // where the plan says so
	Node string   // the node this line is about
	Text string
}

func (t Trace) String() string {
	if t.At.Line == 0 {
		return t.Text
	}
	return t.Text + " (" + t.At.String() + ")"
}

// Route is the answer of a plan: never without steps. Its slices are shared with other calls: read only.
type Route struct {
	Steps   []Step  // tried in order, the next one when the former failed
	Trace   []Trace // how the number was found, then a line for each step
	Tenant  string
	Dialled string
}

// Nodes lists the nodes of the steps.
func (r Route) Nodes() []string {
	nodes := make([]string, 0, len(r.Steps))
	for _, s := range r.Steps {
		if s.Node != "" {
			nodes = append(nodes, s.Node)
		}
	}
	return nodes
}

// Explain writes the trace as lines for people.
func (r Route) Explain() string {
	var b strings.Builder
	for i, t := range r.Trace {
		fmt.Fprintf(&b, "%d. %s\n", i+1, t)
	}
	return b.String()
}

// Route says what should happen to the call. d may be nil. It never panics, whatever the call contains.
func (p *Plan) Route(c Call, d Directory) Route {
	r := Route{Tenant: c.Tenant, Dialled: c.To}
	t := p.tenant(c.Tenant)
	if t != nil {
		if id, ok := t.numbers[c.To]; ok {
			r.Steps, r.Trace = t.entries[id].steps, t.entries[id].trace
			return r.cut(c.Given)
		}
	}
	if d != nil && c.To != "" {
		if user, ok := d.User(c.Tenant, c.To); ok {
			return p.routeAccount(r, c, t, user)
		}
	}
	if t != nil {
		r.Steps, r.Trace = t.reject.steps, t.reject.trace
		return r
	}
	reject := rejection(fmt.Sprintf("there is no tenant %q", c.Tenant), Position{})
	r.Steps, r.Trace = reject.steps, reject.trace
	return r
}

// routeAccount rings an account. When the plan names it after all (under its user name, and the caller dialled an
// extension that only the account has), the plan's word counts.
func (p *Plan) routeAccount(r Route, c Call, t *tenant, user string) Route {
	if t != nil {
		if i, ok := t.users[user]; ok && t.public.Users[i].Name == user {
			e := t.entries[t.numbers[user]]
			r.Steps, r.Trace = e.steps, e.trace
			return r.cut(c.Given)
		}
	}
	account := new(struct {
		steps [1]Step
		trace [2]Trace
		users [1]string
	})
	node := "user." + user
	account.users[0] = user
	account.steps[0] = Step{Kind: StepRing, Node: node, Users: account.users[:], Timeout: userTimeout}
	account.trace[0] = Trace{Node: node, Text: "an account has this name or extension, the plan does not mention it"}
	account.trace[1] = Trace{Node: node, Text: "ring its phones for 1m"}
	r.Steps, r.Trace = account.steps[:], account.trace[:]
	return r.cut(c.Given)
}

// cut ends the route with the first step that given does not let fail, and notes in the trace what was given.
func (r Route) cut(given map[string]int) Route {
	if given == nil {
		return r
	}
	n := 0
	for n < len(r.Steps)-1 && given[r.Steps[n].Node] >= 300 {
		n++
	}
	r.Steps = r.Steps[: n+1 : n+1]
	trace := append([]Trace(nil), r.Trace[:min(len(r.Trace), n+2)]...)
	for i := range r.Steps {
		if status, ok := given[r.Steps[i].Node]; ok && i+1 < len(trace) {
			trace[i+1].Text += fmt.Sprintf("; given: it answers %d", status)
		}
	}
	r.Trace = trace
	return r
}

// rejection is the entry for calls that go nowhere.
func rejection(why string, at Position) entry {
	return entry{
		steps: []Step{{Kind: StepReject, Status: 404, Reason: why, At: at}},
		trace: []Trace{{At: at, Text: why}, {At: at, Text: "answer 404 Not Found"}},
	}
}
