package rtpengine

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/pion/stun/v3"
)

// The request of RFC 5769 §2.1, and the password of its credentials.
const (
	sampleRequest = "\x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae" +
		"\x80\x22\x00\x10STUN test client\x00\x24\x00\x04\x6e\x00\x01\xff\x80\x29\x00\x08\x93\x2f\xf9\xb1\x51\x26\x3b\x36" +
		"\x00\x06\x00\x09\x65\x76\x74\x6a\x3a\x68\x36\x76\x59\x20\x20\x20" +
		"\x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\x80\x28\x00\x04\xe5\x7a\x3b\xcf"
	samplePassword = "VOkJxbRl1RmTxUk/WvJxBt"
)

func TestRequestsOfRFC5769AreRead(t *testing.T) {
	var d stunDesk
	c, ok := d.read([]byte(sampleRequest))
	if !ok || c.ours != "evtj" || c.theirs != "h6vY" || c.priority != 0x6e0001ff || !c.controlled || c.nominates || len(c.strange) != 0 {
		t.Fatalf("%v %+v", ok, c)
	}
	if !d.proved(samplePassword) || d.proved("VOkJxbRl1RmTxUk/WvJxBu") {
		t.Error("the password is not told from another one")
	}
	for i := range sampleRequest { // of what is changed anywhere, nothing passes
		b := []byte(sampleRequest)
		b[i] ^= 4
		if _, ok := d.read(b); ok && d.proved(samplePassword) {
			t.Errorf("octet %d may be changed", i)
		}
	}
}

// TestAnswersAreThoseOfRFC5769: the mapped addresses of its §2.2 and §2.3, under its transaction.
func TestAnswersAreThoseOfRFC5769(t *testing.T) {
	for from, want := range map[string]string{
		"192.0.2.1:32853": "\x00\x01\xa1\x47\xe1\x12\xa6\x43",
		"[2001:db8:1234:5678:11:2233:4455:6677]:32853": "\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9",
	} {
		var d stunDesk
		if _, ok := d.read([]byte(sampleRequest)); !ok {
			t.Fatal("the request is not read")
		}
		m := new(stun.Message)
		if err := stun.Decode(d.success(netip.MustParseAddrPort(from), samplePassword), m); err != nil {
			t.Fatal(err)
		}
		got, err := m.Get(stun.AttrXORMappedAddress)
		if err != nil || !bytes.Equal(got, []byte(want)) || m.Type != stun.BindingSuccess {
			t.Errorf("%s: %x, want %x", from, got, want)
		}
		if stun.NewShortTermIntegrity(samplePassword).Check(m) != nil || stun.Fingerprint.Check(m) != nil {
			t.Errorf("%s: not what its sender would take: %v", from, m)
		}
	}
}

func TestWhatFollowsTheIntegrityIsIgnored(t *testing.T) {
	m := stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewUsername("a:b"), stun.NewShortTermIntegrity("password"), nominates, stun.Fingerprint)
	var d stunDesk
	if c, ok := d.read(m.Raw); !ok || c.nominates || !d.proved("password") {
		t.Errorf("%v %+v", ok, c)
	}
}

func FuzzSTUN(f *testing.F) {
	f.Add([]byte(sampleRequest))
	f.Add([]byte(sampleRequest)[:20])
	f.Fuzz(func(t *testing.T, b []byte) {
		var d stunDesk
		before := bytes.Clone(b)
		c, ok := d.read(b)
		if ok && (c.ours == "" || len(d.success(netip.MustParseAddrPort("[::1]:1"), "password")) == 0) {
			t.Errorf("%+v", c)
		}
		d.proved("password")
		if !bytes.Equal(b, before) {
			t.Error("reading has changed it")
		}
	})
}

// FuzzICEPort gives anything to the port that all browsers share.
func FuzzICEPort(f *testing.F) {
	e, err := New(Config{Bind: []netip.Addr{loop4}, PortMin: 29000, PortMax: 29003})
	if err != nil {
		f.Fatal(err)
	}
	k, err := openSocket(loop4, 0, -1)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(k.close)
	f.Add([]byte(sampleRequest), true)
	f.Add(clientHelloLike(), true)
	f.Add(append([]byte{0x90, 111, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0xBE, 0xDE, 0, 1, 0x40, '0', 0, 0}, "body"...), false)
	f.Add(append([]byte{0x90, 111, 0, 1, 0, 0, 0, 1, 0, 0, 0, 3, 0x10, 0, 0, 1, 4, 1, '1', 0}, "body"...), true)
	f.Add([]byte{0x81, rtcpPSFB, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2}, true)
	f.Fuzz(func(t *testing.T, b []byte, secret bool) {
		sh := e.shards[0]
		src := netip.MustParseAddrPort("127.0.0.1:9")
		tr := &transport{engine: e, chosen: -1, mid: 4}
		sh.ice.know(tr, []generation{{ufrag: "evtj", password: samplePassword}})
		tr.admit(&sh.ice, src)
		tr.pairs[0].to.set(src)
		for i := range 2 {
			l := &leg{ready: true, rates: new([128]uint32), app: newApp(), shield: &shield{transport: tr, secret: secret, mid: string(rune('0' + i))}}
			l.rates[111] = 48000
			tr.legs = append(tr.legs, l)
		}
		var raw rawAddr
		raw.set(src)
		sh.enter(k, src, &raw, bytes.Clone(b))
		sh.ice.remove(tr)
		if len(sh.ice.byAddr)+len(sh.ice.byName) != 0 {
			t.Errorf("%d and %d are left", len(sh.ice.byAddr), len(sh.ice.byName))
		}
	})
}
