package sip

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/events"
	"tandem/sip/transport"
)

var locTime = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// locLog is a log of one: it applies at once, or when flush is called while hold is set.
type locLog struct {
	loc   *Location
	hold  bool
	full  error // ProposeAsync refuses
	lost  error // the command is not applied, done hears this
	queue []func()
	cmds  int
	bytes int // of the largest command
	mixed int // commands about more than one slot
}

func (l *locLog) ProposeAsync(machine string, cmd []byte, done func(any, error)) error {
	if machine != LocationMachine {
		return errors.New("no such machine")
	}
	if l.full != nil {
		return l.full
	}
	l.cmds++
	l.bytes = max(l.bytes, len(cmd))
	if slotsOf(l.loc, cmd) > 1 {
		l.mixed++
	}
	do := func() {
		if l.lost != nil {
			done(nil, l.lost)
			return
		}
		done(l.loc.Apply(cmd), nil)
	}
	if l.hold {
		l.queue = append(l.queue, do)
		return nil
	}
	do()
	return nil
}

func (l *locLog) flush() {
	queue := l.queue
	l.queue = nil
	for _, do := range queue {
		do()
	}
}

// slotsOf counts the slots that a command is about.
func slotsOf(l *Location, cmd []byte) int {
	c, err := decodeLocationCommand(cmd)
	if err != nil {
		return 0
	}
	slots := map[int]bool{}
	if len(c.ops) == 0 || c.ops[0].aor == nil {
		slots[l.shard(appendAOR(nil, string(c.tenant), string(c.user))).index] = true
	}
	for _, op := range c.ops {
		if op.aor != nil {
			slots[l.shard(op.aor).index] = true
		}
	}
	return len(slots)
}

// The log and the snapshots of all times are by these.
func TestAnAORKeepsItsSlot(t *testing.T) {
	l := NewLocation()
	for name, want := range map[string]int{"acme/alice": 175, "acme/bob": 12, "demo/+442079460201": 238} {
		tenant, user, _ := strings.Cut(name, "/")
		if got := l.shard(appendAOR(nil, tenant, user)).index; got != want {
			t.Errorf("%s is of slot %d, want %d", name, got, want)
		}
	}
}

func locFlow(port uint16) transport.Flow {
	return transport.Flow{Remote: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port)}
}

func locBinding(contact, callID string, cseq uint32, now time.Time, expires time.Duration) Binding {
	return Binding{
		Contact: contact, CallID: callID, CSeq: cseq, Q: 1000, Flow: locFlow(5060), Since: now, Expires: now.Add(expires), Lease: now.Add(expires + time.Hour),
		UserAgent: "phone", Node: "n1",
	}
}

func locPut(l *Location, tenant, user string, limit int, bs ...Binding) any {
	cmd := appendRegister(nil, tenant, user, bs[0].Since, limit)
	for i := range bs {
		cmd = appendPut(cmd, &bs[i])
	}
	return l.Apply(cmd)
}

func locContacts(bs []Binding) string {
	var out []string
	for _, b := range bs {
		out = append(out, b.Contact)
	}
	return strings.Join(out, " ")
}

func TestBindingComesOutOfTheTableAsItWentIn(t *testing.T) {
	for name, b := range map[string]Binding{
		"least": {Contact: "sip:a@b", Q: 1000, Since: locTime, Expires: locTime.Add(time.Minute), Lease: locTime.Add(time.Minute)},
		"everything": {
			Contact: "sip:a@b;transport=tls", Flow: transport.Flow{Net: 2, Listener: 3, Conn: 1 << 60, Remote: netip.MustParseAddrPort("[2001:db8::1]:5061")},
			Path: []string{"<sip:p1;lr>", "<sip:p2;lr;ob>"}, Instance: "<urn:uuid:1>", RegID: 7, Q: 250, CallID: "x@y", CSeq: 1<<32 - 1, Since: locTime,
			Expires: locTime.Add(time.Hour), Lease: locTime.Add(2 * time.Hour), UserAgent: "phone/1.0", Node: "n1", Epoch: 1 << 50,
		},
		"IPv6 zone": {Contact: "sip:a@b", Flow: transport.Flow{Remote: netip.MustParseAddrPort("[fe80::1%eth0]:5060")}, Since: locTime, Expires: locTime.Add(time.Minute), Lease: locTime.Add(time.Minute)},
	} {
		t.Run(name, func(t *testing.T) {
			l := NewLocation()
			if r := locPut(l, "acme", "alice", 10, b); r != nil {
				t.Fatal(r)
			}
			want := b
			want.Expires = b.Lease // nothing was told here
			got := l.Lookup("acme", "alice", locTime)
			if len(got) != 1 || fmt.Sprintf("%+v", locUTC(got[0])) != fmt.Sprintf("%+v", locUTC(want)) {
				t.Fatalf("got  %+v\nwant %+v", got, want)
			}
			l.tell(appendAOR(nil, "acme", "alice"), []Binding{b})
			if got := l.Lookup("acme", "alice", locTime)[0].Expires; !got.Equal(b.Expires) {
				t.Errorf("told: expires %v, want %v", got, b.Expires)
			}
		})
	}
}

func locUTC(b Binding) Binding {
	b.Since, b.Expires, b.Lease = b.Since.UTC(), b.Expires.UTC(), b.Lease.UTC()
	return b
}

func TestLookupSortsByQThenNewestAndHidesTheExpired(t *testing.T) {
	l := NewLocation()
	now := locTime
	for i, q := range []uint16{500, 1000, 500, 0} {
		b := locBinding(fmt.Sprintf("sip:c%d@b", i), "id", uint32(i), now.Add(time.Duration(i)*time.Second), time.Duration(i+1)*time.Minute)
		b.Q, b.Lease = q, b.Expires
		locPut(l, "acme", "alice", 10, b)
	}
	if got, want := locContacts(l.Lookup("acme", "alice", now)), "sip:c1@b sip:c2@b sip:c0@b sip:c3@b"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := locContacts(l.Lookup("acme", "alice", now.Add(time.Minute))), "sip:c1@b sip:c2@b sip:c3@b"; got != want {
		t.Errorf("a minute later: got %s, want %s", got, want)
	}
	if got := l.Lookup("other", "alice", now); got != nil {
		t.Errorf("another tenant: got %v", got)
	}
}

func TestRefreshInsideTheLeaseIsLocalAndLostByARestart(t *testing.T) {
	l := NewLocation()
	aor := appendAOR(nil, "acme", "alice")
	b := locBinding("sip:a@b", "id", 1, locTime, time.Minute)
	locPut(l, "acme", "alice", 10, b)
	l.tell(aor, []Binding{b})
	now := locTime.Add(30 * time.Second)
	next := b
	next.CSeq, next.Expires = 2, now.Add(time.Minute)
	if !l.refresh(aor, []Binding{next}, now.UnixMilli()) {
		t.Fatal("refused")
	}
	if got := l.Lookup("acme", "alice", now)[0]; !got.Expires.Equal(next.Expires) || got.CSeq != 2 {
		t.Errorf("got %+v", got)
	}
	for name, change := range map[string]func(*Binding){
		"an earlier CSeq": func(b *Binding) { b.CSeq = 1 },
		"another Call-ID": func(b *Binding) { b.CallID = "other" },
		"another flow":    func(b *Binding) { b.Flow = locFlow(6000) },
		"another path":    func(b *Binding) { b.Path = []string{"<sip:p;lr>"} },
		"another q":       func(b *Binding) { b.Q = 1 },
		"another epoch":   func(b *Binding) { b.Epoch = 9 },
		"past the lease":  func(b *Binding) { b.Expires = b.Lease.Add(1e6) },
	} {
		c := next
		c.CSeq = 3
		if change(&c); l.refresh(aor, []Binding{c}, now.UnixMilli()) {
			t.Errorf("%s was answered without the log", name)
		}
	}
	if l.refresh(aor, []Binding{next}, next.Expires.UnixMilli()) {
		t.Error("an expired binding was refreshed")
	}
	again := locRestored(t, l)
	if got := again.Lookup("acme", "alice", b.Lease.Add(-1e6)); len(got) != 1 || !got[0].Expires.Equal(b.Lease) {
		t.Errorf("after a restart: got %+v", got)
	}
	if got := again.Lookup("acme", "alice", b.Lease); got != nil {
		t.Errorf("after a restart and the lease: got %+v", got)
	}
}

func locSnapshot(t testing.TB, l *Location) []byte {
	t.Helper()
	write, err := l.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := write(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func locRestored(t testing.TB, l *Location) *Location {
	t.Helper()
	fresh := NewLocation()
	if err := fresh.Restore(bytes.NewReader(locSnapshot(t, l))); err != nil {
		t.Fatal(err)
	}
	return fresh
}

func TestSweepRemovesWhatExpiredInBoundedCommandsAndTellsWatchers(t *testing.T) {
	l := NewLocation()
	log := &locLog{loc: l}
	const users = 20_000
	for i := range users {
		b := locBinding(fmt.Sprintf("sip:u%d@192.0.2.1", i), "id", 1, locTime, time.Duration(1+i%2)*time.Hour)
		b.Lease = b.Expires
		locPut(l, "acme", fmt.Sprint("u", i), 10, b)
	}
	expired := 0
	l.OnChange(func(kind events.Kind, tenant, user string, b Binding) {
		if kind == events.RegistrationExpired && tenant == "acme" && b.Contact == "sip:"+user+"@192.0.2.1" {
			expired++
		}
	})
	now := locTime.Add(time.Hour)
	for range 100 {
		if l.Sweep(log, now, true) == 0 {
			break
		}
	}
	if expired != users/2 || l.Stats().Bindings != users/2 || l.Stats().AORs != users/2 || l.Stats().Expired != users/2 {
		t.Errorf("%d expired, stats %+v", expired, l.Stats())
	}
	if log.mixed > 0 {
		t.Errorf("%d commands are about more than one slot", log.mixed)
	}
	if log.bytes > 16<<10 {
		t.Errorf("a command of %d bytes", log.bytes)
	}
	if l.Sweep(log, now, true) != 0 || l.Sweep(log, locTime.Add(2*time.Hour), true) == 0 {
		t.Error("swept too early or not at all")
	}
}

func TestBindingThatIsBeingSweptIsRefreshedThroughTheLogOnly(t *testing.T) {
	l := NewLocation()
	log := &locLog{loc: l, hold: true}
	aor := appendAOR(nil, "acme", "alice")
	b := locBinding("sip:a@b", "id", 1, locTime, time.Minute)
	locPut(l, "acme", "alice", 10, b)
	l.tell(aor, []Binding{b})
	now := locTime.Add(time.Minute)
	if n := l.Sweep(log, now, true); n != 1 {
		t.Fatalf("swept %d", n)
	}
	if l.Sweep(log, now, true) != 0 {
		t.Error("swept again while a sweep is under way")
	}
	next := b
	next.CSeq, next.Since, next.Expires = 2, now, now.Add(time.Minute)
	if l.refresh(aor, []Binding{next}, now.Add(-time.Second).UnixMilli()) {
		t.Error("refreshed without the log")
	}
	next.Lease = next.Lease.Add(time.Minute)
	locPut(l, "acme", "alice", 10, next) // is applied before the sweep
	log.flush()
	if got := l.Lookup("acme", "alice", now); len(got) != 1 {
		t.Errorf("the sweep removed a binding that was renewed: %v", got)
	}
}

func TestFailedSweepIsTriedAgain(t *testing.T) {
	l := NewLocation()
	log := &locLog{loc: l, full: errors.New("busy")}
	locPut(l, "acme", "alice", 10, locBinding("sip:a@b", "id", 1, locTime, time.Minute))
	now := locTime.Add(2 * time.Hour)
	l.Sweep(log, now, true)
	log.full, log.lost = nil, errors.New("lost")
	l.Sweep(log, now, true)
	log.lost = nil
	if l.Sweep(log, now, true) != 1 || l.Stats().Bindings != 0 {
		t.Errorf("got %+v", l.Stats())
	}
}

func TestAdminRemovesOneContactOrAll(t *testing.T) {
	l := NewLocation()
	for i := range 3 {
		locPut(l, "acme", "alice", 10, locBinding(fmt.Sprintf("sip:c%d@b", i), "id", 1, locTime.Add(time.Duration(-i)*time.Second), time.Minute))
	}
	l.Apply(l.RemoveCommand("acme", "alice", "sip:c1@b"))
	if got := locContacts(l.Lookup("acme", "alice", locTime)); got != "sip:c0@b sip:c2@b" {
		t.Errorf("got %s", got)
	}
	l.Apply(l.RemoveCommand("acme", "alice", ""))
	if st := l.Stats(); st.Bindings != 0 || st.AORs != 0 || st.Removed != 3 {
		t.Errorf("got %+v", st)
	}
}

func TestAllPagesThroughEveryBindingOnce(t *testing.T) {
	l := NewLocation()
	for i := range 1000 {
		user := fmt.Sprint("u", i%700)
		locPut(l, "acme", user, 10, locBinding(fmt.Sprintf("sip:c%d@b", i), "id", uint32(i), locTime, time.Minute))
	}
	seen := map[string]bool{}
	for offset := 0; ; offset += 64 {
		list, total := l.All(locTime, offset, 64)
		if total != 1000 {
			t.Fatalf("total %d", total)
		}
		if len(list) == 0 {
			break
		}
		for _, r := range list {
			if seen[r.Contact] {
				t.Fatalf("%s twice", r.Contact)
			}
			seen[r.Contact] = true
		}
	}
	if len(seen) != 1000 {
		t.Errorf("saw %d", len(seen))
	}
	if list, _ := l.All(locTime.Add(3*time.Hour), 0, 64); len(list) != 0 {
		t.Errorf("expired ones are listed: %d", len(list))
	}
}

func TestSnapshotIsOfItsMomentWhateverHappensBeforeItIsWritten(t *testing.T) {
	l := NewLocation()
	put := func(i int, contact string) {
		b := locBinding(contact, "id", 1, locTime, time.Minute)
		b.CallID = contact
		locPut(l, "acme", fmt.Sprint("u", i), 1, b)
	}
	for i := range 1000 {
		put(i, "sip:old@b")
	}
	first, _ := l.Snapshot()
	for i := range 500 {
		l.Apply(l.RemoveCommand("acme", fmt.Sprint("u", i), ""))
		put(i, "sip:new@b")
	}
	second, _ := l.Snapshot() // the first was not written yet
	var wg sync.WaitGroup
	wg.Go(func() { // writing does not disturb the log
		for i := range 1000 {
			l.Apply(l.RemoveCommand("acme", fmt.Sprint("u", i), ""))
			put(i+1000, "sip:late@b")
		}
	})
	wg.Go(func() { // nor local refreshes
		for i := range 1000 {
			aor := appendAOR(nil, "acme", fmt.Sprint("u", i))
			b := locBinding("sip:old@b", "sip:old@b", uint32(i), locTime, time.Hour)
			l.refresh(aor, []Binding{b}, locTime.UnixMilli())
		}
	})
	for name, c := range map[string]struct {
		write func(*bytes.Buffer) error
		fresh int
	}{
		"first":  {func(b *bytes.Buffer) error { return first(b) }, 0},
		"second": {func(b *bytes.Buffer) error { return second(b) }, 500},
	} {
		var buf bytes.Buffer
		if err := c.write(&buf); err != nil {
			t.Fatal(err)
		}
		back := NewLocation()
		if err := back.Restore(&buf); err != nil {
			t.Fatal(name, err)
		}
		if back.Stats().Bindings != 1000 {
			t.Errorf("%s: %d bindings", name, back.Stats().Bindings)
		}
		for i := range 1000 {
			want := "sip:old@b"
			if i < c.fresh {
				want = "sip:new@b"
			}
			if got := locContacts(back.Lookup("acme", fmt.Sprint("u", i), locTime)); got != want {
				t.Fatalf("%s: u%d has %s, want %s", name, i, got, want)
			}
		}
	}
	wg.Wait()
	if first(new(bytes.Buffer)) == nil {
		t.Error("a snapshot was written twice")
	}
}

func TestRestoreRefusesWhatIsNoSnapshotAndKeepsTheTable(t *testing.T) {
	l := NewLocation()
	locPut(l, "acme", "alice", 10, locBinding("sip:a@b", "id", 1, locTime, time.Minute))
	good := locSnapshot(t, l)
	bad := [][]byte{nil, []byte("TLOC\x02"), []byte("TLOC\x01"), append([]byte("TLOC\x01"), 3, 'a', 'b', 'c', 0), []byte("TLOC\x01\xff\xff\xff\xff\x0f")}
	for n := range good {
		bad = append(bad, good[:n])
	}
	twice := append(slices.Clone(good[:len(good)-1]), good[len("TLOC\x01"):]...)
	for _, b := range append(bad, twice) {
		if l.Restore(bytes.NewReader(b)) == nil {
			t.Errorf("%q was taken", b)
		}
	}
	if len(l.Lookup("acme", "alice", locTime)) != 1 {
		t.Error("the table is lost")
	}
}

func TestUnknownCommandStopsTheNode(t *testing.T) {
	for _, cmd := range [][]byte{nil, {locationVersion}, {locationVersion, 99}, {2, commandRemove, 0, 0, 0}, {locationVersion, commandRemove, 9}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v was applied", cmd)
				}
			}()
			NewLocation().Apply(cmd)
		}()
	}
}

func FuzzLocationCommand(f *testing.F) {
	l := NewLocation()
	b := locBinding("sip:a@b", "id", 1, locTime, time.Minute)
	b.Path, b.Instance, b.RegID = []string{"<sip:p;lr>"}, "<urn:x>", 1
	id := bindingID{contact: "sip:a@b"}
	f.Add(appendPut(appendDrop(appendRegister(nil, "acme", "alice", locTime, 3), &id, "id", 7), &b))
	f.Add(appendClear(appendRegister(nil, "acme", "alice", locTime, 3), "id", 7))
	f.Add(l.RemoveCommand("acme", "alice", ""))
	f.Add(appendLapse(appendText([]byte{locationVersion, commandExpire}, "acme\x00alice"), appendRecord(nil, &b)))
	f.Fuzz(func(t *testing.T, cmd []byte) {
		if _, err := decodeLocationCommand(cmd); err != nil {
			return
		}
		// What decodes can be applied, listed, written and read again.
		l := NewLocation()
		l.Apply(cmd)
		list, total := l.All(time.UnixMilli(0), 0, 1000)
		if len(list) > total {
			t.Errorf("%d of %d", len(list), total)
		}
		if back := locRestored(t, l); back.Stats().Bindings != total {
			t.Errorf("restored %d of %d", back.Stats().Bindings, total)
		}
	})
}

func FuzzLocationRestore(f *testing.F) {
	l := NewLocation()
	locPut(l, "acme", "alice", 10, locBinding("sip:a@b", "id", 1, locTime, time.Minute))
	f.Add(locSnapshot(f, l))
	f.Fuzz(func(t *testing.T, b []byte) {
		l := NewLocation()
		if l.Restore(bytes.NewReader(b)) == nil {
			l.All(locTime, 0, 100)
			locSnapshot(t, l)
		}
	})
}

// locModel is the naive location: slices of structs and the rules written out.
type locModel struct {
	users map[string][]Binding // Expires is what was told, zero when not
}

func (m *locModel) find(user string, id bindingID) int {
	for _, fits := range []func(Binding) bool{
		func(b Binding) bool { return id.regID != 0 && b.RegID == id.regID && b.Instance == id.instance },
		func(b Binding) bool {
			return b.Contact == id.contact && b.Instance == id.instance && b.RegID == 0 && id.regID == 0
		},
		func(b Binding) bool {
			return b.Contact == id.contact && (b.RegID == 0 || id.regID == 0) && (b.Instance == "" || id.instance == "" || b.Instance == id.instance)
		},
	} {
		if i := slices.IndexFunc(m.users[user], fits); i >= 0 {
			return i
		}
	}
	return -1
}

func (m *locModel) put(user string, b Binding, limit int) bool {
	m.users[user] = slices.DeleteFunc(slices.Clone(m.users[user]), func(o Binding) bool { return !o.Lease.After(b.Since) })
	committed := b
	committed.Expires = time.Time{}
	i := m.find(user, bindingID{b.Contact, b.Instance, b.RegID})
	if i >= 0 {
		old := m.users[user][i]
		if old.CallID == b.CallID && old.CSeq >= b.CSeq {
			return old.CSeq == b.CSeq && old.Contact == b.Contact && old.Instance == b.Instance && old.RegID == b.RegID && old.Q == b.Q
		}
		m.users[user][i] = committed
		return true
	}
	if len(m.users[user]) >= limit {
		oldest := -1
		for i, o := range m.users[user] {
			if b.Instance != "" && o.Instance == b.Instance && o.RegID == 0 && (oldest < 0 || o.Since.Before(m.users[user][oldest].Since)) {
				oldest = i
			}
		}
		if oldest < 0 {
			return false
		}
		m.users[user] = slices.Delete(m.users[user], oldest, oldest+1)
	}
	m.users[user] = append(m.users[user], committed)
	return true
}

func (m *locModel) lookup(user string, now time.Time) []Binding {
	var out []Binding
	for _, b := range m.users[user] {
		if b.Expires.IsZero() {
			b.Expires = b.Lease
		}
		if b.Expires.After(now) {
			out = append(out, b)
		}
	}
	slices.SortStableFunc(out, func(a, b Binding) int { return cmp.Or(cmp.Compare(b.Q, a.Q), b.Since.Compare(a.Since)) })
	return out
}

func locDump(bs []Binding) string {
	var out strings.Builder
	for _, b := range bs {
		fmt.Fprintf(&out, "%s %s %d q%d %s/%d until %d lease %d\n", b.Contact, b.Instance, b.RegID, b.Q, b.CallID, b.CSeq, b.Expires.UnixMilli(), b.Lease.UnixMilli())
	}
	return out.String()
}

func TestLocationAgreesWithANaiveMap(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		l, m := NewLocation(), locModel{map[string][]Binding{}}
		now := locTime
		for step := range 400 {
			locStep(t, rnd, &l, &m, now)
			for u := range 4 {
				user := fmt.Sprint("u", u)
				if got, want := locDump(l.Lookup("acme", user, now)), locDump(m.lookup(user, now)); got != want {
					t.Fatalf("seed %d step %d: %s has\n%swant\n%s", seed, step, user, got, want)
				}
			}
			now = now.Add(time.Duration(rnd.IntN(60)) * time.Second)
		}
	}
}

// locStep does one random thing to both.
func locStep(t *testing.T, rnd *rand.Rand, l **Location, m *locModel, now time.Time) {
	t.Helper()
	user := fmt.Sprint("u", rnd.IntN(4))
	aor := appendAOR(nil, "acme", user)
	b := locBinding(fmt.Sprintf("sip:c%d@b", rnd.IntN(4)), fmt.Sprint("id", rnd.IntN(2)), uint32(rnd.IntN(40)), now, time.Duration(1+rnd.IntN(10))*time.Minute)
	if b.Instance = []string{"", "<i1>", "<i2>"}[rnd.IntN(3)]; b.Instance != "" {
		b.RegID = uint32(rnd.IntN(3))
	}
	b.Q = uint16(rnd.IntN(3) * 500)
	b.Lease = b.Expires.Add(time.Duration(rnd.IntN(20)) * time.Minute)
	switch rnd.IntN(10) {
	case 0, 1, 2, 3:
		before := slices.Clone(m.users[user])
		ok := m.put(user, b, 3)
		if !ok {
			m.users[user] = before
		}
		if r := locPut(*l, "acme", user, 3, b); (r == nil) != ok {
			t.Fatalf("put %+v gives %v, want ok %v", b, r, ok)
		}
	case 4: // tell what stands there
		for i := range m.users[user] {
			o := &m.users[user][i]
			if !o.Expires.IsZero() {
				continue
			}
			told := *o
			told.Expires = o.Lease.Add(-time.Minute)
			(*l).tell(aor, []Binding{told})
			o.Expires = told.Expires
			break
		}
	case 5, 6: // refresh what stands there
		i := 0
		if i = len(m.users[user]) - 1; i < 0 {
			return
		}
		o := &m.users[user][i]
		until := o.Expires
		if until.IsZero() {
			until = o.Lease
		}
		next := *o
		next.CSeq += uint32(rnd.IntN(2))
		next.Expires = now.Add(time.Duration(1+rnd.IntN(10)) * time.Minute)
		// A told CSeq is the model's CSeq, too: the table keeps it beside the committed one.
		want := until.After(now) && (next.CSeq == o.CSeq || !next.Expires.After(o.Lease))
		if got := (*l).refresh(aor, []Binding{next}, now.UnixMilli()); got != want {
			t.Fatalf("refresh of %+v to %+v gives %v", *o, next, got)
		}
		if want && next.CSeq > o.CSeq {
			o.Expires = next.Expires
			// A command with a CSeq between would be taken by the log; keep the test's commands above it.
			cmd := next
			cmd.Since = now
			locPut(*l, "acme", user, 3, cmd)
			m.put(user, cmd, 3)
		}
	case 7:
		id := bindingID{b.Contact, b.Instance, b.RegID}
		if i := m.find(user, id); i >= 0 {
			cmd := appendDrop(appendRegister(nil, "acme", user, locTime, 3), &id, "other", 0)
			m.users[user] = slices.Delete(m.users[user], i, i+1)
			if r := (*l).Apply(cmd); r != nil {
				t.Fatal(r)
			}
		}
	case 8:
		(*l).Sweep(&locLog{loc: *l}, now, true)
		for u, bs := range m.users {
			m.users[u] = slices.DeleteFunc(bs, func(b Binding) bool {
				if b.Expires.IsZero() {
					b.Expires = b.Lease
				}
				return !b.Expires.After(now)
			})
		}
	case 9: // the node restarts: what was told is forgotten
		*l = locRestored(t, *l)
		for u := range m.users {
			for i := range m.users[u] {
				m.users[u][i].Expires = time.Time{}
			}
		}
	}
}

// locFill registers n users as desk phones do.
func locFill(t testing.TB, l *Location, n int) {
	t.Helper()
	for i := range n {
		b := locBinding(fmt.Sprintf("sip:%d@192.168.%d.%d:5060;transport=udp", 100000+i, i/250%250, i%250), fmt.Sprintf("%08x-%08x@192.168.1.10", i, i*7), 1, locTime, time.Hour)
		b.Instance = fmt.Sprintf("<urn:uuid:00000000-0000-1000-8000-%012x>", i)
		b.UserAgent = "Yealink SIP-T46S 66.86.0.15"
		if r := locPut(l, "acme.example", fmt.Sprint(100000+i), 10, b); r != nil {
			t.Fatal(r)
		}
	}
}

func TestBindingTakesLessThanHalfAKilobyte(t *testing.T) {
	const n = 100_000
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var ms runtime.MemStats
		runtime.ReadMemStats(&ms)
		return ms.HeapAlloc
	}
	before := heap()
	l := NewLocation()
	locFill(t, l, n)
	per := (heap() - before) / n
	runtime.KeepAlive(l)
	t.Logf("%d bytes a binding", per)
	if per > 500 {
		t.Errorf("%d bytes a binding, at most 500", per)
	}
}

func BenchmarkLocationLookup(b *testing.B) {
	l := NewLocation()
	locFill(b, l, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		if len(l.Lookup("acme.example", "104711", locTime)) != 1 {
			b.Fatal("not there")
		}
	}
}

func BenchmarkLocationApply(b *testing.B) {
	l := NewLocation()
	x := locBinding("sip:100000@192.168.1.1:5060", "id", 1, locTime, time.Hour)
	cmd := appendPut(appendRegister(nil, "acme", "100000", locTime, 10), &x)
	b.ReportAllocs()
	for b.Loop() {
		l.Apply(cmd)
	}
}

func BenchmarkLocationSnapshotPause(b *testing.B) {
	l := NewLocation()
	locFill(b, l, 100_000)
	for b.Loop() {
		write, err := l.Snapshot()
		b.StopTimer()
		if err == nil {
			err = write(io.Discard)
		}
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkTargets(b *testing.B) {
	l := NewLocation()
	locFill(b, l, 10_000)
	s := &Server{cfg: Config{Location: l}}
	b.ReportAllocs()
	for b.Loop() {
		if len(s.Targets("acme.example", "104711", locTime)) != 1 {
			b.Fatal("not there")
		}
	}
}

func TestTargetsAreTheBindingsOfALookupInGroupsOfEqualQ(t *testing.T) {
	l := NewLocation()
	s := &Server{cfg: Config{Location: l}}
	for n := range 7 {
		b := locBinding(fmt.Sprintf("sip:bob@192.0.2.%d:5060", n), fmt.Sprint("id", n), 1, locTime, time.Hour)
		b.Q, b.Since = uint16(1000-n%3*250), locTime.Add(time.Duration(n%2)*time.Second)
		for i := range n % 4 {
			b.Path = append(b.Path, fmt.Sprintf("<sip:edge%d.example;lr>", i))
		}
		if r := locPut(l, "acme", "bob", 10, b); r != nil {
			t.Fatal(r)
		}
		var got, want []Target
		q := -1
		groups := s.Targets("acme", "bob", locTime)
		for _, g := range groups {
			got = append(got, g...)
		}
		count := 0
		for _, b := range l.Lookup("acme", "bob", locTime) {
			want = append(want, Target{URI: b.Contact, Flow: b.Flow, Known: true, Path: b.Path, User: "bob", Tenant: "acme"})
			if int(b.Q) != q {
				count, q = count+1, int(b.Q)
			}
		}
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) || len(groups) != count || len(want) != n+1 {
			t.Fatalf("got %d groups: %+v\nwant %d: %+v", len(groups), got, count, want)
		}
	}
	if got := s.Targets("acme", "bob", locTime.Add(2*time.Hour)); len(got) != 0 {
		t.Errorf("expired bindings are targets: %+v", got)
	}
}
