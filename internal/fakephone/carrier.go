package fakephone

import (
	"fmt"

	"github.com/icholy/digest"
)

// Demand makes a carrier of the phone: it asks for credentials in REGISTER and in every INVITE and BYE, by an algorithm of RFC 8760, and fails
// the test when they are not right. A REGISTER with credentials is granted two minutes.
func (p *Phone) Demand(password, algorithm string) {
	p.OnRequest(func(m *Message) bool {
		status, ask, header := 407, "Proxy-Authenticate", "Proxy-Authorization"
		switch m.Method() {
		case "REGISTER":
			status, ask, header = 401, "WWW-Authenticate", "Authorization"
		case "INVITE", "BYE":
		default:
			return false
		}
		if !m.Has(header) {
			p.Reply(m, status, fmt.Sprintf(`%s: Digest realm="carrier", nonce="%s", qop="auth", algorithm=%s, opaque="x"`, ask, p.newID("n"), algorithm))
			return true
		}
		p.verify(m, header, password, algorithm)
		if m.Method() != "REGISTER" {
			return false
		}
		p.Reply(m, 200, "Contact: <"+Addr(m.Header("Contact"))+">;expires=120", "Expires: 600")
		return true
	})
}

func (p *Phone) verify(m *Message, header, password, algorithm string) {
	got, err := digest.ParseCredentials(m.Header(header))
	if err != nil {
		p.t.Errorf("credentials of %s: %v", m.Method(), err)
		return
	}
	want, err := digest.Digest(&digest.Challenge{Realm: "carrier", Nonce: got.Nonce, QOP: []string{"auth"}, Algorithm: algorithm, Opaque: "x"}, digest.Options{
		Method: m.Method(), URI: got.URI, Username: p.cfg.User, Password: password, Cnonce: got.Cnonce, Count: got.Nc,
	})
	if err != nil || got.Response != want.Response || got.URI != m.URI() {
		p.t.Errorf("%s of %s has the digest %q for %s, %v wants %q", m.Method(), m.URI(), got.Response, got.URI, err, want.Response)
	}
}
