package tandem

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/dialplan"
	"tandem/events"
	"tandem/internal/fakephone"
	"tandem/internal/simnet"
	"tandem/pbx"
)

// leaderKills is how often the leader is killed in a history; `make faults` plays 20 of them.
const leaderKills = 5

// commits is a service whose plan changes all the time, while phones call through every node. Every plan has a number of its own in the name of
// every node of it, so the way of a call says by which plan each step was.
type commits struct {
	*service
	under chan struct{} // a token: a change of the plan is on its way

	mu       sync.Mutex
	next     int
	proposed map[string]int           // hash: number of the plan
	switched map[string][]time.Time   // by node
	inForce  map[uint64]string        // version: hash, as the first node had it
	told     map[uint64]string        // version: hash, as somebody was told who had proposed it
	logs     map[string][]*events.Log // by node, of each of its lives
}

func TestNoCallIsRoutedByAMixOfPlansWhenTheLeaderIsKilled(t *testing.T) {
	count, first := faultHistories(t, 1)
	for i := range count {
		seed := first + uint64(i)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { playCommits(t, seed) })
		})
	}
}

func playCommits(t *testing.T, seed uint64) {
	c := &commits{
		service: &service{t: t, rnd: rand.New(rand.NewPCG(seed, 2)), net: simnet.ForTest(t, seed), key: filepath.Join(t.TempDir(), "accounts.key"), bindings: map[string]map[string]string{}},
		under:   make(chan struct{}, 1), proposed: map[string]int{}, switched: map[string][]time.Time{}, inForce: map[uint64]string{}, told: map[uint64]string{}, logs: map[string][]*events.Log{},
	}
	c.calls = c.carrier
	c.net.SetLink(simnet.Link{Delay: 200 * time.Microsecond})
	c.found()
	for _, m := range c.nodes {
		c.start(m)
	}
	c.populate()
	c.change(0)
	stop := make(chan struct{})
	var work sync.WaitGroup
	for i := range c.nodes {
		rnd := rand.New(rand.NewPCG(seed, uint64(300+i)))
		work.Go(func() { c.keepChanging(i, rnd, stop) })
		c.callee(i, rand.New(rand.NewPCG(seed, uint64(400+i))))
		caller := c.phone(i, 0)
		work.Go(func() { c.keepCalling(i, caller, stop) })
	}
	for range leaderKills {
		time.Sleep(time.Duration(500+c.rnd.IntN(1500)) * time.Millisecond)
		c.killLeader()
	}
	time.Sleep(2 * time.Second)
	close(stop)
	work.Wait()
	time.Sleep(3 * time.Second) // calls under way end
	c.settle()
	c.judge()
	if t.Failed() {
		t.Logf("seed %d:\n%s", seed, strings.Join(c.trail, "\n"))
	}
}

// carrier makes what carries the calls of a node, and watches its plan.
func (c *commits) carrier(m *member) *pbx.PBX {
	m.plans.OnChange(func(_ *dialplan.Plan, v dialplan.Version) { c.isInForce(m.name, v) })
	log, err := events.New(events.Config{Dir: c.t.TempDir(), Node: m.name, Ring: 10_000})
	if err != nil {
		c.t.Fatal(err)
	}
	p, err := pbx.New(pbx.Config{Plan: m.plans.Plan, Directory: directory{m.plans, m.accounts}, Events: log})
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	c.logs[m.name] = append(c.logs[m.name], log)
	c.mu.Unlock()
	return p
}

func (c *commits) isInForce(node string, v dialplan.Version) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v.Number == 0 {
		return
	}
	c.switched[node] = append(c.switched[node], time.Now())
	if hash := c.inForce[v.Number]; hash == "" {
		c.inForce[v.Number] = v.Hash
	} else if hash != v.Hash {
		c.t.Errorf("%s has plan %d as version %d, another node has plan %d", node, c.proposed[v.Hash], v.Number, c.proposed[hash])
	}
}

// numbered is a plan in which each node has a number in its name. At each node one extension leads through three ring groups, whose only phone is busy.
func numbered(n int) []dialplan.Source {
	var b strings.Builder
	fmt.Fprintf(&b, "dialplan %q { domains = [%q] }\nreject \"r-%d\" { status = 410 }\n", faultTenant, faultDomain, n)
	for i := range 3 {
		fmt.Fprintf(&b, "user \"p%d-1\" {}\n", i)
		for k, next := range []string{"ring.b", "ring.c", "reject.r"} {
			extension, at := "", fmt.Sprint(i)
			if k == 0 {
				extension = fmt.Sprintf("extension = \"10%d\"", i)
			}
			if k == 2 {
				at = ""
			}
			fmt.Fprintf(&b, "ring \"%c%d-%d\" {\n%s\nmembers = [user.p%d-1]\notherwise { go = %s%s-%d }\n}\n", 'a'+k, i, n, extension, i, next, at, n)
		}
	}
	return []dialplan.Source{{Name: "numbered.hcl", Text: []byte(b.String())}}
}

// change applies the next plan through a node.
func (c *commits) change(i int) {
	m := c.node(i)
	c.mu.Lock()
	c.next++
	sources := numbered(c.next)
	c.proposed[dialplan.Hash(sources)] = c.next
	c.mu.Unlock()
	select {
	case c.under <- struct{}{}:
	default:
	}
	result, err := m.cluster.Propose(c.t.Context(), "dialplan", m.plans.ApplyCommand(sources, "test", "", dialplan.AnyVersion, time.Now()))
	if err != nil {
		return // the leader was killed, or this node
	}
	r, ok := result.(*dialplan.Result)
	if !ok || r.Err != nil {
		c.t.Errorf("%s was told %+v", m.name, result)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told[r.Version.Number] = r.Version.Hash
}

func (c *commits) keepChanging(i int, rnd *rand.Rand, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(50+rnd.IntN(300)) * time.Millisecond):
			c.change(i)
		}
	}
}

// callee is a phone at a node that rings for a moment and is busy.
func (c *commits) callee(i int, rnd *rand.Rand) {
	var mu sync.Mutex
	p := c.phone(i, 1)
	p.MustRegister()
	p.OnInvite(func(call *fakephone.Call) {
		mu.Lock()
		rings := time.Duration(10+rnd.IntN(150)) * time.Millisecond
		mu.Unlock()
		call.Ring()
		time.Sleep(rings)
		call.Refuse(486)
	})
}

func (c *commits) keepCalling(i int, p *fakephone.Phone, stop <-chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(20+n%7*10) * time.Millisecond):
		}
		before := len(p.Messages())
		call := p.Call(fmt.Sprintf("10%d", i), "")
		for try := 0; try < 100 && !slices.ContainsFunc(p.Messages()[before:], func(m *fakephone.Message) bool { return m.CallID() == call.CallID && m.Status() == 410 }); try++ {
			time.Sleep(20 * time.Millisecond) // until its node is killed
		}
	}
}

// killLeader kills the leader while a change of the plan is on its way, wherever it is, and starts it again a while later.
func (c *commits) killLeader() {
	<-c.under
	time.Sleep(time.Duration(c.rnd.IntN(8000)) * time.Microsecond)
	for i, m := range c.nodes {
		if _, leader, _ := m.cluster.Watch(); leader != m.name {
			continue
		}
		c.say("%s leads and is killed", m.name)
		m.host.Kill()
		m.stop()
		time.Sleep(time.Duration(c.rnd.IntN(2000)) * time.Millisecond)
		m.host.Revive()
		again := *m
		c.start(&again)
		c.service.mu.Lock()
		c.nodes[i] = &again
		c.service.mu.Unlock()
		return
	}
	c.say("nobody leads")
}

// judge looks at what was in force and by which plans calls went.
func (c *commits) judge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	newest := uint64(0)
	for _, m := range c.nodes {
		for _, v := range m.plans.History() {
			newest = max(newest, v.Number)
			if hash := c.inForce[v.Number]; hash != v.Hash {
				c.t.Errorf("version %d of %s is plan %d, and plan %d was in force as it", v.Number, m.name, c.proposed[v.Hash], c.proposed[hash])
			}
		}
	}
	committed := map[int]bool{}
	for number, hash := range c.inForce {
		if committed[c.proposed[hash]] = true; number > newest {
			c.t.Errorf("version %d was in force at a node and was never committed", number)
		}
	}
	for number, hash := range c.told {
		if c.inForce[number] != hash {
			c.t.Errorf("somebody was told that plan %d is version %d, and plan %d was in force as it", c.proposed[hash], number, c.proposed[c.inForce[number]])
		}
	}
	whole, crossed := 0, 0
	for node, logs := range c.logs {
		for _, log := range logs {
			for _, r := range log.CDRs(10_000) {
				if len(r.Route) == 0 {
					continue
				}
				if c.oneWay(node, r, committed); len(r.Route) == 4 {
					whole++
				}
				for _, at := range c.switched[node] {
					if at.After(r.Started) && at.Before(r.Ended) {
						crossed++
						break
					}
				}
			}
		}
	}
	c.t.Logf("%d versions, %d calls went their whole way, the plan changed during %d calls", newest, whole, crossed)
	if newest < 20 || whole < 50 || crossed < 20 {
		c.t.Error("there is nothing to judge")
	}
}

// oneWay finds that all steps of a call are those of one plan that was committed.
func (c *commits) oneWay(node string, r events.CDR, committed map[int]bool) {
	of := -1
	for _, step := range r.Route {
		var n int
		_, number, _ := strings.Cut(step, "-")
		if _, err := fmt.Sscan(number, &n); err != nil {
			c.t.Errorf("%s: a call went through %s", node, step)
			return
		}
		if of >= 0 && n != of || !committed[n] {
			c.t.Errorf("%s: a call went through %s; committed: %v", node, strings.Join(r.Route, ", "), committed[n])
			return
		}
		of = n
	}
}
