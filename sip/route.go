package sip

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"

	"tandem/sip/message"
	"tandem/sip/transport"
)

// routed is what route preprocessing found in a request (RFC 3261 §16.4).
type routed struct {
	uri   string // Request-URI to go on with; differs from the message's behind a strict router
	pop   int    // values at the head of Route that named this node
	last  bool   // the last Route value is now the Request-URI and must go
	token string // user part of the innermost Route value of ours: a flow token, maybe
	next  string // first Route value that is not ours, "" when none is left
}

// route does RFC 3261 §16.4: take our own values off Route, undo what a strict router did to the Request-URI.
func (s *Server) route(m *message.Message) routed {
	r := routed{uri: m.URI}
	routes := m.List(message.Route)
	if len(routes) > 0 && (s.isOurRoute(m.URI) || s.isStrict(m.URI, routes[len(routes)-1])) {
		r.last = true
		r.token = routeUser(m.URI)
		if a, err := message.ParseAddress(routes[len(routes)-1]); err == nil {
			r.uri = a.URI
		}
		routes = routes[:len(routes)-1]
	}
	for _, v := range routes {
		a, err := message.ParseAddress(v)
		if err != nil || !s.isOurHop(a.URI) {
			r.next = v
			break
		}
		r.pop++
		if u := routeUser(a.URI); u != "" {
			r.token = u
		}
	}
	return r
}

// isOurRoute tells a URI that this node put into Record-Route: ours, with lr.
func (s *Server) isOurRoute(uri string) bool {
	u, err := message.ParseURI(uri)
	if err != nil {
		return false
	}
	_, lr := u.Param("lr")
	return lr && (s.net.IsLocal(u.Host, u.Port) || s.edge.home(u.User) != 0)
}

// isStrict tells a Request-URI that is our Record-Route value without its lr, as old strict routers leave it: it names this node and no user,
// while the end of Route names somebody else.
func (s *Server) isStrict(uri, last string) bool {
	u, err := message.ParseURI(uri)
	if err != nil || u.User != "" && s.edge.home(u.User) == 0 || !s.net.IsLocal(u.Host, u.Port) {
		return false
	}
	a, err := message.ParseAddress(last)
	return err == nil && a.URI != "" && !s.isLocalURI(a.URI)
}

// isLoose tells whether a Route value names a loose router. What cannot be read is taken for one.
func isLoose(route string) bool {
	a, err := message.ParseAddress(route)
	if err != nil {
		return true
	}
	u, err := message.ParseURI(a.URI)
	if err != nil {
		return true
	}
	_, lr := u.Param("lr")
	return lr
}

func (s *Server) isLocalURI(uri string) bool {
	u, err := message.ParseURI(uri)
	return err == nil && (u.Scheme == "sip" || u.Scheme == "sips") && s.net.IsLocal(u.Host, u.Port)
}

func routeUser(uri string) string {
	u, err := message.ParseURI(uri)
	if err != nil {
		return ""
	}
	return u.User
}

// apply writes the routing of r into an edit: our Route values go, the strict router's last value goes.
func (r *routed) apply(m *message.Message, e *message.Edit) {
	left := r.pop
	total := len(m.List(message.Route))
	seen := 0
	for i := m.Index(message.Route); i >= 0; i = m.Next(i) {
		rest, changed := m.Header(i).Value, false
		var keep []string
		for rest != "" {
			var v string
			v, rest = message.CutValue(rest)
			seen++
			if left > 0 {
				left--
				changed = true
				continue
			}
			if r.last && seen == total {
				changed = true
				continue
			}
			keep = append(keep, v)
		}
		switch {
		case len(keep) == 0:
			e.Drop(i)
		case changed:
			e.Set(i, strings.Join(keep, ", "))
		}
	}
}

// appendRecordRoute writes the Record-Route lines of a request that goes from one flow to another: one when both sides
// reach us at the same address and transport, else two (RFC 5658 §6). Tokens are put into the user part when wanted: the
// innermost value a request comes back with then names the flow to send it on (RFC 5626 §5.2).
func (s *Server) appendRecordRoute(dst []byte, in, out transport.Flow, tokens, sips bool) []byte {
	if in.Net != out.Net || in.Listener != out.Listener || in.Node != out.Node || tokens {
		dst = s.appendRecordRouteLine(dst, out, tokens, sips)
	}
	return s.appendRecordRouteLine(dst, in, tokens, sips)
}

// appendRecordRouteLine writes one value; with a sips Request-URI it is sips as well (RFC 3261 §16.6 step 4).
func (s *Server) appendRecordRouteLine(dst []byte, f transport.Flow, token, sips bool) []byte {
	user := s.homeUser()
	if token {
		user = s.flowToken(f)
	}
	dst = s.appendOwnURI(append(dst, "Record-Route: <"...), f, user, sips)
	return append(dst, ";lr>\r\n"...)
}

func appendHostPort(dst []byte, host string, port int) []byte {
	if strings.IndexByte(host, ':') >= 0 {
		dst = append(append(append(dst, '['), host...), ']')
	} else {
		dst = append(dst, host...)
	}
	return strconv.AppendInt(append(dst, ':'), int64(port), 10)
}

// flowToken seals a flow into a URI user part. Only this process, or this cluster, can make one, so that nobody can make the node send
// requests to an address of his choice (RFC 5626 §5.2). It needs no age: connections have numbers that never come again.
//
//	net(1) listener(2) conn(8) port(2) node(4) address(4 or 16) MAC(10)
func (s *Server) flowToken(f transport.Flow) string {
	b := make([]byte, 0, 48)
	if f.Node == 0 && s.edge != nil {
		f.Node = s.edge.number
	}
	b = append(b, byte(f.Net))
	b = binary.BigEndian.AppendUint16(b, f.Listener)
	b = binary.BigEndian.AppendUint64(b, f.Conn)
	b = binary.BigEndian.AppendUint16(b, f.Remote.Port())
	b = binary.BigEndian.AppendUint32(b, f.Node)
	b = append(b, f.Remote.Addr().AsSlice()...)
	return base64.RawURLEncoding.EncodeToString(append(b, s.sealFlow(b)...))
}

func (s *Server) sealFlow(b []byte) []byte {
	mac := hmac.New(sha256.New, s.flowKey[:])
	mac.Write(b)
	return mac.Sum(nil)[:10]
}

// openFlow is the inverse of flowToken.
func (s *Server) openFlow(token string) (transport.Flow, bool) {
	var f transport.Flow
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < 17+4+10 {
		return f, false
	}
	body, mac := b[:len(b)-10], b[len(b)-10:]
	if !hmac.Equal(mac, s.sealFlow(body)) {
		return f, false
	}
	ip, ok := netip.AddrFromSlice(body[17:])
	f.Net = transport.Net(body[0])
	f.Listener = binary.BigEndian.Uint16(body[1:])
	f.Conn = binary.BigEndian.Uint64(body[3:])
	f.Remote = netip.AddrPortFrom(ip, binary.BigEndian.Uint16(body[11:]))
	f.Node = binary.BigEndian.Uint32(body[13:])
	if s.edge != nil && f.Node == s.edge.number {
		f.Node = 0
	}
	return f, ok
}
