package sip

import (
	"strings"
	"time"

	"tandem/sip/message"
	"tandem/sip/transport"
)

// registerOrder is what a REGISTER asks of the registrar, read and checked but for what only the location table knows.
type registerOrder struct {
	clear     bool // Contact: *
	contacts  []orderedContact
	path      []string
	outbound  bool // a contact uses RFC 5626
	encrypted bool // the REGISTER came over TLS
}

type orderedContact struct {
	id      bindingID
	q       uint16
	expires time.Duration // 0 removes
}

// registerRefusal is an answer to a REGISTER that asks for something it cannot have.
type registerRefusal struct {
	status int
	why    string
	extra  string // header line with CRLF
}

func badRegister(why string) *registerRefusal { return &registerRefusal{status: 400, why: why} }

// Bounds of what one REGISTER may bring, so that no binding outgrows its record.
const (
	maxContacts = 32 // in one request
	maxContact  = 1 << 10
	maxInstance = 256
	maxPath     = 2 << 10 // all values together
	maxCallID   = 512
	maxAgent    = 80 // of User-Agent; longer ones are cut
)

// readOrder reads Contact, Expires, Path and Supported of a REGISTER (RFC 3261 §10.3 steps 5 to 7).
func (r *Registrar) readOrder(m *message.Message, f transport.Flow) (w registerOrder, no *registerRefusal) {
	if len(m.CallID()) > maxCallID {
		return w, badRegister("Call-ID is too long")
	}
	if no = w.readPath(m); no != nil {
		return w, no
	}
	w.encrypted = f.Net.Secure()
	star, n := false, 0
	m.Values(message.Contact, func(v string) bool {
		n++
		if v == "*" {
			star = true
			return true
		}
		if n > maxContacts {
			no = badRegister("more than 32 contacts")
			return false
		}
		no = r.readContact(&w, m, v)
		return no == nil
	})
	switch {
	case no != nil:
		return w, no
	case star && (n > 1 || m.Get(message.Expires) == "" || strings.Trim(m.Get(message.Expires), "0") != ""):
		return w, badRegister("Contact: * goes alone and with Expires: 0")
	}
	w.clear = star
	return w, w.checkOutbound(m)
}

// readPath reads the Path values (RFC 3327 §5.3). They are kept and echoed whether or not the phone says it supports them:
// without the path it could not be reached.
func (w *registerOrder) readPath(m *message.Message) (no *registerRefusal) {
	size := 0
	m.Values(message.Path, func(v string) bool {
		a, err := message.ParseAddress(v)
		var u message.URI
		if err == nil {
			u, err = message.ParseURI(a.URI)
		}
		size += len(v)
		switch {
		case err != nil:
			no = badRegister("Path: " + err.Error())
		case u.Scheme != "sip" && u.Scheme != "sips":
			no = badRegister("Path: not a sip or sips URI")
		case size > maxPath:
			no = badRegister("Path is longer than 2048 bytes")
		}
		w.path = append(w.path, v)
		return no == nil
	})
	return no
}

// readContact reads one Contact value. The last of two that name the same binding counts.
func (r *Registrar) readContact(w *registerOrder, m *message.Message, v string) *registerRefusal {
	a, err := message.ParseAddress(v)
	if err != nil {
		return badRegister("Contact: " + err.Error())
	}
	u, err := message.ParseURI(a.URI)
	switch {
	case err != nil:
		return badRegister("Contact: " + err.Error())
	case u.Scheme != "sip" && u.Scheme != "sips":
		return badRegister("Contact: only sip and sips URIs can be reached from here")
	case len(a.URI) > maxContact:
		return badRegister("Contact is longer than 1024 bytes")
	case leadsBack(&u, m):
		return &registerRefusal{status: 403, why: "a GRUU cannot be registered as a Contact: calls would go round in circles"} // RFC 5627 §5.1
	case u.Scheme == "sips" && !w.secured(m):
		return badRegister("a sips Contact needs TLS, a sips Request-URI and sips in Path") // RFC 5630 §5.2
	}
	c := orderedContact{id: bindingID{contact: a.URI}, q: 1000}
	if no := c.readParams(&a, m); no != nil {
		return no
	}
	var no *registerRefusal
	if c.expires, no = r.expiresOf(&a, m); no != nil {
		return no
	}
	for i := range w.contacts {
		if old := &w.contacts[i]; message.SameURI(old.id.contact, c.id.contact) && old.id.regID == c.id.regID && old.id.instance == c.id.instance {
			*old = c
			return nil
		}
	}
	w.contacts = append(w.contacts, c)
	return nil
}

// remoteTarget is the URI a message's Contact names, as a request to it may carry it (RFC 3261 §12.1, §19.1.5); "" without one.
func remoteTarget(m *message.Message) string {
	a, err := message.ParseAddress(m.Get(message.Contact))
	if err != nil {
		return ""
	}
	return message.RequestURI(a.URI)
}

// leadsBack tells a contact that is a GRUU of the domain it registers with.
func leadsBack(u *message.URI, m *message.Message) bool {
	if _, ok := u.Param("gr"); !ok {
		return false
	}
	a, _ := message.ParseAddress(m.Get(message.To))
	to, _ := message.ParseURI(a.URI)
	return u.Host == to.Host
}

// secured tells whether the REGISTER came over TLS and every URI on the way is sips (RFC 5630 §5.2): the phone promises that it can
// be reached with nothing in the open.
func (w *registerOrder) secured(m *message.Message) bool {
	if !w.encrypted || !wantsSIPS(m) {
		return false
	}
	for _, p := range w.path {
		a, _ := message.ParseAddress(p)
		if !isSIPS(a.URI) {
			return false
		}
	}
	return true
}

func (c *orderedContact) readParams(a *message.Address, m *message.Message) *registerRefusal {
	if q, ok := a.Param("q"); ok {
		if c.q, ok = parseQ(q); !ok {
			return badRegister("Contact: q is not a number from 0 to 1 with up to three decimals")
		}
	}
	c.id.instance, _ = a.Param("+sip.instance")
	if len(c.id.instance) > maxInstance || strings.ContainsAny(c.id.instance, "\"\\\r\n") {
		return badRegister("Contact: +sip.instance is not a URN")
	}
	reg, ok := a.Param("reg-id")
	if !ok || c.id.instance == "" || !m.HasToken(message.Supported, "outbound") {
		return nil // RFC 5626 §6: then the registrar takes no notice of reg-id
	}
	n, ok := message.ParseUint(reg)
	if !ok || n == 0 || n > 1<<31-1 {
		return badRegister("Contact: reg-id is not a number from 1 to 2147483647")
	}
	c.id.regID = n
	return nil
}

// parseQ reads a qvalue (RFC 3261 §25.1) in thousandths.
func parseQ(s string) (uint16, bool) {
	whole, frac, _ := strings.Cut(s, ".")
	if whole != "0" && whole != "1" || len(frac) > 3 {
		return 0, false
	}
	n := uint16(0)
	for i := range 3 {
		n *= 10
		if i < len(frac) {
			if frac[i] < '0' || frac[i] > '9' {
				return 0, false
			}
			n += uint16(frac[i] - '0')
		}
	}
	if whole == "1" {
		return 1000, n == 0
	}
	return n, true
}

// expiresOf is how long a contact asks for: its parameter, the Expires header, else our default (RFC 3261 §10.3 step 6),
// bounded by what we allow. A parameter that is no number counts as absent (§10.2.1.1 would have it 3600).
func (r *Registrar) expiresOf(a *message.Address, m *message.Message) (time.Duration, *registerRefusal) {
	text, ok := a.Param("expires")
	if !ok || strings.Trim(text, "0123456789") != "" || text == "" {
		text = m.Get(message.Expires)
	}
	if text == "" {
		return r.limits().DefaultExpires, nil
	}
	n, ok := message.ParseUint(text)
	if !ok {
		n = 1<<32 - 1 // a number too large to mean anything but "long"
	}
	asked := time.Duration(n) * time.Second
	if asked > 0 && asked < r.limits().MinExpires {
		return 0, &registerRefusal{status: 423, why: "registrations shorter than Min-Expires are not kept", extra: "Min-Expires: " + deltaSeconds(r.limits().MinExpires) + "\r\n"}
	}
	return min(asked, r.limits().MaxExpires), nil
}

// checkOutbound is RFC 5626 §6: one flow a request, and a first hop that knows about flows.
func (w *registerOrder) checkOutbound(m *message.Message) *registerRefusal {
	flows := 0
	for i := range w.contacts {
		if w.contacts[i].id.regID != 0 {
			flows++
		}
	}
	w.outbound = flows > 0
	switch {
	case flows > 1:
		return badRegister("more than one contact with reg-id")
	case flows == 1 && len(m.List(message.ViaID)) > 1 && !w.firstHopOutbound():
		return &registerRefusal{status: 439, why: "the first proxy on the way does not support outbound"}
	}
	return nil
}

// firstHopOutbound tells whether the proxy the phone sent to, whose Path value is the last, has put ob on its URI.
func (w *registerOrder) firstHopOutbound() bool {
	if len(w.path) == 0 {
		return false
	}
	a, _ := message.ParseAddress(w.path[len(w.path)-1])
	u, _ := message.ParseURI(a.URI)
	_, ob := u.Param("ob")
	return ob
}
