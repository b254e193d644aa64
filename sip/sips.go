package sip

import (
	"strings"

	"tandem/sip/message"
	"tandem/sip/transport"
)

// A request to a sips URI may go over TLS alone, to the last hop (RFC 3261 §26.2.2, RFC 5630 §5.3). What decides is the way to the
// phone and not what it calls its contact: many register sip:...;transport=tls.

// warnSIPS is the Warning of RFC 5630 §6.
const warnSIPS = 380

// tooOpen tells whether a request of the fork must not go over a flow, and remembers why for the caller.
func (f *fork) tooOpen(flow transport.Flow) bool {
	if f.dialog != nil || f.tx.in == nil || f.tx.in.URI.Scheme != "sips" || flow.Net.Secure() {
		return false
	}
	f.tx.open = true
	return true
}

// unencrypted is the Warning of a refusal when a phone was left out because the way to it is open, nil when none was.
func (tx *transaction) unencrypted() []byte {
	if !tx.open {
		return nil
	}
	return tx.sh.srv.warning(nil, warnSIPS, "SIPS Not Allowed: no phone of the callee is registered over TLS")
}

// plainURI is the contact for a request to a sip URI: a phone that registers a sips contact is reached at both, and is told which
// was called (RFC 5630 §5.3).
func (in *Inbound) plainURI(uri string) string {
	if in == nil || in.URI.Scheme == "sips" || !isSIPS(uri) {
		return uri
	}
	return "sip" + uri[len("sips"):]
}

func isSIPS(uri string) bool { return len(uri) > 5 && strings.EqualFold(uri[:5], "sips:") }

// appendOwnURI begins a URI of this node, without the user: the way over f, sips when what it is for asks for that.
func (s *Server) appendOwnURI(dst []byte, f transport.Flow, user string, sips bool) []byte {
	host, port := s.net.SentBy(f)
	sips = sips && f.Net.Secure()
	dst = append(dst, "sip"...)
	if sips {
		dst = append(dst, 's')
	}
	dst = append(dst, ':')
	if user != "" {
		dst = append(append(dst, user...), '@')
	}
	dst = appendHostPort(dst, host, port)
	switch {
	case f.Net == transport.UDP, sips && f.Net == transport.TLS:
		return dst
	case sips:
		return append(dst, ";transport=ws"...)
	}
	return append(append(dst, ";transport="...), f.Net.String()...)
}

// wantsSIPS tells whether a request is for a sips URI.
func wantsSIPS(m *message.Message) bool { return isSIPS(m.URI) }
