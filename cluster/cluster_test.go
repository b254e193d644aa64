package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"tandem/internal/simdisk"
)

func TestASingleNodeIsReadyInATenthOfASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		n := begin(t, Config{Bootstrap: true})
		if took := time.Since(start); took > 110*time.Millisecond {
			t.Errorf("ready after %v", took)
		}
		if got := n.set(t, "a", "k", "v"); got != uint64(1) {
			t.Errorf("result %v, want 1", got)
		}
		s := n.Status()
		if s.State != "leader" || s.Leader != "n1" || !s.Ready || s.Applied != s.Last || s.Counters.Committed != 1 {
			t.Errorf("status %+v", s)
		}
		if err := n.stop(); err != nil {
			t.Error(err)
		}
		if s := n.Status(); s.State != "stopped" || s.Ready {
			t.Errorf("status after the end: %+v", s)
		}
	})
}

func TestItemsAreAppliedInTheOrderOfTheirProposer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := begin(t, Config{Bootstrap: true})
		var order []uint64
		for i := range 5000 {
			err := n.ProposeAsync("a", setCmd(fmt.Sprint(i%7), fmt.Sprint(i)), func(r any, err error) {
				if err != nil {
					t.Error(err)
				}
				order = append(order, r.(uint64))
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		for i, v := range order {
			if v != uint64(i+1) {
				t.Fatalf("item %d was applied as number %d", i, v)
			}
		}
		if s := n.Status().Counters; len(order) != 5000 || s.Committed != 5000 || s.Entries >= 5000 {
			t.Errorf("%d results, counters %+v", len(order), s)
		}
	})
}

// slowLog is a log whose every write takes a while, as on a disk.
type slowLog struct {
	*simdisk.Disk
	mu    sync.Mutex
	sizes []int // bytes of each command entry written
}

func (s *slowLog) StoreLogs(logs []*raft.Log) error {
	if err := s.Disk.StoreLogs(logs); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range logs {
		if l.Type == raft.LogCommand {
			s.sizes = append(s.sizes, len(l.Data))
		}
	}
	return nil
}

func (s *slowLog) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

func (s *slowLog) written() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]int(nil), s.sizes...)
}

func slowStore(delay time.Duration) (*Store, *slowLog) {
	store := MemoryStore()
	log := &slowLog{Disk: simdisk.New(store.Log, 1)}
	log.Delay.Store(int64(delay))
	store.Log, store.Snapshots = log, new(simdisk.Snapshots)
	return store, log
}

func TestAnIdleClusterWritesAtOnceAndMergesWhatComesMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, log := slowStore(4 * time.Millisecond)
		n := begin(t, Config{Bootstrap: true, Store: store})
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() { n.set(t, "a", fmt.Sprint(i), "v") })
			if i == 0 {
				synctest.Wait() // the first one is on its way to the disk
			}
		}
		wg.Wait()
		if got := log.written(); len(got) != 2 {
			t.Errorf("entries of %v bytes, want two", got)
		}
		if took := time.Since(start); took > 9*time.Millisecond {
			t.Errorf("50 items took %v, want two writes", took)
		}
		if got := n.Status().Counters.Merged; got != 49 {
			t.Errorf("%d items were merged, want 49", got)
		}
	})
}

func TestEntriesEndAt16KilobytesUnlessOneItemIsLarger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, log := slowStore(time.Millisecond)
		n := begin(t, Config{Bootstrap: true, Store: store})
		var wg sync.WaitGroup
		for i := range 300 {
			wg.Go(func() { n.set(t, "a", fmt.Sprint(i), strings.Repeat("x", 500)) })
		}
		wg.Go(func() { n.set(t, "b", "large", strings.Repeat("x", 100_000)) })
		wg.Wait()
		large := 0
		for _, size := range log.written() {
			if size > entryBytes {
				large++
			}
		}
		if large != 1 {
			t.Errorf("entries of %v bytes: %d above the limit, want the single large one", log.written(), large)
		}
		if _, err := n.Propose(t.Context(), "a", make([]byte, MaxCommand+1)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("a command beyond MaxCommand: got %v", err)
		}
	})
}

func TestAFullQueueRefusesAtOnceAndEveryAcceptedItemIsAnsweredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		n := launch(t, Config{Bootstrap: true, QueueItems: 10})
		n.a.gate = gate
		if err := n.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		answered, accepted, busy := 0, 0, 0
		for range 5000 {
			err := n.ProposeAsync("a", setCmd("k", strings.Repeat("x", 9000)), func(any, error) { answered++ })
			switch {
			case err == nil:
				accepted++
			case errors.Is(err, ErrBusy):
				busy++
			default:
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if busy == 0 || accepted < 10 || accepted > 500 {
			t.Errorf("%d accepted, %d refused", accepted, busy)
		}
		close(gate)
		synctest.Wait()
		if answered != accepted {
			t.Errorf("%d answers to %d accepted items", answered, accepted)
		}
		if s := n.Status(); s.Counters.Refused != uint64(busy) || s.Queue.Items != 0 || s.Queue.InFlight != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

func TestWhatWasAcceptedIsCommittedBeforeTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, _ := slowStore(50 * time.Millisecond)
		n := begin(t, Config{Bootstrap: true, Store: store})
		committed := 0
		for i := range 100 {
			err := n.ProposeAsync("a", setCmd(fmt.Sprint(i), strings.Repeat("v", 1000)), func(_ any, err error) {
				if err == nil {
					committed++
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		if committed != 100 {
			t.Errorf("%d of 100 committed", committed)
		}
		if _, err := n.Propose(t.Context(), "a", setCmd("k", "v")); !errors.Is(err, ErrClosed) {
			t.Errorf("after the end: got %v", err)
		}
		if err := n.WaitReady(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("WaitReady after the end: got %v", err)
		}
		if err := n.Run(t.Context()); err == nil {
			t.Error("a second Run was accepted")
		}
	})
}

func TestAProposerThatGivesUpIsToldThatTheOutcomeIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, _ := slowStore(time.Second)
		n := begin(t, Config{Bootstrap: true, Store: store})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, err := n.Propose(ctx, "a", setCmd("k", "v"))
		if !errors.Is(err, ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		time.Sleep(5 * time.Second) // a write of the cluster's own may come first
		if _, changes := n.a.state(); changes != 1 {
			t.Errorf("%d changes, want 1: the item was on its way", changes)
		}
	})
}

func TestProposalsBeforeTheStartAndForUnknownMachinesAreRefused(t *testing.T) {
	c, err := New(Config{Node: "n1", Machines: map[string]Machine{"a": newTable()}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Propose(t.Context(), "a", nil); !errors.Is(err, ErrNotLeader) {
		t.Errorf("before Run: got %v", err)
	}
	if _, err := c.Propose(t.Context(), "zz", nil); !errors.Is(err, ErrNoMachine) {
		t.Errorf("unknown machine: got %v", err)
	}
	if got := c.Status().State; got != "starting" {
		t.Errorf("state %q", got)
	}
}

func TestADiskThatRefusesWritesFailsProposalsAndTheNodeRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, log := slowStore(0)
		n := begin(t, Config{Bootstrap: true, Store: store})
		n.set(t, "a", "before", "v")
		log.Fail(errors.New("no space left on device"))
		_, err := n.Propose(t.Context(), "a", setCmd("during", "v"))
		if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("the first one on a full disk: got %v", err)
		}
		time.Sleep(5 * time.Second)
		if _, err := n.Propose(t.Context(), "a", setCmd("during", "v")); err == nil {
			t.Error("a full disk committed")
		}
		if n.Status().Ready {
			t.Error("ready on a full disk")
		}
		log.Fail(nil)
		time.Sleep(time.Second)
		if err := n.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		n.set(t, "a", "after", "v")
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestANodeOfAnotherNameIsRefusedTheDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := MemoryStore()
		n := begin(t, Config{Bootstrap: true, Store: store})
		n.stop()
		other := launch(t, Config{Node: "n2", Bootstrap: true, Store: store})
		err := other.WaitReady(t.Context())
		if !errors.Is(err, ErrWrongNode) || !strings.Contains(err.Error(), `"n1"`) || !strings.Contains(err.Error(), "node.name") {
			t.Errorf("got %v", err)
		}
		if got := other.stop(); !errors.Is(got, ErrWrongNode) {
			t.Errorf("Run returned %v", got)
		}
	})
}

func TestAnEmptyNodeWithoutBootstrapWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := launch(t, Config{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := n.WaitReady(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if _, err := n.Propose(t.Context(), "a", setCmd("k", "v")); !errors.Is(err, ErrNotLeader) {
			t.Errorf("got %v", err)
		}
		if err := n.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestSnapshotsAreTakenByBytesOfLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := MemoryStore()
		n := begin(t, Config{Bootstrap: true, Store: store, SnapshotBytes: 50_000})
		for i := range 100 {
			n.set(t, "a", fmt.Sprint(i%3), strings.Repeat("x", 1000))
		}
		time.Sleep(3 * time.Second)
		s := n.Status()
		if s.Counters.Snapshots != 1 || s.Snapshot.Index < 100 || s.LogBytes > 1000 || s.Snapshot.Bytes > 5000 {
			t.Errorf("after 100 kB: %+v", s)
		}
		first, _ := store.Log.FirstIndex()
		last, _ := store.Log.LastIndex()
		if last-first > 16 {
			t.Errorf("the log still holds %d to %d", first, last)
		}
		n.stop()

		n2 := begin(t, Config{Bootstrap: true, Store: store})
		if _, changes := n2.a.state(); changes != 100 {
			t.Errorf("%d changes after the restart, want 100", changes)
		}
	})
}

func TestALargeStateIsNotSnapshottedForEveryFewBytesOfLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := begin(t, Config{Bootstrap: true, SnapshotBytes: 1000})
		for i := range 100 {
			n.set(t, "a", fmt.Sprint(i), strings.Repeat("x", 1000))
		}
		time.Sleep(2 * time.Second)
		for i := range 20 { // 20 kB more, 100 kB of state
			n.set(t, "a", fmt.Sprint(i), strings.Repeat("y", 1000))
			time.Sleep(2 * time.Second)
		}
		if got := n.Status().Counters.Snapshots; got != 1 {
			t.Errorf("%d snapshots, want 1", got)
		}
	})
}

func TestAFailedSnapshotIsCountedAndTriedAgainLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := MemoryStore()
		broken := &brokenSnapshots{SnapshotStore: store.Snapshots}
		broken.broken.Store(true)
		store.Snapshots = broken
		n := begin(t, Config{Bootstrap: true, Store: store, SnapshotBytes: 1})
		n.set(t, "a", "k", "v")
		time.Sleep(25 * time.Second)
		if got := n.Status().Counters; got.SnapshotErrors != 1 || got.Snapshots != 0 {
			t.Errorf("counters %+v", got)
		}
		broken.broken.Store(false)
		time.Sleep(35 * time.Second)
		if got := n.Status().Counters; got.Snapshots != 1 {
			t.Errorf("counters %+v", got)
		}
	})
}

type brokenSnapshots struct {
	raft.SnapshotStore
	broken atomic.Bool
}

func (b *brokenSnapshots) Create(v raft.SnapshotVersion, index, term uint64, c raft.Configuration, ci uint64, tr raft.Transport) (raft.SnapshotSink, error) {
	if b.broken.Load() {
		return nil, errors.New("no space left on device")
	}
	return b.SnapshotStore.Create(v, index, term, c, ci, tr)
}

func TestADamagedSnapshotStopsTheStartWithAReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := MemoryStore()
		n := begin(t, Config{Bootstrap: true, Store: store})
		n.set(t, "a", "k", "v")
		if err := n.Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
		n.stop()
		n2 := launch(t, Config{Bootstrap: true, Store: store, Machines: map[string]Machine{"a": newTable()}})
		err := n2.WaitReady(t.Context())
		if err == nil || !strings.Contains(err.Error(), `machine "b", which this program does not have`) {
			t.Errorf("got %v", err)
		}
	})
}

// TestMachinesAgreeWithANaiveMap plays random items, snapshots and restarts and compares with plain maps.
func TestMachinesAgreeWithANaiveMap(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		store, log := slowStore(0)
		cfg := Config{Bootstrap: true, Store: store, SnapshotBytes: 2000}
		n := begin(t, cfg)
		want := map[string]map[string]string{"a": {}, "b": {}}
		var changes [2]uint64
		for range 600 {
			switch op := rnd.IntN(20); op {
			case 0:
				if err := n.Snapshot(t.Context()); err != nil {
					t.Fatal(err)
				}
			case 1:
				if err := n.stop(); err != nil {
					t.Fatal(err)
				}
				n = begin(t, cfg)
			case 2:
				time.Sleep(2 * time.Second) // time for a snapshot by size
			case 3:
				log.Delay.Store(int64(rnd.IntN(3)) * int64(time.Millisecond))
			default:
				for range rnd.IntN(30) {
					which := rnd.IntN(2)
					machine := []string{"a", "b"}[which]
					key, value := fmt.Sprint(rnd.IntN(40)), strings.Repeat("v", rnd.IntN(200))
					want[machine][key] = value
					changes[which]++
					count := changes[which]
					err := n.ProposeAsync(machine, setCmd(key, value), func(r any, err error) {
						if err != nil || r != count {
							t.Errorf("got %v, %v, want %d", r, err, count)
						}
					})
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			if rnd.IntN(3) > 0 {
				continue // let operations overlap
			}
			time.Sleep(100 * time.Millisecond)
			for i, m := range []*table{n.a, n.b} {
				rows, count := m.state()
				if !reflect.DeepEqual(rows, want[[]string{"a", "b"}[i]]) || count != changes[i] {
					t.Fatalf("machine %d: %d rows and %d changes, want %d and %d", i, len(rows), count, len(want[[]string{"a", "b"}[i]]), changes[i])
				}
			}
		}
	})
}
