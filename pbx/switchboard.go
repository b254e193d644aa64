package pbx

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"tandem/dialplan"
)

// Every caller in a queue is at the node where his call runs; that node tells the home of the tenant once a second how the caller fares, and is told whom
// to ring. The home is one node for all queues of a tenant, so that no agent is rung by two, and callers of all nodes stand in one line. What it
// knows is what it is told: when the home is another one from now on, it knows the same a second later, and what a node that has died
// had told is forgotten.

// Times of the switchboard.
const (
	queueBeat   = time.Second     // how often a caller's node tells how he fares
	talkBeat    = 5 * time.Second // and who talks
	queueLease  = 4 * time.Second // how long that counts
	talkLease   = 3 * talkBeat
	missedRest  = 5 * time.Second // of an agent who did not take a call
	idleForget  = 24 * time.Hour
	engagedTime = 3 * time.Second // that another node's word of an agent in a call counts
)

// queueStage is how far a caller has come in a queue.
type queueStage string

const (
	waits queueStage = "waiting"
	rung  queueStage = "ringing" // an agent's phone rings
	talks queueStage = "talking"
	gone  queueStage = "gone"
)

// queueReport is how a caller fares.
type queueReport struct {
	Tenant  string          `json:"tenant"`
	Queue   string          `json:"queue"`
	Agents  []string        `json:"agents"` // of the queue, by the plan that the call began with
	Terms   *dialplan.Queue `json:"terms"`
	Call    string          `json:"call"`
	Caller  string          `json:"caller"`
	Node    string          `json:"node,omitempty"` // that it is at
	Began   time.Time       `json:"began"`
	Level   int             `json:"level,omitempty"`
	Fresh   bool            `json:"fresh,omitempty"` // the first report
	Stage   queueStage      `json:"stage"`
	Rings   []string        `json:"rings,omitempty"`   // agents whose phones ring
	Agent   string          `json:"agent,omitempty"`   // who talks with the caller
	Missed  []string        `json:"missed,omitempty"`  // agents who did not take the call
	Engaged []string        `json:"engaged,omitempty"` // agents who are in a call at the caller's node
}

// queueOrder is what a caller's node is told.
type queueOrder struct {
	Ring     []string      `json:"ring,omitempty"`
	Position int           `json:"position"` // from 1
	Estimate time.Duration `json:"estimate"` // until an agent takes the call; 0 = not known
	Full     bool          `json:"full,omitempty"`
	Empty    bool          `json:"empty,omitempty"`
}

// switchboard gives the callers of queues their agents. Any goroutine.
type switchboard struct {
	said    *Agents
	engaged func(tenant, user string) bool // on this node

	mu     sync.Mutex
	lines  map[agentName]*lineup // by tenant and queue
	agents map[agentName]*agent
	swept  time.Time
}

// lineup are the callers of a queue.
type lineup struct {
	callers map[string]*queueCaller // by call
	last    string                  // agent that was rung last
	handle  time.Duration           // what a call takes of an agent, wrap-up included: a mean that forgets
	heard   time.Time
}

// queueCaller is a caller as his node has told last.
type queueCaller struct {
	queueReport
	heard time.Time
	held  []string // agents that are his alone
}

// agent is what agents do at the moment.
type agent struct {
	call    string // that he is held for, "" = none
	talks   bool
	since   time.Time // of that
	rest    time.Time // not rung before
	wraps   bool      // he rests behind a call
	idle    time.Time // since when
	calls   map[string]int
	engaged time.Time // another node has said that he is in a call: until then
}

func newSwitchboard(said *Agents, engaged func(tenant, user string) bool) *switchboard {
	return &switchboard{said: said, engaged: engaged, lines: make(map[agentName]*lineup), agents: make(map[agentName]*agent)}
}

// hear takes a report and says what to do.
func (s *switchboard) hear(r *queueReport, now time.Time) (o queueOrder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	key := agentName{r.Tenant, r.Queue}
	line := s.lines[key]
	if line == nil {
		line = &lineup{callers: make(map[string]*queueCaller)}
		s.lines[key] = line
	}
	line.heard = now
	for _, user := range r.Missed {
		if a := s.agent(r.Tenant, user); a.call == r.Call || a.call == "" {
			a.free(now)
			a.rest, a.wraps = now.Add(missedRest), false
		}
	}
	for _, user := range r.Engaged {
		s.agent(r.Tenant, user).engaged = now.Add(engagedTime)
	}
	c := line.callers[r.Call]
	if r.Stage == gone {
		if c != nil {
			s.leave(line, c, now)
		}
		return o
	}
	in := 0
	for _, user := range r.Agents {
		if there, paused, _ := s.said.of(r.Tenant, user, r.Queue, r.Terms.Login); there && !paused {
			in++
		}
	}
	o.Empty = in == 0 && !r.Terms.Stay && r.Stage == waits
	if c == nil {
		o.Full = r.Fresh && line.waiting() >= r.Terms.MaxCallers
		if o.Full || o.Empty {
			return o
		}
		c = &queueCaller{}
		line.callers[r.Call] = c
	}
	c.queueReport, c.heard = *r, now
	c.Fresh = false
	s.hold(c, now)
	ahead := 0
	before := 0 // of these, who have nobody yet
	for _, other := range line.callers {
		if other != c && other.Stage != talks && other.before(c) {
			ahead++
			if other.Stage == waits && len(other.held) == 0 {
				before++
			}
		}
	}
	o.Position = ahead + 1
	if line.handle > 0 && in > 0 {
		o.Estimate = line.handle * time.Duration(o.Position) / time.Duration(in)
	}
	if r.Stage == waits && !o.Empty {
		o.Ring = s.choose(line, c, before, now)
		c.held = slices.Concat(c.held, o.Ring)
	}
	return o
}

// waiting is how many have nobody to talk to.
func (l *lineup) waiting() (n int) {
	for _, c := range l.callers {
		if c.Stage != talks {
			n++
		}
	}
	return n
}

// before tells whether a caller goes before another one.
func (c *queueCaller) before(o *queueCaller) bool {
	return cmp.Or(-cmp.Compare(c.Level, o.Level), c.Began.Compare(o.Began), cmp.Compare(c.Call, o.Call)) < 0
}

func (s *switchboard) agent(tenant, user string) *agent {
	key := agentName{tenant, user}
	a := s.agents[key]
	if a == nil {
		a = &agent{}
		s.agents[key] = a
	}
	return a
}

// free ends what an agent is held for.
func (a *agent) free(now time.Time) {
	if a.talks {
		a.idle = now
	}
	a.call, a.talks, a.since = "", false, now
}

// hold keeps the agents for a caller that his report names, and lets the others go.
func (s *switchboard) hold(c *queueCaller, now time.Time) {
	had := c.held
	c.held = nil
	for _, user := range append(c.Rings, c.Agent) {
		if user == "" {
			continue
		}
		a := s.agent(c.Tenant, user)
		if a.call != "" && a.call != c.Call { // two homes have given him away: the callers will see
			continue
		}
		if a.call == "" {
			a.call, a.since = c.Call, now
		}
		if user == c.Agent && !a.talks {
			a.talks, a.since = true, now
			if a.calls == nil {
				a.calls = make(map[string]int)
			}
			a.calls[c.Queue]++
		}
		c.held = append(c.held, user)
	}
	for _, user := range had {
		if a := s.agent(c.Tenant, user); a.call == c.Call && !slices.Contains(c.held, user) {
			a.free(now)
		}
	}
}

// leave takes a caller out of the line; who has talked with him has his wrap-up.
func (s *switchboard) leave(line *lineup, c *queueCaller, now time.Time) {
	delete(line.callers, c.Call)
	for _, user := range c.held {
		a := s.agent(c.Tenant, user)
		if a.call != c.Call {
			continue
		}
		if a.talks {
			took := now.Sub(a.since) + c.Terms.WrapUp
			if line.handle == 0 {
				line.handle = took
			}
			line.handle += (took - line.handle) / 8
			a.rest, a.wraps = now.Add(c.Terms.WrapUp), true
		}
		a.free(now)
	}
}

// choose holds agents for a caller before whom there are others who wait: these have the first choice, whoever asks first.
func (s *switchboard) choose(line *lineup, c *queueCaller, before int, now time.Time) (ring []string) {
	var free []string
	for _, user := range c.Agents {
		if s.state(c.Tenant, user, c.Queue, c.Terms, now) == AgentFree {
			free = append(free, user)
		}
	}
	if len(free) <= before || c.Terms.Strategy == dialplan.RingAll && before > 0 {
		return nil
	}
	s.arrange(line, c, free)
	if ring = free; c.Terms.Strategy != dialplan.RingAll {
		ring = free[before : before+1]
	}
	for _, user := range ring {
		a := s.agent(c.Tenant, user)
		a.call, a.since = c.Call, now
		line.last = user
	}
	return ring
}

// arrange puts the free agents into the order of the queue's strategy.
func (s *switchboard) arrange(line *lineup, c *queueCaller, free []string) {
	switch c.Terms.Strategy {
	case dialplan.IdleFirst:
		slices.SortStableFunc(free, func(a, b string) int { return s.agent(c.Tenant, a).idle.Compare(s.agent(c.Tenant, b).idle) })
	case dialplan.FewestCalls:
		slices.SortStableFunc(free, func(a, b string) int {
			return cmp.Compare(s.agent(c.Tenant, a).calls[c.Queue], s.agent(c.Tenant, b).calls[c.Queue])
		})
	case dialplan.AgentAtRandom:
		rand.Shuffle(len(free), func(i, j int) { free[i], free[j] = free[j], free[i] })
	case dialplan.RoundRobin:
		last := slices.Index(c.Agents, line.last)
		turn := func(user string) int {
			return (slices.Index(c.Agents, user) - last - 1 + 2*len(c.Agents)) % len(c.Agents)
		}
		slices.SortStableFunc(free, func(a, b string) int { return cmp.Compare(turn(a), turn(b)) })
	}
}

// AgentState is what an agent of a queue does.
type AgentState string

// The states of agents.
const (
	AgentFree    AgentState = "free"
	AgentRinging AgentState = "ringing"
	AgentTalking AgentState = "talking"
	AgentWrapUp  AgentState = "wrap_up"
	AgentResting AgentState = "resting" // he did not take a call a moment ago
	AgentEngaged AgentState = "in_call" // that is not the queue's
	AgentPaused  AgentState = "paused"
	AgentOut     AgentState = "logged_out"
)

// state is what an agent does; mu is held.
func (s *switchboard) state(tenant, user, queue string, terms *dialplan.Queue, now time.Time) AgentState {
	a := s.agents[agentName{tenant, user}]
	if a == nil {
		a = &agent{}
	}
	in, paused, _ := s.said.of(tenant, user, queue, terms.Login)
	switch {
	case a.talks:
		return AgentTalking
	case a.call != "":
		return AgentRinging
	case !in:
		return AgentOut
	case paused:
		return AgentPaused
	case now.Before(a.rest) && a.wraps:
		return AgentWrapUp
	case now.Before(a.engaged) || s.engaged(tenant, user):
		return AgentEngaged
	case now.Before(a.rest):
		return AgentResting
	}
	return AgentFree
}

// told takes another node's word of agents who are in calls there.
func (s *switchboard) told(tenant string, engaged []string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, user := range engaged {
		s.agent(tenant, user).engaged = now.Add(engagedTime)
	}
}

// sweep forgets callers whose node says nothing any more, and what was long ago. mu is held.
func (s *switchboard) sweep(now time.Time) {
	if now.Sub(s.swept) < queueBeat {
		return
	}
	s.swept = now
	for key, line := range s.lines {
		for _, c := range line.callers {
			lease := queueLease
			if c.Stage == talks {
				lease = talkLease
			}
			if now.Sub(c.heard) > lease {
				s.leave(line, c, now)
			}
		}
		if len(line.callers) == 0 && now.Sub(line.heard) > idleForget {
			delete(s.lines, key)
		}
	}
	maps.DeleteFunc(s.agents, func(_ agentName, a *agent) bool {
		return a.call == "" && now.Sub(a.since) > idleForget && now.Sub(a.idle) > idleForget && now.After(a.rest) && now.After(a.engaged)
	})
}

// QueueView is a queue as it is shown: its callers on all nodes, and its agents.
type QueueView struct {
	Tenant   string        `json:"tenant"`
	Name     string        `json:"name"` // of its node: "support" for queue.support
	Callers  []QueueCaller `json:"callers" nullable:"false"`
	Agents   []QueueAgent  `json:"agents" nullable:"false"`
	Estimate time.Duration `json:"estimate_ns" doc:"What a caller who comes now may have to wait; 0 when nobody knows."`
}

// QueueCaller is who waits or talks, in the order of the line.
type QueueCaller struct {
	Call   string    `json:"call"`
	Caller string    `json:"caller"`
	Node   string    `json:"node" doc:"Where the call runs."`
	Since  time.Time `json:"since"`
	Level  int       `json:"priority"`
	Stage  string    `json:"stage" enum:"waiting,ringing,talking"`
	Agents []string  `json:"agents" nullable:"false" doc:"Who is rung, or talks."`
}

// QueueAgent is an agent of a queue.
type QueueAgent struct {
	User  string     `json:"user"`
	State AgentState `json:"state" enum:"free,ringing,talking,wrap_up,resting,in_call,paused,logged_out"`
	Calls int        `json:"calls" doc:"Calls of the queue that he has taken since its home is where it is."`
}

// view shows a queue of a tenant whose home this is.
func (s *switchboard) view(tenant string, step dialplan.Step, now time.Time) QueueView {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	v := QueueView{Tenant: tenant, Name: queueName(step.Node), Callers: []QueueCaller{}, Agents: []QueueAgent{}}
	in := 0
	for _, user := range step.Users {
		a := QueueAgent{User: user, State: s.state(tenant, user, v.Name, step.Queue, now)}
		if known := s.agents[agentName{tenant, user}]; known != nil {
			a.Calls = known.calls[v.Name]
		}
		if a.State != AgentOut && a.State != AgentPaused {
			in++
		}
		v.Agents = append(v.Agents, a)
	}
	line := s.lines[agentName{tenant, v.Name}]
	if line == nil {
		return v
	}
	callers := slices.SortedFunc(maps.Values(line.callers), func(a, b *queueCaller) int {
		if a.before(b) {
			return -1
		}
		return 1
	})
	for _, c := range callers {
		v.Callers = append(v.Callers, QueueCaller{c.Call, c.Caller, c.Node, c.Began, c.Level, string(c.Stage), append([]string{}, c.held...)})
	}
	if line.handle > 0 && in > 0 {
		v.Estimate = line.handle * time.Duration(line.waiting()+1) / time.Duration(in)
	}
	return v
}

func queueName(node string) string { return strings.TrimPrefix(node, "queue.") }
