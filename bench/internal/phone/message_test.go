//go:build linux

package phone

import (
	"bytes"
	"strings"
	"testing"
)

const ringing180 = "SIP/2.0 180 Ringing\r\nv: SIP/2.0/UDP 127.0.0.1:7000;branch=z9hG4bKx\r\nRecord-Route: <sip:10.0.0.2;lr>, <sip:10.0.0.1:5062;lr>\r\n" +
	"Record-Route: <sip:127.0.0.1:5060;lr;ftag=a,b>\r\nFrom: <sip:a@x>;tag=1\r\nt: \"B, b\" <sip:b@x>;tag=2;p=1\r\ni: c0000000100000002@x\r\nCSeq: 2 INVITE\r\n" +
	"Contact: <sip:b@127.0.0.1:7001>\r\nContent-Length: 3\r\n\r\nv=0"

func TestHeadersAreFoundByLongAndByCompactName(t *testing.T) {
	var m message
	if !m.parse([]byte(ringing180)) {
		t.Fatal("the message was not read")
	}
	if m.status != 180 || m.cseq != 2 || string(m.cseqMethod) != "INVITE" || string(m.callID) != "c0000000100000002@x" {
		t.Errorf("status %d, CSeq %d %s, Call-ID %s", m.status, m.cseq, m.cseqMethod, m.callID)
	}
	if got := string(tagOf(m.to)); got != "2" {
		t.Errorf("To tag %q", got)
	}
	if got := string(angle(m.contact)); got != "sip:b@127.0.0.1:7001" {
		t.Errorf("contact %q", got)
	}
	if string(m.body) != "v=0" {
		t.Errorf("body %q", m.body)
	}
}

func TestRouteSetOfTheCallerIsTheRecordRouteInReverse(t *testing.T) {
	var m message
	m.parse([]byte(ringing180))
	f := &Fleet{}
	c := &call{}
	f.learnRoutes(c, &m)
	want := "Route: <sip:127.0.0.1:5060;lr;ftag=a,b>\r\nRoute: <sip:10.0.0.1:5062;lr>\r\nRoute: <sip:10.0.0.2;lr>\r\n"
	if got := string(c.routes); got != want {
		t.Errorf("routes\n%swant\n%s", got, want)
	}
	if want := f.resolve([]byte("sip:127.0.0.1:5060")); c.next != want {
		t.Errorf("the next hop is not the first route")
	}
	if f.tally.StrictRoutes != 0 {
		t.Error("a loose route was taken for a strict one")
	}
}

func TestResponseCopiesWhatBelongsToTheDialog(t *testing.T) {
	var m message
	m.parse([]byte("BYE sip:a@x SIP/2.0\r\nVia: SIP/2.0/UDP h1\r\nMax-Forwards: 70\r\nVia: SIP/2.0/UDP h2\r\nFrom: <sip:b@x>;tag=2\r\nTo: <sip:a@x>\r\nCall-ID: c1\r\nCSeq: 3 BYE\r\n\r\n"))
	want := "Via: SIP/2.0/UDP h1\r\nVia: SIP/2.0/UDP h2\r\nFrom: <sip:b@x>;tag=2\r\nTo: <sip:a@x>;tag=t\r\nCall-ID: c1\r\nCSeq: 3 BYE\r\n"
	if got := string(m.appendDialogHeaders(nil, []byte("t"))); got != want {
		t.Errorf("got\n%s", got)
	}
}

// RFC 7616 §3.9.1: the example with both algorithms.
func TestDigestOfTheRFCsExample(t *testing.T) {
	for algorithm, want := range map[Algorithm]string{
		MD5:    "8ca523f5e9506fed4657c9700eebdbec",
		SHA256: "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
	} {
		ha1 := HA1(algorithm, "Mufasa", "http-auth@example.org", "Circle of Life")
		ha2 := hash(algorithm, nil, []byte("GET:/dir/index.html"))
		got := hash(algorithm, nil, []byte(ha1+":7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v:00000001:f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ:auth:"), ha2)
		if string(got) != want {
			t.Errorf("%s: %s, want %s", algorithm, got, want)
		}
	}
}

func TestChallengeOfTheWantedAlgorithmIsTaken(t *testing.T) {
	var m message
	m.parse([]byte("SIP/2.0 401 Unauthorized\r\nCall-ID: r\r\nCSeq: 1 REGISTER\r\n" +
		"WWW-Authenticate: Digest realm=\"a, b\", nonce=\"n256\", qop=\"auth\", algorithm=SHA-256\r\n" +
		"WWW-Authenticate: Digest realm=\"bench\",nonce=\"nmd5\",opaque=\"o\",algorithm=MD5,qop=\"auth,auth-int\"\r\n\r\n"))
	var c credential
	if !c.take(&m, MD5) || string(c.nonce) != "nmd5" || string(c.realm) != "bench" || string(c.opaque) != "o" || !c.qop {
		t.Errorf("MD5: %+v", c)
	}
	if !c.take(&m, SHA256) || string(c.nonce) != "n256" || string(c.realm) != "a, b" {
		t.Errorf("SHA-256: %+v", c)
	}
	u := &user{name: "u", password: "p"}
	for want := range 3 {
		line := string(c.append(nil, "Authorization", "REGISTER", []byte("sip:x"), u, SHA256))
		if nc := "nc=0000000" + string(rune('1'+want)); !strings.Contains(line, nc) {
			t.Errorf("use %d of the nonce: no %s in %s", want+1, nc, line)
		}
	}
}

func TestTimersOfALaneFireInOrderAndOnlyWhenDue(t *testing.T) {
	l := lane{wait: 10}
	for i := range uint32(5000) {
		l.push(int64(i), i, 0, timeToAnswer)
	}
	for i := range uint32(5000) {
		now := int64(i) + 10
		if _, early := l.pop(now - 1); early {
			t.Fatalf("timer %d fired early", i)
		}
		if got, ok := l.pop(now); !ok || got.slot != i {
			t.Fatalf("timer %d: got %d, %v", i, got.slot, ok)
		}
		l.push(now, i, 1, timeToAnswer)
		if l.pop(now); len(l.queue) > 11000 {
			t.Fatalf("the queue keeps %d timers", len(l.queue))
		}
	}
}

func FuzzAnyPacketIsReadWithoutPanic(f *testing.F) {
	f.Add([]byte(ringing180))
	f.Add([]byte("INVITE sip:a SIP/2.0\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\r\n"))
	f.Add([]byte("SIP/2.0 401 x\r\nCall-ID:\r\nCSeq: 1 \r\nWWW-Authenticate: Digest =\r\n\r\n"))
	f.Fuzz(func(t *testing.T, packet []byte) {
		var m message
		if !m.parse(packet) {
			return
		}
		var c credential
		c.take(&m, MD5)
		m.appendDialogHeaders(nil, []byte("t"))
		fleet := &Fleet{}
		fleet.learnRoutes(&call{target: bytes.Clone(angle(m.contact))}, &m)
		fleet.identify(m.callID)
		tagOf(m.to)
	})
}
