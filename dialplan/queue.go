package dialplan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tandem/internal/hcltext"
)

const (
	agentTimeout   = 15 * time.Second // how long an agent's phones ring
	queueWait      = 30 * time.Minute
	queueCallers   = 100
	mostCallers    = 1000
	mostPriority   = 100
	mostPriorities = 100
)

// A Queue is how a queue treats its callers and agents. Step.Users are the agents, Step.Timeout is how long one of them rings, Step.Play what
// callers hear.
type Queue struct {
	Strategy   QueueStrategy
	MaxCallers int           // that wait at a time, on all nodes together
	MaxWait    time.Duration // then the call goes on with 408
	WrapUp     time.Duration // that an agent has behind each call
	Announce   time.Duration // how often callers are told their place and how long it may take; 0 = never
	Login      bool          // agents log in first; else they are in unless they log out
	Stay       bool          // callers wait although no agent is there; else they go on with 480
	Priorities []Priority    // in the order of the plan
}

// A Priority lets callers go before others.
type Priority struct {
	Of    string // a group of users, or how the numbers of callers begin: "+44"
	Level int    // from 1; who is not named has 0
}

// QueueStrategy is whom of its free agents a queue rings for a caller.
type QueueStrategy uint8

const (
	IdleFirst     QueueStrategy = iota // who has had no call of the queue for the longest time
	RingAll                            // all
	AsListed                           // the first in the list
	RoundRobin                         // who follows in the list whom it rang last
	FewestCalls                        // who has taken the fewest of its calls
	AgentAtRandom                      // any
)

func queueStrategies() []string {
	return []string{"longest_idle", "ring_all", "in_order", "round_robin", "fewest_calls", "random"}
}

func (s QueueStrategy) String() string {
	return queueStrategies()[min(int(s), len(queueStrategies())-1)]
}

// MarshalText writes the strategy as plans do.
func (s QueueStrategy) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText has written.
func (s *QueueStrategy) UnmarshalText(text []byte) error {
	i := slices.Index(queueStrategies(), string(text))
	if i < 0 {
		return fmt.Errorf("dialplan: there is no strategy %q", text)
	}
	*s = QueueStrategy(i)
	return nil
}

func (s QueueStrategy) words() string {
	return []string{
		"who was idle longest first", "all at once", "the first that is free", "in turn", "who has had the fewest calls first", "in random order",
	}[s]
}

// PriorityOf is the highest level that the queue has for a caller, by his groups and his number.
func (q *Queue) PriorityOf(groups []string, number string) (level int) {
	for _, p := range q.Priorities {
		if slices.Contains(groups, p.Of) || p.Of[0] == '+' && strings.HasPrefix(number, p.Of) {
			level = max(level, p.Level)
		}
	}
	return level
}

// AgentAction is what an agent does about himself.
type AgentAction string

// The actions, as plans write them.
const (
	LogIn  AgentAction = "log_in"
	LogOut AgentAction = "log_out"
	Pause  AgentAction = "pause"
	Resume AgentAction = "resume"
)

// AgentActions lists them.
func AgentActions() []string { return []string{"log_in", "log_out", "pause", "resume"} }

// Queue finds a queue by its name: its step, which has the agents, and its terms.
func (p *Plan) Queue(tenantName, name string) (Step, bool) {
	for _, s := range p.Queues(tenantName) {
		if s.Node == "queue."+name {
			return s, true
		}
	}
	return Step{}, false
}

// Queues lists the steps of a tenant's queues, in the order of the sources.
func (p *Plan) Queues(tenantName string) (all []Step) {
	t := p.tenant(tenantName)
	if t == nil {
		return nil
	}
	for i := range t.vertices {
		if s := &t.vertices[i].step; s.Kind == StepQueue {
			all = append(all, *s)
		}
	}
	return all
}

func queueRules(otherwise *blockRule) (queue, agent *blockRule) {
	queue = &blockRule{
		labels: 1, example: `queue "support" { ... }`, required: []string{"agents"},
		attrs: map[string]attrRule{
			"extension": {shape: shapeText}, "agents": {shape: shapeReferences}, "strategy": {shape: shapeText}, "timeout": {shape: shapeDuration},
			"max_wait": {shape: shapeDuration}, "max_callers": {shape: shapeNumber}, "wrap_up": {shape: shapeDuration}, "announce": {shape: shapeDuration},
			"music": {shape: shapeText}, "record": {shape: shapeFlag}, "login": {shape: shapeFlag}, "stay": {shape: shapeFlag}, "priority": {shape: shapePriorities},
		},
		blocks: map[string]*blockRule{
			"otherwise": otherwise,
			"key": {
				labels: 1, example: `key "1" { go = voicemail.support }`, required: []string{"go"}, attrs: map[string]attrRule{"go": {shape: shapeTarget}},
			},
		},
	}
	agent = &blockRule{
		labels: 1, example: `agent "log_in" { ... }`, required: []string{"does"},
		attrs:  map[string]attrRule{"extension": {shape: shapeText}, "does": {shape: shapeText}, "queues": {shape: shapeReferences}},
		blocks: map[string]*blockRule{"otherwise": otherwise},
	}
	return queue, agent
}

// queue takes a node where callers wait for agents.
func (d *drafter) queue(n *node, b block) {
	n.queue = &Queue{MaxWait: d.span(b, "max_wait", queueWait, 24*time.Hour), MaxCallers: queueCallers}
	n.timeout = d.duration(b, agentTimeout, 10*time.Minute)
	n.queue.WrapUp = d.spanFrom(b, "wrap_up", 0, 0, time.Hour)
	if n.queue.Announce = d.spanFrom(b, "announce", 0, 0, time.Hour); n.queue.Announce != 0 && n.queue.Announce < 10*time.Second {
		d.wrong(b.attrs["announce"].rng, fmt.Sprintf("%q is out of range", b.attrs["announce"].text), "announce of a queue takes 10s to 1h, or 0s for never")
	}
	n.play, n.playing = "music", n.rng
	if v, set := b.attrs["music"]; set {
		if n.play, n.playing = "", v.rng; v.text != "" {
			d.sound(n, v)
		}
	}
	if v, set := b.attrs["max_callers"]; set {
		if v.number < 1 || v.number > mostCallers {
			d.wrong(v.rng, fmt.Sprintf("%d is out of range", v.number), fmt.Sprintf("max_callers takes 1 to %d", mostCallers))
		}
		n.queue.MaxCallers = int(v.number)
	}
	if v, set := b.attrs["strategy"]; set {
		if err := n.queue.Strategy.UnmarshalText([]byte(v.text)); err != nil {
			d.wrong(v.rng, fmt.Sprintf("there is no strategy %q%s", v.text, hcltext.DidYouMean(v.text, queueStrategies())), "choose from "+strings.Join(queueStrategies(), ", "))
		}
	}
	n.queue.Login, n.queue.Stay = b.attrs["login"].flag, b.attrs["stay"].flag
	d.people(n, b.attrs["agents"], "agents")
	d.priorities(n, b.attrs["priority"])
	d.keys(n, b)
	d.otherwise(n, b)
}

// people takes the agents of a queue, or the members of a page: users, and ring groups that stand for their members.
func (d *drafter) people(n *node, list value, what string) {
	if list.shape != 0 && len(list.items) == 0 {
		d.wrong(list.rng, fmt.Sprintf("%s has no %s", n.ref, what), "list at least one user or ring group, like [user.alice]")
	}
	if len(list.items) > maxMembers {
		d.wrong(list.rng, fmt.Sprintf("%s has %d %s", n.ref, len(list.items), what), fmt.Sprintf("%d are the most", maxMembers))
	}
	seen := map[ref]bool{}
	for _, m := range list.items {
		switch {
		case seen[m.ref]:
			d.wrong(m.rng, fmt.Sprintf("%s is listed twice in %s", m.ref, n.ref), "remove one")
			continue
		case m.ref.kind != "user" && m.ref.kind != "ring":
			d.wrong(m.rng, fmt.Sprintf("%s is neither a user nor a ring group", m.ref), fmt.Sprintf("the %s of a %s are users; a ring group stands for its members", what, n.kind))
			continue
		}
		seen[m.ref] = true
		n.members = append(n.members, m)
	}
}

func (d *drafter) priorities(n *node, list value) {
	for _, f := range list.fields {
		groups := isNodeName(f.name) && !strings.HasPrefix(f.name, "+")
		switch {
		case !groups && (len(f.name) < 2 || strings.Trim(f.name[1:], "0123456789") != "" || f.name[0] != '+'):
			d.wrong(f.rng, fmt.Sprintf("%q are no callers", f.name), `name a group of users, or how the numbers of callers begin: { "vip" = 2, "+44" = 1 }`)
		case f.value.shape != shapeNumber || f.value.number < 1 || f.value.number > mostPriority:
			d.wrong(f.value.rng, "this is no priority", fmt.Sprintf("priorities are 1 to %d, the highest first; who is not named has 0", mostPriority))
		default:
			n.queue.Priorities = append(n.queue.Priorities, Priority{f.name, int(f.value.number)})
		}
	}
	if len(list.fields) > mostPriorities {
		d.wrong(list.rng, fmt.Sprintf("%s has %d priorities", n.ref, len(list.fields)), fmt.Sprintf("%d are the most", mostPriorities))
	}
}

// agent takes a node by which agents log in and out, and pause.
func (d *drafter) agent(t *draft, n *node, b block) {
	v := b.attrs["does"]
	if n.does = AgentAction(v.text); v.shape != 0 && !contains(AgentActions(), v.text) {
		d.wrong(v.rng, fmt.Sprintf("an agent cannot do %q%s", v.text, hcltext.DidYouMean(v.text, AgentActions())), "choose from "+strings.Join(AgentActions(), ", "))
	}
	list := b.attrs["queues"]
	if len(list.items) > 0 && (n.does == Pause || n.does == Resume) {
		d.wrong(list.rng, "an agent pauses in all queues", "remove the line, or take log_in and log_out")
	}
	for _, m := range list.items {
		if m.ref.kind != "queue" {
			d.wrong(m.rng, fmt.Sprintf("%s is not a queue", m.ref), "name queues, like [queue.support], or none for all")
			continue
		}
		t.mentions = append(t.mentions, m)
		n.serves = append(n.serves, m.ref.name)
	}
	d.otherwise(n, b)
}

// usersOf are those that people come to, each once. Those who do not want to be disturbed are none.
func (b *builder) usersOf(n *node) (users []string) {
	add := func(m value) {
		if user := b.draft.byRef[m.ref]; !user.dnd && !slices.Contains(users, user.name) {
			users = append(users, user.name)
		}
	}
	for _, m := range n.members {
		if m.ref.kind == "user" {
			add(m)
			continue
		}
		for _, of := range b.draft.byRef[m.ref].members {
			add(of)
		}
	}
	return users
}

// queueing says what a queue does.
func (s Step) queueing() string {
	words := s.Node + " lets callers wait for " + list(s.Users) + ", " + s.Queue.Strategy.words()
	if len(s.Users) == 0 {
		words = s.Node + " lets callers wait for nobody: all its agents want not to be disturbed"
	}
	words += ", each for " + hcltext.Duration(s.Timeout)
	if s.Play != "" {
		words += ", plays " + s.Play
	}
	return words + ", for at most " + hcltext.Duration(s.Queue.MaxWait)
}

// serving says what a node for agents does.
func (s Step) serving() string {
	of := "all queues"
	if len(s.Queues) > 0 {
		of = "queue." + strings.Join(s.Queues, ", queue.")
	}
	switch s.Does {
	case LogIn:
		return s.Node + " logs the caller in as an agent of " + of
	case LogOut:
		return s.Node + " logs the caller out of " + of
	case Pause:
		return s.Node + " lets the caller pause as an agent"
	}
	return s.Node + " ends the caller's pause as an agent"
}
