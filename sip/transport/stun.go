package transport

import (
	"encoding/binary"
	"net/netip"
)

// STUN on the SIP port is the UDP keep-alive of RFC 5626 §4.4.2: the phone learns from the answer whether its NAT binding
// has changed. Only the Binding request is known here.
//
//	0                   1                   2                   3
//	|0 0|     message type          |         message length        |
//	|                  magic cookie 0x2112A442                      |
//	|                  transaction id (96 bits)                     |
const (
	stunHeader   = 20
	stunCookie   = 0x2112A442
	stunRequest  = 0x0001
	stunSuccess  = 0x0101
	stunXORAddr  = 0x0020
	stunFamilyV4 = 1
	stunFamilyV6 = 2
)

// isSTUN tells a STUN message from SIP: its first two bits are zero and no SIP message begins with a byte below 0x20
// (RFC 8489 §5).
func isSTUN(b []byte) bool {
	return len(b) >= stunHeader && b[0]&0xC0 == 0 && b[0] < ' ' && binary.BigEndian.Uint32(b[4:]) == stunCookie
}

// appendSTUNAnswer answers a Binding request with the source address it came from; other messages get nothing.
func appendSTUNAnswer(dst, req []byte, remote netip.AddrPort) []byte {
	if binary.BigEndian.Uint16(req) != stunRequest || int(binary.BigEndian.Uint16(req[2:])) != len(req)-stunHeader {
		return dst
	}
	ip := remote.Addr().Unmap()
	size, family := 4, byte(stunFamilyV4)
	if ip.Is6() {
		size, family = 16, stunFamilyV6
	}
	dst = binary.BigEndian.AppendUint16(dst, stunSuccess)
	dst = binary.BigEndian.AppendUint16(dst, uint16(4+4+size))
	dst = append(dst, req[4:stunHeader]...)
	dst = binary.BigEndian.AppendUint16(dst, stunXORAddr)
	dst = binary.BigEndian.AppendUint16(dst, uint16(4+size))
	dst = append(dst, 0, family)
	dst = binary.BigEndian.AppendUint16(dst, remote.Port()^(stunCookie>>16))
	// RFC 8489 §14.2: an IPv4 address is XORed with the cookie, an IPv6 address with cookie and transaction id.
	b := ip.As16()
	raw := b[16-size:]
	for i := range raw {
		raw[i] ^= req[4+i]
	}
	return append(dst, raw...)
}
