package rtpengine

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// packing writes what a snapshot holds, or reads it. Both ways go through the same functions in the same order, so that the form is told
// once. Numbers are varints. A text or an address that came before is a number. What is read comes from elsewhere: every number has a bound,
// every list grows with what is really there, and the first mistake ends the reading.
type packing struct {
	b       []byte // what has been written, or what is left to be read
	reading bool
	err     error // the first mistake

	words []string     // texts so far, behind the usual ones
	hosts []netip.Addr // addresses so far
}

func (p *packing) fail(what string) {
	if p.err == nil {
		p.err = fmt.Errorf("%w: %s", ErrSnapshot, what)
	}
	p.b = nil
}

// raw passes n octets of a secret or of anything else that is never there twice.
func (p *packing) raw(v *[]byte, n int) {
	switch {
	case !p.reading:
		p.b = append(p.b, *v...)
	case len(p.b) < n:
		p.fail("it ends too soon")
	default:
		*v, p.b = slices.Clone(p.b[:n]), p.b[n:]
	}
}

func (p *packing) uvarint(v uint64) uint64 {
	if !p.reading {
		p.b = binary.AppendUvarint(p.b, v)
		return v
	}
	v, n := binary.Uvarint(p.b)
	if n <= 0 {
		p.fail("it ends too soon")
		return 0
	}
	p.b = p.b[n:]
	return v
}

type integer interface {
	~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uint | ~int
}

// number passes one from 0 to most.
func number[T integer](p *packing, v *T, most T) {
	n := p.uvarint(uint64(*v))
	if n > uint64(most) {
		p.fail("a number is too large")
		n = 0
	}
	if p.reading {
		*v = T(n)
	}
}

// signed passes one that may be below zero.
func (p *packing) signed(v *int64) {
	n := p.uvarint(uint64(*v<<1 ^ *v>>63))
	*v = int64(n>>1) ^ -int64(n&1)
}

// flags passes up to seven in one octet.
func (p *packing) flags(list ...*bool) {
	var bits uint8
	for i, f := range list {
		if *f {
			bits |= 1 << i
		}
	}
	number(p, &bits, 1<<len(list)-1)
	for i, f := range list {
		if p.reading {
			*f = bits>>i&1 != 0
		}
	}
}

// text passes a text that may stand in a line of a description.
func (p *packing) text(v *string, most int) {
	if p.octets(v, most); strings.ContainsAny(*v, "\r\n\x00") {
		p.fail("a text is more than a line")
	}
}

// octets passes any: an odd number for some that are known, else twice their length and themselves.
func (p *packing) octets(v *string, most int) {
	if !p.reading {
		if len(*v) > most {
			p.fail("a text is too long")
		}
		if i := p.word(*v); i >= 0 {
			p.uvarint(uint64(2*i + 1))
			return
		}
		p.uvarint(uint64(2 * len(*v)))
		p.b = append(p.b, *v...)
		p.learn(*v)
		return
	}
	n := p.uvarint(0)
	switch i := n / 2; {
	case n%2 == 1 && i < uint64(len(usualWords)):
		*v = usualWords[i]
	case n%2 == 1 && i-uint64(len(usualWords)) < uint64(len(p.words)):
		*v = p.words[i-uint64(len(usualWords))]
	case n%2 == 1 || i > uint64(len(p.b)):
		p.fail("a text is not there")
	default:
		*v, p.b = intern(string(p.b[:i])), p.b[i:]
		p.learn(*v)
	}
	if len(*v) > most {
		p.fail("a text is too long")
	}
}

func (p *packing) word(v string) int {
	if i := slices.Index(usualWords, v); i >= 0 {
		return i
	}
	if i := slices.Index(p.words, v); i >= 0 {
		return len(usualWords) + i
	}
	return -1
}

func (p *packing) learn(v string) {
	if v != "" {
		p.words = append(p.words, v)
	}
}

// usualWords are part of the form: they stand in most calls. New ones go behind the last.
var usualWords = []string{
	"audio", "video", "RTP/AVP", "RTP/SAVP", "RTP/AVPF", "RTP/SAVPF", "UDP/TLS/RTP/SAVPF", "image", "udptl", "-",
	"PCMU", "PCMA", "G722", "opus", "telephone-event", "telephone-event/8000/1", "telephone-event/48000/1", "opus/48000/2", "0-15", "0-16",
	"useinbandfec=1", "minptime=10;useinbandfec=1", "CN", "G729", "G729/8000/1", "VP8", "VP8/90000/1", "H264", "rtx", "red", "0", "1", "actpass", "active", "passive",
}

// host passes an address: 0 for none, 1 and 2 before a new one of IPv4 and IPv6, else a number of one that came before.
func (p *packing) host(v *netip.Addr) {
	if !p.reading {
		switch i := slices.Index(p.hosts, *v); {
		case !v.IsValid():
			p.uvarint(0)
		case i >= 0:
			p.uvarint(uint64(i + 3))
		default:
			p.uvarint(uint64(1 + familyOf(*v)))
			p.b = append(p.b, v.AsSlice()...)
			p.hosts = append(p.hosts, *v)
		}
		return
	}
	*v = netip.Addr{}
	var octets []byte
	switch n := p.uvarint(0); {
	case n == 0:
		return
	case n < 3:
		p.raw(&octets, [...]int{4, 16}[n-1])
		*v, _ = netip.AddrFromSlice(octets)
		*v = v.Unmap()
		p.hosts = append(p.hosts, *v)
	case n-3 < uint64(len(p.hosts)):
		*v = p.hosts[n-3]
	default:
		p.fail("an address is not there")
	}
}

// place passes an address with its port.
func (p *packing) place(v *netip.AddrPort) {
	at, port := v.Addr(), v.Port()
	if p.host(&at); !at.IsValid() {
		*v = netip.AddrPort{}
		return
	}
	if !p.reading {
		p.b = binary.BigEndian.AppendUint16(p.b, port)
		return
	}
	var octets []byte
	if p.raw(&octets, 2); p.err == nil {
		*v = netip.AddrPortFrom(at, binary.BigEndian.Uint16(octets))
	}
}

// address passes what place would.
func (p *packing) address(v *address) {
	at := v.addrPort()
	p.place(&at)
	*v = pack(at)
}

// list passes a list of at most as many; each takes an octet at least. An empty one is read as nil.
func list[T any](p *packing, v *[]T, most int, each func(*T)) {
	n := len(*v)
	number(p, &n, most)
	if !p.reading {
		for i := range *v {
			each(&(*v)[i])
		}
		return
	}
	*v = nil
	for range n {
		if p.err != nil {
			return
		}
		var one T
		each(&one)
		*v = append(*v, one)
	}
}

// optional passes what may be nil.
func optional[T any](p *packing, v **T, some func(*T)) {
	there := *v != nil
	if p.flags(&there); !there {
		return
	}
	if p.reading {
		*v = new(T)
	}
	some(*v)
}
