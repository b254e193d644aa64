package mailbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// town is some nodes whose log is agreed on at once. It lives in fake time.
type town struct {
	t     *testing.T
	nodes []*inhabitant
	cut   atomic.Bool // nothing is agreed on
}

type inhabitant struct {
	*Store
	name string
	dead atomic.Bool
	left []Item
	stop func()
}

var errCut = errors.New("no majority")

func inTown(t *testing.T, nodes int, fn func(t *testing.T, w *town)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &town{t: t}
		for i := range nodes {
			w.settle(fmt.Sprintf("n%d", i+1), t.TempDir(), NewIndex())
		}
		for _, n := range w.nodes {
			n.start()
		}
		fn(t, w)
		for _, n := range w.nodes {
			n.stop()
		}
	})
}

// settle makes a node; seconds of a sound are its octets.
func (w *town) settle(name, dir string, index *Index) *inhabitant {
	n := &inhabitant{name: name}
	store, err := New(Config{
		Index: index, Dir: dir, Node: name, BoxBytes: 1000, MaxBytes: 1 << 30,
		Propose: func(_ context.Context, cmd []byte) (result any, err error) {
			if w.cut.Load() {
				return nil, errCut
			}
			for _, other := range w.nodes {
				if r := other.cfg.Index.Apply(cmd); other == n {
					result = r
				}
			}
			return result, nil
		},
		Measure: func(path string) (time.Duration, error) {
			b, err := os.ReadFile(path)
			return time.Duration(len(b)) * time.Second, err
		},
		Call: func(_ context.Context, node, kind string, payload []byte) ([]byte, error) {
			for _, other := range w.nodes {
				if other.name == node && !other.dead.Load() {
					return other.Serve(kind, name, bytes.Clone(payload))
				}
			}
			return nil, errors.New("unreachable")
		},
		Fellows: func() (all []string) {
			for _, other := range w.nodes {
				if other != n && !other.dead.Load() {
					all = append(all, other.name)
				}
			}
			return all
		},
		Left: func(i Item) { n.left = append(n.left, i) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	n.Store = store
	w.nodes = append(w.nodes, n)
	return n
}

// start runs a node, once all are settled.
func (n *inhabitant) start() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	n.stop = func() { cancel(); <-done }
	go func() {
		defer close(done)
		_ = n.Run(ctx)
	}()
}

// leave has somebody say something to a mailbox of alice, through a node.
func (n *inhabitant) leave(t *testing.T, words string) {
	t.Helper()
	d, err := n.Begin(Item{Kind: Message, Tenant: "acme", Box: "alice", From: "bob", To: "201", Time: time.Now()}, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.File()+".wav", []byte(words), 0o600); err != nil {
		t.Fatal(err)
	}
	d.Keep()
	synctest.Wait()
}

// said is what alice's messages say when they are read at a node.
func (n *inhabitant) said() string {
	var all []string
	for _, i := range n.Messages("acme", "alice") {
		path, err := n.File(context.Background(), i)
		text, _ := os.ReadFile(path)
		if err != nil {
			text = []byte(err.Error())
		}
		all = append(all, string(text))
	}
	return strings.Join(all, ", ")
}

func expect[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestAMessageIsHeardAtEveryNodeAlsoAfterTheDeathOfItsOwn(t *testing.T) {
	inTown(t, 3, func(t *testing.T, w *town) {
		w.nodes[0].leave(t, "call me back")
		expect(t, "events of the node", len(w.nodes[0].left), 1)
		m := w.nodes[2].Messages("acme", "alice")
		expect(t, "messages", len(m), 1)
		expect(t, "length", m[0].Length, 12*time.Second)
		expect(t, "nodes that hold it", len(m[0].Nodes), 2)
		words, err := os.ReadFile(w.nodes[0].path(kept, m[0].ID+".json"))
		var beside Item
		if err != nil || json.Unmarshal(words, &beside) != nil || beside.From != "bob" {
			t.Errorf("beside the sound stands %s (%v)", words, err)
		}
		w.nodes[0].dead.Store(true)
		for _, n := range w.nodes[1:] {
			expect(t, "heard at "+n.name, n.said(), "call me back")
		}
	})
}

// The other holder dies for good as well: by then somebody else has a copy.
func TestCopiesAreMadeAgainWhenAHolderDies(t *testing.T) {
	inTown(t, 4, func(t *testing.T, w *town) {
		w.nodes[0].leave(t, "call me back")
		holders := w.nodes[0].Messages("acme", "alice")[0].Nodes
		expect(t, "holders", len(holders), 2)
		for _, n := range w.nodes {
			n.dead.Store(n.name == holders[0])
		}
		time.Sleep(tendEvery + time.Second)
		for _, n := range w.nodes {
			n.dead.Store(n.dead.Load() || n.name == holders[1])
		}
		for _, n := range w.nodes {
			if !n.dead.Load() {
				expect(t, "heard at "+n.name, n.said(), "call me back")
			}
		}
	})
}

func TestAMessageWaitsUntilTheClusterAgrees(t *testing.T) {
	inTown(t, 2, func(t *testing.T, w *town) {
		w.cut.Store(true)
		w.nodes[0].leave(t, "call me back")
		expect(t, "while nothing is agreed on", w.nodes[1].said(), "")
		expect(t, "waiting", w.nodes[0].Stats().Waiting, 1)
		time.Sleep(time.Minute)
		w.cut.Store(false)
		time.Sleep(postAgain + time.Second)
		expect(t, "afterwards", w.nodes[1].said(), "call me back")
		expect(t, "waiting", w.nodes[0].Stats().Waiting, 0)
	})
}

// A process was killed while two callers were speaking, and one who had said hardly anything.
func TestAMessageThatWasCutIsStillAMessage(t *testing.T) {
	inTown(t, 1, func(t *testing.T, w *town) {
		old := w.nodes[0]
		for _, words := range []string{"it is about the", "h", "I wanted to"} {
			d, err := old.Begin(Item{Kind: Message, Tenant: "acme", Box: "alice", From: "bob", To: "201", Time: time.Now()}, 9)
			if err != nil {
				t.Fatal(err)
			}
			_ = os.WriteFile(d.File()+".wav", []byte(words), 0o600)
			time.Sleep(time.Second)
		}
		files, _ := filepath.Glob(filepath.Join(old.cfg.Dir, incoming, "*"))
		for _, f := range files { // files have the time of the machine
			_ = os.Chtimes(f, time.Now(), time.Now())
		}
		old.stop()
		w.nodes = nil
		fresh := w.settle("n1", old.cfg.Dir, old.cfg.Index)
		fresh.start()
		synctest.Wait()
		expect(t, "at once, while somebody may still be writing", fresh.said(), "")
		time.Sleep(2 * tendEvery)
		expect(t, "messages", fresh.said(), "it is about the, I wanted to")
		expect(t, "too short", fresh.Stats().Short, 1)
		if left, _ := filepath.Glob(filepath.Join(old.cfg.Dir, incoming, "*")); len(left) > 0 {
			t.Errorf("left over: %v", left)
		}
	})
}

func TestAFullMailboxTakesNothing(t *testing.T) {
	inTown(t, 1, func(t *testing.T, w *town) {
		n := w.nodes[0]
		for range 3 {
			n.leave(t, "call me back")
		}
		_, err := n.Begin(Item{Kind: Message, Tenant: "acme", Box: "alice", Time: time.Now()}, 3)
		expect(t, "one more than the plan allows", errors.Is(err, ErrFull), true)
		_, err = n.Begin(Item{Kind: Message, Tenant: "acme", Box: "bob", Time: time.Now()}, 3)
		expect(t, "another mailbox", err, nil)
		n.cfg.BoxBytes = 36
		_, err = n.Begin(Item{Kind: Message, Tenant: "acme", Box: "alice", Time: time.Now()}, 100)
		expect(t, "one more than there is room for", errors.Is(err, ErrFull), true)
		n.cfg.MaxBytes = 36
		_, err = n.Begin(Item{Kind: Message, Tenant: "acme", Box: "bob", Time: time.Now()}, 100)
		expect(t, "one more than the node has room for", errors.Is(err, ErrNoRoom), true)
		st := n.Stats()
		expect(t, "counted", fmt.Sprint(st.RefusedFull, st.RefusedRoom), "2 1")
	})
}

func TestDeletedMessagesAreGoneFromAllDisks(t *testing.T) {
	inTown(t, 2, func(t *testing.T, w *town) {
		w.nodes[0].leave(t, "call me back")
		time.Sleep(time.Second)
		w.nodes[0].leave(t, "never mind")
		m := w.nodes[1].Messages("acme", "alice")
		w.nodes[1].MarkHeard(m[0].ID)
		synctest.Wait()
		fresh, heard := w.nodes[0].Count("acme", "alice")
		expect(t, "new and heard", fmt.Sprint(fresh, heard), "1 1")
		w.nodes[1].RemoveLater(m[0].ID)
		time.Sleep(2 * tendEvery)
		for _, n := range w.nodes {
			expect(t, "at "+n.name, n.said(), "never mind")
			files, _ := filepath.Glob(filepath.Join(n.cfg.Dir, kept, m[0].ID+"*"))
			expect(t, "files at "+n.name, len(files), 0)
		}
	})
}

func TestAGreetingReplacesTheOneBefore(t *testing.T) {
	inTown(t, 2, func(t *testing.T, w *town) {
		for _, words := range []string{"hello there", "good morning"} {
			d, err := w.nodes[0].Begin(Item{Kind: Greeting, Tenant: "acme", Box: "alice", Time: time.Now()}, 0)
			if err != nil {
				t.Fatal(err)
			}
			_ = os.WriteFile(d.File()+".wav", []byte(words), 0o600)
			d.Keep()
			synctest.Wait()
		}
		i, ok := w.nodes[1].Greeting("acme", "alice")
		path, err := w.nodes[1].File(t.Context(), i)
		text, _ := os.ReadFile(path)
		expect(t, "greeting", fmt.Sprint(ok, err)+" "+string(text), "true <nil> good morning")
		expect(t, "items", len(w.nodes[1].cfg.Index.all()), 1)
		expect(t, "events", len(w.nodes[0].left), 0)
	})
}

func TestIndexSurvivesASnapshotAndRepetition(t *testing.T) {
	x := NewIndex()
	changes := 0
	x.OnChange(func(string, string) { changes++ })
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	var log [][]byte
	for i := range 20 {
		kind := Message
		if i%5 == 0 {
			kind = Greeting
		}
		log = append(log, command{Do: "add", Item: &Item{ID: newID(at), Kind: kind, Tenant: "acme", Box: fmt.Sprint(i % 3), Time: at.Add(time.Duration(-i) * time.Minute), Nodes: []string{"n1"}}}.encode())
	}
	for _, cmd := range log {
		x.Apply(cmd)
	}
	for i, m := range x.Messages("acme", "1") {
		do := []string{"hold", "heard", "remove"}[i%3]
		log = append(log, command{Do: do, IDs: []string{m.ID}, Node: "n2"}.encode())
		x.Apply(log[len(log)-1])
	}
	state := func(x *Index) string {
		write, err := x.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	want := state(x)
	for _, cmd := range log { // whoever did not hear of the outcome proposes again
		x.Apply(cmd)
	}
	expect(t, "after repetition", state(x), want)
	y := NewIndex()
	if err := y.Restore(strings.NewReader(want)); err != nil {
		t.Fatal(err)
	}
	expect(t, "after a snapshot", state(y), want)
	for _, box := range []string{"0", "1", "2"} {
		a, b := x.Messages("acme", box), y.Messages("acme", box)
		expect(t, "messages of "+box, fmt.Sprint(a), fmt.Sprint(b))
		if !slices.IsSortedFunc(b, func(a, b Item) int { return a.Time.Compare(b.Time) }) {
			t.Errorf("not in the order of time: %v", b)
		}
	}
	if changes == 0 {
		t.Error("nobody was told of changes")
	}
}

func FuzzServe(f *testing.F) {
	f.Add(piece{ID: "20261122-100000-0123456789abcdef", Format: "wav", Sum: "x", Bytes: 3}.encode([]byte("abc")), true)
	f.Add([]byte{0, 0, 0, 2, '{', '}'}, false)
	s, err := New(Config{
		Index: NewIndex(), Dir: f.TempDir(), Node: "n1", Propose: func(context.Context, []byte) (any, error) { return nil, nil }, Measure: func(string) (time.Duration, error) { return 0, nil },
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, payload []byte, put bool) {
		kind := kindGet
		if put {
			kind = kindPut
		}
		_, _ = s.Serve(kind, "../n2", payload)
		if files, _ := filepath.Glob(filepath.Join(s.cfg.Dir, kept, "*")); len(files) > 0 {
			for _, name := range files {
				b, _ := os.ReadFile(name)
				got, _, _ := sum(bytes.NewReader(b))
				if p, _, _ := decodePiece(payload); p.Sum != got {
					t.Errorf("%s was kept with another checksum", name)
				}
				_ = os.Remove(name)
			}
		}
	})
}
