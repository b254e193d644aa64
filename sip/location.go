package sip

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tandem/events"
	"tandem/sip/message"
	"tandem/sip/transport"
)

// LocationMachine is the name under which a Location stands in the log.
const LocationMachine = "location"

// RegistrationChanged is told to watchers when a binding that was there got a new flow, contact or lease.
const RegistrationChanged events.Kind = "registration.changed"

// Log is the agreed log, satisfied by cluster.Cluster. When ProposeAsync returns nil, done is called exactly once, from a
// goroutine of the log, which it must not block; when it returns an error, never. Commands of one goroutine are applied in
// the order they were proposed. cmd is not changed after the call.
type Log interface {
	ProposeAsync(machine string, cmd []byte, done func(result any, err error)) error
}

// Location is the location service (RFC 3261 §10): which bindings each address-of-record has. It is a machine of the log
// (Apply, Snapshot, Restore run in the log's goroutine), read locally from any goroutine.
//
// A binding is valid until its lease, which is committed. The node that answers a phone knows better: it keeps beside the
// record what the phone was told, and moves that without the log as long as it stays inside the lease (see refresh).
// That knowledge is not replicated and dies with the process; then the lease counts, so a restart never loses a binding.
//
// An AOR is named by tenant, NUL and canonical user; its bindings stand packed in one byte slice.
type Location struct {
	shards [locationShards]locationShard
	snap   *locationSnapshot // last one taken; the log's goroutine
	watch  struct {
		sync.Mutex
		fns atomic.Pointer[[]func(events.Kind, string, string, Binding)]
	}
	home     string       // name of this node; flows of others are marked as theirs. Set before anything reads.
	sweeping atomic.Int64 // commands of Sweep under way
	count    struct{ applied, added, changed, removed, expired, refused, refreshed atomic.Uint64 }
}

// locationShards is also the number of slots, of the log: an AOR is of the slot that its shard is, for ever. A command is about one slot, and a snapshot
// lists AORs by slots, so that slots can go to logs of their own one day (cluster/DESIGN.md).
const locationShards = 256

type locationShard struct {
	index    int
	mu       sync.RWMutex
	aors     map[string][]byte   // records, each behind its uvarint length
	busy     map[string][]uint64 // requests of each AOR whose command is under way
	bindings int
	due      int64             // Unix ms before which no binding here expires
	copied   *locationSnapshot // the last snapshot that has this shard already
}

// NewLocation makes an empty table.
func NewLocation() *Location {
	l := &Location{}
	for i := range l.shards {
		l.shards[i].index = i
		l.shards[i].aors = make(map[string][]byte)
		l.shards[i].busy = make(map[string][]uint64)
		l.shards[i].due = math.MaxInt64
	}
	return l
}

// LocationStats are gauges of now and counters since the start, replayed log included.
type LocationStats struct {
	AORs, Bindings int
	Applied        uint64 // commands
	Added          uint64 // bindings
	Changed        uint64
	Removed        uint64
	Expired        uint64
	Refused        uint64 // commands that came too late or would exceed the limit of an AOR
	Refreshed      uint64 // bindings prolonged inside their lease, without the log
}

// Stats reads the counters. Any goroutine.
func (l *Location) Stats() LocationStats {
	c := &l.count
	st := LocationStats{
		Applied: c.applied.Load(), Added: c.added.Load(), Changed: c.changed.Load(), Removed: c.removed.Load(),
		Expired: c.expired.Load(), Refused: c.refused.Load(), Refreshed: c.refreshed.Load(),
	}
	for i := range l.shards {
		sh := &l.shards[i]
		sh.mu.RLock()
		st.AORs += len(sh.aors)
		st.Bindings += sh.bindings
		sh.mu.RUnlock()
	}
	return st
}

// OnChange has fn called for every change that is applied, with kinds registration.added, .changed, .removed and .expired.
// fn runs in the log's goroutine and must not block. Commands replayed at the start count as changes; restored snapshots
// do not. Any goroutine.
func (l *Location) OnChange(fn func(kind events.Kind, tenant, user string, b Binding)) {
	l.watch.Lock()
	defer l.watch.Unlock()
	var fns []func(events.Kind, string, string, Binding)
	if old := l.watch.fns.Load(); old != nil {
		fns = slices.Clone(*old)
	}
	fns = append(fns, fn)
	l.watch.fns.Store(&fns)
}

func appendAOR(dst []byte, tenant, user string) []byte {
	return append(append(append(dst, tenant...), 0), user...)
}

// shard is the same for an AOR on every node and in every version, so that equal tables are equal snapshots and slots stay what they are. (FNV-1a; nobody gains by choosing names that meet in a shard,
// which is a map.)
func (l *Location) shard(aor []byte) *locationShard {
	h := uint64(14695981039346656037)
	for _, b := range aor {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return &l.shards[h%locationShards]
}

// cutRecord takes the first record off the bindings of an AOR.
func cutRecord(all []byte) (r bindingRecord, rest []byte) {
	n, size := cutUvarint(all)
	end := size + int(n)
	return bindingRecord(all[size:end:end]), all[end:]
}

// Lookup gives the bindings of a user that have not expired, highest q first, of equal ones the newest first. Any goroutine.
func (l *Location) Lookup(tenant, user string, now time.Time) []Binding {
	var buf [128]byte
	aor := appendAOR(buf[:0], tenant, user)
	sh := l.shard(aor)
	var out []Binding
	sh.mu.RLock()
	for r, rest := bindingRecord(nil), sh.aors[string(aor)]; len(rest) > 0; {
		if r, rest = cutRecord(rest); r.until() > now.UnixMilli() {
			out = append(out, l.binding(r))
		}
	}
	sh.mu.RUnlock()
	if len(out) > 1 {
		slices.SortStableFunc(out, func(a, b Binding) int {
			return cmp.Or(cmp.Compare(b.Q, a.Q), b.Since.Compare(a.Since))
		})
	}
	return out
}

// A place is what a target needs of a binding.
type place struct {
	Target
	q        uint16
	since    int64  // Unix ms
	instance string // of a phone that registers several flows (RFC 5626), "" of others
}

// binding unpacks a record, with the flow as this node uses it.
func (l *Location) binding(r bindingRecord) Binding {
	b := r.binding()
	b.Flow.Node = l.holder(b.Node)
	return b
}

// holder is the node of a flow, 0 for this one.
func (l *Location) holder(node string) uint32 {
	if node == l.home || node == "" {
		return 0
	}
	return transport.NodeNumber(node)
}

// place unpacks what a target needs.
func (l *Location) place(r bindingRecord, tenant, user string) place {
	v := r.view()
	p := place{Target: Target{URI: message.RequestURI(string(v.contact)), Flow: r.flow(), Known: true, Path: v.pathValues(), User: user, Tenant: tenant}, q: r.q(), since: r.since()}
	if string(v.node) != l.home {
		p.Flow.Node = l.holder(string(v.node))
	}
	if r.regID() != 0 {
		p.instance = string(v.instance)
	}
	return p
}

// places gives what Lookup gives, in the same order, without the texts that no target needs, appended to dst. Any goroutine.
func (l *Location) places(dst []place, tenant, user string, now time.Time) []place {
	var buf [128]byte
	aor := appendAOR(buf[:0], tenant, user)
	sh := l.shard(aor)
	sh.mu.RLock()
	for r, rest := bindingRecord(nil), sh.aors[string(aor)]; len(rest) > 0; {
		if r, rest = cutRecord(rest); r.until() > now.UnixMilli() {
			dst = append(dst, l.place(r, tenant, user))
		}
	}
	sh.mu.RUnlock()
	if len(dst) > 1 {
		slices.SortStableFunc(dst, func(a, b place) int {
			return cmp.Or(cmp.Compare(b.q, a.q), cmp.Compare(b.since, a.since))
		})
	}
	return dst
}

// A Registration is a Binding with its owner.
type Registration struct {
	Tenant, User string
	Binding
}

// All lists bindings in an order that stays the same while nothing changes, for people to page through. total counts
// expired ones that have not been swept yet, the list does not hold them. Any goroutine.
func (l *Location) All(now time.Time, offset, limit int) (list []Registration, total int) {
	for i := range l.shards {
		sh := &l.shards[i]
		sh.mu.RLock()
		if n := sh.bindings; offset >= n {
			offset -= n
		} else if len(list) < limit {
			list = l.list(sh, list, now, offset, limit)
			offset = 0
		}
		total += sh.bindings
		sh.mu.RUnlock()
	}
	return list, total
}

// list appends bindings of the shard, from the offset-th on, until list holds limit.
func (l *Location) list(sh *locationShard, list []Registration, now time.Time, offset, limit int) []Registration {
	aors := make([]string, 0, len(sh.aors))
	for aor := range sh.aors {
		aors = append(aors, aor)
	}
	slices.Sort(aors)
	for _, aor := range aors {
		tenant, user, _ := strings.Cut(aor, "\x00")
		for r, rest := bindingRecord(nil), sh.aors[aor]; len(rest) > 0; {
			r, rest = cutRecord(rest)
			if offset--; offset >= 0 || r.until() <= now.UnixMilli() {
				continue
			}
			if len(list) >= limit {
				return list
			}
			list = append(list, Registration{tenant, user, l.binding(r)})
		}
	}
	return list
}

// store replaces the bindings of an AOR and keeps the shard's sums. The shard is locked.
func (sh *locationShard) store(aor []byte, records []bindingRecord) {
	sh.bindings += len(records) - countRecords(sh.aors[string(aor)])
	if len(records) == 0 {
		delete(sh.aors, string(aor))
		return
	}
	size := 0
	for _, r := range records {
		size += len(r) + 2
	}
	all := make([]byte, 0, size)
	for _, r := range records {
		all = append(binary.AppendUvarint(all, uint64(len(r))), r...)
		sh.due = min(sh.due, r.until())
	}
	sh.aors[string(aor)] = all
}

func countRecords(all []byte) (n int) {
	for ; len(all) > 0; n++ {
		_, all = cutRecord(all)
	}
	return n
}

// Restore, Snapshot and Apply are in locationsnapshot.go and locationcommand.go; what follows is this node's alone.

// refresh prolongs bindings without the log, all or none (DESIGN.md: coarse lease). It may when each is known exactly as the
// phone describes it, was not touched by a later request, is not about to be removed, and when its lease covers what the
// phone will be told. A retransmission of the request that was last answered also succeeds and changes nothing.
func (l *Location) refresh(aor []byte, want []Binding, now int64) bool {
	sh := l.shard(aor)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if len(sh.busy[string(aor)]) > 0 {
		return false
	}
	all := sh.aors[string(aor)]
	for i := range want {
		if r := findSame(all, &want[i]); r == nil || !r.covers(&want[i], now) {
			return false
		}
	}
	for i := range want {
		if r := findSame(all, &want[i]); r.lastCSeq() < want[i].CSeq {
			r.tell(want[i].Expires.UnixMilli(), want[i].CSeq)
			l.count.refreshed.Add(1)
		}
	}
	return true
}

// covers tells whether w may be answered from r as it is committed.
func (r bindingRecord) covers(w *Binding, now int64) bool {
	if r.doomed() || r.until() <= now || r.lastCSeq() > w.CSeq {
		return false
	}
	return r.lastCSeq() == w.CSeq || w.Expires.UnixMilli() <= r.lease()
}

// findSame finds the record that says the same as w, times, CSeq and User-Agent aside.
func findSame(all []byte, w *Binding) bindingRecord {
	for r, rest := bindingRecord(nil), all; len(rest) > 0; {
		r, rest = cutRecord(rest)
		if r.regID() != w.RegID || r.q() != w.Q || binary.BigEndian.Uint64(r[recEpoch:]) != w.Epoch {
			continue
		}
		v := r.view()
		if string(v.contact) == w.Contact && string(v.instance) == w.Instance && string(v.callID) == w.CallID && string(v.node) == w.Node &&
			r.flow() == w.Flow && samePath(&v, w.Path) {
			return r
		}
	}
	return nil
}

func samePath(v *recordView[[]byte], path []string) bool {
	if v.paths != len(path) {
		return false
	}
	rest := v.path
	for _, want := range path {
		var p []byte
		if p, rest, _ = cutText(rest); string(p) != want {
			return false
		}
	}
	return true
}

// tell notes after a commit what the phone was told, where that is still the last word.
func (l *Location) tell(aor []byte, told []Binding) {
	sh := l.shard(aor)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for i := range told {
		r := findSame(sh.aors[string(aor)], &told[i])
		if r != nil && r.lastCSeq() == told[i].CSeq {
			r.tell(told[i].Expires.UnixMilli(), told[i].CSeq)
			sh.due = min(sh.due, r.until())
		}
	}
}

// begin notes that a command for an AOR is under way, so that no refresh overtakes it. It returns false when the same
// request is under way already.
func (l *Location) begin(aor []byte, request uint64) bool {
	sh := l.shard(aor)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	under := sh.busy[string(aor)]
	if slices.Contains(under, request) {
		return false
	}
	sh.busy[string(aor)] = append(under, request)
	return true
}

// end is the other half of begin.
func (l *Location) end(aor []byte, request uint64) {
	sh := l.shard(aor)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	under := sh.busy[string(aor)]
	if i := slices.Index(under, request); i >= 0 {
		under = slices.Delete(under, i, i+1)
	}
	if len(under) == 0 {
		delete(sh.busy, string(aor))
		return
	}
	sh.busy[string(aor)] = under
}

// appendLapsed writes operations that remove the bindings of an AOR that have expired, and dooms them.
func (l *Location) appendLapsed(cmd, aor []byte, now int64) []byte {
	sh := l.shard(aor)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for r, rest := bindingRecord(nil), sh.aors[string(aor)]; len(rest) > 0; {
		if r, rest = cutRecord(rest); r.until() <= now {
			r.doom(true)
			cmd = appendLapse(append(cmd, opLapse), r)
		}
	}
	return cmd
}

// appendContacts writes Contact lines for the bindings that have not expired. gruu, when not nil, adds the GRUUs of those with an
// instance.
func (l *Location) appendContacts(dst, aor []byte, now int64, gruu *gruuMint) []byte {
	sh := l.shard(aor)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	for r, rest := bindingRecord(nil), sh.aors[string(aor)]; len(rest) > 0; {
		if r, rest = cutRecord(rest); r.until() > now {
			dst = r.appendContact(dst, now, gruu)
		}
	}
	return dst
}

// Forget proposes to remove the bindings of phones with outbound whose flow is known to be gone (RFC 5626 §5.3.1, §7): such a phone registers
// anew, and until then nothing reaches it there. Any goroutine.
func (l *Location) Forget(log Log, tenant, user string, f transport.Flow) {
	aor := appendAOR(nil, tenant, user)
	cmd := []byte{locationVersion, commandExpire}
	sh := l.shard(aor)
	sh.mu.Lock()
	for r, rest := bindingRecord(nil), sh.aors[string(aor)]; len(rest) > 0; {
		if r, rest = cutRecord(rest); r.regID() != 0 && !r.doomed() && l.place(r, tenant, user).Flow == f {
			r.doom(true)
			cmd = appendLapse(appendText(cmd, string(aor)), r)
		}
	}
	sh.mu.Unlock()
	if len(cmd) > 2 {
		l.proposeSweep(log, cmd)
	}
}

// Limits of one Sweep: it runs again soon, and registrations of phones that are there go first.
const (
	sweepCommand  = 12 << 10 // bytes of one command
	sweepCommands = 64       // begun after which no further shard is looked at
)

// Sweep proposes to remove what has expired, in commands of bounded size, and returns how many bindings that is. Of several nodes each takes care of
// its own phones, for it knows what they were told, and the one that leads of the others' as well when their leases have ended. While
// commands of an earlier Sweep are under way it does nothing. Any goroutine.
func (l *Location) Sweep(log Log, now time.Time, leads bool) int {
	if !l.sweeping.CompareAndSwap(0, 1) {
		return 0
	}
	defer l.sweeping.Add(-1)
	swept, sent := 0, 0
	for i := 0; i < locationShards && sent < sweepCommands; i++ {
		n, commands := l.shards[i].sweep(now.UnixMilli(), func(r bindingRecord) bool {
			return leads || l.holder(string(r.view().node)) == 0
		})
		swept += n
		sent += len(commands)
		for _, cmd := range commands {
			l.proposeSweep(log, cmd)
		}
	}
	return swept
}

// proposeSweep hands a command to the log. When that fails the bindings stay, expired, for the next Sweep.
func (l *Location) proposeSweep(log Log, cmd []byte) {
	l.sweeping.Add(1)
	if err := log.ProposeAsync(LocationMachine, cmd, func(any, error) { l.sweeping.Add(-1) }); err != nil {
		l.sweeping.Add(-1)
	}
}

// sweepOthers is how soon a shard is looked at again that holds expired bindings another node takes care of.
const sweepOthers = 10 * time.Second

// sweep dooms every expired binding that is ours to sweep, from then on only the log may prolong it, and builds the commands that remove them.
func (sh *locationShard) sweep(now int64, ours func(bindingRecord) bool) (n int, commands [][]byte) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.due > now {
		return 0, nil
	}
	sh.due = math.MaxInt64
	var cmd []byte
	for aor, all := range sh.aors {
		for r, rest := bindingRecord(nil), all; len(rest) > 0; {
			r, rest = cutRecord(rest)
			if r.until() > now {
				sh.due = min(sh.due, r.until())
				continue
			}
			if !ours(r) {
				sh.due = min(sh.due, now+sweepOthers.Milliseconds())
				continue
			}
			sh.due = min(sh.due, r.until())
			r.doom(true)
			n++
			if len(cmd) == 0 {
				cmd = append(cmd, locationVersion, commandExpire)
			}
			if cmd = appendLapse(appendText(cmd, aor), r); len(cmd) >= sweepCommand {
				commands, cmd = append(commands, cmd), nil
			}
		}
	}
	if len(cmd) > 0 {
		commands = append(commands, cmd)
	}
	return n, commands
}
