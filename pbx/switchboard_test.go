package pbx

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/dialplan"
)

// desk is a switchboard with a clock of its own.
type desk struct {
	*testing.T
	*switchboard
	now   time.Time
	busy  map[string]bool
	terms dialplan.Queue
}

func newDesk(t *testing.T) *desk {
	h := &desk{T: t, now: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC), busy: map[string]bool{}, terms: dialplan.Queue{MaxCallers: 10}}
	h.switchboard = newSwitchboard(NewAgents(), func(_, user string) bool { return h.busy[user] })
	return h
}

// caller begins to wait.
func (h *desk) caller(call string) *queueReport {
	h.now = h.now.Add(time.Millisecond)
	return &queueReport{Tenant: "acme", Queue: "support", Agents: []string{"alice", "bob", "carol"}, Terms: &h.terms, Call: call, Began: h.now, Stage: waits, Fresh: true}
}

// tell reports, and rings who is to be rung.
func (h *desk) tell(r *queueReport) queueOrder {
	o := h.hear(r, h.now)
	r.Fresh, r.Missed = false, nil
	if len(o.Ring) > 0 {
		r.Stage, r.Rings = rung, o.Ring
	}
	return o
}

func (h *desk) rings(r *queueReport, want ...string) {
	h.Helper()
	if o := h.tell(r); !slices.Equal(o.Ring, want) {
		h.Errorf("for %s ring %q, want %q", r.Call, o.Ring, want)
	}
}

func (h *desk) takes(r *queueReport, agent string) {
	r.Stage, r.Rings, r.Agent = talks, nil, agent
	h.tell(r)
}

func (h *desk) misses(r *queueReport) {
	r.Stage, r.Missed, r.Rings = waits, r.Rings, nil
}

func (h *desk) goes(r *queueReport) {
	r.Stage, r.Rings, r.Agent = gone, nil, ""
	h.tell(r)
}

func (h *desk) later(d time.Duration) { h.now = h.now.Add(d) }

func TestAgentsAreChosenByTheStrategy(t *testing.T) {
	for strategy, want := range map[dialplan.QueueStrategy][]string{
		// alice takes two short calls, then bob one long; carol misses one.
		dialplan.IdleFirst:   {"alice", "bob", "carol", "alice"},
		dialplan.AsListed:    {"alice", "alice", "alice", "alice"},
		dialplan.RoundRobin:  {"alice", "bob", "carol", "alice"},
		dialplan.FewestCalls: {"alice", "bob", "carol", "alice"},
	} {
		t.Run(strategy.String(), func(t *testing.T) {
			h := newDesk(t)
			h.terms.Strategy = strategy
			var got []string
			for i := range want {
				r := h.caller(fmt.Sprint(i))
				o := h.tell(r)
				got = append(got, o.Ring...)
				h.takes(r, o.Ring[0])
				h.later(time.Minute)
				r.Stage = talks
				h.goes(r)
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestAllAgentsRingForTheFirstCallerOnly(t *testing.T) {
	h := newDesk(t)
	h.terms.Strategy = dialplan.RingAll
	first, second := h.caller("first"), h.caller("second")
	h.rings(first, "alice", "bob", "carol")
	h.rings(second)
	h.takes(first, "bob")
	h.rings(second, "alice", "carol")
}

func TestWhoComesFirstIsServedFirstWhoeverAsksFirst(t *testing.T) {
	h := newDesk(t)
	h.busy["bob"], h.busy["carol"], h.busy["alice"] = true, true, true
	first, second, third := h.caller("first"), h.caller("second"), h.caller("third")
	third.Level = 1
	for _, r := range []*queueReport{first, second, third} {
		h.rings(r)
	}
	h.busy["alice"] = false
	h.rings(second)
	h.rings(first)
	h.rings(third, "alice") // of higher priority
	expect(t, "place of the second", h.tell(second).Position, 3)
	h.busy["bob"], h.busy["carol"] = false, false
	h.rings(second, "carol") // bob is for the first
	h.rings(first, "bob")
}

func TestAgentRestsBehindACallAndWhenItIsMissed(t *testing.T) {
	h := newDesk(t)
	h.terms.WrapUp = 30 * time.Second
	h.busy["bob"], h.busy["carol"] = true, true
	r := h.caller("first")
	h.rings(r, "alice")
	h.misses(r)
	h.rings(r)
	h.later(missedRest - time.Second)
	h.rings(r)
	h.later(2 * time.Second)
	h.rings(r, "alice")
	h.takes(r, "alice")
	h.later(10 * time.Second)
	h.tell(r)
	h.goes(r)
	r = h.caller("next")
	for range 29 {
		h.rings(r)
		h.later(time.Second)
	}
	h.later(2 * time.Second)
	h.tell(r)
	r.Stage = waits
	expect(t, "rung behind the wrap-up", len(r.Rings), 1)
}

func TestCallersAndAgentsOfADeadNodeAreForgotten(t *testing.T) {
	h := newDesk(t)
	h.busy["bob"], h.busy["carol"] = true, true
	dead, second := h.caller("dead"), h.caller("second")
	h.rings(dead, "alice")
	h.rings(second)
	for range 4 {
		h.later(time.Second)
		h.rings(second)
	}
	h.later(time.Second)
	h.rings(second, "alice")
	expect(t, "place", h.tell(second).Position, 1)
}

func TestAnotherHomeKnowsTheLineAfterOneRound(t *testing.T) {
	h := newDesk(t)
	first, second, third := h.caller("first"), h.caller("second"), h.caller("third")
	h.rings(first, "alice")
	h.takes(first, "alice")
	h.rings(second, "bob")
	next := newDesk(t)
	next.now, next.busy = h.now, h.busy
	next.tell(first)
	next.tell(second)
	next.rings(third, "carol")
	fourth := next.caller("fourth")
	next.rings(fourth)
	expect(t, "place of the fourth", next.tell(fourth).Position, 3)
}

func TestFullAndEmptyQueuesSendTheirCallersOn(t *testing.T) {
	h := newDesk(t)
	h.terms.MaxCallers = 2
	h.busy["alice"], h.busy["bob"], h.busy["carol"] = true, true, true
	a, b, c := h.caller("a"), h.caller("b"), h.caller("c")
	h.tell(a)
	h.tell(b)
	expect(t, "full", h.tell(c).Full, true)
	for _, user := range []string{"alice", "bob", "carol"} {
		expect(t, "empty", h.tell(a).Empty, false)
		h.said.Apply(agentCommand{"acme", user, nil, dialplan.LogOut, h.now}.encode())
	}
	expect(t, "empty", h.tell(a).Empty, true)
	h.terms.Stay = true
	expect(t, "empty and stays", h.tell(a).Empty, false)
}

func TestEstimateIsWhatCallsTake(t *testing.T) {
	h := newDesk(t)
	h.terms.WrapUp = time.Minute
	r := h.caller("first")
	h.tell(r)
	h.takes(r, "alice")
	for range 12 {
		h.later(10 * time.Second)
		h.tell(r)
	}
	h.goes(r)
	h.busy["alice"], h.busy["bob"], h.busy["carol"] = true, true, true
	second := h.caller("second")
	expect(t, "estimate", h.tell(second).Estimate, time.Minute)
}

// TestNoAgentIsGivenAwayTwice tells a switchboard whatever callers may do, in any order, and looks at whom it rings.
func TestNoAgentIsGivenAwayTwice(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	h := newDesk(t)
	h.terms.MaxCallers = 1000
	callers := map[string]*queueReport{}
	for i := range 20_000 {
		h.terms.Strategy = dialplan.QueueStrategy(random.IntN(6))
		h.later(time.Duration(random.IntN(3000)) * time.Millisecond)
		if len(callers) < 8 && random.IntN(3) == 0 {
			r := h.caller(fmt.Sprint(i))
			callers[r.Call] = r
		}
		for call, r := range callers {
			switch {
			case random.IntN(12) == 0:
				h.goes(r)
				delete(callers, call)
				continue
			case r.Stage == rung && random.IntN(4) == 0:
				h.takes(r, r.Rings[random.IntN(len(r.Rings))])
			case r.Stage == rung && random.IntN(4) == 0:
				h.misses(r)
				h.tell(r)
			default:
				h.tell(r)
			}
		}
		whose := map[string]string{}
		for call, r := range callers {
			for _, user := range append(slices.Clone(r.Rings), r.Agent) {
				if other := whose[user]; user != "" && other != "" {
					t.Fatalf("step %d: %s is given to %s and to %s", i, user, other, call)
				}
				whose[user] = call
			}
		}
	}
	for _, r := range callers {
		h.goes(r)
	}
	h.later(time.Minute)
	h.sweep(h.now)
	for name, a := range h.agents {
		if a.call != "" {
			t.Errorf("%s is held for %s, who is gone", name.user, a.call)
		}
	}
}

func TestAgentsAreRestoredFromASnapshot(t *testing.T) {
	a, now := NewAgents(), time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	do := func(user string, does dialplan.AgentAction, queues ...string) {
		t.Helper()
		if err := a.Apply(agentCommand{"acme", user, queues, does, now}.encode()); err != nil {
			t.Fatal(err)
		}
	}
	do("alice", dialplan.LogIn)
	do("alice", dialplan.LogOut, "sales")
	do("alice", dialplan.Pause)
	do("bob", dialplan.LogOut)
	do("carol", dialplan.Pause)
	do("carol", dialplan.Resume)
	write, err := a.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := write(&text); err != nil {
		t.Fatal(err)
	}
	b := NewAgents()
	if err := b.Restore(bytes.NewReader(text.Bytes())); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		user, queue string
		login       bool
		in, paused  bool
	}{
		{"alice", "support", true, true, true},
		{"alice", "sales", false, false, true},
		{"bob", "sales", false, false, false},
		{"carol", "sales", false, true, false},
		{"carol", "sales", true, false, false},
	} {
		in, paused, _ := b.of("acme", c.user, c.queue, c.login)
		expect(t, fmt.Sprintf("%s in %s", c.user, c.queue), fmt.Sprint(in, paused), fmt.Sprint(c.in, c.paused))
	}
	if strings.Contains(text.String(), "carol") {
		t.Error("who has nothing more to say is kept")
	}
	if err := b.Restore(strings.NewReader("something else\n....")); err == nil {
		t.Error("any text is taken for a snapshot")
	}
	if err := b.Restore(strings.NewReader("")); err != nil || len(b.byName) != 0 {
		t.Errorf("the snapshot of a program without agents: %v", err)
	}
}
