package dialplan

import (
	"fmt"
	"strings"
	"time"
)

// Directory knows the accounts that the plan does not name. It is asked at most once per call.
type Directory interface {
	// User finds an account by user name or extension and gives its user name.
	User(tenant, name string) (user string, ok bool)
}

// Call is the question to a plan.
type Call struct {
	Tenant   string
	FromUser string    // user name of the caller, "" = nobody who is known here
	Outside  bool      // the call comes from the world's telephone network: it reaches its numbers (did) and nothing else
	Trunk    string    // of Tenant, that a call from outside comes in over: it says how To is to be read; "" = not known
	Number   string    // of the caller, as the trunk writes it or as "+" and digits; "" = not known, or withheld
	Private  bool      // the caller does not want his number to be shown
	To       string    // user part of what was dialled
	At       time.Time // when: calendars depend on it

	// Given says how nodes answered or would answer, by SIP status or outcome of a trunk: {"ring.sales": 408, "trunk.carrier_a": NoReply}. It is for Route: when it is not nil the route
	// ends with the first step that does not fail by it; when it is nil every step is taken for one that nobody answers.
	Given map[string]int

	// Answers are what apps answer, or their faults: {"app.crm": "gold"}. One that is not here is taken not to answer. They are for Route and Given.
	Answers map[string]string

	// Keys are what the caller presses, one text for each menu he comes to or each time that he tries. They are for Route as well.
	Keys []string
}

// StepKind is what a step does.
type StepKind uint8

const (
	StepRing       StepKind = iota + 1 // ring the phones of Users
	StepEcho                           // answer and send back what is heard
	StepMusic                          // answer and play Play
	StepConference                     // answer and join the room of Node
	StepReject                         // refuse with Status
	StepMenu                           // answer, play Play, and take keys: see Walk.Keyed
	StepTrunk                          // call a number over a trunk: see Step.Out
	StepVoicemail                      // answer and take a message for Mailbox, or play those of the caller
	StepQueue                          // answer and let the caller wait for one of Users: see Step.Queue; takes keys as StepMenu does
	StepPark                           // answer and let the call wait in one of Slots, or fetch who is in the slot that was dialled
	StepPage                           // answer and call all of Users at once, whose phones are to answer by themselves
	StepPickup                         // answer a call that rings at somebody else, of whom the number says behind Code, or of whoever Plan.MayPickUp names
	StepAgent                          // answer and do what Does says for the caller as an agent of Queues
	StepApp                            // ask the server of App where the call goes: see Walk.Answered
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
	case StepMenu:
		return "menu"
	case StepTrunk:
		return "trunk"
	case StepVoicemail:
		return "voicemail"
	case StepQueue:
		return "queue"
	case StepAgent:
		return "agent"
	case StepPark:
		return "park"
	case StepPage:
		return "page"
	case StepApp:
		return "app"
	case StepPickup:
		return "pickup"
	}
	return "nothing"
}

// MarshalText writes the kind as a word.
func (k StepKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Strategy is the order in which a ring step rings its users.
type Strategy uint8

const (
	All         Strategy = iota // all at once
	InOrder                     // one after the other, as listed
	Random                      // one after the other, shuffled for each call by whoever carries it
	LongestIdle                 // one after the other, first who has had no call for the longest time
)

func strategies() []string { return []string{"all", "in_order", "random", "longest_idle"} }

func (s Strategy) String() string {
	return strategies()[min(int(s), len(strategies())-1)]
}

// MarshalText writes the strategy as plans do.
func (s Strategy) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Step is one thing to try. Its slices are shared with other calls: read only.
type Step struct {
	Kind       StepKind
	Node       string          // "ring.sales", "user.bob"; "" for a rejection
	Users      []string        // StepRing, StepQueue, StepPage: user names
	Strategy   Strategy        // StepRing
	Delays     []time.Duration // StepRing: how much later each of Users rings; nil = all at the same time
	SkipBusy   bool            // StepRing: who is in a call is not rung
	Timeout    time.Duration   // StepRing: of each round of phones; of what is answered: then the call ends
	Play       string          // StepMusic: "music", a tone like "tone:busy", a prompt like "acme/welcome", or the path of a file; StepConference: the same for who is alone, "" = silence
	Record     bool            // StepRing: a call that is answered here is recorded; StepConference: the room is
	MaxMembers int             // StepConference: 0 = as many as the node allows
	Announce   bool            // StepConference: tones tell who comes and goes
	PIN        string          // StepConference: digits that the caller must press first; "" = none
	Prompt     string          // StepConference: played to ask for the PIN, "" = a dial tone
	Retries    int             // StepMenu: how often the caller may try again
	Wrong      string          // StepMenu: played before the next try when the keys lead nowhere, "" = nothing
	Dial       bool            // StepMenu: extensions can be dialled
	Status     int             // StepReject: SIP status
	Reason     string          // StepReject: for people
	Mailbox    *Mailbox        // StepVoicemail: nil = the caller wants to hear his messages
	Out        *Out            // StepTrunk: what to dial where, never nil
	Queue      *Queue          // StepQueue: never nil
	Slots      []string        // StepPark: as they are dialled
	Back       bool            // StepPark: a call that nobody fetches rings who has parked it
	Talk       bool            // StepPage: those who are called are heard as well
	Code       string          // StepPickup: what is dialled, alone or before the extension of whose call it is
	Groups     []string        // StepPickup: whose users may pick up all calls
	Does       AgentAction     // StepAgent
	Queues     []string        // StepAgent: names of queues; none = all
	App        *App            // StepApp: never nil
	At         Position        // where the plan says so; zero for accounts that the plan does not name
}

// Trace is one line of why a call goes where it goes.
type Trace struct {
	At    Position // where the plan says so
	Node  string   // the node this line is about
	Text  string
	Given int // what the node comes to by Call.Given, which Text says as well; 0 = it is not in there
}

func (t Trace) String() string {
	if t.At.Line == 0 {
		return t.Text
	}
	return t.Text + " (" + t.At.String() + ")"
}

// Route is a call's whole way through a plan: never without steps. The slices in its steps are shared with calls: read only.
type Route struct {
	Steps   []Step  // in the order they are tried
	Trace   []Trace // how the number was found, what calendars said, a line for each step
	Tenant  string
	Dialled string // as dialled, or as the last trunk is told
	Caller  string // whom the last trunk shows, "" = nobody, or no trunk

	nodes []string
	asks  []string // apps whose answers nothing has given
	timed bool
}

// Nodes lists the nodes the call goes through, those included that only lead on.
func (r Route) Nodes() []string { return r.nodes }

// Explain writes the trace as lines for people.
func (r Route) Explain() string {
	var b strings.Builder
	for i, t := range r.Trace {
		fmt.Fprintf(&b, "%d. %s\n", i+1, t)
	}
	return b.String()
}

// Route goes a call's way through the plan as the call itself does, under what c.Given says, and tells why. d may be nil. It never panics,
// whatever the call contains.
func (p *Plan) Route(c Call, d Directory) Route { return p.route(c, d, nil) }

func (p *Plan) route(c Call, d Directory, cover *coverage) Route {
	log := &trail{cover: cover}
	r := Route{Tenant: c.Tenant, Dialled: c.To}
	w := p.begin(c, d, log)
	keys := c.Keys
	for s := w.Step(); s != nil; s = w.Step() {
		r.Steps = append(r.Steps, *s)
		if s.Out != nil {
			r.Dialled, r.Caller = s.Out.Number, s.Out.Caller
		}
		if s.Kind == StepApp {
			w.Answered(log.supposed(s, &c))
			continue
		}
		if s.Kind == StepMenu {
			var moved bool
			if keys, moved = w.pressAll(keys, s.Retries); moved {
				continue
			}
		}
		if s.Kind == StepQueue && len(keys) > 0 && w.Press(keys[0]) {
			keys = keys[1:]
			continue
		}
		status, given := c.Given[s.Node]
		switch {
		case s.Kind == StepReject:
			status = 200 // nothing follows
		case given:
			last := &log.lines[len(log.lines)-1]
			last.Text += "; given: it " + outcomeWords(status)
			last.Given = status
		case c.Given == nil && s.Out != nil:
			status = NoReply
		case c.Given == nil:
			status = 408
		}
		if status == 0 || status >= 200 && status < 300 || !w.Next(status) {
			break
		}
	}
	r.Trace, r.nodes, r.asks, r.timed = log.lines, log.nodes, log.asks, log.timed
	return r
}
