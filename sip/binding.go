package sip

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"
	"time"

	"tandem/sip/message"
	"tandem/sip/transport"
)

// A Binding is one place where a user can be reached: what a REGISTER put into the location table (RFC 3261 §10).
type Binding struct {
	Contact   string         // URI, as the phone wrote it
	Flow      transport.Flow // the way the REGISTER came; requests to the contact go back over it
	Path      []string       // name-addrs, topmost first (RFC 3327)
	Instance  string         // +sip.instance with its angle brackets, "" without (RFC 5626 §4.1)
	RegID     uint32         // reg-id, 0 without outbound
	Q         uint16         // thousandths
	CallID    string
	CSeq      uint32
	Since     time.Time // last change that went through the log
	Expires   time.Time // valid until: what the phone was told, where this node told it, else Lease
	Lease     time.Time // committed end; never before anything the phone was told
	UserAgent string
	Node      string // that holds Flow
	Epoch     uint64 // of Node when the flow was seen: a stream of an earlier one is gone
}

// A bindingRecord is a Binding packed for the table, the log and snapshots: a tenth of the objects and half the bytes. All
// numbers are big-endian, times are Unix milliseconds.
//
//	 0 told(8) toldCSeq(4) doomed(1)        of this node alone, zero in commands and snapshots
//	13 net(1) listener(2) q(2) regID(4) cseq(4) conn(8) epoch(8) since(8) expires(8) lease(8)
//	66 then, each with a uvarint length: remote address, contact, instance, Call-ID, User-Agent, node;
//	   uvarint number of Path values, and these
//
// The first 13 bytes change in place under the lock of the table's shard; a change of any other makes a new record.
type bindingRecord []byte

const (
	recTold     = 0
	recToldCSeq = 8
	recDoomed   = 12
	recLocal    = 13 // length of what is this node's alone
	recNet      = 13
	recListener = 14
	recQ        = 16
	recRegID    = 18
	recCSeq     = 22
	recConn     = 26
	recEpoch    = 34
	recSince    = 42
	recExpires  = 50
	recLease    = 58
	recFixed    = 66

	maxRecord = 8 << 10 // bytes of one binding; the registrar refuses longer ones
)

func appendRecord(dst []byte, b *Binding) []byte {
	var fixed [recFixed]byte
	fixed[recNet] = byte(b.Flow.Net)
	binary.BigEndian.PutUint16(fixed[recListener:], b.Flow.Listener)
	binary.BigEndian.PutUint16(fixed[recQ:], b.Q)
	binary.BigEndian.PutUint32(fixed[recRegID:], b.RegID)
	binary.BigEndian.PutUint32(fixed[recCSeq:], b.CSeq)
	binary.BigEndian.PutUint64(fixed[recConn:], b.Flow.Conn)
	binary.BigEndian.PutUint64(fixed[recEpoch:], b.Epoch)
	binary.BigEndian.PutUint64(fixed[recSince:], uint64(b.Since.UnixMilli()))
	binary.BigEndian.PutUint64(fixed[recExpires:], uint64(b.Expires.UnixMilli()))
	binary.BigEndian.PutUint64(fixed[recLease:], uint64(b.Lease.UnixMilli()))
	dst = append(dst, fixed[:]...)
	addr, _ := b.Flow.Remote.MarshalBinary() // never fails
	dst = binary.AppendUvarint(dst, uint64(len(addr)))
	dst = append(dst, addr...)
	for _, s := range [...]string{b.Contact, b.Instance, b.CallID, b.UserAgent, b.Node} {
		dst = appendText(dst, s)
	}
	dst = binary.AppendUvarint(dst, uint64(len(b.Path)))
	for _, p := range b.Path {
		dst = appendText(dst, p)
	}
	return dst
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// cutUvarint reads a uvarint; size is 0 when there is none.
func cutUvarint[T string | []byte](b T) (n uint64, size int) {
	for i := 0; i < len(b) && i < binary.MaxVarintLen32; i++ {
		n |= uint64(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return n, i + 1
		}
	}
	return 0, 0
}

// cutText reads a length and as many bytes; ok is false when they are not there.
func cutText[T string | []byte](b T) (text, rest T, ok bool) {
	n, size := cutUvarint(b)
	if size == 0 || n > uint64(len(b)-size) {
		return text, rest, false
	}
	return b[size : size+int(n)], b[size+int(n):], true
}

// recordView is the variable part of a record, cut but not copied.
type recordView[T string | []byte] struct {
	remote, contact, instance, callID, userAgent, node T
	paths                                              int
	path                                               T
}

var errRecord = errors.New("binding record is cut short")

// viewTail cuts the variable part of a record.
func viewTail[T string | []byte](rest T) (v recordView[T], err error) {
	ok := true
	for _, at := range [...]*T{&v.remote, &v.contact, &v.instance, &v.callID, &v.userAgent, &v.node} {
		if *at, rest, ok = cutText(rest); !ok {
			return v, errRecord
		}
	}
	n, size := cutUvarint(rest)
	if size == 0 || n > uint64(len(rest)) {
		return v, errRecord
	}
	v.paths, v.path = int(n), rest[size:]
	rest = v.path
	for range v.paths {
		if _, rest, ok = cutText(rest); !ok {
			return v, errRecord
		}
	}
	if len(rest) > 0 {
		return v, errors.New("bytes behind a binding record")
	}
	return v, nil
}

// check tells whether foreign bytes are a committed record; one that passes can be read without errors ever after.
func (r bindingRecord) check() error {
	if len(r) < recFixed || len(r) > maxRecord {
		return errRecord
	}
	v, err := viewTail([]byte(r[recFixed:]))
	if err != nil {
		return err
	}
	if !allZero(r[:recLocal]) {
		return errors.New("binding record with local state")
	}
	var addr netip.AddrPort
	return addr.UnmarshalBinary(v.remote)
}

// view cuts a checked record.
func (r bindingRecord) view() recordView[[]byte] {
	v, _ := viewTail([]byte(r[recFixed:]))
	return v
}

func (r bindingRecord) told() int64   { return int64(binary.BigEndian.Uint64(r[recTold:])) }
func (r bindingRecord) lease() int64  { return int64(binary.BigEndian.Uint64(r[recLease:])) }
func (r bindingRecord) regID() uint32 { return binary.BigEndian.Uint32(r[recRegID:]) }
func (r bindingRecord) q() uint16     { return binary.BigEndian.Uint16(r[recQ:]) }
func (r bindingRecord) cseq() uint32  { return binary.BigEndian.Uint32(r[recCSeq:]) }
func (r bindingRecord) doomed() bool  { return r[recDoomed] != 0 }
func (r bindingRecord) doom(yes bool) { r[recDoomed] = boolByte(yes) }

// tell notes what the phone was told by this node.
func (r bindingRecord) tell(until int64, cseq uint32) {
	binary.BigEndian.PutUint64(r[recTold:], uint64(until))
	binary.BigEndian.PutUint32(r[recToldCSeq:], cseq)
}

// until is the end of the binding: what the phone was told when this node knows it, else the lease, which is never earlier.
func (r bindingRecord) until() int64 {
	if t := r.told(); t != 0 {
		return t
	}
	return r.lease()
}

// lastCSeq is the CSeq of the last request that touched the binding.
func (r bindingRecord) lastCSeq() uint32 {
	return max(r.cseq(), binary.BigEndian.Uint32(r[recToldCSeq:]))
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// binding unpacks a record. It copies, with one allocation for all the text.
func (r bindingRecord) binding() Binding {
	v, _ := viewTail(string(r[recFixed:]))
	b := Binding{
		Contact: v.contact, Instance: v.instance, CallID: v.callID, UserAgent: v.userAgent, Node: v.node,
		RegID: r.regID(), Q: r.q(), CSeq: r.lastCSeq(), Epoch: binary.BigEndian.Uint64(r[recEpoch:]),
		Since: recordTime(r, recSince), Expires: time.UnixMilli(r.until()), Lease: recordTime(r, recLease), Flow: r.flow(),
	}
	b.Path = v.pathValues()
	return b
}

// pathValues cuts the Path values; nil when there are none.
func (v *recordView[T]) pathValues() (values []string) {
	for path := v.path; len(values) < v.paths; {
		var p T
		p, path, _ = cutText(path)
		values = append(values, string(p))
	}
	return values
}

func (r bindingRecord) since() int64 { return int64(binary.BigEndian.Uint64(r[recSince:])) }

func recordTime(r bindingRecord, at int) time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(r[at:])))
}

func (r bindingRecord) flow() transport.Flow {
	remote, _, _ := cutText([]byte(r[recFixed:]))
	f := transport.Flow{Net: transport.Net(r[recNet]), Listener: binary.BigEndian.Uint16(r[recListener:]), Conn: binary.BigEndian.Uint64(r[recConn:])}
	_ = f.Remote.UnmarshalBinary(remote) // checked when the record came in
	return f
}

// id tells the bindings of one AOR apart.
func (r bindingRecord) id() bindingID {
	v := r.view()
	return bindingID{contact: string(v.contact), instance: string(v.instance), regID: r.regID()}
}

// bindingID is what a REGISTER names a binding by.
type bindingID struct {
	contact, instance string
	regID             uint32
}

// match tells how well the binding r fits id; 0 is not at all. A flow of an outbound phone is named by instance and reg-id
// (RFC 5626 §6) and flows may share a URI; everything else by its URI (RFC 3261 §10.3 step 7), but two phones that gave
// different instances stay two, whatever their private addresses.
func (id *bindingID) match(r bindingRecord, v *recordView[[]byte]) int {
	sameInstance := string(v.instance) == id.instance
	if reg := r.regID(); reg != 0 && id.regID != 0 {
		if reg == id.regID && sameInstance {
			return 3
		}
		return 0
	}
	switch {
	case string(v.contact) != id.contact && !message.SameURI(string(v.contact), id.contact):
		return 0
	case sameInstance && r.regID() == id.regID:
		return 2
	case sameInstance || len(v.instance) == 0 || id.instance == "":
		return 1
	}
	return 0
}

// saysSame tells whether two records differ in nothing but times and CSeq.
func (r bindingRecord) saysSame(o bindingRecord) bool {
	return bytes.Equal(r[recNet:recCSeq], o[recNet:recCSeq]) && bytes.Equal(r[recConn:recSince], o[recConn:recSince]) && bytes.Equal(r[recFixed:], o[recFixed:])
}

// appendContact writes the Contact line of a 200 to REGISTER.
func (r bindingRecord) appendContact(dst []byte, now int64, gruu *gruuMint) []byte {
	v := r.view()
	dst = append(append(append(dst, "Contact: <"...), v.contact...), ">;expires="...)
	dst = strconv.AppendInt(dst, (r.until()-now)/1000, 10)
	if q := r.q(); q < 1000 {
		dst = append(dst, ";q=0."...)
		dst = append(dst, byte('0'+q/100), byte('0'+q/10%10), byte('0'+q%10))
	}
	if len(v.instance) > 0 {
		dst = append(append(append(dst, `;+sip.instance="`...), v.instance...), '"')
		if gruu != nil {
			dst = gruu.append(dst, v.instance, v.callID)
		}
	}
	if reg := r.regID(); reg != 0 {
		dst = strconv.AppendUint(append(dst, ";reg-id="...), uint64(reg), 10)
	}
	return append(dst, "\r\n"...)
}
