// Package turn lets phones reach the media engine from networks that pass little or no UDP: a TURN server (RFC 8656) over UDP, TCP and TLS,
// and a STUN server (RFC 8489) on the same ports.
//
// It is no open relay. Who uses it proves who he is with short-lived credentials ([Mint]), and what he sends reaches media ports of ours and nothing
// else: neither strangers nor another service of this host.
//
//	browser ==TLS== turn ==UDP== media engine
package turn
