package migrate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// queue is one of queues.conf, or a call centre's or fifo's of FreeSWITCH.
type queue struct {
	name    string
	at      place
	attrs   []attr
	members []member
	leaves  string // the context whose keys callers press to leave, "" = none
	node    *node  // once a call leads to it
	limit   string // how long its callers wait, as the first call says
}

// member is an agent as Dial writes him.
type member struct {
	dial string
	at   place
}

// set takes a setting; the last one counts, as where a section is more than its template.
func (q *queue) set(name, value string) { q.attrs = setAttr(q.attrs, name, value) }

// queueStrategies are those of Asterisk, as plans call them.
var queueStrategies = map[string]string{
	"ringall": "ring_all", "leastrecent": "longest_idle", "fewestcalls": "fewest_calls", "random": "random", "rrmemory": "round_robin", "roundrobin": "round_robin",
	"rrordered": "round_robin", "linear": "in_order",
}

// readQueues reads queues.conf.
func (a *asterisk) readQueues(f *folder, name string) error {
	sections, err := a.readConf(f, name)
	if err != nil {
		return err
	}
	a.queues = map[string]*queue{}
	for _, s := range sections {
		if s.name == "general" || a.queues[s.name] != nil {
			continue
		}
		q := &queue{name: s.name, at: s.at}
		a.queues[s.name] = q
		strategy := queueStrategies["ringall"]
		stays := [2]bool{true, true} // who comes to a queue without agents waits; who waits in it goes on waiting
		for _, e := range s.entries {
			value := strings.ToLower(e.value)
			shown := e.key + "=" + e.value
			no := has([]string{"no", "false", "off", "0", "none", ""}, value)
			switch strings.ToLower(e.key) {
			case "member":
				dial, rest, _ := strings.Cut(e.value, ",")
				if penalty, _, _ := strings.Cut(rest, ","); strings.Trim(penalty, " 0") != "" {
					a.unmapped(e.at, shown, "penalties have no counterpart: all agents are equal, in the order of the list")
				}
				q.members = append(q.members, member{strings.TrimSpace(dial), e.at})
			case "strategy":
				if known := queueStrategies[value]; known != "" {
					strategy = known
				} else {
					a.unmapped(e.at, shown, "this strategy has no counterpart: agents are rung all at once")
				}
			case "timeout":
				a.seconds(q, e, "timeout", 1, 600, "an agent rings for 15 seconds")
			case "wrapuptime":
				a.seconds(q, e, "wrap_up", 0, 3600, "agents have no time behind a call")
			case "announce-frequency", "min-announce-frequency":
				if strings.EqualFold(e.key, "announce-frequency") && !no {
					a.seconds(q, e, "announce", 10, 3600, "callers are not told their place")
				}
			case "maxlen":
				if n, err := strconv.Atoi(value); err == nil && n >= 1 && n <= 1000 {
					q.set("max_callers", strconv.Itoa(n))
				} else {
					a.check(e.at, shown, "a queue takes 100 callers unless it says max_callers, 1000 at most")
				}
			case "joinempty":
				stays[0] = has([]string{"yes", "true", "on", "1"}, value)
			case "leavewhenempty":
				stays[1] = no
			case "context":
				q.leaves = e.value
			case "musicclass", "musiconhold":
				if value != "default" {
					a.check(e.at, shown, "the music of this class is the usual music here")
				}
			case "announce", "periodic-announce", "weight", "autopause", "membermacro", "membergosub", "defaultrule", "penaltymemberslimit", "monitor-format", "monitor-type":
				if !no {
					a.unmapped(e.at, shown, "this has no counterpart: it is left out")
				}
			}
		}
		q.set("strategy", quote(strategy))
		if stays[0] && stays[1] {
			q.set("stay", "true")
		}
	}
	return nil
}

// seconds takes a time of a queue, as far as plans allow it.
func (a *asterisk) seconds(q *queue, e entry, name string, least, most int, otherwise string) {
	n, err := strconv.Atoi(e.value)
	if err != nil || n < least || n > most {
		if n != 0 || err != nil {
			a.unmapped(e.at, e.key+"="+e.value, fmt.Sprintf("%s takes %d to %d seconds: %s", name, least, most, otherwise))
		}
		return
	}
	if n > 0 {
		q.set(name, quote(strconv.Itoa(n)+"s"))
	}
}

// queue is Queue(support,options,,,timeout). What stands behind it is for who was not helped.
func (a *asterisk) queue(s, on callState, args []string, st step, depth int) (*target, error) {
	fail := func(why string) (*target, error) { return nil, &lost{st.at, st.String(), why} }
	name := argument(args, 0)
	if isOpen(strings.Join(args, "")) {
		return fail("the queue depends on what is dialled")
	}
	q := a.queues[name]
	if q == nil {
		return fail(fmt.Sprintf("there is no queue %q", clip(name)))
	}
	limit := argument(args, 4)
	if q.node == nil {
		if why := a.makeQueue(s, q, limit, st, depth); why != "" {
			return fail(why)
		}
		asked := false
		on.sounds = nil
		on.vars = on.vars.with("QUEUESTATUS", "TIMEOUT")
		on.vars.asked = &asked
		q.node.lead("otherwise", a.onward(on, depth))
		if asked {
			a.check(st.at, st.String(), "calls go on in one way whyever nobody took them: as where QUEUESTATUS is TIMEOUT")
		}
		a.keysOfQueue(s, on, q, depth)
		return to(q.node), nil
	}
	if st.at != q.node.at && (limit != q.limit || on.at.steps[on.prio].app != "") {
		a.check(st.at, st.String(), "a queue is one wherever it is named: how long callers wait and where they go on is as "+q.node.at.String()+" says")
	}
	return to(q.node), nil
}

// makeQueue makes the node of a queue, or says why it cannot be.
func (a *asterisk) makeQueue(s callState, q *queue, limit string, st step, depth int) (why string) {
	n := &node{kind: "queue", name: name(q.name), at: st.at, what: clip(st.String()), attrs: slices.Clone(q.attrs)}
	for _, m := range q.members {
		user, h, why := a.dialled(s, m.dial, depth)
		switch {
		case why != "" || h != nil:
			if why == "" {
				why = "an agent is a user, and this is a number outside"
			}
			a.unmapped(m.at, "member => "+m.dial, why)
		case len(n.members) == 100:
			a.unmapped(m.at, "member => "+m.dial, "a queue has at most 100 agents")
		case !slices.Contains(n.members, user):
			n.members = append(n.members, user)
		}
	}
	if len(n.members) == 0 {
		return "nobody is an agent of this queue in the files: a plan names its agents, and they log in and out by agent nodes"
	}
	switch seconds, err := strconv.Atoi(limit); {
	case err == nil && seconds >= 1 && seconds <= 86400:
		n.set("max_wait", quote(strconv.Itoa(seconds)+"s"))
	default:
		a.check(st.at, st.String(), "callers wait for half an hour here unless the queue says max_wait")
	}
	if s.record {
		n.set("record", "true")
	}
	q.limit = limit
	q.node = a.add(n, "")
	a.mapped(q.at, "["+q.name+"]", "queue."+n.name)
	return ""
}

// keysOfQueue takes the keys by which callers leave a queue: the extensions of one digit of its context.
func (a *asterisk) keysOfQueue(s, on callState, q *queue, depth int) {
	if q.leaves == "" {
		return
	}
	if a.contexts[q.leaves] == nil {
		a.unmapped(q.at, "context="+q.leaves, "extensions.conf has no context of this name: callers cannot leave by a key")
		return
	}
	for _, x := range a.everything(q.leaves) {
		if len(x.pattern) != 1 || !strings.Contains("0123456789*#", x.pattern) {
			continue
		}
		next := a.begin(q.leaves, x, x.pattern)
		next.stack, next.caller = on.stack, s.caller
		if t := a.onward(next, depth); t != nil {
			q.node.lead("key "+x.pattern, t)
		}
	}
}
