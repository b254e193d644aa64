package rtpengine

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/pion/stun/v3"
)

// A binding request as ICE sends it (RFC 8489 §5, RFC 8445 §7.1):
//
//	| 0x0001 | length | 0x2112A442 | transaction 12 | USERNAME "ours:theirs" | PRIORITY | ICE-CONTROLLING | USE-CANDIDATE?
//	| MESSAGE-INTEGRITY | FINGERPRINT |
const (
	stunHeader = 20
	stunCookie = 0x2112A442
)

// looksSTUN and looksDTLS tell what shares a port with RTP by its first octet (RFC 7983 §7); RTP and RTCP have 128-191.
func looksSTUN(b []byte) bool { return len(b) > 0 && b[0] < 4 }

func looksDTLS(b []byte) bool { return len(b) > 0 && b[0] >= 20 && b[0] < 64 }

func looksMedia(b []byte) bool { return len(b) > 0 && b[0]>>6 == 2 }

// check is a connectivity check that has come (RFC 8445 §7.3). What it holds is good until the next one is read.
type check struct {
	ours, theirs string // the two halves of USERNAME
	priority     uint32
	nominates    bool // USE-CANDIDATE
	controlled   bool // its sender believes that we lead
	strange      []stun.AttrType
}

// stunDesk reads checks and writes their answers. Each shard has one.
type stunDesk struct {
	in, out stun.Message
	strange [4]stun.AttrType

	second int64 // that refusals are counted in
	spent  int
}

// refusals is how many errors a shard answers in a second: they go to whoever sent a request, proved or not.
const refusals = 64

// read takes a datagram that is a binding request of ICE in good form: with name, integrity (yet unproved) and a true fingerprint.
func (d *stunDesk) read(b []byte) (c check, ok bool) {
	if len(b) < stunHeader || len(b)%4 != 0 || binary.BigEndian.Uint32(b[4:]) != stunCookie ||
		int(binary.BigEndian.Uint16(b[2:])) != len(b)-stunHeader || binary.BigEndian.Uint16(b) != stun.BindingRequest.Value() {
		return c, false
	}
	d.in.Raw = append(d.in.Raw[:0], b...)
	if d.in.Decode() != nil || len(d.in.Attributes) == 0 ||
		d.in.Attributes[len(d.in.Attributes)-1].Type != stun.AttrFingerprint || stun.Fingerprint.Check(&d.in) != nil {
		return c, false
	}
	c.strange = d.strange[:0]
	for _, a := range d.in.Attributes {
		switch a.Type {
		case stun.AttrMessageIntegrity: // RFC 8489 §14.5: what follows is not protected
			return c, len(a.Value) == 20 && c.ours != ""
		case stun.AttrUsername:
			for i, ch := range a.Value {
				if ch == ':' {
					c.ours, c.theirs = string(a.Value[:i]), string(a.Value[i+1:])
					break
				}
			}
		case stun.AttrPriority:
			if len(a.Value) == 4 {
				c.priority = binary.BigEndian.Uint32(a.Value)
			}
		case stun.AttrUseCandidate:
			c.nominates = true
		case stun.AttrICEControlled:
			c.controlled = true
		default:
			if a.Type.Required() && !knownAttribute(a.Type) && len(c.strange) < cap(c.strange) {
				c.strange = append(c.strange, a.Type)
			}
		}
	}
	return c, false
}

// knownAttribute tells which attributes that must be understood are, beside those that matter here (RFC 8489 §18.3).
func knownAttribute(t stun.AttrType) bool {
	switch t {
	case stun.AttrRealm, stun.AttrNonce, stun.AttrMessageIntegritySHA256, stun.AttrPasswordAlgorithm, stun.AttrUserhash:
		return true
	}
	return false
}

// proved checks the integrity of what was read.
func (d *stunDesk) proved(password string) bool {
	return stun.MessageIntegrity(password).Check(&d.in) == nil
}

// success writes the answer to what was read (RFC 8489 §6.3.3): from where it came, as we see it.
func (d *stunDesk) success(src netip.AddrPort, password string) []byte {
	d.begin(stun.BindingSuccess)
	var value [20]byte
	ip := src.Addr().AsSlice()
	value[1] = 1
	if len(ip) == 16 {
		value[1] = 2
	}
	binary.BigEndian.PutUint16(value[2:], src.Port()^stunCookie>>16)
	var mask [16]byte // RFC 8489 §14.2: the cookie and the transaction
	binary.BigEndian.PutUint32(mask[:], stunCookie)
	copy(mask[4:], d.in.TransactionID[:])
	for i := range ip {
		value[4+i] = ip[i] ^ mask[i]
	}
	d.out.Add(stun.AttrXORMappedAddress, value[:4+len(ip)])
	return d.finish(password)
}

// refuse writes an error answer; nil when the second's share of them is spent. password "" leaves the integrity out (RFC 8489 §9.1.3).
func (d *stunDesk) refuse(now int64, code stun.ErrorCode, reason, password string, strange []stun.AttrType) []byte {
	if second := now / int64(time.Second); second != d.second {
		d.second, d.spent = second, 0
	}
	if d.spent == refusals {
		return nil
	}
	d.spent++
	d.begin(stun.BindingError)
	value := append([]byte{0, 0, byte(code / 100), byte(code % 100)}, reason...)
	d.out.Add(stun.AttrErrorCode, value)
	if len(strange) > 0 {
		var list []byte
		for _, t := range strange {
			list = binary.BigEndian.AppendUint16(list, t.Value())
		}
		d.out.Add(stun.AttrUnknownAttributes, list)
	}
	return d.finish(password)
}

func (d *stunDesk) begin(t stun.MessageType) {
	d.out.Reset()
	d.out.Type, d.out.TransactionID = t, d.in.TransactionID
	d.out.WriteHeader()
}

func (d *stunDesk) finish(password string) []byte {
	if password != "" {
		_ = stun.MessageIntegrity(password).AddTo(&d.out) // fails only behind a fingerprint
	}
	_ = stun.Fingerprint.AddTo(&d.out) // never fails
	return d.out.Raw
}
