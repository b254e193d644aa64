// Package fakephone is a small SIP user agent for tests over internal/simnet. It registers with digest, places and takes
// calls, answers as a test tells it to, and keeps every message. It shares no code with the server: what it receives is read
// by sipgo's parser, so that another implementation judges what the server writes, and a message that does not parse fails
// the test.
//
//	bob := fakephone.New(t, fakephone.Config{Host: host, Server: server, User: "bob", Domain: "example.com", Password: "secret"})
//	bob.OnInvite(func(c *fakephone.Call) { c.Ring(); time.Sleep(2 * time.Second); c.Answer(sdp) })
//	bob.Register()
//
// It is made for testing/synctest: everything in it that waits, waits for the network, for a channel or for a timer.
package fakephone

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/simnet"
)

// TB is the part of testing.TB that a phone needs.
type TB interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Config describes a phone. Host, Server, User and Domain are required.
type Config struct {
	Host     *simnet.Host
	Server   netip.AddrPort
	User     string
	Auth     string // digest name, default User
	Domain   string
	Password string
	Port     uint16 // default 5060
	Net      string // "udp" (default), "tcp" or "tls": one connection to the server; no certificate is checked
	Accepts  bool   // a UDP phone that takes TCP connections on its port as well

	Supported   string // value of Supported in INVITE and 2xx, "" leaves it out
	MD5         bool   // takes the MD5 challenge even when there is a better one
	Eager       bool   // sends credentials with an INVITE before it is asked, once it knows a challenge
	NoRPort     bool   // Via without rport
	OldBranch   bool   // branch without the magic cookie (RFC 2543)
	NoACK       bool   // never acknowledges a 2xx
	NoRetry     bool   // never sends a request again
	ContactHost string // host of Contact when it is not the socket's
	From        string // URI in From of calls when it is not the AOR
}

// A Phone is a user agent. Its methods may be called from any goroutine.
type Phone struct {
	cfg   Config
	t     TB
	local netip.AddrPort
	main  *link
	wg    sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	links    []*link
	listener net.Listener
	messages []*Message
	clients  map[string]*Transaction // by branch and method
	servers  map[string]*answered    // by branch and method
	calls    []*Call
	serial   int
	cseq     uint32
	callID   string // of REGISTER
	login    login
	onInvite func(*Call)
	onOther  func(*Message) bool
	changed  chan struct{} // closed and replaced with every message
}

// answered is the server side of one request.
type answered struct {
	req  *Message
	last string // response to send again
}

// New makes a phone that listens. It is closed at the test's end.
func New(t TB, cfg Config) *Phone {
	t.Helper()
	if cfg.Port == 0 {
		cfg.Port = 5060
	}
	if cfg.Auth == "" {
		cfg.Auth = cfg.User
	}
	p := &Phone{
		cfg: cfg, t: t, local: netip.AddrPortFrom(cfg.Host.Addr(), cfg.Port), clients: make(map[string]*Transaction), servers: make(map[string]*answered),
		changed: make(chan struct{}),
	}
	p.callID = "reg-" + cfg.User + "@" + p.local.String()
	t.Cleanup(p.Close)
	if cfg.Net == "tcp" || cfg.Net == "tls" {
		p.main = p.connect()
		return p
	}
	pc, err := cfg.Host.ListenPacket("udp", p.local.String())
	if err != nil {
		t.Fatalf("%s: %v", cfg.User, err)
	}
	p.main = &link{net: "udp", packet: pc}
	p.start(p.main)
	if cfg.Accepts {
		p.listen(p.local.String())
	}
	return p
}

func (p *Phone) run(fn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.wg.Go(fn)
}

// Close ends all sockets and waits for the phone's goroutines.
func (p *Phone) Close() {
	p.mu.Lock()
	was := p.closed
	p.closed = true
	links, ln, calls := p.links, p.listener, p.calls
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
	if !was {
		if ln != nil {
			_ = ln.Close()
		}
		for _, l := range links {
			l.close()
		}
		for _, c := range calls {
			c.end()
			c.once.ack.Do(func() { close(c.acked) })
			c.once.cancel.Do(func() { close(c.cancelled) })
		}
	}
	p.wg.Wait()
}

// Reconnect drops the TCP connection and opens another one.
func (p *Phone) Reconnect() {
	p.main.close()
	p.main = p.connect()
}

// Roam goes over to another server, as a phone does that no longer reaches its own: what it has to say goes there from now on.
func (p *Phone) Roam(server netip.AddrPort) {
	p.cfg.Server = server
	if p.cfg.Net == "tcp" || p.cfg.Net == "tls" {
		p.Reconnect()
	}
}

// Move opens another TCP connection and leaves the old one as it is, never to hear what comes over it: the phone has gone to another
// network. send puts bytes on the old one that were under way.
func (p *Phone) Move() (send func(text string)) {
	old := p.main
	old.deaf.Store(true)
	p.main = p.connect()
	return func(text string) { p.sendOn(old, text, p.cfg.Server) }
}

// Disconnect drops the TCP connection, or stops listening.
func (p *Phone) Disconnect() { p.main.close() }

// AOR is the phone's address-of-record.
func (p *Phone) AOR() string { return "sip:" + p.cfg.User + "@" + p.cfg.Domain }

// Contact is the URI the phone is reached at.
func (p *Phone) Contact() string {
	host := p.local.String()
	if p.cfg.ContactHost != "" {
		host = p.cfg.ContactHost
	}
	uri := "sip:" + p.cfg.User + "@" + host
	if p.cfg.Net == "tcp" || p.cfg.Net == "tls" {
		uri += ";transport=" + p.cfg.Net
	}
	return uri
}

// Addr is the phone's own address.
func (p *Phone) Addr() netip.AddrPort { return p.local }

// OnInvite tells how calls are taken: fn runs in a goroutine of its own for every INVITE outside a dialog. Without one the
// phone rings for ever.
func (p *Phone) OnInvite(fn func(*Call)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onInvite = fn
}

// OnRequest tells how requests that are not answered by default (BYE, CANCEL, OPTIONS, MESSAGE ... with 200) are taken: fn
// runs in the phone's reader and says true when it has taken care of the request.
func (p *Phone) OnRequest(fn func(*Message) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onOther = fn
}

// Messages are all messages so far, in order.
func (p *Phone) Messages() []*Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.messages)
}

// Requests are the requests received with a method, in order, retransmissions included.
func (p *Phone) Requests(method string) []*Message {
	return p.filter(func(m *Message) bool { return !m.Out && m.Method() == method })
}

// Responses are the responses received with a status to requests of a method.
func (p *Phone) Responses(status int, method string) []*Message {
	return p.filter(func(m *Message) bool {
		_, of := m.CSeq()
		return !m.Out && m.Status() == status && of == method
	})
}

// Sent are the requests sent with a method.
func (p *Phone) Sent(method string) []*Message {
	return p.filter(func(m *Message) bool { return m.Out && m.Method() == method })
}

func (p *Phone) filter(keep func(*Message) bool) []*Message {
	return slices.DeleteFunc(p.Messages(), func(m *Message) bool { return !keep(m) })
}

// Ladder is what happened so far, for failing tests.
func (p *Phone) Ladder() string {
	var b strings.Builder
	for _, m := range p.Messages() {
		fmt.Fprintf(&b, "%s %v\n", p.cfg.User, m)
	}
	return b.String()
}

// Await waits until a message that was received fits, a minute at most, and gives the first.
func (p *Phone) Await(what string, fits func(*Message) bool) *Message {
	p.t.Helper()
	timeout := time.NewTimer(time.Minute)
	defer timeout.Stop()
	for {
		p.mu.Lock()
		changed := p.changed
		closed := p.closed
		p.mu.Unlock()
		for _, m := range p.Messages() {
			if !m.Out && fits(m) {
				return m
			}
		}
		if closed {
			return nil
		}
		select {
		case <-changed:
		case <-timeout.C:
			p.t.Fatalf("%s got no %s:\n%s", p.cfg.User, what, p.Ladder())
			return nil
		}
	}
}

// AwaitRequest waits for a request with a method.
func (p *Phone) AwaitRequest(method string) *Message {
	p.t.Helper()
	return p.Await(method, func(m *Message) bool { return m.Method() == method })
}

// record keeps a message.
func (p *Phone) record(m *Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.messages = append(p.messages, m)
	close(p.changed)
	p.changed = make(chan struct{})
}

// receive takes one message off the wire. It runs in a link's reader.
func (p *Phone) receive(l *link, text string, from netip.AddrPort) {
	if strings.Trim(text, "\r\n\x00") == "" || l.deaf.Load() {
		return
	}
	m := &Message{Text: text, At: time.Now(), Peer: from, Net: l.net, link: l}
	wire, err := sip.ParseMessage([]byte(text))
	if err != nil {
		p.t.Errorf("%s received a message that sipgo cannot read: %v\n%s", p.cfg.User, err, text)
		p.record(m)
		return
	}
	m.wire = wire
	if m.Method() == "" {
		p.response(m)
		return
	}
	p.record(m)
	p.request(m)
}

// Send puts bytes on the wire as they are, towards the server.
func (p *Phone) Send(text string) { p.sendOn(p.main, text, p.cfg.Server) }

func (p *Phone) sendOn(l *link, text string, to netip.AddrPort) {
	p.record(&Message{Text: text, At: time.Now(), Out: true, Peer: to, Net: l.net, link: l})
	_ = l.send(text, to) // a socket that is gone loses it, as a network does
}

func (p *Phone) next() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.serial++
	return p.serial
}

// newID is different every time and the same in every run.
func (p *Phone) newID(kind string) string {
	return fmt.Sprintf("%s-%s-%s-%d", kind, p.cfg.User, strings.NewReplacer(".", "", ":", "").Replace(p.local.String()), p.next())
}
