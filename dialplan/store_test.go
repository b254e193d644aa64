package dialplan

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func newStore(t testing.TB) *Store {
	t.Helper()
	s, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func noon(minutes int) time.Time {
	return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).Add(time.Duration(minutes) * time.Minute)
}

func apply(t testing.TB, s *Store, cmd []byte) *Result {
	t.Helper()
	r, ok := s.Apply(cmd).(*Result)
	if !ok {
		t.Fatal("Apply gave no *Result")
	}
	return r
}

func planWith(extension string) []Source {
	return []Source{{"acme.hcl", []byte("dialplan \"acme\" {}\nuser \"alice\" { extension = \"" + extension + "\" }\n")}}
}

func TestAppliedPlanIsInForceAndInTheHistory(t *testing.T) {
	s := newStore(t)
	if plan, v := s.Current(); plan != nil || v.Number != 0 {
		t.Errorf("an empty store has %v, %+v", plan, v)
	}
	var told []string
	s.OnChange(func(p *Plan, v Version) { told = append(told, fmt.Sprint(v.Number, p.Hash() == v.Hash)) })
	r := apply(t, s, s.ApplyCommand(planWith("201"), "ann", "first", AnyVersion, noon(0)))
	if r.Err != nil || r.Version.Number != 1 || r.Unchanged {
		t.Fatalf("got %+v", r)
	}
	r = apply(t, s, s.ApplyCommand(planWith("202"), "bob", "", 1, noon(1)))
	if r.Err != nil || r.Version.Number != 2 {
		t.Fatalf("got %+v", r)
	}
	plan, v := s.Current()
	want := Version{Number: 2, Hash: Hash(planWith("202")), Author: "bob", Time: noon(1), Bytes: 54}
	if diff := cmp.Diff(want, v); diff != "" {
		t.Error(diff)
	}
	if got := plan.Route(Call{Tenant: "acme", To: "202"}, nil).Nodes(); len(got) != 1 || got[0] != "user.alice" {
		t.Errorf("202 goes to %v", got)
	}
	if h := s.History(); len(h) != 2 || h[0].Number != 2 || h[1].Note != "first" || h[1].Sources != nil {
		t.Errorf("history %+v", h)
	}
	if old, err := s.Show(1); err != nil || string(old.Sources[0].Text) != string(planWith("201")[0].Text) {
		t.Errorf("version 1: %+v, %v", old, err)
	}
	if now, err := s.Show(0); err != nil || now.Number != 2 {
		t.Errorf("current: %+v, %v", now, err)
	}
	if _, err := s.Show(7); !errors.Is(err, ErrNoVersion) {
		t.Errorf("version 7: %v", err)
	}
	if diff := cmp.Diff([]string{"1 true", "2 true"}, told); diff != "" {
		t.Error(diff)
	}
	s.OnChange(func(_ *Plan, v Version) { told = append(told, fmt.Sprint("late ", v.Number)) })
	if told[len(told)-1] != "late 2" {
		t.Errorf("a late hook was told %v", told)
	}
}

func TestPlanWithMistakesIsRefusedAndTheOldOneStays(t *testing.T) {
	s := newStore(t)
	apply(t, s, s.ApplyCommand(planWith("201"), "ann", "", AnyVersion, noon(0)))
	before, _ := s.Current()
	r := apply(t, s, s.ApplyCommand([]Source{{"acme.hcl", []byte("usr \"alice\" {}\n")}}, "bob", "", AnyVersion, noon(1)))
	var refused *RefusedError
	if !errors.As(r.Err, &refused) || len(refused.Diagnostics) == 0 || r.Version.Number != 1 {
		t.Fatalf("got %+v", r)
	}
	if got := r.Err.Error(); !strings.Contains(got, "acme.hcl:1:1: ") {
		t.Errorf("got %q", got)
	}
	if after, v := s.Current(); after != before || v.Number != 1 {
		t.Error("the plan in force has changed")
	}
}

func TestConflictSaysWhoWasFaster(t *testing.T) {
	s := newStore(t)
	r := apply(t, s, s.ApplyCommand(planWith("201"), "ann", "", 3, noon(0)))
	if got, want := r.Err.Error(), "version 3 was expected, but there is no dialplan yet"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	apply(t, s, s.ApplyCommand(planWith("201"), "ann", "new phones", 0, noon(0)))
	r = apply(t, s, s.ApplyCommand(planWith("202"), "bob", "", 0, noon(1)))
	want := `you expected that there is no dialplan yet, but version 1 was applied by ann at 2026-11-22 12:00:00 UTC ("new phones"): look at the difference and apply again`
	if r.Err == nil || r.Err.Error() != want {
		t.Errorf("got %v", r.Err)
	}
	var conflict *ConflictError
	if !errors.As(r.Err, &conflict) || conflict.Current.Author != "ann" {
		t.Errorf("got %+v", r.Err)
	}
}

func TestSameCommandTwiceMakesOneVersion(t *testing.T) {
	s := newStore(t)
	cmd := s.ApplyCommand(planWith("201"), "ann", "", 0, noon(0))
	apply(t, s, cmd)
	if r := apply(t, s, cmd); r.Err != nil || !r.Unchanged || r.Version.Number != 1 {
		t.Errorf("got %+v", r)
	}
	if r := apply(t, s, s.ApplyCommand(planWith("201"), "bob", "", AnyVersion, noon(1))); r.Err != nil || !r.Unchanged || r.Version.Author != "ann" {
		t.Errorf("the same text again: got %+v", r)
	}
	if got := s.Stats(); got.Applied != 1 || got.Unchanged != 2 || got.Version != 1 || got.Versions != 1 || got.Tenants != 1 || got.Nodes != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestReadersAlwaysSeeAPlanThatBelongsToItsVersion(t *testing.T) {
	s := newStore(t)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if plan, v := s.Current(); plan.Hash() != v.Hash {
					t.Errorf("plan %s with version %d of %s", plan.Hash(), v.Number, v.Hash)
					return
				}
				s.History()
				s.Stats()
				_, _ = s.Show(0)
			}
		})
	}
	for i := range 100 {
		apply(t, s, s.ApplyCommand(planWith(fmt.Sprint(i)), "", "", AnyVersion, noon(i)))
	}
	close(stop)
	readers.Wait()
}

func TestHooksHearOfARestore(t *testing.T) {
	from, to := newStore(t), newStore(t)
	empty := snapshotOf(t, from)
	apply(t, from, from.ApplyCommand(planWith("201"), "", "", AnyVersion, noon(0)))
	var told []uint64
	to.OnChange(func(_ *Plan, v Version) { told = append(told, v.Number) })
	for _, snapshot := range [][]byte{snapshotOf(t, from), empty} {
		if err := to.Restore(bytes.NewReader(snapshot)); err != nil {
			t.Fatal(err)
		}
	}
	if plan, v := to.Current(); plan != nil || v.Number != 0 || len(to.History()) != 0 {
		t.Errorf("after an empty snapshot there is %+v", v)
	}
	if diff := cmp.Diff([]uint64{1, 0}, told); diff != "" {
		t.Error(diff)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	s := newStore(t)
	for i := range keptVersions + 20 {
		apply(t, s, s.ApplyCommand(planWith(fmt.Sprint(i)), "", "", AnyVersion, noon(i)))
	}
	h := s.History()
	if len(h) != keptVersions || h[0].Number != keptVersions+20 || h[len(h)-1].Number != 21 {
		t.Errorf("%d versions, %d to %d", len(h), h[0].Number, h[len(h)-1].Number)
	}
	var large []*stored
	for range 20 {
		large = append(large, &stored{Version: Version{Bytes: MaxBytes}})
	}
	if got := len(bounded(large)); got != keptBytes/MaxBytes {
		t.Errorf("%d large versions are kept", got)
	}
	if got := len(bounded([]*stored{{Version: Version{Bytes: 2 * keptBytes}}})); got != 1 {
		t.Errorf("a single one is kept %d times", got)
	}
}

func TestStoreStopsAtACommandItDoesNotKnow(t *testing.T) {
	s := newStore(t)
	good := s.ApplyCommand(planWith("1"), "", "", 0, noon(0))
	for _, cmd := range [][]byte{nil, {1}, {2, 1}, {1, 9}, good[:len(good)-1], append(append([]byte(nil), good...), 0)} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%x was applied", cmd)
				}
			}()
			s.Apply(cmd)
		}()
	}
}

func TestRestoreOfABrokenSnapshotChangesNothing(t *testing.T) {
	s := newStore(t)
	apply(t, s, s.ApplyCommand(planWith("201"), "", "", 0, noon(0)))
	snapshot := snapshotOf(t, s)
	for _, bad := range [][]byte{nil, {9}, {1}, {1, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, snapshot[:len(snapshot)-2], bytes.Replace(snapshot, []byte("user"), []byte("usre"), 1)} {
		if err := s.Restore(bytes.NewReader(bad)); err == nil {
			t.Errorf("%x was restored", bad)
		}
		if _, v := s.Current(); v.Number != 1 {
			t.Fatal("the state has changed")
		}
	}
}

func snapshotOf(t testing.TB, s *Store) []byte {
	t.Helper()
	write, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// model is what a store should do, said naively.
type model struct{ versions []Version }

func (m *model) apply(sources []Source, author string, ifVersion int64, now time.Time) (outcome string) {
	number := uint64(len(m.versions))
	hash := Hash(sources)
	switch {
	case ifVersion != AnyVersion && ifVersion != int64(number):
		return "conflict"
	case bytes.Contains(sources[0].Text, []byte("usr")):
		return "refused"
	case number > 0 && m.versions[number-1].Hash == hash:
		return "unchanged"
	}
	m.versions = append(m.versions, Version{Number: number + 1, Hash: hash, Author: author, Time: now, Bytes: len(sources[0].Text), Sources: sources})
	return "applied"
}

func TestStoreAgreesWithItsModelThroughSnapshots(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	s, m := newStore(t), &model{}
	for i := range 300 {
		switch random.IntN(10) {
		case 0: // move to another node by snapshot, with a late write of the old one's snapshot
			write, err := s.Snapshot()
			if err != nil {
				t.Fatal(err)
			}
			if random.IntN(2) == 0 {
				apply(t, s, s.ApplyCommand(planWith("only-here"), "x", "", AnyVersion, noon(i)))
			}
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			s = newStore(t)
			if random.IntN(2) == 0 {
				apply(t, s, s.ApplyCommand(planWith("to-be-replaced"), "x", "", AnyVersion, noon(i)))
			}
			if err := s.Restore(&b); err != nil {
				t.Fatal(err)
			}
		default:
			sources := planWith(fmt.Sprint(random.IntN(5)))
			if random.IntN(6) == 0 {
				sources[0].Text = bytes.Replace(sources[0].Text, []byte("user"), []byte("usr"), 1)
			}
			ifVersion := int64(AnyVersion)
			if random.IntN(2) == 0 {
				ifVersion = int64(len(m.versions)) - int64(random.IntN(2))
			}
			author := fmt.Sprint("author", i)
			r := apply(t, s, s.ApplyCommand(sources, author, "", ifVersion, noon(i)))
			if got, want := outcome(r), m.apply(sources, author, ifVersion, noon(i)); got != want {
				t.Fatalf("step %d: got %s, want %s: %+v", i, got, want, r)
			}
		}
		compare(t, s, m)
	}
}

func outcome(r *Result) string {
	var conflict *ConflictError
	var refused *RefusedError
	switch {
	case errors.As(r.Err, &conflict):
		return "conflict"
	case errors.As(r.Err, &refused):
		return "refused"
	case r.Unchanged:
		return "unchanged"
	}
	return "applied"
}

func compare(t *testing.T, s *Store, m *model) {
	t.Helper()
	kept := m.versions[max(0, len(m.versions)-keptVersions):]
	plan, v := s.Current()
	if len(kept) == 0 {
		if plan != nil || v.Number != 0 {
			t.Fatalf("got version %d, want none", v.Number)
		}
		return
	}
	newest := kept[len(kept)-1]
	if v.Number != newest.Number || plan.Hash() != newest.Hash || len(s.History()) != len(kept) {
		t.Fatalf("got version %d and %d kept, want %d and %d", v.Number, len(s.History()), newest.Number, len(kept))
	}
	for _, want := range kept[max(0, len(kept)-3):] {
		got, err := s.Show(want.Number)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	}
}

func FuzzDecodeCommand(f *testing.F) {
	s := newStore(f)
	f.Add(s.ApplyCommand(planWith("201"), "ann", "note", 7, noon(0)))
	f.Add(s.ApplyCommand(nil, "", "", AnyVersion, noon(0)))
	f.Fuzz(func(t *testing.T, cmd []byte) {
		c, err := decodeCommand(cmd)
		if err != nil {
			return
		}
		again, err := decodeCommand(s.ApplyCommand(c.sources, c.author, c.note, c.ifVersion, c.time))
		if err != nil || again.ifVersion != c.ifVersion || !again.time.Equal(c.time) || len(again.sources) != len(c.sources) {
			t.Errorf("got %+v, %v, want %+v", again, err, c)
		}
	})
}

func FuzzRestore(f *testing.F) {
	s := newStore(f)
	f.Add(snapshotOf(f, s))
	s.Apply(s.ApplyCommand(planWith("201"), "ann", "note", 0, noon(0)))
	f.Add(snapshotOf(f, s))
	f.Fuzz(func(t *testing.T, snapshot []byte) {
		s := newStore(t)
		if err := s.Restore(bytes.NewReader(snapshot)); err != nil {
			return
		}
		if plan, v := s.Current(); (plan != nil) != (v.Number != 0 || len(s.History()) > 0) {
			t.Errorf("plan %v, version %d", plan, v.Number)
		}
	})
}
