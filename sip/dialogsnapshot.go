package sip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"tandem/sip/message"
	"tandem/sip/transport"
)

// A snapshot of a relayed call is
//
//	version(1) Call-ID limit session interval flags caller callee [veil]
//
// a party is
//
//	tag value contact tenant user routes flow CSeq steps invite
//
// and a veil, which is there when a flag says so:
//
//	Call-ID tag From To, and the To that the caller knows
//
// Texts and lists stand behind their lengths, times are Unix milliseconds, numbers are varints. A flow is told by addresses, since listeners
// have other numbers and connections do not exist in another process (transport.Place).
const (
	dialogVersion = 1
	maxSnapshot   = 64 << 10 // of one dialog
	maxRoutes     = 64       // values in a route set; limits.message_bytes leaves room for more, nobody has them
)

// Errors of Export and Import that callers branch on.
var (
	ErrSnapshot        = errors.New("sip: the snapshot of a call is damaged")
	ErrSnapshotVersion = errors.New("sip: the snapshot of a call is of another version of the program")
	ErrNotMovable      = errors.New("sip: the call is not one that can be moved now")
)

// flags of a snapshot
const (
	flagLate = 1 << iota
	flagByCallee
	flagVeiled // an older program refuses the call
)

// A dialogSnapshot is a Dialog as it is written and read.
type dialogSnapshot struct {
	callID         string
	limit, session time.Time
	interval       uint32
	late, byCallee bool
	caller, callee partySnapshot
	veil           *veil
	above          string
}

type partySnapshot struct {
	party
	place transport.Place
}

// snapshot is the dialog as it is now. From the shard.
func (d *Dialog) snapshot() []byte {
	w := snapshotWriter{b: []byte{dialogVersion}}
	w.text(d.callID)
	w.time(d.limit)
	w.time(d.session)
	w.uint(uint64(d.interval))
	flags := uint64(0)
	if d.late {
		flags |= flagLate
	}
	if d.byCallee {
		flags |= flagByCallee
	}
	if d.veil != nil {
		flags |= flagVeiled
	}
	w.uint(flags)
	for _, p := range [...]*party{&d.caller, &d.callee} {
		w.party(p, d.sh.srv.net.PlaceOf(p.flow))
	}
	if k := d.veil; k != nil {
		for _, s := range [...]string{k.callID, k.tag, k.From, k.To, d.above} {
			w.text(s)
		}
	}
	return w.b
}

type snapshotWriter struct{ b []byte }

func (w *snapshotWriter) uint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }

func (w *snapshotWriter) text(s string) {
	w.uint(uint64(len(s)))
	w.b = append(w.b, s...)
}

func (w *snapshotWriter) time(t time.Time) {
	if t.IsZero() {
		w.uint(0)
		return
	}
	w.uint(uint64(max(t.UnixMilli(), 1)))
}

func (w *snapshotWriter) addr(a netip.AddrPort) {
	b, _ := a.MarshalBinary() // never fails
	w.text(string(b))
}

func (w *snapshotWriter) party(p *party, at transport.Place) {
	for _, s := range [...]string{p.tag, p.value, p.contact, p.tenant, p.user} {
		w.text(s)
	}
	w.uint(uint64(len(p.routes)))
	for _, r := range p.routes {
		w.text(r)
	}
	w.place(at)
	w.uint(uint64(p.cseq))
	w.uint(uint64(len(p.numbers.steps)))
	for _, s := range append(p.numbers.steps[:len(p.numbers.steps):len(p.numbers.steps)], p.numbers.invite) {
		w.uint(uint64(s.from))
		w.uint(uint64(s.shift))
	}
}

func (w *snapshotWriter) place(at transport.Place) {
	w.uint(uint64(at.Net) | uint64(at.Holder.Node)<<8)
	if at.Holder.Node != 0 {
		w.uint(uint64(at.Holder.Listener))
		w.uint(at.Holder.Conn)
	}
	w.addr(at.Listener)
	w.addr(netip.AddrPortFrom(at.Source, 0))
	w.addr(at.Remote)
}

// readDialog reads what snapshot has written. It may come from anywhere: every length is checked against what is there, and what is read is
// as a dialog of this program's own could be.
func readDialog(b []byte) (*dialogSnapshot, error) {
	switch {
	case len(b) == 0 || len(b) > maxSnapshot:
		return nil, ErrSnapshot
	case b[0] != dialogVersion:
		return nil, fmt.Errorf("%w: %d, and this one knows %d", ErrSnapshotVersion, b[0], dialogVersion)
	}
	r := snapshotReader{b: b[1:]}
	var s dialogSnapshot
	s.callID = r.text()
	s.limit, s.session = r.time(), r.time()
	s.interval = r.uint32()
	flags := r.uint()
	s.late, s.byCallee = flags&flagLate != 0, flags&flagByCallee != 0
	r.party(&s.caller)
	r.party(&s.callee)
	if flags&flagVeiled != 0 {
		r.veil(&s)
	}
	switch {
	case r.bad || len(r.b) > 0 || flags > flagLate|flagByCallee|flagVeiled:
		return nil, ErrSnapshot
	case s.callID == "" || s.limit.IsZero() || s.caller.tag == "" || s.caller.tag == s.callee.tag:
		return nil, fmt.Errorf("%w: it names no call", ErrSnapshot)
	}
	return &s, nil
}

type snapshotReader struct {
	b   []byte
	bad bool
}

func (r *snapshotReader) fail() {
	r.b, r.bad = nil, true
}

func (r *snapshotReader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *snapshotReader) uint32() uint32 {
	v := r.uint()
	if v > math.MaxUint32 {
		r.fail()
		return 0
	}
	return uint32(v)
}

// text reads one that may stand in a header line.
func (r *snapshotReader) text() string {
	s := r.octets()
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7F {
			r.fail()
			return ""
		}
	}
	return s
}

func (r *snapshotReader) octets() string {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.fail()
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

// maxTime is beyond every time there may be, and so that adding to it does no harm: the year 9999.
const maxTime = 253402300799000

func (r *snapshotReader) time() time.Time {
	switch ms := r.uint(); {
	case ms == 0:
	case ms > maxTime:
		r.fail()
	default:
		return time.UnixMilli(int64(ms))
	}
	return time.Time{}
}

func (r *snapshotReader) addr() (a netip.AddrPort) {
	s := r.octets()
	if len(s) > 64 || a.UnmarshalBinary([]byte(s)) != nil {
		r.fail()
		return netip.AddrPort{}
	}
	return a
}

func (r *snapshotReader) party(p *partySnapshot) {
	for _, s := range [...]*string{&p.tag, &p.value, &p.contact, &p.tenant, &p.user} {
		*s = r.text()
	}
	n := r.uint()
	if n > maxRoutes {
		r.fail()
	}
	for range min(n, maxRoutes) {
		p.routes = append(p.routes, r.text())
	}
	p.place = r.place()
	p.cseq = r.uint32()
	if n = r.uint(); n > maxSteps {
		r.fail()
	}
	for range min(n, maxSteps) {
		p.numbers.steps = append(p.numbers.steps, step{r.uint32(), r.uint32()})
	}
	p.numbers.invite = step{r.uint32(), r.uint32()}
	r.uris(p)
}

func (r *snapshotReader) place() (at transport.Place) {
	kind := r.uint()
	if kind&0xFF > uint64(transport.WSS) || kind>>8 > math.MaxUint32 {
		r.fail()
	}
	at.Net = transport.Net(kind)
	if h := &at.Holder; kind>>8 > 0 { // an older program refuses the call
		h.Node, h.Listener, h.Conn = uint32(kind>>8), uint16(r.uint()), r.uint()
	}
	at.Listener = r.addr()
	at.Source = r.addr().Addr()
	at.Remote = r.addr()
	if !at.Remote.IsValid() {
		r.fail()
	}
	return at
}

// veil reads what stands between the parties. Of it only the names are needed of an answered call.
func (r *snapshotReader) veil(s *dialogSnapshot) {
	k := &veil{callID: r.text(), tag: r.text()}
	k.From, k.To = r.text(), r.text()
	s.veil, s.above = k, r.text()
	for _, v := range [...]string{k.From, k.To, s.above} {
		if _, err := message.ParseAddress(v); err != nil {
			r.fail()
		}
	}
	if k.callID == "" || k.callID == s.callID || k.tag == "" || message.Tag(s.above) == "" || message.Tag(s.above) == s.caller.tag {
		r.fail()
	}
}

// uris refuses what could not have come out of a message.
func (r *snapshotReader) uris(p *partySnapshot) {
	if _, err := message.ParseAddress(p.value); err != nil {
		r.fail()
	}
	if p.contact != "" {
		if _, err := message.ParseURI(p.contact); err != nil {
			r.fail()
		}
	}
	for _, v := range p.routes {
		if a, err := message.ParseAddress(v); err != nil || a.URI == "" {
			r.fail()
		}
	}
}
