package sip

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tandem/internal/fakephone"
)

// withTLS gives the server a TLS port with a certificate that nobody checks.
func withTLS(t *testing.T) func(*Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().AddDate(100, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *Config) {
		c.Transport.TLS = []string{stageServer + ":5061"}
		c.Transport.TLSConfig = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	}
}

func overTLS(c *fakephone.Config) {
	c.Net, c.Server = "tls", netip.MustParseAddrPort(stageServer+":5061")
}

func TestSIPSCallGoesOverTLSOnly(t *testing.T) {
	play(t, withTLS(t), func(t *testing.T, s *stage) {
		alice, bob, open := s.registered("alice", overTLS), s.registered("bob", overTLS), s.registered("bob")
		bob.OnInvite(answerAfter(time.Second))
		call := alice.Call("sips:bob@example.com", sdpOf("alice"))
		ok := call.MustAnswer()
		const route = "<sips:" + stageServer + ":5061;lr>"
		expect(t, "Record-Route at bob", bob.Requests("INVITE")[0].Header("Record-Route"), route)
		expect(t, "Record-Route at alice", ok.Header("Record-Route"), route)
		expect(t, "re-INVITE", call.Reinvite(sdpOf("alice")).Status(), 200)
		expect(t, "BYE of bob", bob.Calls()[0].Bye().Status(), 200)
		expect(t, "calls of the phone on UDP", len(open.Requests("INVITE")), 0)
		expect(t, "MESSAGE", alice.Do("MESSAGE", "sips:bob@example.com", nil, "").Status(), 200)
		expect(t, "messages of the phone on UDP", len(open.Requests("MESSAGE")), 0)
	})
}

func TestSIPSCallToPhonesInTheOpenIsRefused(t *testing.T) {
	play(t, withTLS(t), func(t *testing.T, s *stage) {
		alice, udp, tcp := s.registered("alice", overTLS), s.registered("bob"), s.registered("bob", overTCP)
		for _, m := range []*fakephone.Message{alice.Call("sips:bob@example.com", sdpOf("alice")).Final(), alice.Do("MESSAGE", "sips:bob@example.com", nil, "")} {
			expect(t, "status", m.Status(), 480)
			if w := m.Header("Warning"); !strings.HasPrefix(w, "380 ") {
				t.Errorf("Warning %q", w)
			}
		}
		for _, p := range []*fakephone.Phone{udp, tcp} {
			expect(t, "requests", len(p.Requests("INVITE"))+len(p.Requests("MESSAGE")), 0)
		}
		absent := alice.Call("sips:carol@example.com", sdpOf("alice")).Final()
		expect(t, "a phone that is not there at all", absent.Status(), 480)
		expect(t, "Warning", absent.Header("Warning"), "")
	})
}

// A contact may name an open transport although it came over TLS: once the connection is gone nothing may be sent there.
func TestSIPSCallIsNotSentInTheOpenWhenTheConnectionIsGone(t *testing.T) {
	play(t, withTLS(t), func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice", overTLS), s.phone("bob", overTLS)
		bob.MustRegister("Contact: <sip:bob@" + bob.Addr().String() + ";transport=tcp>")
		bob.Disconnect()
		time.Sleep(time.Second)
		m := alice.Do("MESSAGE", "sips:bob@example.com", nil, "")
		expect(t, "status", m.Status(), 480)
		expect(t, "Warning", strings.HasPrefix(m.Header("Warning"), "380 "), true)
	})
}

func TestSIPSContactIsReachedAtBothURIs(t *testing.T) {
	play(t, withTLS(t), func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice", overTLS), s.phone("bob", overTLS)
		contact := "sips:bob@" + bob.Addr().String()
		expect(t, "REGISTER", bob.Do("REGISTER", "sips:example.com", []string{"From: <sips:bob@example.com>;tag=1", "To: <sips:bob@example.com>", "Contact: <" + contact + ">"}, "").Status(), 200)
		for _, scheme := range []string{"sip", "sips"} {
			expect(t, "MESSAGE", alice.Do("MESSAGE", scheme+":bob@example.com", nil, "").Status(), 200)
			got := bob.Requests("MESSAGE")
			expect(t, "Request-URI", got[len(got)-1].URI(), scheme+":bob@"+bob.Addr().String())
		}
	})
}

func TestSIPSContactNeedsTLS(t *testing.T) {
	h := regNew(t, nil)
	req := h.request(1, "sips:acme.example", "Contact: <sips:a@b>")
	req.Flow = h.flow
	var got RegisterReply
	h.reg.Register(req, h.once(&got))
	h.want(got, 400)
	h.want(h.send(2, "sips:acme.example", "Contact: <sips:a@b>"), 200, "<sips:a@b>;expires=3600")
}

func TestLegOfASIPSCallHasASIPSContact(t *testing.T) {
	play(t, withTLS(t), func(t *testing.T, s *stage) {
		s.answering()
		for uri, want := range map[string]string{"sips:echo@example.com": "<sips:" + stageServer + ":5061>", "sip:echo@example.com": "<sip:" + stageServer + ":5061;transport=tls>"} {
			call := s.registered("alice", overTLS).Call(uri, sdpOf("alice"))
			expect(t, "Contact of "+uri, call.MustAnswer().Header("Contact"), want)
			call.Bye()
		}
	})
}
