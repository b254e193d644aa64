package sip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tandem/events"
)

// A command of the location machine is
//
//	version(1) kind(1) body
//
// Registers carry the proposer's time; nothing here reads a clock. Each may be applied twice: what it would do is found
// done already (same Call-ID and CSeq) or is no longer asked for (another lease).
const (
	locationVersion = 1

	commandRegister byte = 1 // now(8) limit(2) tenant user ops, each kind(1) and body: what one REGISTER asks, all or nothing
	commandRemove   byte = 2 // tenant user contact; contact "" is all
	commandExpire   byte = 3 // items of AOR and lapse

	opPut   byte = 1 // record
	opDrop  byte = 2 // cseq(4) regID(4) callID contact instance
	opClear byte = 3 // cseq(4) callID
	opLapse byte = 4 // lapse: lease(8) regID(4) contact instance
)

// ErrOutOfOrder is Apply's result when a request with the same Call-ID and a higher CSeq was there before (RFC 3261 §10.3
// step 7).
var ErrOutOfOrder = errors.New("a later REGISTER was there before")

// ErrTooManyBindings is Apply's result when a user would have more bindings than the command allows.
var ErrTooManyBindings = errors.New("too many bindings")

// locationCommand is a decoded command. Slices point into the command's bytes.
type locationCommand struct {
	kind         byte
	now          int64
	limit        int
	tenant, user []byte
	contact      []byte
	ops          []locationOp
}

type locationOp struct {
	kind   byte
	aor    []byte        // commandExpire
	rec    bindingRecord // opPut
	id     bindingID
	cseq   uint32
	callID []byte
	lease  int64
}

func appendRegister(dst []byte, tenant, user string, now time.Time, limit int) []byte {
	dst = append(dst, locationVersion, commandRegister)
	dst = binary.BigEndian.AppendUint64(dst, uint64(now.UnixMilli()))
	dst = binary.BigEndian.AppendUint16(dst, uint16(limit))
	return appendText(appendText(dst, tenant), user)
}

func appendPut(dst []byte, b *Binding) []byte {
	rec := appendRecord(nil, b)
	return append(binary.AppendUvarint(append(dst, opPut), uint64(len(rec))), rec...)
}

func appendDrop(dst []byte, id *bindingID, callID string, cseq uint32) []byte {
	dst = binary.BigEndian.AppendUint32(append(dst, opDrop), cseq)
	dst = binary.BigEndian.AppendUint32(dst, id.regID)
	return appendText(appendText(appendText(dst, callID), id.contact), id.instance)
}

func appendClear(dst []byte, callID string, cseq uint32) []byte {
	return appendText(binary.BigEndian.AppendUint32(append(dst, opClear), cseq), callID)
}

// appendLapse names a binding as it is committed now: once it was changed the lapse means nothing.
func appendLapse(dst []byte, r bindingRecord) []byte {
	v := r.view()
	dst = append(dst, r[recLease:recLease+8]...)
	dst = append(dst, r[recRegID:recRegID+4]...)
	dst = append(binary.AppendUvarint(dst, uint64(len(v.contact))), v.contact...)
	return append(binary.AppendUvarint(dst, uint64(len(v.instance))), v.instance...)
}

// RemoveCommand is the command that takes a contact off a user, or all of them when contact is "", whatever the phone says.
func (l *Location) RemoveCommand(tenant, user, contact string) []byte {
	return appendText(appendText(appendText([]byte{locationVersion, commandRemove}, tenant), user), contact)
}

var errCommand = errors.New("location command is cut short")

// commandReader takes a command apart; after the first fault it reads nothing but zeros.
type commandReader struct {
	rest []byte
	err  error
}

func (c *commandReader) take(n int) []byte {
	if c.err != nil || len(c.rest) < n {
		c.err = errCommand
		return make([]byte, n)
	}
	out := c.rest[:n]
	c.rest = c.rest[n:]
	return out
}

func (c *commandReader) u8() byte    { return c.take(1)[0] }
func (c *commandReader) u16() uint16 { return binary.BigEndian.Uint16(c.take(2)) }
func (c *commandReader) u32() uint32 { return binary.BigEndian.Uint32(c.take(4)) }
func (c *commandReader) i64() int64  { return int64(binary.BigEndian.Uint64(c.take(8))) }

func (c *commandReader) text() []byte {
	text, rest, ok := cutText(c.rest)
	if !ok || c.err != nil {
		c.err = errCommand
		return nil
	}
	c.rest = rest
	return text
}

func (c *commandReader) more() bool { return c.err == nil && len(c.rest) > 0 }

func decodeLocationCommand(cmd []byte) (locationCommand, error) {
	c := commandReader{rest: cmd}
	if v := c.u8(); c.err == nil && v != locationVersion {
		return locationCommand{}, fmt.Errorf("location command of version %d, this node knows %d", v, locationVersion)
	}
	out := locationCommand{kind: c.u8()}
	switch out.kind {
	case commandRegister:
		out.now, out.limit = c.i64(), int(c.u16())
		out.tenant, out.user = c.text(), c.text()
		for c.more() {
			out.ops = append(out.ops, c.op())
		}
	case commandRemove:
		out.tenant, out.user, out.contact = c.text(), c.text(), c.text()
	case commandExpire:
		for c.more() {
			aor := c.text()
			op := c.lapse()
			op.aor = aor
			out.ops = append(out.ops, op)
		}
	default:
		return out, fmt.Errorf("location command of kind %d, which this node does not know", out.kind)
	}
	if c.err == nil && len(c.rest) > 0 {
		c.err = errors.New("bytes behind a location command")
	}
	return out, c.err
}

func (c *commandReader) op() locationOp {
	op := locationOp{kind: c.u8()}
	switch op.kind {
	case opPut:
		op.rec = bindingRecord(c.text())
		if c.err == nil {
			if c.err = op.rec.check(); c.err == nil {
				op.id, op.cseq, op.callID = op.rec.id(), op.rec.cseq(), op.rec.view().callID
			}
		}
	case opDrop:
		op.cseq, op.id.regID = c.u32(), c.u32()
		op.callID = c.text()
		op.id.contact, op.id.instance = string(c.text()), string(c.text())
	case opClear:
		op.cseq, op.callID = c.u32(), c.text()
	case opLapse:
		return c.lapse()
	default:
		c.err = fmt.Errorf("location operation %d, which this node does not know", op.kind)
	}
	return op
}

func (c *commandReader) lapse() locationOp {
	op := locationOp{kind: opLapse, lease: c.i64()}
	op.id.regID = c.u32()
	op.id.contact, op.id.instance = string(c.text()), string(c.text())
	return op
}

// Apply executes one command, in the log's goroutine. The result is nil or ErrOutOfOrder or ErrTooManyBindings. A command
// that cannot be read panics: this node must stop rather than hold something else than the others.
func (l *Location) Apply(cmd []byte) any {
	c, err := decodeLocationCommand(cmd)
	if err != nil {
		panic("sip: location: " + err.Error())
	}
	l.count.applied.Add(1)
	switch c.kind {
	case commandRegister:
		err = l.change(appendAOR(nil, string(c.tenant), string(c.user)), func(e *aorEdit) error { return e.register(&c) })
	case commandRemove:
		err = l.change(appendAOR(nil, string(c.tenant), string(c.user)), func(e *aorEdit) error { e.remove(string(c.contact)); return nil })
	case commandExpire:
		for i := range c.ops {
			_ = l.change(c.ops[i].aor, func(e *aorEdit) error { e.lapse(&c.ops[i]); return nil })
		}
	}
	if err != nil {
		l.count.refused.Add(1)
		return err
	}
	return nil
}

// change edits the bindings of one AOR, all or nothing, and tells the watchers.
func (l *Location) change(aor []byte, edit func(*aorEdit) error) error {
	sh := l.shard(aor)
	sh.mu.Lock()
	e := aorEdit{records: sh.records(aor)}
	if err := edit(&e); err != nil {
		sh.mu.Unlock()
		return err
	}
	if len(e.changes) > 0 {
		sh.copyFor(l.snap)
		sh.store(aor, e.records)
	}
	sh.mu.Unlock()
	l.publish(aor, e.changes)
	return nil
}

func (sh *locationShard) records(aor []byte) (records []bindingRecord) {
	for r, rest := bindingRecord(nil), sh.aors[string(aor)]; len(rest) > 0; {
		r, rest = cutRecord(rest)
		records = append(records, r)
	}
	return records
}

// rehearse tells what a register command would do if it were applied now: the error it would give, or how many bindings it
// would touch. While other commands for the AOR are under way nothing can be told, so that it says 1. Any goroutine.
func (l *Location) rehearse(aor, cmd []byte) (changes int, err error) {
	c, err := decodeLocationCommand(cmd)
	if err != nil {
		return 0, err
	}
	sh := l.shard(aor)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	if len(sh.busy[string(aor)]) > 0 {
		return 1, nil
	}
	e := aorEdit{records: sh.records(aor), rehearsal: true}
	err = e.register(&c)
	for _, change := range e.changes {
		if change.kind != events.RegistrationExpired {
			changes++
		}
	}
	return changes, err
}

func (l *Location) publish(aor []byte, changes []aorChange) {
	fns := l.watch.fns.Load()
	for _, c := range changes {
		switch c.kind {
		case events.RegistrationAdded:
			l.count.added.Add(1)
		case RegistrationChanged:
			l.count.changed.Add(1)
		case events.RegistrationRemoved:
			l.count.removed.Add(1)
		case events.RegistrationExpired:
			l.count.expired.Add(1)
		}
		if fns == nil {
			continue
		}
		tenant, user, _ := strings.Cut(string(aor), "\x00")
		for _, fn := range *fns {
			fn(c.kind, tenant, user, c.rec.binding())
		}
	}
}

// aorEdit is the work on the bindings of one AOR.
type aorEdit struct {
	records   []bindingRecord
	changes   []aorChange
	rehearsal bool
}

type aorChange struct {
	kind events.Kind
	rec  bindingRecord
}

func (e *aorEdit) note(kind events.Kind, r bindingRecord) {
	e.changes = append(e.changes, aorChange{kind, r})
}

// find gives the index of the binding that fits id best, -1 when none does.
func (e *aorEdit) find(id *bindingID) int {
	found, best := -1, 0
	for i, r := range e.records {
		v := r.view()
		if m := id.match(r, &v); m > best {
			found, best = i, m
		}
	}
	return found
}

// drop takes the i-th record out.
func (e *aorEdit) drop(i int, kind events.Kind) {
	e.note(kind, e.records[i])
	e.records = slices.Delete(e.records, i, i+1)
}

// register applies what one REGISTER asks (RFC 3261 §10.3 steps 6 and 7).
func (e *aorEdit) register(c *locationCommand) error {
	for i := len(e.records) - 1; i >= 0; i-- {
		if e.end(e.records[i]) <= c.now {
			e.drop(i, events.RegistrationExpired)
		}
	}
	for i := range c.ops {
		if err := e.operate(&c.ops[i], c.limit); err != nil {
			return err
		}
	}
	return nil
}

func (e *aorEdit) operate(op *locationOp, limit int) error {
	switch op.kind {
	case opPut:
		return e.put(op, limit)
	case opLapse:
		e.lapse(op)
	case opDrop:
		if i := e.find(&op.id); i >= 0 {
			if e.overtaken(e.records[i], op) {
				return ErrOutOfOrder
			}
			e.drop(i, events.RegistrationRemoved)
		}
	case opClear:
		for i := len(e.records) - 1; i >= 0; i-- {
			if e.overtaken(e.records[i], op) {
				return ErrOutOfOrder
			}
			e.drop(i, events.RegistrationRemoved)
		}
	}
	return nil
}

// overtaken tells whether the request of op may not touch r, because the request that last did has the same Call-ID and
// not a lower CSeq.
func (e *aorEdit) overtaken(r bindingRecord, op *locationOp) bool {
	return e.cseq(r) >= op.cseq && string(r.view().callID) == string(op.callID)
}

// cseq and end read a record as the log knows it, or in a rehearsal as this node does.
func (e *aorEdit) cseq(r bindingRecord) uint32 {
	if e.rehearsal {
		return r.lastCSeq()
	}
	return r.cseq()
}

func (e *aorEdit) end(r bindingRecord) int64 {
	if e.rehearsal {
		return r.until()
	}
	return r.lease()
}

// put adds or replaces a binding. The request that made the binding changes nothing when it comes again. A user who has as
// many as he may keeps them; only an older contact of the same phone (one that gave the same instance without reg-id, and
// came back with another contact) makes room.
func (e *aorEdit) put(op *locationOp, limit int) error {
	if i := e.find(&op.id); i >= 0 {
		switch r := e.records[i]; {
		case !e.overtaken(r, op):
			e.records[i] = op.rec
			e.note(RegistrationChanged, op.rec)
			return nil
		case e.cseq(r) == op.cseq && r.saysSame(op.rec):
			return nil
		}
		return ErrOutOfOrder
	}
	if len(e.records) >= limit {
		i := e.oldestOf(op.id.instance)
		if i < 0 {
			return ErrTooManyBindings
		}
		e.drop(i, events.RegistrationRemoved)
	}
	e.records = append(e.records, op.rec)
	e.note(events.RegistrationAdded, op.rec)
	return nil
}

// oldestOf finds the contact an instance registered longest ago without reg-id.
func (e *aorEdit) oldestOf(instance string) int {
	oldest := -1
	for i, r := range e.records {
		if instance == "" || r.regID() != 0 || string(r.view().instance) != instance {
			continue
		}
		if oldest < 0 || recordTime(r, recSince).Before(recordTime(e.records[oldest], recSince)) {
			oldest = i
		}
	}
	return oldest
}

// remove takes off a contact, or all.
func (e *aorEdit) remove(contact string) {
	for i := len(e.records) - 1; i >= 0; i-- {
		if contact == "" || string(e.records[i].view().contact) == contact {
			e.drop(i, events.RegistrationRemoved)
		}
	}
}

// lapse takes off a binding unless it was changed since.
func (e *aorEdit) lapse(op *locationOp) {
	for i, r := range e.records {
		v := r.view()
		if r.lease() == op.lease && r.regID() == op.id.regID && string(v.contact) == op.id.contact && string(v.instance) == op.id.instance {
			e.drop(i, events.RegistrationExpired)
			return
		}
	}
}
