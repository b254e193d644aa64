//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/srtp/v3"
)

const (
	packetTime   = 20 * time.Millisecond // one G.711 packet each
	packetBytes  = 172                   // RTP header and 160 samples
	samplesApart = 160
	slots        = 20 // moments of a packet time at which streams send, an equal number each
)

// A talker is the media of one phone: it sends 50 packets a second and notes when packets come.
type talker struct {
	security string // "plain", "sdes" or "dtls"; of who is called, what the offer says
	number   uint32
	conn     *net.UDPConn

	mu       sync.Mutex
	to       netip.AddrPort
	seal     *srtp.Context // nil while there are no keys, or where there are none
	unseal   *srtp.Context
	sequence uint32
	packet   [packetBytes]byte
	scratch  [2 * packetBytes]byte

	last, gap int64 // receive time of the last packet, and the longest between two; Unix ns
	got       int
	bad       int    // packets that were not authentic, or nobody's
	offered   []byte // description that the phone answers
	shake     *handshake
	failed    error
}

func newTalker(at netip.Addr, security string, number uint32) (*talker, error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, 0)))
	if err != nil {
		return nil, err
	}
	t := &talker{security: security, number: number, conn: conn}
	t.packet[0] = 0x80
	binary.BigEndian.PutUint32(t.packet[8:], number+0x10000) // SSRC
	for i := 12; i < packetBytes; i++ {
		t.packet[i] = 0xff // silence in PCMU
	}
	return t, nil
}

func (t *talker) local() netip.AddrPort { return t.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// listen takes packets until the socket is closed.
func (t *talker) listen() {
	b := make([]byte, 2048)
	var plain [2048]byte
	for {
		n, from, err := t.conn.ReadFromUDPAddrPort(b)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue // nobody there for a moment (ICMP)
		}
		now := time.Now().UnixNano()
		packet := b[:n]
		switch {
		case n > 0 && packet[0] >= 20 && packet[0] <= 63: // RFC 7983
			if s := t.handshake(); s != nil {
				s.take(packet, from)
			}
			continue
		case n < 12 || packet[0]>>6 != 2 || packet[1]&0x7f != 0:
			continue // RTCP
		}
		t.mu.Lock()
		if t.unseal != nil {
			packet, err = t.unseal.DecryptRTP(plain[:0], packet, nil)
		}
		switch {
		case t.security != "plain" && t.unseal == nil: // before the keys
		case err != nil || len(packet) != packetBytes:
			t.bad++
		default:
			if t.last != 0 {
				t.gap = max(t.gap, now-t.last)
			}
			t.last = now
			t.got++
		}
		t.mu.Unlock()
	}
}

func (t *talker) handshake() *handshake {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.shake
}

// send sends the next packet, once it is known where to.
func (t *talker) send() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.to.IsValid() || t.security != "plain" && t.seal == nil {
		return
	}
	t.sequence++
	binary.BigEndian.PutUint16(t.packet[2:], uint16(t.sequence))
	binary.BigEndian.PutUint32(t.packet[4:], t.sequence*samplesApart)
	packet := t.packet[:]
	if t.seal != nil {
		var err error
		if packet, err = t.seal.EncryptRTP(t.scratch[:0], packet, nil); err != nil {
			t.failed = err
			return
		}
	}
	_, _ = t.conn.WriteToUDPAddrPort(packet, t.to) // a node that has died may be gone for a moment
}

// mark begins to look for the longest gap anew and says how much has come so far.
func (t *talker) mark() (gap time.Duration, got int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	gap, got = time.Duration(t.gap), t.got
	t.gap = 0
	return gap, got
}

// choir is all talkers: caller and callee of call n are 2n and 2n+1.
type choir struct {
	talkers []*talker
	stop    atomic.Bool
	work    sync.WaitGroup
	late    atomic.Int64 // longest that the driver itself was late, ns
}

func newChoir(at netip.Addr, calls int, security string) (*choir, error) {
	c := &choir{}
	for i := range 2 * calls {
		t, err := newTalker(at, security, uint32(i))
		if err != nil {
			c.close()
			return nil, err
		}
		c.talkers = append(c.talkers, t)
		c.work.Go(t.listen)
	}
	c.work.Go(c.beat)
	return c, nil
}

// beat has a twentieth of the talkers send each millisecond.
func (c *choir) beat() {
	begin := time.Now()
	for n := 0; !c.stop.Load(); n++ {
		due := begin.Add(time.Duration(n) * packetTime / slots)
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
		} else if late := int64(-wait); late > c.late.Load() {
			c.late.Store(late)
		}
		for i := n % slots; i < len(c.talkers); i += slots {
			c.talkers[i].send()
		}
	}
}

func (c *choir) close() {
	c.stop.Store(true)
	for _, t := range c.talkers {
		t.conn.Close()
		if s := t.handshake(); s != nil {
			s.close()
		}
	}
	c.work.Wait()
}

// describe writes the session description of a phone. answered is the offer that it answers, nil in an offer.
func (t *talker) describe(out, answered []byte) []byte {
	at := t.local()
	proto := map[string]string{"plain": "RTP/AVP", "sdes": "RTP/SAVP", "dtls": "UDP/TLS/RTP/SAVP"}[t.security]
	if line := find(answered, "m=audio "); line != "" {
		proto = strings.Fields(line)[1]
	}
	out = fmt.Appendf(out, "v=0\r\no=- %d 1 IN IP4 %s\r\ns=-\r\nc=IN IP4 %s\r\nt=0 0\r\nm=audio %d %s 0\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n", t.number+1, at.Addr(), at.Addr(), at.Port(), proto)
	switch t.security {
	case "sdes":
		tag := "1"
		if own, _ := cryptoLine(answered); own != "" {
			tag = own
		}
		out = fmt.Appendf(out, "a=crypto:%s %s inline:%s\r\n", tag, suite, encode(t.key()))
	case "dtls":
		setup := "actpass"
		if answered != nil {
			setup = "active"
		}
		out = fmt.Appendf(out, "a=setup:%s\r\na=fingerprint:sha-256 %s\r\na=rtcp-mux\r\n", setup, fingerprint())
	}
	return out
}

// learn takes the other side's description. The phone is the client of a DTLS handshake unless the other side is.
func (t *talker) learn(sdp []byte, answer bool) error {
	var at netip.AddrPort
	var port int
	if _, err := fmt.Sscan(find(sdp, "m=audio "), &port); err != nil {
		return fmt.Errorf("no audio in %q", sdp)
	}
	addr, err := netip.ParseAddr(find(sdp, "c=IN IP4 "))
	if err != nil {
		return fmt.Errorf("no address in %q", sdp)
	}
	at = netip.AddrPortFrom(addr, uint16(port))
	t.mu.Lock()
	defer t.mu.Unlock()
	if !answer {
		t.security = securityOf(sdp)
	}
	if t.to == at && (t.seal != nil || t.shake != nil) {
		return nil // repeated
	}
	t.to = at
	switch t.security {
	case "sdes":
		return t.keys(sdp)
	case "dtls":
		client := !answer || find(sdp, "a=setup:") == "passive"
		t.shake = newHandshake(t, at, client)
		go t.shake.run(context.Background())
	}
	return nil
}

// securityOf is how a description has its media encrypted. A call may be encrypted on one side and not on the other: DTLS is for browsers, other phones are not
// offered it.
func securityOf(sdp []byte) string {
	switch proto := find(sdp, "m=audio "); {
	case strings.Contains(proto, "TLS/"):
		return "dtls"
	case strings.Contains(proto, "SAVP"):
		return "sdes"
	}
	return "plain"
}

// find is what stands behind the first line that begins so.
func find(sdp []byte, begin string) string {
	for line := range strings.Lines(string(sdp)) {
		if rest, ok := strings.CutPrefix(line, begin); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}
