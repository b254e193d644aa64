package auth

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/md5"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newStore(t testing.TB) *Store {
	t.Helper()
	return storeWithKey(t, filepath.Join(t.TempDir(), "auth.key"))
}

func storeWithKey(t testing.TB, keyFile string) *Store {
	t.Helper()
	s, err := New(Config{KeyFile: keyFile})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// set applies one SetCommand and returns its result.
func set(t testing.TB, s *Store, tenant, user, password, extension string) error {
	t.Helper()
	cmd, err := s.SetCommand(tenant, user, password, extension, "", noon)
	if err != nil {
		t.Fatal(err)
	}
	return applied(s, cmd)
}

// applied returns Apply's result as an error.
func applied(s *Store, cmd []byte) error {
	err, _ := s.Apply(cmd).(error)
	return err
}

func mustSet(t testing.TB, s *Store, tenant, user, password, extension string) {
	t.Helper()
	if err := set(t, s, tenant, user, password, extension); err != nil {
		t.Fatal(err)
	}
}

func snapshot(t testing.TB, s *Store) []byte {
	t.Helper()
	write, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestAPhoneMayUseUserOrExtensionAndEitherAlgorithm(t *testing.T) {
	s := newStore(t)
	mustSet(t, s, "acme", "alice", "s3cret", "201")
	for _, name := range []string{"alice", "201"} {
		for _, alg := range []Algorithm{MD5, SHA256} {
			text := []byte(name + ":acme:s3cret")
			m, sh := md5.Sum(text), sha256.Sum256(text)
			want := hex.EncodeToString(m[:])
			if alg == SHA256 {
				want = hex.EncodeToString(sh[:])
			}
			ha1, n, user, ok := s.HA1("acme", name, alg)
			if got := string(ha1[:n]); got != want || user != "alice" || !ok {
				t.Errorf("HA1(%s, %s): got %s %s %v, want %s alice true", name, alg, got, user, ok, want)
			}
		}
	}
}

// RFC 7616 §3.9.1 gives a whole exchange; its response is reached from our HA1.
func TestHA1LeadsToTheResponsesOfRFC7616(t *testing.T) {
	h := newHashes(NewAccount{Tenant: "http-auth@example.org", User: "Mufasa", Password: "Circle of Life"})
	const middle = ":7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v:00000001:f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ:auth:"
	md5hex := func(s string) string { v := md5.Sum([]byte(s)); return hex.EncodeToString(v[:]) }
	shahex := func(s string) string { v := sha256.Sum256([]byte(s)); return hex.EncodeToString(v[:]) }
	got := md5hex(hex.EncodeToString(h.of(false, MD5)) + middle + md5hex("GET:/dir/index.html"))
	if want := "8ca523f5e9506fed4657c9700eebdbec"; got != want {
		t.Errorf("MD5: got %s, want %s", got, want)
	}
	got = shahex(hex.EncodeToString(h.of(false, SHA256)) + middle + shahex("GET:/dir/index.html"))
	if want := "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"; got != want {
		t.Errorf("SHA-256: got %s, want %s", got, want)
	}
}

func TestAnUnknownNameGetsTheSameDecoyEveryTime(t *testing.T) {
	s := newStore(t)
	mustSet(t, s, "acme", "alice", "s3cret", "")
	seen := map[string]string{}
	for _, tenant := range []string{"acme", "other", ""} {
		for _, name := range []string{"mallory", "eve", "", strings.Repeat("x", 5000)} {
			for _, alg := range []Algorithm{MD5, SHA256} {
				first, n, user, ok := s.HA1(tenant, name, alg)
				again, _, _, _ := s.HA1(tenant, name, alg)
				if ok || user != "" || n != 2*alg.Size() || first != again {
					t.Fatalf("HA1(%q, %.10q, %s): n %d, user %q, ok %v, repeatable %v", tenant, name, alg, n, user, ok, first == again)
				}
				label := fmt.Sprintf("%s/%.10s/%s", tenant, name, alg)
				if other, twice := seen[string(first[:n])]; twice {
					t.Errorf("%s and %s have the same decoy", label, other)
				}
				seen[string(first[:n])] = label
			}
		}
	}
}

func TestTheDecoyIsTheSameOnEveryNodeWithTheKeyAndOnNoOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth.key")
	a, b, c := storeWithKey(t, path), storeWithKey(t, path), newStore(t)
	x, _, _, _ := a.HA1("acme", "nobody", SHA256)
	y, _, _, _ := b.HA1("acme", "nobody", SHA256)
	z, _, _, _ := c.HA1("acme", "nobody", SHA256)
	if x != y {
		t.Error("two nodes with one key answer differently")
	}
	if x == z {
		t.Error("a decoy can be guessed without the key")
	}
}

// TestADecoyIsTwoCBCMACs compares the decoys with the standard library's CBC.
func TestADecoyIsTwoCBCMACs(t *testing.T) {
	secret := []byte("a secret of thirty-two bytes ...")
	d, err := newDecoys(secret)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		t.Fatal(err)
	}
	for _, names := range [][2]string{{"acme", "nobody"}, {"", ""}, {"acme.example.com", ""}, {"acme", strings.Repeat("x", 12)}, {"acme", strings.Repeat("x", 13)}, {"a", strings.Repeat("y", 500)}} {
		var got [32]byte
		d.fill(&got, names[0], names[1], SHA256)
		text := append([]byte{1, 0, 0, 0, 0, 0, 0, 0}, binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(len(names[0]))), uint32(len(names[1])))...)
		text = append(text, names[0]+names[1]...)
		text = append(text, make([]byte, (16-len(text)%16)%16+15)...)
		var want []byte
		for half := range 2 {
			mac := append(bytes.Clone(text), byte(1+half))
			cipher.NewCBCEncrypter(block, make([]byte, 16)).CryptBlocks(mac, mac)
			want = append(want, mac[len(mac)-16:]...)
		}
		if !bytes.Equal(got[:], want) {
			t.Errorf("%.20q: got %x, want %x", names, got, want)
		}
	}
}

func TestADisabledAccountAnswersLikeAnUnknownOne(t *testing.T) {
	s := newStore(t)
	decoy, _, _, _ := s.HA1("acme", "alice", SHA256)
	mustSet(t, s, "acme", "alice", "s3cret", "201")
	if err := applied(s, s.EnableCommand("acme", "alice", false, noon)); err != nil {
		t.Fatal(err)
	}
	got, _, user, ok := s.HA1("acme", "alice", SHA256)
	if got != decoy || ok || user != "" {
		t.Errorf("disabled: got user %q ok %v, decoy %v", user, ok, got == decoy)
	}
	if _, ok := s.User("acme", "201"); ok {
		t.Error("a disabled account can be dialled")
	}
	if a, ok := s.Account("acme", "201"); !ok || !a.Disabled {
		t.Errorf("a disabled account must stay visible: got %+v %v", a, ok)
	}
	mustSet(t, s, "acme", "alice", "other", "201")
	if a, _ := s.Account("acme", "alice"); !a.Disabled {
		t.Error("a new password enabled the account")
	}
	if err := applied(s, s.EnableCommand("acme", "alice", true, noon)); err != nil {
		t.Fatal(err)
	}
	if _, _, user, ok := s.HA1("acme", "201", MD5); !ok || user != "alice" {
		t.Errorf("enabled again: got %q %v", user, ok)
	}
}

func TestALookUpAllocatesNothing(t *testing.T) {
	s := newStore(t)
	mustSet(t, s, "acme", "alice", "s3cret", "201")
	for _, name := range []string{"alice", "201", "nobody"} {
		s.HA1("acme", name, SHA256)
		if got := testing.AllocsPerRun(200, func() { s.HA1("acme", name, SHA256) }); got >= 1 {
			t.Errorf("HA1(%s): %v allocations", name, got)
		}
	}
}

func TestNamesAreUniqueTogetherWithinATenant(t *testing.T) {
	s := newStore(t)
	mustSet(t, s, "acme", "alice", "pw", "201")
	mustSet(t, s, "acme", "1000", "pw", "1000")
	mustSet(t, s, "globex", "alice", "pw", "201")
	for _, test := range []struct{ user, extension, want string }{
		{"bob", "201", "account bob@acme: name is taken: 201 is the extension of alice"},
		{"bob", "alice", "account bob@acme: name is taken: alice is the user name of alice"},
		{"201", "", "account 201@acme: name is taken: 201 is the extension of alice"},
	} {
		err := set(t, s, "acme", test.user, "pw", test.extension)
		if !errors.Is(err, ErrNameTaken) || err.Error() != test.want {
			t.Errorf("%s/%s: got %v, want %s", test.user, test.extension, err, test.want)
		}
	}
	mustSet(t, s, "acme", "alice", "pw", "202") // moves away, so 201 is free
	mustSet(t, s, "acme", "bob", "pw", "201")
}

func TestAnEmptyPasswordKeepsTheOldOneWhileTheNamesStay(t *testing.T) {
	s := newStore(t)
	if err := set(t, s, "acme", "alice", "", ""); !errors.Is(err, ErrPasswordNeeded) {
		t.Errorf("new account: got %v", err)
	}
	mustSet(t, s, "acme", "alice", "pw", "201")
	before, _, _, _ := s.HA1("acme", "201", SHA256)
	cmd, err := s.SetCommand("acme", "alice", "", "201", "Alice A.", noon.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if err := applied(s, cmd); err != nil {
		t.Fatal(err)
	}
	after, _, _, ok := s.HA1("acme", "201", SHA256)
	if a, _ := s.Account("acme", "alice"); before != after || !ok || a.Display != "Alice A." || !a.Changed.Equal(noon.Add(time.Hour)) {
		t.Errorf("got %+v, same secret %v", a, before == after)
	}
	if err := set(t, s, "acme", "alice", "", "202"); !errors.Is(err, ErrPasswordNeeded) {
		t.Errorf("other extension: got %v", err)
	}
}

func TestARemovedAccountIsGoneUnderBothNames(t *testing.T) {
	s := newStore(t)
	mustSet(t, s, "acme", "alice", "pw", "201")
	if err := applied(s, s.RemoveCommand("acme", "201")); !errors.Is(err, ErrNotFound) {
		t.Errorf("remove by extension: got %v, want ErrNotFound", err)
	}
	if err := applied(s, s.RemoveCommand("acme", "alice")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alice", "201"} {
		if _, ok := s.Account("acme", name); ok {
			t.Errorf("%s is still there", name)
		}
	}
	if err := applied(s, s.RemoveCommand("acme", "alice")); !errors.Is(err, ErrNotFound) {
		t.Errorf("again: got %v, want ErrNotFound", err)
	}
	if st := s.Stats(); st.Accounts != 0 || st.Tenants != 0 {
		t.Errorf("left over: %+v", st)
	}
}

func TestNoNameFromAPersonCanStopTheMachine(t *testing.T) {
	s := newStore(t)
	long := strings.Repeat("x", 100_000)
	for _, cmd := range [][]byte{s.RemoveCommand(long, long), s.EnableCommand(long, "\x00", false, noon), s.RevokeTokenCommand(long)} {
		if err := applied(s, cmd); !errors.Is(err, ErrNotFound) {
			t.Errorf("got %v, want ErrNotFound", err)
		}
	}
}

func TestAccountsAreListedInPages(t *testing.T) {
	s := newStore(t)
	for i := range 25 {
		mustSet(t, s, "acme", fmt.Sprintf("u%02d", i), "pw", fmt.Sprint(100+i))
	}
	mustSet(t, s, "aaa", "x", "pw", "")
	mustSet(t, s, "zzz", "y", "pw", "")
	for _, test := range []struct {
		tenant        string
		offset, limit int
		first, last   string
		n, total      int
	}{
		{"acme", 0, 10, "u00", "u09", 10, 25},
		{"acme", 20, 10, "u20", "u24", 5, 25},
		{"acme", 30, 10, "", "", 0, 25},
		{"acme", -3, -1, "", "", 0, 25},
		{"", 0, 100, "x", "y", 27, 27},
		{"nowhere", 0, 10, "", "", 0, 0},
	} {
		page, total := s.Accounts(test.tenant, test.offset, test.limit)
		if len(page) != test.n || total != test.total {
			t.Errorf("%+v: got %d of %d", test, len(page), total)
			continue
		}
		if test.n > 0 && (page[0].User != test.first || page[test.n-1].User != test.last) {
			t.Errorf("%+v: got %s to %s", test, page[0].User, page[test.n-1].User)
		}
	}
}

func TestInvalidAccountsAreRefusedBeforeTheyReachTheLog(t *testing.T) {
	s := newStore(t)
	long := strings.Repeat("x", MaxName+1)
	for _, a := range []NewAccount{
		{Tenant: "", User: "u", Password: "p"},
		{Tenant: "t", User: "", Password: "p"},
		{Tenant: "t", User: "a b", Password: "p"},
		{Tenant: "t", User: "ä", Password: "p"},
		{Tenant: "t", User: long, Password: "p"},
		{Tenant: "t", User: "u", Password: "p", Extension: "2@1"},
		{Tenant: "t", User: "u", Password: "p\n"},
		{Tenant: "t", User: "u", Password: strings.Repeat("p", MaxPassword+1)},
		{Tenant: "t", User: "u", Password: "p", Display: "\xff"},
	} {
		if _, err := s.SetCommand(a.Tenant, a.User, a.Password, a.Extension, a.Display, noon); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: got %v, want ErrInvalid", a, err)
		}
		if _, err := s.ImportCommand([]NewAccount{a}, noon); !errors.Is(err, ErrInvalid) {
			t.Errorf("import %+v: got %v, want ErrInvalid", a, err)
		}
	}
	if _, err := s.ImportCommand(make([]NewAccount, MaxImport+1), noon); !errors.Is(err, ErrInvalid) {
		t.Errorf("too many: got %v", err)
	}
}

func TestAnImportSetsWhatItCanAndSaysWhatItCannot(t *testing.T) {
	s := newStore(t)
	mustSet(t, s, "acme", "alice", "pw", "201")
	cmd, err := s.ImportCommand([]NewAccount{
		{Tenant: "acme", User: "bob", Password: "pw", Extension: "202"},
		{Tenant: "acme", User: "carol", Password: "pw", Extension: "201"},
		{Tenant: "acme", User: "alice", Password: "new", Extension: "200"},
	}, noon)
	if err != nil {
		t.Fatal(err)
	}
	got := s.Apply(cmd).(ImportResult)
	if got.Added != 1 || got.Changed != 1 || len(got.Rejected) != 1 || got.Rejected[0].Index != 1 || !errors.Is(got.Rejected[0].Err, ErrNameTaken) {
		t.Errorf("got %+v", got)
	}
}

func TestSecretsAreSealedInCommandsAndSnapshots(t *testing.T) {
	s := newStore(t)
	cmd, err := s.SetCommand("acme", "alice", "very-secret-word", "201", "", noon)
	if err != nil {
		t.Fatal(err)
	}
	s.Apply(cmd)
	h := newHashes(NewAccount{Tenant: "acme", User: "alice", Password: "very-secret-word", Extension: "201"})
	for name, data := range map[string][]byte{"command": cmd, "snapshot": snapshot(t, s)} {
		for _, secret := range [][]byte{[]byte("very-secret-word"), h.of(false, MD5), h.of(false, SHA256), h.of(true, MD5), h.of(true, SHA256)} {
			if bytes.Contains(data, secret) || bytes.Contains(data, []byte(hex.EncodeToString(secret))) {
				t.Errorf("the %s shows a secret", name)
			}
		}
	}
}

func TestASealedSecretOpensForItsOwnAccountOnly(t *testing.T) {
	s := newStore(t)
	h := newHashes(NewAccount{Tenant: "acme", User: "alice", Password: "pw"})
	sealed, err := s.key.seal(&h, "acme", "alice", "201")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.key.open(&sealed, "acme", "alice", "201"); err != nil || got != h {
		t.Fatalf("its own: %v", err)
	}
	for _, names := range [][3]string{{"acme", "bob", "201"}, {"acme", "alice", ""}, {"acm", "ealice", "201"}} {
		if _, err := s.key.open(&sealed, names[0], names[1], names[2]); err == nil {
			t.Errorf("opened for %v", names)
		}
	}
}

func TestAnAccountTakesLessThanAKilobyte(t *testing.T) {
	const n = 20_000
	s := newStore(t)
	before := heap()
	importAccounts(t, s, n)
	s.Accounts("", 0, 1) // the sorted list counts too
	per := (heap() - before) / n
	t.Logf("%d bytes of heap an account", per)
	if per > 1024 {
		t.Errorf("got %d bytes an account, at most 1024 may be", per)
	}
	runtime.KeepAlive(s)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func importAccounts(t testing.TB, s *Store, n int) {
	t.Helper()
	for from := 0; from < n; from += MaxImport {
		batch := make([]NewAccount, 0, MaxImport)
		for i := from; i < min(from+MaxImport, n); i++ {
			batch = append(batch, NewAccount{Tenant: "acme.example", User: fmt.Sprintf("user%06d", i), Password: fmt.Sprintf("password-%d", i), Extension: fmt.Sprint(100_000 + i), Display: "Some Body"})
		}
		cmd, err := s.ImportCommand(batch, noon)
		if err != nil {
			t.Fatal(err)
		}
		if r := s.Apply(cmd).(ImportResult); r.Added != len(batch) {
			t.Fatalf("got %+v", r)
		}
	}
}

func BenchmarkImport(b *testing.B) {
	s := newStore(b)
	for b.Loop() {
		importAccounts(b, s, MaxImport)
		s.mu.Lock()
		s.state = newState()
		s.mu.Unlock()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/MaxImport, "ns/account")
}

func BenchmarkHA1(b *testing.B) {
	s := newStore(b)
	importAccounts(b, s, 10_000)
	for _, name := range []string{"user004711", "104711", "user990000"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.HA1("acme.example", name, SHA256)
			}
		})
	}
}

func TestStatsCountWhatHappened(t *testing.T) {
	s := newStore(t)
	mustSet(t, s, "acme", "alice", "pw", "201")
	_ = set(t, s, "acme", "bob", "pw", "201")
	s.HA1("acme", "alice", MD5)
	s.HA1("acme", "nobody", MD5)
	got := s.Stats()
	want := Stats{Accounts: 1, Tenants: 1, Lookups: 2, Unknown: 1, Applied: 2, Refused: 1}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestTheKeyFileIsMadeOnceAndPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets", "auth.key")
	a, b := storeWithKey(t, path), storeWithKey(t, path)
	if a.key.id != b.key.id {
		t.Error("the second start made another key")
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := st.Mode().Perm(); got != 0o600 {
		t.Errorf("mode: got %v, want 0600", got)
	}
}

func TestALostExchangedOrDamagedKeyFileStopsTheNodeAtOnce(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(path string) error
		want  string
	}{
		"lost":      {os.Remove, "is missing, but accounts here are sealed with key"},
		"damaged":   {func(p string) error { return os.WriteFile(p, []byte("zz"), 0o600) }, "must hold 64 hexadecimal digits"},
		"exchanged": {func(p string) error { return os.WriteFile(p, []byte(strings.Repeat("ab", 32)), 0o600) }, "but accounts here are sealed with key"},
		"bad check": {func(p string) error { return os.WriteFile(p+".id", []byte("?"), 0o600) }, "is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "auth.key")
			storeWithKey(t, path)
			if err := test.spoil(path); err != nil {
				t.Fatal(err)
			}
			_, err := New(Config{KeyFile: path})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
	if _, err := New(Config{}); err == nil {
		t.Error("a store without a key file was made")
	}
}

func TestTheKeyOfAClusterIsKeptUnlessAnotherIsThere(t *testing.T) {
	dir := t.TempDir()
	text := []byte(strings.Repeat("0123456789abcdef", 4) + "\n")
	path := filepath.Join(dir, "deeper", "auth.key")
	for range 2 { // a second time does no harm
		if err := KeepKey(path, text); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := New(Config{KeyFile: path}); err != nil {
		t.Fatal(err)
	}
	if err := KeepKey(path, []byte(strings.Repeat("f", 64))); err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("got %v", err)
	}
	if err := KeepKey(filepath.Join(dir, "other"), []byte("short")); err == nil {
		t.Error("a damaged key was kept")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info, err)
	}
}
