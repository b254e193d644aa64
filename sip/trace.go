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
// writes, anybody reads; the lock is held for a copy of one message or one scan.
type traceRing struct {
	mu   sync.Mutex
	buf  []byte
	head int // offset where the next record goes
	tail int // offset of the oldest record
	used int
}

// record: length 4 | time 8 | out 1 | net 1 | listener 2 | conn 8 | port 2 | ip 16 | text
const traceHeader = 4 + 8 + 1 + 1 + 2 + 8 + 2 + 16

func (r *traceRing) add(now time.Time, out bool, f transport.Flow, msg []byte) {
	n := traceHeader + len(msg)
	r.mu.Lock()
	defer r.mu.Unlock()
	if n > len(r.buf) {
		return
	}
	for r.used+n > len(r.buf) {
		old := r.length(r.tail)
		r.tail = (r.tail + old) % len(r.buf)
		r.used -= old
	}
	var h [traceHeader]byte
	binary.LittleEndian.PutUint32(h[0:], uint32(n))
	binary.LittleEndian.PutUint64(h[4:], uint64(now.UnixNano()))
	if out {
		h[12] = 1
	}
	h[13] = byte(f.Net)
	binary.LittleEndian.PutUint16(h[14:], f.Listener)
	binary.LittleEndian.PutUint64(h[16:], f.Conn)
	binary.LittleEndian.PutUint16(h[24:], f.Remote.Port())
	ip := f.Remote.Addr().As16()
	copy(h[26:], ip[:])
	r.put(h[:])
	r.put(msg)
	r.used += n
}

func (r *traceRing) put(b []byte) {
	n := copy(r.buf[r.head:], b)
	if n < len(b) {
		copy(r.buf, b[n:])
	}
	r.head = (r.head + len(b)) % len(r.buf)
}

func (r *traceRing) get(at, n int) []byte {
	out := make([]byte, n)
	if k := copy(out, r.buf[at:]); k < n {
		copy(out[k:], r.buf)
	}
	return out
}

func (r *traceRing) length(at int) int {
	var b [4]byte
	for i := range b {
		b[i] = r.buf[(at+i)%len(r.buf)]
	}
	return int(binary.LittleEndian.Uint32(b[:]))
}

// scan calls yield for every record, oldest first.
func (r *traceRing) scan(yield func(rec []byte)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for at, left := r.tail, r.used; left > 0; {
		n := r.length(at)
		yield(r.get(at, n))
		at = (at + n) % len(r.buf)
		left -= n
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
		sh.trace.scan(func(rec []byte) {
			text := string(rec[traceHeader:])
			if len(callIDs) > 0 && !slices.ContainsFunc(callIDs, func(id string) bool { return strings.Contains(text, id+"\r\n") }) {
				return
			}
			f := transport.Flow{Net: transport.Net(rec[13]), Listener: binary.LittleEndian.Uint16(rec[14:]), Conn: binary.LittleEndian.Uint64(rec[16:])}
			addr := netip.AddrFrom16([16]byte(rec[26:42])).Unmap()
			f.Remote = netip.AddrPortFrom(addr, binary.LittleEndian.Uint16(rec[24:]))
			out = append(out, Traced{
				At: time.Unix(0, int64(binary.LittleEndian.Uint64(rec[4:]))), Out: rec[12] == 1, Net: f.Net.String(),
				Remote: f.Remote, Local: s.net.Local(f), Text: Mask(text),
			})
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
