package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/simnet"
)

// faultsVariable says how many histories TestRandomFaultsLoseNothingAndApplyNothingTwice plays, and with which first seed: "200" or "200 from 17".
const faultsVariable = "TANDEM_FAULTS"

// history is one random run: what clients asked, what they heard, and what happened to the nodes meanwhile.
type history struct {
	*three
	rnd   *rand.Rand
	trail []string

	mu  sync.Mutex
	ops []operation
}

// operation is one change. The machine answers each with its place among all changes, so the machine is a counter that can be checked
// for linearisability: what ended before another began has the smaller place, and no place is given twice.
type operation struct {
	key        string
	node       int
	begin, end time.Time
	place      uint64
	err        error
}

func TestRandomFaultsLoseNothingAndApplyNothingTwice(t *testing.T) {
	count, first := 3, uint64(1)
	if text := os.Getenv(faultsVariable); text != "" {
		number, from, _ := strings.Cut(text, " from ")
		var err error
		if count, err = strconv.Atoi(number); err != nil {
			t.Fatalf("%s=%q: write a number, or \"200 from 17\"", faultsVariable, text)
		}
		first = rand.Uint64()
		if from != "" {
			if first, err = strconv.ParseUint(from, 10, 64); err != nil {
				t.Fatalf("%s=%q: %v", faultsVariable, text, err)
			}
		}
	}
	for i := range count {
		seed := first + uint64(i)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { playHistory(t, seed) })
	}
}

func playHistory(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		h := &history{three: newThree(t, seed), rnd: rand.New(rand.NewPCG(seed, 1))}
		defer func() {
			if t.Failed() {
				t.Logf("seed %d:\n%s", seed, strings.Join(h.trail, "\n"))
			}
		}()
		for i := range 3 {
			h.cfgs[i].Store, h.disks[i] = slowStore(time.Millisecond)
			h.cfgs[i].SnapshotBytes, h.cfgs[i].CompareEvery = 5000, 300*time.Millisecond
			h.nodes[i] = launch(t, h.cfgs[i])
		}
		h.leader(t, -1)
		stop := make(chan struct{})
		var clients sync.WaitGroup
		clients.Go(func() { h.preside(t, stop) })
		for i := range 3 {
			for k := range 2 {
				rnd := rand.New(rand.NewPCG(seed, uint64(10*i+k+2)))
				clients.Go(func() { h.ask(t, i, k, rnd, stop) })
			}
		}
		for range 12 {
			time.Sleep(time.Duration(50+h.rnd.IntN(600)) * time.Millisecond)
			h.fault(t)
		}
		h.mend(t)
		time.Sleep(2 * time.Second)
		close(stop)
		clients.Wait()
		h.leader(t, -1)
		h.agree(t)
		h.check(t)
		h.compared(t)
	})
}

// ask proposes changes through one node until stop, each key once.
func (h *history) ask(t *testing.T, node, client int, rnd *rand.Rand, stop <-chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(rnd.IntN(20)) * time.Millisecond):
		}
		op := operation{key: fmt.Sprintf("%d-%d-%d", node, client, n), node: node, begin: time.Now()}
		h.mu.Lock()
		through := h.nodes[node]
		h.mu.Unlock()
		var result any
		result, op.err = through.Propose(t.Context(), "a", setCmd(op.key, "v"))
		op.place, _ = result.(uint64)
		op.end = time.Now()
		if rows, _ := through.a.state(); op.err == nil && rows[op.key] == "" {
			t.Errorf("node %d said that %s was done and had not applied it", node, op.key)
		}
		h.mu.Lock()
		h.ops = append(h.ops, op)
		h.mu.Unlock()
	}
}

// fault does one thing to the cluster.
func (h *history) fault(t *testing.T) {
	i := h.rnd.IntN(3)
	say := func(format string, args ...any) {
		h.trail = append(h.trail, time.Now().Format("05.000 ")+fmt.Sprintf(format, args...))
	}
	switch h.rnd.IntN(10) {
	case 0:
		say("node %d is cut off", i)
		h.cut(i)
	case 1:
		j := (i + 1) % 3
		say("nodes %d and %d are cut from each other", i, j)
		h.net.Cut([]string{address(i)}, []string{address(j)})
	case 2, 3:
		say("all cuts heal")
		h.heal()
	case 4:
		say("node %d is killed and started again", i)
		h.restart(t, i, 0)
	case 5:
		delay := time.Duration(h.rnd.IntN(400)) * time.Millisecond
		say("the disk of node %d takes %v", i, delay)
		h.disks[i].Delay.Store(int64(delay))
	case 6:
		say("the disk of node %d is full", i)
		h.disks[i].Fail(errors.New("no space left on device"))
	case 7:
		delay := time.Duration(h.rnd.IntN(40)) * time.Millisecond
		say("all links take %v", delay)
		h.net.SetLink(simnet.Link{Delay: delay / 2, Jitter: delay})
	case 8:
		share := h.rnd.Float64() / 2
		say("the disk of node %d refuses %.0f %% of all writes", i, 100*share)
		h.disks[i].Flaky(share)
	case 9:
		jump := time.Duration(h.rnd.IntN(7200)-3600) * time.Second
		say("node %d is killed, its clock jumps by %v, and it is started again", i, jump)
		h.restart(t, i, jump)
	}
	if h.rnd.IntN(2) == 0 {
		h.disks[i].Fail(nil)
		h.disks[i].Flaky(0)
	}
}

// restart kills a node and starts it again with the disk it had, on a clock that is wrong by so much.
func (h *history) restart(t *testing.T, i int, clock time.Duration) {
	h.hosts[i].Kill()
	_ = h.nodes[i].stop()
	h.hosts[i].Revive()
	next := launchAt(t, h.cfgs[i], clock)
	h.mu.Lock()
	h.nodes[i] = next
	h.mu.Unlock()
}

// mend undoes all faults.
func (h *history) mend(t *testing.T) {
	h.heal()
	h.net.SetLink(simnet.Link{Delay: 200 * time.Microsecond})
	for i := range 3 {
		h.disks[i].Delay.Store(int64(time.Millisecond))
		h.disks[i].Fail(nil)
		h.disks[i].Flaky(0)
		if h.nodes[i].Status().State == "stopped" {
			h.restart(t, i, 0)
		}
	}
}

// preside finds that at no moment two nodes do what one alone may do.
func (h *history) preside(t *testing.T, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(3 * time.Millisecond):
		}
		var who []int
		h.mu.Lock()
		for i, n := range h.nodes {
			if n.Presides() {
				who = append(who, i)
			}
		}
		h.mu.Unlock()
		if len(who) > 1 {
			t.Errorf("nodes %v preside at the same time", who)
			return
		}
	}
}

// compared finds that the nodes have compared their states all the time, and never found a difference.
func (h *history) compared(t *testing.T) {
	t.Helper()
	time.Sleep(8 * time.Second) // all nodes introduce themselves, a version is agreed on, and then the first comparison
	done, presiding := uint64(0), 0
	for i, n := range h.nodes {
		s := n.Status().Comparison
		done += s.Done
		if n.Presides() {
			presiding++
		}
		if len(s.Differs) > 0 {
			t.Errorf("node %d is said to hold another state: %v", i, s.Differs)
		}
	}
	if presiding != 1 {
		t.Errorf("%d nodes preside while all is well", presiding)
	}
	if done == 0 {
		t.Error("no states were compared")
	}
}

// check compares what clients heard with what the machines hold.
func (h *history) check(t *testing.T) {
	rows, changes := h.nodes[0].a.state()
	for i, n := range h.nodes[1:] {
		if other, count := n.a.state(); count != changes || !reflect.DeepEqual(rows, other) {
			t.Errorf("node %d holds another state: %d changes, not %d", i+1, count, changes)
		}
	}
	if changes != uint64(len(rows)) {
		t.Errorf("%d changes made %d rows: something was applied twice", changes, len(rows))
	}
	acked, places := 0, map[uint64]string{}
	for _, op := range h.ops {
		if op.err != nil {
			if errors.Is(op.err, ErrBusy) || errors.Is(op.err, ErrNotLeader) || errors.Is(op.err, ErrClosed) {
				if _, there := rows[op.key]; there && !errors.Is(op.err, ErrUnknown) {
					t.Errorf("%s was refused (%v) and is there", op.key, op.err)
				}
			}
			continue
		}
		acked++
		if rows[op.key] == "" {
			t.Errorf("%s was acknowledged by node %d and is lost", op.key, op.node)
		}
		if other, twice := places[op.place]; twice {
			t.Errorf("%s and %s have both place %d", op.key, other, op.place)
		}
		places[op.place] = op.key
	}
	for i := range h.ops {
		for j := range h.ops {
			a, b := &h.ops[i], &h.ops[j]
			if a.err == nil && b.err == nil && a.end.Before(b.begin) && a.place > b.place {
				t.Errorf("%s ended before %s began and stands behind it: %d and %d", a.key, b.key, a.place, b.place)
			}
		}
	}
	t.Logf("%d of %d changes acknowledged, %d made", acked, len(h.ops), changes)
	if acked < 50 {
		t.Errorf("only %d changes were acknowledged: the faults leave nothing to check", acked)
	}
}
