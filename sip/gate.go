package sip

import (
	"strings"

	"tandem/events"
	"tandem/sip/message"
	"tandem/sip/transport"
)

// allowed are the methods this node itself understands when a request is addressed to it and not to a user.
const allowed = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, MESSAGE, INFO, UPDATE, PRACK, SUBSCRIBE, NOTIFY, PUBLISH, REFER"

// outside handles a request that begins something: the checks of RFC 3261 §16.3 and §8.2 in order, then who it is, then
// what it wants.
func (sh *shard) outside(m *message.Message, p transport.Packet, key uint64) {
	uri, err := message.ParseURI(m.URI)
	if err != nil {
		sh.refuse(m, p, 400, "Request-URI: "+err.Error())
		return
	}
	if m.Has(message.Route) {
		if r := sh.srv.route(m); r.last { // before anything looks at the Request-URI (RFC 3261 §16.4)
			if uri, err = message.ParseURI(r.uri); err != nil {
				sh.refuse(m, p, 400, "Route: "+err.Error())
				return
			}
		}
	}
	switch {
	case uri.Scheme != "sip" && uri.Scheme != "sips" && uri.Scheme != "tel":
		sh.refuse(m, p, 416, "only sip, sips and tel are known here")
		return
	case m.Has(message.ProxyRequire):
		sh.unsupported(m, p, m.List(message.ProxyRequire))
		return
	case m.Method == "REGISTER":
		sh.register(m, p, uri)
		return
	case uri.User == "" && uri.Opaque == "" && sh.srv.isOurs(uri):
		sh.addressedToUs(m, p)
		return
	}
	if n, ok := message.ParseUint(m.Get(message.MaxForwards)); ok && n == 0 {
		if m.Method == "OPTIONS" {
			sh.addressedToUs(m, p)
			return
		}
		sh.count.hops.Add(1)
		sh.refuse(m, p, 483, "Max-Forwards is used up")
		return
	}
	if sh.looped(m) {
		sh.count.loops.Add(1)
		sh.refuse(m, p, 482, "this request was here before")
		return
	}
	if sh.srv.draining.Load() {
		sh.shed(m, p.Flow)
		return
	}
	sh.admit(m, p, key, uri)
}

// isOurs tells whether a URI without a user part names this node: by address or by a domain it serves.
func (s *Server) isOurs(u message.URI) bool {
	if s.net.IsLocal(u.Host, u.Port) {
		return true
	}
	_, ok := s.cfg.Directory.TenantOf(u.Host)
	return ok
}

// admit authenticates a request, opens its transaction and gives it to the handler.
func (sh *shard) admit(m *message.Message, p transport.Packet, key uint64, uri message.URI) {
	srv := sh.srv
	tenant, user, peer, ok := sh.authenticate(m, p, key, uri)
	if !ok {
		return
	}
	r := srv.route(m)
	if r.next != "" {
		sh.refuse(m, p, 403, "Route leads beyond this node")
		return
	}
	if r.last {
		var err error
		if uri, err = message.ParseURI(r.uri); err != nil {
			sh.refuse(m, p, 400, "Route: "+err.Error())
			return
		}
	}
	if unmet := privacyOf(m).unmet; unmet != "" { // RFC 3323 §5
		sh.refuse(m, p, 500, "privacy of kind "+unmet+" is critical and not given here")
		return
	}
	tx := sh.newTransaction(m, p, key)
	if tx == nil {
		return
	}
	if tx.sessionTooShort() {
		return
	}
	tx.routed = r
	in := newInbound(tx, p.Flow, uri, tenant, user)
	in.from(peer, srv.cfg.Trunks)
	tx.in = in
	sh.count.pending.Add(1)
	if tx.invite {
		tx.respond(&message.Response{Status: 100})
	}
	sh.serve(in, func() {
		if tx.invite {
			srv.cfg.Handler.ServeInvite(in)
		} else {
			srv.cfg.Handler.ServeRequest(in)
		}
	})
}

// authenticate challenges a request of a user or tells who he is (RFC 3261 §22). The tenant is that of the From domain,
// else of the Request-URI: a stranger is asked for a name here, and cannot have one. From is that user or nobody (RFC 3323).
// A call from a trunk is known by its source, or by the contact or the credentials of the trunk, and has no user.
func (sh *shard) authenticate(m *message.Message, p transport.Packet, key uint64, uri message.URI) (tenant, user string, peer *Peer, ok bool) {
	srv := sh.srv
	a, _ := message.ParseAddress(m.Get(message.From))
	from, err := message.ParseURI(a.URI)
	if err != nil {
		sh.refuse(m, p, 400, "From: "+err.Error())
		return "", "", nil, false
	}
	tenant, known := srv.cfg.Directory.TenantOf(from.Host)
	if !known {
		tenant, known = srv.cfg.Directory.TenantOf(uri.Host)
	}
	if m.Method == "INVITE" && !sh.isUser(tenant, known, from) {
		if peer = srv.cfg.Trunks.peer(p.Flow.Remote.Addr(), uri, srv.cfg.Directory); peer != nil {
			return peer.Tenant, "", peer, true
		}
	}
	if !known {
		sh.stranger(m, p)
		sh.refuse(m, p, 403, "neither From nor the Request-URI is in a domain of this node")
		return "", "", nil, false
	}
	d := srv.cfg.Digest.Verify(m, tenant, true, p.Flow.Remote.Addr(), sh.now())
	if !d.OK {
		again := func() {
			if sh.txs[key] == nil && !sh.byKey(key) { // else a retransmission was let in meanwhile
				sh.admit(m, p, key, uri)
			}
		}
		if !sh.lookAgain(m, &d, again) {
			sh.challenge(m, p, tenant, true, d)
		}
		return "", "", nil, false
	}
	if peer = srv.cfg.Trunks.authenticated(tenant, d.User); peer != nil {
		if m.Method != "INVITE" {
			sh.refuse(m, p, 403, "a trunk sends calls and nothing else")
			return "", "", nil, false
		}
		return peer.Tenant, "", peer, true
	}
	if isAnonymous(m) {
		return tenant, d.User, nil, true
	}
	canonical, exists := srv.cfg.Directory.User(tenant, from.UserDecoded())
	if home, ours := srv.cfg.Directory.TenantOf(from.Host); !exists || canonical != d.User || !ours || home != tenant {
		sh.refuse(m, p, 403, "From names another user than the credentials")
		return "", "", nil, false
	}
	return tenant, d.User, nil, true
}

// isUser tells whether From names a user of ours, who is challenged wherever he is.
func (sh *shard) isUser(tenant string, known bool, from message.URI) bool {
	if !known {
		return false
	}
	home, ours := sh.srv.cfg.Directory.TenantOf(from.Host)
	if !ours || home != tenant {
		return false
	}
	_, exists := sh.srv.cfg.Directory.User(tenant, from.UserDecoded())
	return exists
}

// stranger counts a call that comes from no trunk and no user against its source: where there are trunks, whoever calls so looks for a way to
// call at our expense.
func (sh *shard) stranger(m *message.Message, p transport.Packet) {
	if t := sh.srv.cfg.Trunks; m.Method == "INVITE" && t.peers.Load().any {
		t.count.strangers.Add(1)
		if g := sh.srv.cfg.Guard; g != nil {
			g.Failed(p.Flow.Remote.Addr())
		}
	}
}

// challenge asks for credentials, the same way for users there are and are not. Nothing is kept. Credentials that are wrong get
// 403: there are phones that answer every new challenge with the same wrong password, as fast as they can, until the guard bans
// the whole office they stand in (baresip 1.0).
func (sh *shard) challenge(m *message.Message, p transport.Packet, tenant string, proxy bool, d DigestResult) {
	srv := sh.srv
	sh.count.challenged.Add(1)
	if d.Present && !d.Stale {
		sh.count.authFailed.Add(1)
		if srv.cfg.Guard != nil {
			srv.cfg.Guard.Failed(p.Flow.Remote.Addr())
		}
		srv.publish(events.Event{Time: sh.now(), Kind: "auth.failed", Tenant: tenant, From: excerpt(m.Get(message.From)), Peer: p.Flow.Remote.String(), Reason: d.Fault})
	}
	status := 401
	if proxy {
		status = 407
	}
	var extra []byte
	if d.Present && !d.Stale {
		if d.Rejected {
			sh.refuse(m, p, 403, "user name or password is wrong")
			return
		}
		extra = srv.warning(nil, 399, d.Fault)
	}
	sh.reply(m, p.Flow, &message.Response{
		Status: status, ToTag: sh.statelessTag(m),
		Extra: srv.cfg.Digest.AppendChallenge(extra, tenant, proxy, d.Stale, knowsOnlyMD5(m.Get(message.UserAgent)), sh.now()),
	})
}

// excerpt is a short copy of text from a message. Events outlive the message; a substring would keep all of it in memory.
func excerpt(s string) string { return strings.Clone(s[:min(len(s), 128)]) }

// register authenticates a REGISTER and gives it to the registrar. It holds no transaction: a retransmission gets the same
// answer from the binding.
func (sh *shard) register(m *message.Message, p transport.Packet, uri message.URI) {
	srv := sh.srv
	a, _ := message.ParseAddress(m.Get(message.To))
	to, err := message.ParseURI(a.URI)
	if err != nil {
		sh.refuse(m, p, 400, "To: "+err.Error())
		return
	}
	tenant, known := srv.cfg.Directory.TenantOf(uri.Host)
	if toTenant, ok := srv.cfg.Directory.TenantOf(to.Host); !known || !ok || toTenant != tenant {
		sh.refuse(m, p, 404, "no such domain here")
		return
	}
	if m.Has(message.Require) {
		var unknown []string
		m.Values(message.Require, func(v string) bool {
			if !strings.EqualFold(v, "path") && !strings.EqualFold(v, "outbound") && !strings.EqualFold(v, "gruu") {
				unknown = append(unknown, v)
			}
			return true
		})
		if unknown != nil {
			sh.unsupported(m, p, unknown)
			return
		}
	}
	d := srv.cfg.Digest.Verify(m, tenant, false, p.Flow.Remote.Addr(), sh.now())
	if !d.OK {
		if !sh.lookAgain(m, &d, func() { sh.register(m, p, uri) }) {
			sh.challenge(m, p, tenant, false, d)
		}
		return
	}
	if canonical, exists := srv.cfg.Directory.User(tenant, to.UserDecoded()); !exists || canonical != d.User {
		sh.refuse(m, p, 403, "To names another user than the credentials")
		return
	}
	sh.registered(m, p, tenant, d.User)
}

// registered runs the registrar; its answer comes at once or from the log's goroutine.
func (sh *shard) registered(m *message.Message, p transport.Packet, tenant, user string) {
	answered := false // the shard's own
	sh.srv.cfg.Registrar.Register(RegisterRequest{Msg: m, Flow: p.Flow, Tenant: tenant, User: user, Now: sh.now()}, func(r RegisterReply) {
		answer := func() {
			sh.reply(m, p.Flow, &message.Response{Status: r.Status, Reason: r.Reason, ToTag: sh.statelessTag(m), Extra: r.Extra})
		}
		if r.Later {
			// A queue that is full drops the 200 OK: the phone asks again and the binding answers.
			_ = sh.post(answer)
			return
		}
		answer()
		answered = true
	})
	if !answered { // the answer comes once the log has agreed, and needs the request then
		sh.keep(m)
	}
}

// addressedToUs answers requests to the node itself: OPTIONS says what it can, anything else has no business here.
func (sh *shard) addressedToUs(m *message.Message, p transport.Packet) {
	r := &message.Response{Status: 200, ToTag: sh.statelessTag(m), Extra: []byte("Allow: " + allowed + "\r\nAccept: application/sdp\r\nSupported: path, outbound, gruu, timer\r\n")}
	if m.Method != "OPTIONS" {
		r.Status = 501
		if strings.Contains(", "+allowed+",", ", "+m.Method+",") {
			r.Status = 405
		}
	}
	if unknown := unknownOptions(m); unknown != nil {
		sh.unsupported(m, p, unknown)
		return
	}
	sh.reply(m, p.Flow, r)
}

// refuse answers without a transaction and says why in a Warning.
func (sh *shard) refuse(m *message.Message, p transport.Packet, status int, why string) {
	if m.Method == "ACK" {
		return
	}
	sh.reply(m, p.Flow, &message.Response{Status: status, ToTag: sh.statelessTag(m), Extra: sh.srv.warning(nil, 399, why)})
}

func (sh *shard) unsupported(m *message.Message, p transport.Packet, options []string) {
	sh.reply(m, p.Flow, &message.Response{
		Status: 420, ToTag: sh.statelessTag(m), Extra: message.AppendHeader(nil, "Unsupported", strings.Join(options, ", ")),
	})
}

// warning writes a Warning line (RFC 3261 §20.43).
func (s *Server) warning(dst []byte, code int, text string) []byte {
	dst = append(dst, "Warning: "...)
	dst = append(dst, byte('0'+code/100), byte('0'+code/10%10), byte('0'+code%10), ' ')
	dst = append(append(dst, s.warnAgent()...), ' ')
	return append(append(dst, message.Quote(text)...), "\r\n"...)
}
