package migrate

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// callCentreStrategies are those of mod_callcenter, as plans call them.
var callCentreStrategies = map[string]string{
	"ring-all": "ring_all", "longest-idle-agent": "longest_idle", "round-robin": "round_robin", "top-down": "in_order", "sequentially-by-agent-order": "in_order",
	"agent-with-fewest-calls": "fewest_calls", "random": "random",
}

// queueName is what a queue of mod_callcenter or mod_fifo is called here: without its domain.
func (x *freeswitch) queueName(name string) string {
	plain, _, _ := strings.Cut(name, "@")
	return plain
}

// callCentre reads callcenter.conf.xml: its queues, and the agents that tiers give them.
func (x *freeswitch) callCentre() {
	agents := map[string]*element{}
	for _, e := range x.all("agent") {
		agents[e.attr("name")] = e
	}
	tiers := x.all("tier")
	for _, e := range x.all("queue") {
		q := x.newQueue(e)
		if q == nil {
			continue
		}
		p := e.params("param")
		strategy := callCentreStrategies[value(p, "strategy")]
		if strategy == "" {
			strategy = callCentreStrategies["longest-idle-agent"]
			if s := p["strategy"]; s != nil {
				x.unmapped(s.at, "strategy="+s.attr("value"), "this strategy has no counterpart: who was idle longest is rung")
			}
		}
		q.set("strategy", quote(strategy))
		q.limit = value(p, "max-wait-time")
		if isOff(value(p, "max-wait-time-with-no-agent")) {
			q.set("stay", "true")
		} else {
			x.check(e.at, "max-wait-time-with-no-agent", "callers go on at once when no agent is there")
		}
		if value(p, "record-template") != "" {
			q.set("record", "true")
		}
		for _, name := range []string{"announce-sound", "tier-rules-apply", "time-base-score"} {
			if v := p[name]; v != nil && !isOff(v.attr("value")) && v.attr("value") != "system" && v.attr("value") != "queue" {
				x.unmapped(v.at, name+"="+v.attr("value"), "this has no counterpart: it is left out")
			}
		}
		var own []*element
		slices.SortStableFunc(tiers, func(a, b *element) int {
			return cmp.Or(number(a.attr("level"))-number(b.attr("level")), number(a.attr("position"))-number(b.attr("position")))
		})
		for _, tier := range tiers {
			if tier.attr("queue") != e.attr("name") {
				continue
			}
			if agent := agents[tier.attr("agent")]; agent != nil {
				own = append(own, agent)
			} else {
				x.unmapped(tier.at, "tier "+tier.attr("agent"), "there is no agent of this name")
			}
		}
		x.agentsOf(q, own)
	}
}

// newQueue begins a queue; nil when there is one of its name.
func (x *freeswitch) newQueue(e *element) *queue {
	name := x.queueName(e.attr("name"))
	if name == "" || x.queues[name] != nil {
		x.unmapped(e.at, e.name+" "+e.attr("name"), "it has no name, or that of another queue before it")
		return nil
	}
	q := &queue{name: name, at: e.at}
	x.queues[name] = q
	return q
}

// agentsOf takes the agents of a queue, and what they have in common.
func (x *freeswitch) agentsOf(q *queue, agents []*element) {
	common := func(name string) string {
		for _, a := range agents {
			if a.attr(name) != agents[0].attr(name) {
				x.unmapped(a.at, "agent "+a.attr("name")+": "+name, "agents of a queue have this in common here: it is left out")
				return ""
			}
		}
		if len(agents) == 0 {
			return ""
		}
		return agents[0].attr(name)
	}
	for _, a := range agents {
		contact := a.attr("contact")
		dial := strings.Join(x.leg(strings.TrimSpace(inBrackets.ReplaceAllString(contact, ""))), "&")
		q.members = append(q.members, member{dial, a.at})
		if t := a.attr("type"); t != "" && t != "callback" {
			x.unmapped(a.at, "agent "+a.attr("name")+": type="+t, "agents are called: one who stays on the line has no counterpart")
		}
	}
	if n := number(common("wrap-up-time")); n >= 1 && n <= 3600 {
		q.set("wrap_up", quote(strconv.Itoa(n)+"s"))
	}
	if status := common("status"); status == "Logged Out" {
		q.set("login", "true")
		x.check(q.at, "queue "+q.name, "agents log in by an agent node: agent \"in\" { does = \"log_in\" }")
	}
}

// fifos reads fifo.conf.xml.
func (x *freeswitch) fifos() {
	for _, e := range x.all("fifo") {
		q := x.newQueue(e)
		if q == nil {
			continue
		}
		q.set("strategy", `"ring_all"`)
		q.set("stay", "true")
		for i, m := range e.all("member") {
			dial := strings.Join(x.leg(strings.TrimSpace(inBrackets.ReplaceAllString(strings.TrimSpace(m.text), ""))), "&")
			q.members = append(q.members, member{dial, m.at})
			if i > 0 {
				continue
			}
			if n := number(m.attr("timeout")); n >= 1 && n <= 600 {
				q.set("timeout", quote(strconv.Itoa(n)+"s"))
			}
			if n := number(m.attr("lag")); n >= 1 && n <= 3600 {
				q.set("wrap_up", quote(strconv.Itoa(n)+"s"))
			}
		}
	}
}

// waitIn writes a queue as a step.
func (x *freeswitch) waitIn(name string) (args string) {
	plain := x.queueName(name)
	if q := x.queues[plain]; q != nil && q.limit != "" {
		return plain + ",,,," + q.limit
	}
	return plain
}

// isOff tells whether a value switches something off.
func isOff(s string) bool { return has([]string{"", "0", "false", "no"}, s) }

func number(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}
