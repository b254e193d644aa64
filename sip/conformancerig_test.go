package sip_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/simnet"
	"tandem/sip"
	"tandem/sip/message"
	"tandem/sip/transport"
)

// A tortureRig is one server, the phone that torments it and a callee that is busy.
type tortureRig struct {
	t      *testing.T
	server *sip.Server
	net    *simnet.Network
	phone  tortureEnd
	callID string // of the message under test
	callee net.PacketConn
	pumps  sync.WaitGroup

	mu      sync.Mutex
	replies []string // what the phone heard
	relayed []string // what the callee heard
	ended   bool     // the server has ended the phone's stream
}

// tortureEnd is the phone's side: a datagram socket or a stream.
type tortureEnd struct {
	packet net.PacketConn
	to     net.Addr
	stream net.Conn
}

func newTortureRig(t *testing.T, text string, tcp bool) *tortureRig {
	t.Helper()
	n := simnet.New(1)
	rig := &tortureRig{t: t, net: n}
	t.Cleanup(rig.close) // whatever fails: a pump that is left behind is all that would be reported
	hosts := make(map[netip.Addr]*simnet.Host)
	for _, a := range []netip.Addr{tortureServer4, tortureServer6, tortureRoute, torturePhone4, torturePhone6, tortureCallee} {
		hosts[a] = n.Host(a.String())
	}
	hostOf := func(addr string) *simnet.Host { return hosts[netip.MustParseAddrPort(addr).Addr()] }
	location := sip.NewLocation()
	registrar, err := sip.NewRegistrar(sip.RegistrarConfig{Location: location, Log: tortureLog{location}})
	rig.must(err)
	digest, err := sip.NewDigest(sip.DigestConfig{Secrets: tortureSecrets{}})
	rig.must(err)
	rig.server, err = sip.New(sip.Config{
		Transport: transport.Config{
			UDP: []string{"192.0.2.200:5060", "127.0.0.1:5080", "[2001:db8::10]:5060"}, TCP: []string{"192.0.2.200:5060"}, Shards: 2,
			ListenPacket: func(network, addr string) (net.PacketConn, error) { return hostOf(addr).ListenPacket(network, addr) },
			Listen:       func(network, addr string) (net.Listener, error) { return hostOf(addr).Listen(network, addr) },
			Dial: func(ctx context.Context, network string, laddr, raddr netip.AddrPort) (net.Conn, error) {
				return hosts[tortureServer4].Dial(ctx, network, laddr, raddr)
			},
		},
		Digest: digest, Registrar: registrar, Location: location, Directory: tortureDirectory{}, Handler: tortureHandler{}, TraceBytes: -1,
	})
	rig.must(err)
	rig.must(rig.server.Listen())
	rig.callee, err = hosts[tortureCallee].ListenPacket("udp", "192.0.2.201:5060")
	rig.must(err)
	rig.pumps.Go(rig.beBusy)
	rig.connect(hosts, text, tcp)
	return rig
}

// run starts the server, until the end of the test.
func (rig *tortureRig) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- rig.server.Run(ctx) }()
	rig.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			rig.t.Error(err)
		}
	})
}

func (rig *tortureRig) must(err error) {
	rig.t.Helper()
	if err != nil {
		rig.t.Fatal(err)
	}
}

// connect opens the phone's socket at the port its Via names, where answers without rport go.
func (rig *tortureRig) connect(hosts map[netip.Addr]*simnet.Host, text string, tcp bool) {
	server, phone := tortureServer4, torturePhone4
	var m message.Message
	_ = m.Parse(text)
	rig.callID = m.CallID()
	via, _ := m.TopVia()
	if strings.Contains(via.Host, ":") {
		server, phone = tortureServer6, torturePhone6
	}
	var err error
	if tcp {
		rig.phone.stream, err = hosts[torturePhone4].Dial(rig.t.Context(), "tcp", netip.AddrPort{}, netip.AddrPortFrom(tortureServer4, 5060))
		rig.must(err)
		rig.pumps.Go(rig.hearStream)
		return
	}
	port := uint16(via.Port)
	if port == 0 {
		port = 5060
	}
	rig.phone.packet, err = hosts[phone].ListenPacket("udp", netip.AddrPortFrom(phone, port).String())
	rig.must(err)
	rig.phone.to = net.UDPAddrFromAddrPort(netip.AddrPortFrom(server, 5060))
	rig.pumps.Go(rig.hearPackets)
}

func (rig *tortureRig) hearPackets() {
	b := make([]byte, 65536)
	for {
		n, _, err := rig.phone.packet.ReadFrom(b)
		if err != nil {
			return
		}
		rig.hear(string(b[:n]))
	}
}

// hearStream cuts a stream at empty lines: no answer here has a body.
func (rig *tortureRig) hearStream() {
	var text string
	b := make([]byte, 65536)
	for {
		n, err := rig.phone.stream.Read(b)
		text += string(b[:n])
		for {
			i := strings.Index(text, "\r\n\r\n")
			if i < 0 {
				break
			}
			rig.hear(text[:i+4])
			text = text[i+4:]
		}
		if err != nil {
			rig.mu.Lock()
			rig.ended = true
			rig.mu.Unlock()
			return
		}
	}
}

func (rig *tortureRig) hear(text string) {
	rig.mu.Lock()
	defer rig.mu.Unlock()
	if text = strings.TrimLeft(text, "\r\n"); strings.HasPrefix(text, "SIP/2.0 ") {
		rig.replies = append(rig.replies, text)
	}
}

// beBusy is the callee: 486 to all but ACK.
func (rig *tortureRig) beBusy() {
	b := make([]byte, 65536)
	for {
		n, from, err := rig.callee.ReadFrom(b)
		if err != nil {
			return
		}
		text := string(b[:n])
		var m message.Message
		if m.Parse(text) != nil || !m.IsRequest() || m.Method == "ACK" {
			continue
		}
		rig.mu.Lock()
		rig.relayed = append(rig.relayed, text)
		rig.mu.Unlock()
		_, _ = rig.callee.WriteTo(m.AppendResponse(nil, &message.Response{Status: 486, ToTag: "busy"}), from)
	}
}

// torment gives a message to the server and lets everything happen that needs no timer of a second or more.
func (rig *tortureRig) torment(text string) {
	rig.t.Helper()
	if rig.phone.stream != nil {
		_, _ = rig.phone.stream.Write([]byte(text)) // the server may end the stream before it has read everything
	} else {
		_, err := rig.phone.packet.WriteTo([]byte(text), rig.phone.to)
		rig.must(err)
	}
	time.Sleep(300 * time.Millisecond)
	synctest.Wait()
}

// hungUp tells whether the server has ended the phone's stream.
func (rig *tortureRig) hungUp() bool {
	rig.mu.Lock()
	defer rig.mu.Unlock()
	return rig.ended
}

func (rig *tortureRig) forget() {
	rig.mu.Lock()
	defer rig.mu.Unlock()
	rig.replies = nil
}

// final is the first final response to the message that the phone heard, "" without one.
func (rig *tortureRig) final() string {
	rig.mu.Lock()
	defer rig.mu.Unlock()
	for _, text := range rig.replies {
		var m message.Message
		if _ = m.Parse(text); m.Status >= 200 && m.CallID() == rig.callID {
			return text
		}
	}
	return ""
}

// answerChallenge puts credentials right behind the request line, the rest of the message stays as it is.
func (rig *tortureRig) answerChallenge(text, challenge string) string {
	var m message.Message
	rig.must(m.Parse(challenge))
	id, header := message.WWWAuthenticate, "Authorization"
	if m.Status == 407 {
		id, header = message.ProxyAuthenticate, "Proxy-Authorization"
	}
	_, rest, _ := strings.Cut(m.Get(id), `nonce="`)
	nonce, _, _ := strings.Cut(rest, `"`)
	start, rest, _ := strings.Cut(text, "\r\n")
	method, uri, _ := strings.Cut(start, " ")
	uri = strings.TrimSuffix(uri, " SIP/2.0")
	ha1, _, _, _ := tortureSecrets{}.HA1("torture", "phone", true)
	response := tortureHash(fmt.Sprintf("%s:%s:00000001:c:auth:%s", ha1, nonce, tortureHash(method+":"+uri)))
	return fmt.Sprintf("%s\r\n%s: Digest username=\"phone\", realm=\"torture\", nonce=\"%s\", uri=\"%s\", algorithm=SHA-256, qop=auth, nc=00000001, cnonce=\"c\", response=\"%s\"\r\n%s",
		start, header, nonce, uri, response, rest)
}

// reaction says what came of the message.
func (rig *tortureRig) reaction(sent string) tortured {
	final, st := rig.final(), rig.server.Stats()
	rig.mu.Lock()
	defer rig.mu.Unlock()
	switch {
	case len(rig.relayed) > 0:
		if fault := tortureDamage(sent, rig.relayed[0]); fault != "" {
			return tortured{"relayed, but " + fault, final}
		}
		if tortureStatus(final) != 486 {
			return tortured{"relayed, but the answer did not come back", final}
		}
		return tortured{"relayed", final}
	case final != "":
		return tortured{tortureLine(final), final}
	case st.StrayResponses > 0:
		return tortured{"read, dropped: no request of ours waits for it", ""}
	case st.Malformed > 0:
		return tortured{"malformed, dropped", ""}
	}
	return tortured{"dropped", ""}
}

// tortureDamage compares a message with what arrived at the callee: each header must be there, in the order it was, but for
// those that a proxy takes off or changes (RFC 3261 §16.6).
func tortureDamage(sent, got string) string {
	var a, b message.Message
	if err := a.Parse(sent); err != nil {
		return err.Error()
	}
	if err := b.Parse(got); err != nil {
		return "does not parse: " + err.Error()
	}
	if err := b.Validate(); err != nil {
		return "is malformed: " + err.Error()
	}
	if a.Method != b.Method || a.Body() != b.Body() {
		return "method or body differ"
	}
	left := 0
	for i := range a.Len() {
		h := a.Header(i)
		switch h.ID {
		case message.MaxForwards, message.Route, message.ContentLength:
			continue
		}
		found := false
		for ; left < b.Len() && !found; left++ {
			o := b.Header(left)
			found = o.Name == h.Name && (o.Value == h.Value || h.ID == message.ViaID && tortureSameVia(h.Value, o.Value))
		}
		if !found {
			return "lacks " + h.Name + ": " + h.Value
		}
	}
	return ""
}

// tortureSameVia tells whether a Via came through with nothing but received and rport changed.
func tortureSameVia(sent, got string) bool {
	for part := range strings.SplitSeq(sent, ";") {
		if part != "rport" && !strings.Contains(got, part) {
			return false
		}
	}
	return true
}

func (rig *tortureRig) close() {
	if rig.callee != nil {
		_ = rig.callee.Close()
	}
	if rig.phone.packet != nil {
		_ = rig.phone.packet.Close()
	}
	if rig.phone.stream != nil {
		_ = rig.phone.stream.Close()
	}
	rig.net.Close()
	rig.pumps.Wait()
}

// tortureHandler relays everything to the callee.
type tortureHandler struct{}

func (tortureHandler) ServeInvite(in *sip.Inbound) { tortureHandler{}.ServeRequest(in) }

func (tortureHandler) ServeRequest(in *sip.Inbound) {
	flow := transport.Flow{Net: transport.UDP, Remote: netip.AddrPortFrom(tortureCallee, 5060)}
	in.Start(sip.Relay{Groups: [][]sip.Target{{{Flow: flow, Known: true}}}}, func(r sip.Result) {
		if !r.Answered {
			in.RefuseBest(480, "")
		}
	})
}

// tortureDirectory knows one account that is everybody, in every domain.
type tortureDirectory struct{}

func (tortureDirectory) User(_, name string) (string, bool)  { return "phone", name != "" }
func (tortureDirectory) HasTenant(name string) bool          { return name == "torture" }
func (tortureDirectory) TenantOf(host string) (string, bool) { return "torture", host != "" }

type tortureSecrets struct{}

func (tortureSecrets) HA1(tenant, name string, _ bool) (ha1 [64]byte, n int, user string, ok bool) {
	n = copy(ha1[:], tortureHash(name+":"+tenant+":secret"))
	return ha1, n, "phone", true
}

func tortureHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// tortureLog agrees with itself at once.
type tortureLog struct{ machine *sip.Location }

func (l tortureLog) ProposeAsync(_ string, cmd []byte, done func(any, error)) error {
	go done(l.machine.Apply(cmd), nil)
	return nil
}
