package srtp

import (
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
)

// Why a packet was not protected or given back.
var (
	ErrMalformed = errors.New("srtp: not an RTP or RTCP packet that could be protected")
	ErrRoom      = errors.New("srtp: the buffer has no room for the tag")
	ErrAuth      = errors.New("srtp: not authentic")
	ErrReplay    = errors.New("srtp: the index has been used or is too old")
	ErrSources   = errors.New("srtp: too many sources under one key")
	ErrUsedUp    = errors.New("srtp: the key has protected all it may") // RFC 3711 §9.2
)

// Role of a context.
type Role uint8

const (
	Receiver Role = iota
	Sender
)

// Bounds on the sources of one direction. A receiver forgets the oldest: of what it forgets, packets from before could
// be repeated. A sender must not forget one, lest its indices come twice; it refuses further ones.
const (
	maxReceived = 16
	maxSent     = 256
)

const (
	lastIndex     = 1<<48 - 1
	lastIndexRTCP = 1<<31 - 1
)

// Context is one direction under one master key.
type Context struct {
	suite  Suite
	role   Role
	master []byte // key and salt, for Export

	rtp, rtcp keys
	sources   []source
	room      room
	current   int    // the source of the last packet
	uses      uint64 // a clock for "oldest"
	sentRTCP  uint32 // highest SRTCP index of a sender, over all sources
	evicted   uint64
	resumed   *resumption // nil: not imported
}

// source is one SSRC.
type source struct {
	ssrc uint32
	used uint64
	rtp  window // index = ROC * 2^16 + sequence number
	rtcp window // receiver only
}

// New makes a context. master is the master key followed by the master salt, Suite.KeyBytes long.
func New(s Suite, master []byte, r Role) (*Context, error) {
	if s >= suites {
		return nil, fmt.Errorf("srtp: no suite %d", s)
	}
	p := &table[s]
	if len(master) != s.KeyBytes() {
		return nil, fmt.Errorf("srtp: %s takes %d bytes of key and salt, not %d", s, s.KeyBytes(), len(master))
	}
	c := &Context{suite: s, role: r, master: append([]byte(nil), master...)}
	key, salt := c.master[:p.key], c.master[p.key:]
	c.rtp.room, c.rtcp.room = &c.room, &c.room
	if err := c.rtp.init(p, key, salt, 0); err != nil {
		return nil, err
	}
	return c, c.rtcp.init(p, key, salt, labelsRTCP)
}

// Suite, Role and Master are what the context was made of: with New's words, s, r and master.
func (c *Context) Suite() Suite   { return c.suite }
func (c *Context) Role() Role     { return c.role }
func (c *Context) Master() []byte { return append([]byte(nil), c.master...) }

// Evicted is how many sources a receiver has forgotten for newer ones.
func (c *Context) Evicted() uint64 { return c.evicted }

// Protect encrypts an RTP packet and puts its tag behind it, in b's own array: it needs room for the tag.
func (c *Context) Protect(b []byte) ([]byte, error) {
	p := &table[c.suite]
	body, ok := headerRTP(b)
	if !ok {
		return nil, ErrMalformed
	}
	n := len(b)
	if cap(b) < n+p.tag {
		return nil, ErrRoom
	}
	ssrc := binary.BigEndian.Uint32(b[8:])
	src, err := c.claim(ssrc)
	if err != nil {
		return nil, err
	}
	index, err := src.rtp.guess(binary.BigEndian.Uint16(b[2:]))
	if err != nil {
		return nil, err
	}
	if !src.rtp.fresh(index) {
		return nil, ErrReplay
	}
	src.rtp.use(index)
	k := &c.rtp
	if p.gcm {
		return k.aead.Seal(b[:body], k.nonce(ssrc, index), b[body:], b[:body]), nil
	}
	k.crypt(b[body:], ssrc, index)
	return append(b, k.tag(b, uint32(index>>16))[:p.tag]...), nil
}

// Unprotect checks and decrypts an SRTP packet in place. After ErrAuth what b holds is undefined.
func (c *Context) Unprotect(b []byte) ([]byte, error) {
	p := &table[c.suite]
	body, ok := headerRTP(b)
	if !ok || len(b) < body+p.tag {
		return nil, ErrMalformed
	}
	ssrc := binary.BigEndian.Uint32(b[8:])
	seq := binary.BigEndian.Uint16(b[2:])
	src, index := c.find(ssrc), uint64(seq)
	if c.resumed != nil && (src == nil || src.rtp.resumed) {
		return c.resume(b, body, src, ssrc, seq)
	}
	if src != nil {
		var err error
		if index, err = src.rtp.guess(seq); err != nil {
			return nil, err
		}
		if !src.rtp.fresh(index) {
			return nil, ErrReplay
		}
	}
	if !c.authentic(b, body, ssrc, index) {
		return nil, ErrAuth
	}
	if src == nil { // only now: what is not authentic must not push a source out
		src = c.admit(ssrc)
	}
	src.rtp.use(index)
	return b[:len(b)-p.tag], nil
}

// authentic reports whether a packet was written under an index, and decrypts it then.
func (c *Context) authentic(b []byte, body int, ssrc uint32, index uint64) bool {
	p, k := &table[c.suite], &c.rtp
	if p.gcm {
		_, err := k.aead.Open(b[body:body], k.nonce(ssrc, index), b[body:], b[:body])
		return err == nil
	}
	n := len(b) - p.tag
	if subtle.ConstantTimeCompare(k.tag(b[:n], uint32(index>>16))[:p.tag], b[n:]) != 1 {
		return false
	}
	k.crypt(b[body:n], ssrc, index)
	return true
}

// encrypted is the E flag before the SRTCP index (RFC 3711 §3.4).
const encrypted = 1 << 31

// headerRTCP is what stays readable of an RTCP packet.
const headerRTCP = 8

// ProtectRTCP encrypts a compound RTCP packet in b's own array: it needs room for the tag and four bytes.
//
//	RFC 3711: header | encrypted | E index | tag      RFC 7714: header | encrypted | tag | E index
func (c *Context) ProtectRTCP(b []byte) ([]byte, error) {
	p := &table[c.suite]
	if len(b) < headerRTCP || b[0]>>6 != 2 {
		return nil, ErrMalformed
	}
	if cap(b) < len(b)+p.tagRTCP+4 {
		return nil, ErrRoom
	}
	if c.sentRTCP == lastIndexRTCP {
		return nil, ErrUsedUp
	}
	// RFC 3711 §3.2.1 counts for each source; one count for all is as good to a receiver, and cannot come twice.
	c.sentRTCP++
	ssrc, index, k := binary.BigEndian.Uint32(b[4:]), c.sentRTCP, &c.rtcp
	if p.gcm {
		b = k.aead.Seal(b[:headerRTCP], k.nonce(ssrc, uint64(index)), b[headerRTCP:], k.associated(b, encrypted|index))
		return binary.BigEndian.AppendUint32(b, encrypted|index), nil
	}
	k.crypt(b[headerRTCP:], ssrc, uint64(index))
	tag := k.tag(b, encrypted|index)[:p.tagRTCP]
	b = binary.BigEndian.AppendUint32(b, encrypted|index)
	return append(b, tag...), nil
}

// UnprotectRTCP checks and decrypts an SRTCP packet in place. After ErrAuth what b holds is undefined. A packet that is
// authentic but not encrypted is refused as well: nobody has agreed to that (UNENCRYPTED_SRTCP).
func (c *Context) UnprotectRTCP(b []byte) ([]byte, error) {
	p := &table[c.suite]
	n := len(b) - p.tagRTCP - 4
	if n < headerRTCP || b[0]>>6 != 2 {
		return nil, ErrMalformed
	}
	at := n // of the index
	if p.gcm {
		at = len(b) - 4
	}
	word := binary.BigEndian.Uint32(b[at:])
	if word&encrypted == 0 {
		return nil, ErrAuth
	}
	ssrc, index, k := binary.BigEndian.Uint32(b[4:]), uint64(word&^encrypted), &c.rtcp
	src := c.find(ssrc)
	if src != nil && !src.rtcp.fresh(index) {
		return nil, ErrReplay
	}
	if p.gcm {
		if _, err := k.aead.Open(b[headerRTCP:headerRTCP], k.nonce(ssrc, index), b[headerRTCP:at], k.associated(b, word)); err != nil {
			return nil, ErrAuth
		}
	} else {
		if subtle.ConstantTimeCompare(k.tag(b[:n], word)[:p.tagRTCP], b[n+4:]) != 1 {
			return nil, ErrAuth
		}
		k.crypt(b[headerRTCP:n], ssrc, index)
	}
	if src == nil {
		src = c.admit(ssrc)
	}
	src.rtcp.use(index)
	return b[:n], nil
}

// associated is what GCM authenticates of an RTCP packet beside the encrypted part (RFC 7714 §9.2).
func (k *keys) associated(b []byte, word uint32) []byte {
	copy(k.aad[:], b[:headerRTCP])
	binary.BigEndian.PutUint32(k.aad[headerRTCP:], word)
	return k.aad[:]
}

// guess completes a sequence number with the rollover count that brings it closest to the highest index (RFC 3711 §3.3.1).
func (w *window) guess(seq uint16) (uint64, error) {
	if !w.started {
		return uint64(seq), nil
	}
	if w.resumed {
		index, late := w.ahead(seq)
		switch {
		case late:
			return 0, ErrReplay
		case index > lastIndex:
			return 0, ErrUsedUp
		}
		return index, nil
	}
	roc := w.highest >> 16
	switch step := int32(seq) - int32(uint16(w.highest)); {
	case step < -1<<15:
		roc++
	case step > 1<<15:
		if roc == 0 { // from before the first packet
			return 0, ErrReplay
		}
		roc--
	}
	if index := roc<<16 | uint64(seq); index <= lastIndex {
		return index, nil
	}
	return 0, ErrUsedUp
}

// find gives the source of an SSRC, or nil.
func (c *Context) find(ssrc uint32) *source {
	if c.current >= len(c.sources) || c.sources[c.current].ssrc != ssrc {
		c.current = len(c.sources)
		for i := range c.sources {
			if c.sources[i].ssrc == ssrc {
				c.current = i
				break
			}
		}
		if c.current == len(c.sources) {
			return nil
		}
	}
	s := &c.sources[c.current]
	c.uses++
	s.used = c.uses
	return s
}

// claim is find for a sender: a new SSRC gets its place at once.
func (c *Context) claim(ssrc uint32) (*source, error) {
	if s := c.find(ssrc); s != nil {
		return s, nil
	}
	if len(c.sources) == maxSent {
		return nil, ErrSources
	}
	return c.admit(ssrc), nil
}

// admit gives a new SSRC its place, in a receiver that of the oldest.
func (c *Context) admit(ssrc uint32) *source {
	at := len(c.sources)
	if c.role == Receiver && at == maxReceived {
		at = 0
		for i := range c.sources {
			if c.sources[i].used < c.sources[at].used {
				at = i
			}
		}
		c.evicted++
	} else {
		c.sources = append(c.sources, source{})
	}
	c.uses++
	c.sources[at] = source{ssrc: ssrc, used: c.uses}
	c.current = at
	return &c.sources[at]
}

// headerRTP is the length of an RTP packet's header with its extension (RFC 3550 §5.1, §5.3.1), which is not encrypted.
func headerRTP(b []byte) (n int, ok bool) {
	if len(b) < 12 || b[0]>>6 != 2 {
		return 0, false
	}
	n = 12 + 4*int(b[0]&0x0f)
	if b[0]&0x10 != 0 {
		if len(b) < n+4 {
			return 0, false
		}
		n += 4 + 4*int(binary.BigEndian.Uint16(b[n+2:]))
	}
	return n, n <= len(b)
}
