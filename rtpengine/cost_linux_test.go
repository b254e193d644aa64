//go:build linux && !portable

package rtpengine

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"tandem/rtpengine/srtp"
)

// deskPhone describes a usual one at an address.
func deskPhone(at netip.AddrPort, profile, crypto string) []byte {
	return fmt.Appendf(nil, "v=0\r\no=- 3965161000 3965161000 IN IP4 %s\r\ns=pjmedia\r\nc=IN IP4 %[1]s\r\nt=0 0\r\nm=audio %d %s 9 0 8 101\r\n"+
		"a=rtcp:%d\r\na=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n"+
		"%sa=ptime:20\r\na=sendrecv\r\n", at.Addr(), at.Port(), profile, at.Port(), crypto)
}

// TestWhatACallCosts holds calls between desk phones that have talked, and whose quality is followed. The kernel's sockets come on top; see DESIGN.md.
func TestWhatACallCosts(t *testing.T) {
	for _, c := range []struct {
		name, profile string
		suite         srtp.Suite
		most          int // bytes a call
	}{
		{"plain", "RTP/AVP", 0, 6<<10 + 256},
		{"SRTP with AES-CM", "RTP/SAVP", srtp.AES128CM80, 16 << 10},
		{"SRTP with AES-GCM", "RTP/SAVP", srtp.AES128GCM, 16 << 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			const calls = 1000
			e := startEngine(t, nil)
			phone := newPhone(t, loop4) // all of them
			key, crypto := make([]byte, c.suite.KeyBytes()), [2]string{}
			secret := c.profile == "RTP/SAVP"
			if secret {
				for side, tag := range [2]int{1, 1 + int(c.suite)} { // ours are offered in the order of their numbers
					crypto[side] = fmt.Sprintf("a=crypto:%d %s inline:%s\r\n", tag, c.suite, base64.StdEncoding.EncodeToString(key))
				}
			}
			talk := func(s *Session, side Side) {
				sender, err := srtp.New(c.suite, key, srtp.Sender)
				if err != nil {
					t.Fatal(err)
				}
				var raw rawAddr
				raw.set(phone.addr())
				for seq := range uint16(lockAfter) {
					b := append(make([]byte, 0, 256), packet(0, seq, 0, 1, string(make([]byte, 160)))...)
					if secret {
						b, _ = sender.Protect(b)
					}
					s.shard.receive(s.lines[0].legs[side].sockets[v4][rtp], phone.addr(), &raw, b)
				}
			}
			hold := func() *Session {
				s, err := e.NewSession(SessionConfig{ID: t.Name()})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := s.Offer(A, deskPhone(phone.addr(), c.profile, crypto[A]), loop4, loop4); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Answer(B, deskPhone(phone.addr(), c.profile, crypto[B]), loop4, loop4); err != nil {
					t.Fatal(err)
				}
				done := make(chan struct{})
				s.shard.order(func(*shard) {
					talk(s, A)
					talk(s, B)
					close(done)
				})
				<-done
				if st := s.Stats().Media[0].Sides; st[A].Packets != lockAfter || st[B].Packets != lockAfter {
					t.Fatalf("%+v", st)
				}
				s.mu.Lock()
				s.sample(e.now() + int64(time.Second))
				s.mu.Unlock()
				return s
			}
			measure := func() uint64 {
				var m runtime.MemStats
				runtime.GC()
				runtime.GC()
				runtime.ReadMemStats(&m)
				return m.HeapAlloc + m.StackInuse
			}
			hold() // what all calls share
			before := measure()
			held := make([]*Session, calls)
			for i := range held {
				held[i] = hold()
			}
			each := int(measure()-before) / calls
			t.Logf("%d bytes a call", each)
			if each > c.most {
				t.Errorf("a call has %d bytes, want at most %d", each, c.most)
			}
			runtime.KeepAlive(held)
		})
	}
}
