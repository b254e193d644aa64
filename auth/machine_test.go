package auth

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// model is the naive twin of Store: a list, searched from end to end.
type model []NewAccount

func (m *model) find(tenant, name string) int {
	return slices.IndexFunc(*m, func(a NewAccount) bool {
		return a.Tenant == tenant && (a.User == name || (a.Extension == name && name != ""))
	})
}

// set returns the reason for a refusal, nil when the account was set.
func (m *model) set(a NewAccount) error {
	at := slices.IndexFunc(*m, func(b NewAccount) bool { return a.Tenant == b.Tenant && a.User == b.User })
	for i, b := range *m {
		clash := b.Tenant == a.Tenant && (b.Extension == a.User || (a.Extension != "" && (b.Extension == a.Extension || b.User == a.Extension)))
		if i != at && clash {
			return ErrNameTaken
		}
	}
	switch {
	case a.Password == "" && (at < 0 || (*m)[at].Extension != a.Extension):
		return ErrPasswordNeeded
	case at < 0:
		*m = append(*m, a)
	default:
		if a.Password == "" {
			a.Password = (*m)[at].Password
		}
		(*m)[at] = a
	}
	return nil
}

func (m *model) remove(tenant, user string) error {
	n := len(*m)
	*m = slices.DeleteFunc(*m, func(a NewAccount) bool { return a.Tenant == tenant && a.User == user })
	if len(*m) == n {
		return ErrNotFound
	}
	return nil
}

func TestRandomCommandsAgreeWithANaiveModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	path := filepath.Join(t.TempDir(), "auth.key")
	s, m := storeWithKey(t, path), model{}
	names := []string{"a", "b", "c", "201", "202", "203"}
	tenants := []string{"t1", "t2"}
	pick := func(from []string) string { return from[r.IntN(len(from))] }
	account := func() NewAccount {
		a := NewAccount{Tenant: pick(tenants), User: pick(names), Password: fmt.Sprint("pw", r.IntN(9))}
		if r.IntN(3) > 0 {
			a.Extension = pick(names)
		}
		if r.IntN(5) == 0 {
			a.Password = ""
		}
		return a
	}
	for step := range 5000 {
		var got, want error
		switch r.IntN(10) {
		case 0, 1, 2, 3, 4:
			a := account()
			cmd, err := s.SetCommand(a.Tenant, a.User, a.Password, a.Extension, a.Display, noon)
			if err != nil {
				t.Fatal(err)
			}
			got, want = applied(s, cmd), m.set(a)
			if again := applied(s, cmd); !same(again, want) {
				t.Fatalf("step %d: applied again: got %v, want %v", step, again, want)
			}
		case 5, 6:
			tenant, user := pick(tenants), pick(names)
			got, want = applied(s, s.RemoveCommand(tenant, user)), m.remove(tenant, user)
		case 7:
			batch := make([]NewAccount, 1+r.IntN(4))
			for i := range batch {
				batch[i] = account()
				batch[i].Password = "x"
			}
			cmd, err := s.ImportCommand(batch, noon)
			if err != nil {
				t.Fatal(err)
			}
			checkImport(t, step, s.Apply(cmd).(ImportResult), batch, &m)
		case 8:
			data := snapshot(t, s)
			s = storeWithKey(t, path)
			if err := s.Restore(bytes.NewReader(data)); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(snapshot(t, s), data) {
				t.Fatalf("step %d: the snapshot of the restored store differs", step)
			}
		default:
			compare(t, step, s, m, tenants, names)
		}
		if !same(got, want) {
			t.Fatalf("step %d: got %v, want %v", step, got, want)
		}
	}
	compare(t, -1, s, m, tenants, names)
}

func same(got, want error) bool { return errors.Is(got, want) && (got == nil) == (want == nil) }

func checkImport(t *testing.T, step int, got ImportResult, batch []NewAccount, m *model) {
	t.Helper()
	var refused []int
	for i, a := range batch {
		if m.set(a) != nil {
			refused = append(refused, i)
		}
	}
	var said []int
	for _, r := range got.Rejected {
		said = append(said, r.Index)
	}
	if !slices.Equal(said, refused) || got.Added+got.Changed+len(said) != len(batch) {
		t.Fatalf("step %d: import of %+v: got %+v, want %v refused", step, batch, got, refused)
	}
}

func compare(t *testing.T, step int, s *Store, m model, tenants, names []string) {
	t.Helper()
	for _, tenant := range tenants {
		for _, name := range names {
			got, ok := s.Account(tenant, name)
			i := m.find(tenant, name)
			if ok != (i >= 0) {
				t.Fatalf("step %d: %s@%s: there %v, want %v", step, name, tenant, ok, i >= 0)
			}
			if !ok {
				continue
			}
			want := m[i]
			if got.User != want.User || got.Extension != want.Extension {
				t.Fatalf("step %d: %s@%s: got %+v, want %+v", step, name, tenant, got, want)
			}
			h := newHashes(want)
			ha1, n, _, _ := s.HA1(tenant, name, SHA256)
			if string(ha1[:n]) != fmt.Sprintf("%x", h.of(name != want.User, SHA256)) {
				t.Fatalf("step %d: %s@%s: another secret", step, name, tenant)
			}
		}
	}
	if _, total := s.Accounts("", 0, 0); total != len(m) || s.Stats().Accounts != len(m) {
		t.Fatalf("step %d: %d accounts, %d counted, want %d", step, total, s.Stats().Accounts, len(m))
	}
}

func TestASnapshotCarriesTokensAndDisabledAccounts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth.key")
	a, b := storeWithKey(t, path), storeWithKey(t, path)
	mustSet(t, a, "acme", "alice", "pw", "201")
	if err := applied(a, a.EnableCommand("acme", "alice", false, noon)); err != nil {
		t.Fatal(err)
	}
	secret := newToken(t, a, "job", noon, noon.Add(time.Hour))
	if err := b.Restore(bytes.NewReader(snapshot(t, a))); err != nil {
		t.Fatal(err)
	}
	if got, ok := b.Account("acme", "201"); !ok || !got.Disabled {
		t.Errorf("account: got %+v %v", got, ok)
	}
	if tok, ok := b.VerifyToken(secret, noon); !ok || tok.Name != "job" {
		t.Errorf("token: got %+v %v", tok, ok)
	}
}

func TestASnapshotShowsTheMomentItWasTaken(t *testing.T) {
	s := newStore(t)
	mustSet(t, s, "acme", "alice", "pw", "201")
	write, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	mustSet(t, s, "acme", "bob", "pw", "202")
	s.Apply(s.EnableCommand("acme", "alice", false, noon))
	var out bytes.Buffer
	if err := write(&out); err != nil {
		t.Fatal(err)
	}
	if err := s.Restore(&out); err != nil {
		t.Fatal(err)
	}
	if got, ok := s.Account("acme", "alice"); s.Stats().Accounts != 1 || !ok || got.Disabled {
		t.Errorf("got %+v", got)
	}
}

func TestADamagedSnapshotIsRefusedAndChangesNothing(t *testing.T) {
	s := newStore(t)
	mustSet(t, s, "acme", "alice", "pw", "201")
	newToken(t, s, "job", noon, time.Time{})
	good := snapshot(t, s)
	for cut := range good {
		if s.Restore(bytes.NewReader(good[:cut])) == nil {
			t.Fatalf("the first %d of %d bytes were accepted", cut, len(good))
		}
	}
	if s.Restore(io.MultiReader(bytes.NewReader(good), strings.NewReader("x"))) == nil {
		t.Error("a snapshot with a byte more was accepted")
	}
	if !bytes.Equal(snapshot(t, s), good) {
		t.Error("a refused snapshot changed the state")
	}
}

func TestANodeWithAnotherKeyRefusesTheSnapshotAndStopsAtTheLog(t *testing.T) {
	ours, theirs := newStore(t), newStore(t)
	cmd, err := theirs.SetCommand("acme", "alice", "pw", "201", "", noon)
	if err != nil {
		t.Fatal(err)
	}
	theirs.Apply(cmd)
	err = ours.Restore(bytes.NewReader(snapshot(t, theirs)))
	if err == nil || !strings.Contains(err.Error(), "put the right key file in place") {
		t.Errorf("restore: got %v", err)
	}
	if got := panicOf(func() { ours.Apply(cmd) }); !strings.Contains(got, "put the right key file in place") {
		t.Errorf("apply: got %q", got)
	}
}

func TestACommandSealedWithAForeignKeyIsRefusedByEveryNodeAlike(t *testing.T) {
	ours, theirs := newStore(t), newStore(t)
	mustSet(t, ours, "acme", "alice", "pw", "201")
	before := snapshot(t, ours)
	cmd, err := theirs.SetCommand("acme", "bob", "pw", "202", "", noon)
	if err != nil {
		t.Fatal(err)
	}
	if err := applied(ours, cmd); !errors.Is(err, ErrForeignKey) {
		t.Errorf("got %v, want ErrForeignKey", err)
	}
	if !bytes.Equal(snapshot(t, ours), before) {
		t.Error("the command changed something")
	}
}

func TestUnknownCommandsStopTheNodeUnlessTheyAreOptional(t *testing.T) {
	s := newStore(t)
	for name, cmd := range map[string][]byte{
		"empty": {}, "version": {commandVersion + 1, byte(kindSet)}, "kind": {commandVersion, 0x7f}, "half": {commandVersion, byte(kindRemove), 200},
	} {
		if got := panicOf(func() { s.Apply(cmd) }); !strings.Contains(got, "the log holds a command this node cannot apply") {
			t.Errorf("%s: got %q", name, got)
		}
	}
	if err := applied(s, []byte{commandVersion, byte(optionalKind) | 1, 9, 9}); !errors.Is(err, errOptionalKind) {
		t.Errorf("optional: got %v", err)
	}
	cmd, err := s.SetCommand("acme", "alice", "pw", "", "", noon)
	if err != nil {
		t.Fatal(err)
	}
	cmd[len(cmd)-1] ^= 1
	if got := panicOf(func() { s.Apply(cmd) }); !strings.Contains(got, "alice@acme are damaged") {
		t.Errorf("damaged: got %q", got)
	}
}

func panicOf(f func()) (text string) {
	defer func() {
		if v := recover(); v != nil {
			text = fmt.Sprint(v)
		}
	}()
	f()
	return ""
}

func TestReadersAndTheMachineDoNotDisturbEachOther(t *testing.T) {
	s := newStore(t)
	mustSet(t, s, "acme", "alice", "pw", "201")
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
				if _, _, user, ok := s.HA1("acme", "alice", MD5); !ok || user != "alice" {
					t.Error("alice vanished")
					return
				}
				s.Accounts("acme", 0, 10)
				s.Stats()
			}
		})
	}
	for i := range 300 {
		mustSet(t, s, "acme", "alice", fmt.Sprint(i), "201")
		mustSet(t, s, "acme", fmt.Sprint("u", i%7), "pw", "")
		_ = snapshot(t, s)
	}
	close(stop)
	readers.Wait()
}

func FuzzDecodeCommand(f *testing.F) {
	s := newStore(f)
	for _, seed := range commandsOfEveryKind(f, s) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := decode(data)
		if err != nil {
			return
		}
		again, err := decode(encode(c))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(c) {
			t.Fatalf("decoded again: %v\n got %+v\nwant %+v", err, again, c)
		}
		if c.kind != kindSet {
			s.Apply(data) // nothing sealed, so nothing can be wrong with it: it must not stop the node
		}
	})
}

func commandsOfEveryKind(t testing.TB, s *Store) [][]byte {
	t.Helper()
	must := func(cmd []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	_, token, err := s.TokenCommand("job", noon, noon.Add(time.Hour))
	return [][]byte{
		must(s.SetCommand("acme", "alice", "pw", "201", "Alice", noon)),
		must(s.SetCommand("acme", "alice", "", "201", "Alice", noon)),
		must(s.ImportCommand([]NewAccount{{Tenant: "t", User: "u", Password: "p"}, {Tenant: "t", User: "v", Password: "p"}}, noon)),
		s.RemoveCommand("acme", "alice"), s.EnableCommand("acme", "alice", false, noon),
		must(token, err), s.RevokeTokenCommand("0123456789abcdef"),
		{commandVersion, 0x81, 1},
	}
}

func FuzzRestore(f *testing.F) {
	s := newStore(f)
	f.Add(snapshot(f, s))
	mustSet(f, s, "acme", "alice", "pw", "201")
	f.Add(snapshot(f, s))
	other := storeWithKey(f, filepath.Join(f.TempDir(), "k"))
	f.Add(snapshot(f, other))
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := s.Restore(bytes.NewReader(data)); err != nil {
			return
		}
		if err := s.Restore(bytes.NewReader(snapshot(t, s))); err != nil {
			t.Fatalf("its own snapshot is refused: %v", err)
		}
	})
}
