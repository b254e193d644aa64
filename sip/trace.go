package sip

import (
	"encoding/binary"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"tandem/sip/transport"
)

// A Traced message is one entry of the ring of recent SIP messages.
type Traced struct {
	At     time.Time      `json:"at"`
	Out    bool           `json:"out"`
	Net    string         `json:"net"`
	Remote netip.AddrPort `json:"remote"`
	Local  netip.AddrPort `json:"local"`
	Text   string         `json:"text"` // secrets masked
}

// traceRing keeps the last messages of one shard in one block of memory: the oldest make room for the newest. The shard
// writes, anybody reads; the lock is held for a copy of one message or one scan. A record is never split: one that does not
// fit behind the last begins the block anew.
//
//	0        head          tail           end
//	+---------+-------------+--------------+-----+
//	| newest  | (room)      | oldest       |     |     wrapped: two runs of records
//	+---------+-------------+--------------+-----+
type traceRing struct {
	mu      sync.Mutex
	buf     []byte
	head    int // where the next record goes
	tail    int // the oldest record
	end     int // behind the last record of the older run, when wrapped
	wrapped bool
}

// A record is
//
//	 0        4     5     6          8      16     24        28     30   32
//	+--------+-----+-----+----------+------+------+---------+------+----+------
//	| length | net | bits| listener | time | conn | address | port | 0  | text
//	+--------+-----+-----+----------+------+------+---------+------+----+------
//
// all little-endian. length counts everything, the address is IPv4; IPv6 has its 16 bytes in front of the text.
const (
	traceHeader = 32

	traceOut  = 1 // bits
	traceIPv6 = 2
)

func (r *traceRing) add(now time.Time, out bool, f transport.Flow, msg []byte) {
	bits, head := byte(0), traceHeader
	if out {
		bits = traceOut
	}
	ip := f.Remote.Addr().Unmap()
	if ip.Is6() {
		bits |= traceIPv6
		head += 16
	}
	n := head + len(msg)
	if n > len(r.buf) {
		return
	}
	r.mu.Lock()
	b := r.room(n)
	binary.LittleEndian.PutUint32(b, uint32(n))
	b[4], b[5] = byte(f.Net), bits
	binary.LittleEndian.PutUint16(b[6:], f.Listener)
	binary.LittleEndian.PutUint64(b[8:], uint64(now.UnixNano()))
	binary.LittleEndian.PutUint64(b[16:], f.Conn)
	if bits&traceIPv6 != 0 {
		addr := ip.As16()
		copy(b[traceHeader:], addr[:])
	} else if ip.Is4() {
		addr := ip.As4()
		copy(b[24:], addr[:])
	}
	binary.LittleEndian.PutUint16(b[28:], f.Remote.Port())
	copy(b[head:], msg)
	r.mu.Unlock()
}

// room makes place for a record of n bytes, at most the whole block, and takes it. mu is held.
func (r *traceRing) room(n int) []byte {
	if !r.wrapped && r.head+n > len(r.buf) {
		r.end, r.head, r.wrapped = r.head, 0, true
	}
	for r.wrapped && r.head+n > r.tail {
		if r.tail += r.length(r.tail); r.tail == r.end {
			r.tail, r.wrapped = 0, false
			if r.head+n > len(r.buf) { // the newer run leaves no room either
				r.end, r.head, r.wrapped = r.head, 0, true
			}
		}
	}
	b := r.buf[r.head : r.head+n]
	r.head += n
	return b
}

func (r *traceRing) length(at int) int { return int(binary.LittleEndian.Uint32(r.buf[at:])) }

// scan calls yield for every record, oldest first. rec is valid for the call.
func (r *traceRing) scan(yield func(rec traceRecord)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.tail
	if r.wrapped {
		for ; at < r.end; at += r.length(at) {
			yield(r.buf[at : at+r.length(at)])
		}
		at = 0
	}
	for ; at < r.head; at += r.length(at) {
		yield(r.buf[at : at+r.length(at)])
	}
}

type traceRecord []byte

func (rec traceRecord) text() string {
	if rec[5]&traceIPv6 != 0 {
		return string(rec[traceHeader+16:])
	}
	return string(rec[traceHeader:])
}

func (rec traceRecord) out() bool { return rec[5]&traceOut != 0 }

func (rec traceRecord) time() time.Time {
	return time.Unix(0, int64(binary.LittleEndian.Uint64(rec[8:])))
}

func (rec traceRecord) flow() transport.Flow {
	ip := netip.AddrFrom4([4]byte(rec[24:28]))
	if rec[5]&traceIPv6 != 0 {
		ip = netip.AddrFrom16([16]byte(rec[traceHeader : traceHeader+16]))
	}
	return transport.Flow{
		Net: transport.Net(rec[4]), Listener: binary.LittleEndian.Uint16(rec[6:]), Conn: binary.LittleEndian.Uint64(rec[16:]),
		Remote: netip.AddrPortFrom(ip, binary.LittleEndian.Uint16(rec[28:])),
	}
}

// Trace gives the recent messages that hold one of the given Call-IDs, oldest first, at most limit (the newest win). No
// Call-ID gives all of them. Any goroutine.
func (s *Server) Trace(limit int, callIDs ...string) []Traced {
	var out []Traced
	for _, sh := range s.shards {
		if sh.trace == nil {
			continue
		}
		sh.trace.scan(func(rec traceRecord) {
			text := rec.text()
			if len(callIDs) > 0 && !slices.ContainsFunc(callIDs, func(id string) bool { return strings.Contains(text, id+"\r\n") }) {
				return
			}
			f := rec.flow()
			out = append(out, Traced{At: rec.time(), Out: rec.out(), Net: f.Net.String(), Remote: f.Remote, Local: s.net.Local(f), Text: Mask(text)})
		})
	}
	slices.SortStableFunc(out, func(a, b Traced) int { return a.At.Compare(b.At) })
	if limit > 0 && len(out) > limit {
		out = out[len(out)-limit:]
	}
	return out
}

var (
	maskDigest = regexp.MustCompile(`(?i)\b(response|nonce|cnonce|nextnonce|rspauth)="[^"]*"`)
	maskBearer = regexp.MustCompile(`(?i)(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]+`)
	maskCrypto = regexp.MustCompile(`(?i)inline:[A-Za-z0-9+/=]+`)
	maskUser   = regexp.MustCompile(`(?i)(sips?:[^\s:@<>;]+):[^\s@<>;]+@`)
)

// Mask hides what must not leave the node in a trace: digest responses and nonces, tokens, SRTP keys, passwords in URIs.
func Mask(text string) string {
	text = maskDigest.ReplaceAllString(text, `$1="***"`)
	text = maskBearer.ReplaceAllString(text, "$1 ***")
	text = maskCrypto.ReplaceAllString(text, "inline:***")
	return maskUser.ReplaceAllString(text, "$1:***@")
}
