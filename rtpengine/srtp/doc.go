// Package srtp protects RTP and RTCP (RFC 3711) in place: no copy and no allocation per packet.
//
// A [Context] is one direction under one master key, as a sender or as a receiver. Who has it owns it: nothing here
// locks. [Context.Protect] grows the packet inside its buffer by at most [Overhead] bytes; [Context.Unprotect] gives the
// packet back only when it is authentic and new.
//
// Keys come from elsewhere (SDES, later DTLS). One thing is promised whatever the caller does: no index is ever used
// twice under a key, because a repeated index gives the key stream away, and with GCM the power to forge as well
// (RFC 3711 §9.1, RFC 7714 §10). So a sender refuses what its window has seen, keeps every source it ever had, and goes
// on above what it exported.
//
// Standards: RFC 3711 (no MKI, key derivation rate 0), RFC 7714 (GCM), RFC 4568 §6.2 (names of the suites).
package srtp
