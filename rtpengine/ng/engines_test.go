package ng

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/simnet"
	"tandem/rtpengine"
)

// park is a node that gives its media to engines elsewhere, all in fake time on a fake network.
type park struct {
	t       *testing.T
	net     *simnet.Network
	engines *Engines
	servers map[string]*Server
	hosts   map[string]*simnet.Host
	stops   map[string]func()
	lost    struct {
		sync.Mutex
		reasons []string
	}
	ports uint16
}

func inPark(t *testing.T, hosts []string, story func(p *park)) {
	synctest.Test(t, func(t *testing.T) {
		p := &park{t: t, net: simnet.ForTest(t, 1), servers: map[string]*Server{}, hosts: map[string]*simnet.Host{}, stops: map[string]func(){}, ports: firstPort + 800}
		var addrs []string
		for _, host := range hosts {
			p.start(host, 0)
			addrs = append(addrs, host+":2223")
		}
		var err error
		home := p.host(proxyHost)
		p.engines, err = NewEngines(EnginesConfig{Addrs: addrs, Dial: func(network, addr string) (net.Conn, error) {
			return home.Dial(t.Context(), network, netip.AddrPort{}, netip.MustParseAddrPort(addr))
		}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.engines.Run(ctx) }()
		time.Sleep(10 * time.Millisecond)
		story(p)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		for host := range p.stops {
			p.stop(host)
		}
	})
}

// host is the machine of an address.
func (p *park) host(addr string) *simnet.Host {
	if p.hosts[addr] == nil {
		p.hosts[addr] = p.net.Host(addr)
	}
	return p.hosts[addr]
}

// start begins an engine on a host; most bounds its sessions, 0 does not.
func (p *park) start(host string, most int) {
	p.t.Helper()
	engine, err := rtpengine.New(rtpengine.Config{
		Bind: []netip.Addr{loop}, PortMin: p.ports, PortMax: p.ports + 99, Shards: 1, MaxSessions: most,
	})
	p.ports += 100
	if err != nil {
		p.t.Fatal(err)
	}
	server, err := New(Config{Engine: engine, Listen: []string{host + ":2223"}, Allow: []netip.Prefix{netip.MustParsePrefix(proxyHost + "/32")}, ListenPacket: p.host(host).ListenPacket})
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(p.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	p.servers[host] = server
	p.stops[host] = func() {
		cancel()
		if err := <-ended; err != nil {
			p.t.Errorf("Run: %v", err)
		}
		_ = engine.Run(ctx) // closes its ports
	}
	synctest.Wait()
}

func (p *park) stop(host string) {
	p.stops[host]()
	delete(p.stops, host)
	synctest.Wait()
}

func (p *park) session() *Remote {
	return p.engines.NewSession(rtpengine.SessionConfig{ID: "call"}, func(reason string) {
		p.lost.Lock()
		defer p.lost.Unlock()
		p.lost.reasons = append(p.lost.reasons, reason)
	})
}

// lostOne fails the test when not one session was lost, for a reason.
func (p *park) lostOne(reason string) {
	p.t.Helper()
	p.lost.Lock()
	defer p.lost.Unlock()
	if got := p.lost.reasons; len(got) != 1 || !strings.Contains(got[0], reason) {
		p.t.Errorf("lost: %q", got)
	}
}

// call connects two phones through an engine.
func (p *park) call() *Remote {
	p.t.Helper()
	r := p.session()
	if _, err := r.Offer(rtpengine.A, []byte(phoneSDP(4000)), loop, loop); err != nil {
		p.t.Fatal(err)
	}
	if _, err := r.Answer(rtpengine.B, []byte(phoneSDP(5000)), loop, loop); err != nil {
		p.t.Fatal(err)
	}
	return r
}

// have fails the test when the engines do not have so many sessions.
func (p *park) have(want ...int) {
	p.t.Helper()
	st := p.engines.Stats()
	for i, e := range st.Engines {
		host, _, _ := strings.Cut(e.Addr, ":")
		if got := p.servers[host].Stats().Sessions; got != want[i] || e.Sessions != want[i] {
			p.t.Errorf("%s has %d sessions, %d of them ours, want %d", e.Addr, got, e.Sessions, want[i])
		}
	}
}

const east, west = "192.0.2.1", "192.0.2.3"

func TestCallsGoToTheEngineWithTheLeastToDo(t *testing.T) {
	inPark(t, []string{east, west}, func(p *park) {
		first, second := p.call(), p.call()
		p.have(1, 1)
		// A call of another proxy counts too.
		other := newProxy(t, p.host(proxyHost), proxyHost)
		other.ok(offer("x", "", phoneSDP(4000), "call-id", "foreign1"))
		other.ok(offer("x", "", phoneSDP(4000), "call-id", "foreign2"))
		time.Sleep(loadEvery*pingFor + time.Second)
		if st := p.engines.Stats().Engines; st[0].Others != 2 || st[1].Others != 0 {
			t.Errorf("%+v", st)
		}
		third := p.call()
		for _, r := range []*Remote{first, second, third} {
			r.Close()
			r.Close()
		}
		time.Sleep(time.Second)
		if st := p.engines.Stats(); st.Engines[0].Sessions+st.Engines[1].Sessions != 0 || p.servers[west].Stats().Sessions != 0 || p.servers[east].Stats().Sessions != 2 {
			t.Errorf("%+v", st)
		}
		if got := p.servers[west].Stats().Commands[commandIndex("offer")]; got != 2 {
			t.Errorf("%d offers went west, want the second and the third", got)
		}
	})
}

func TestADrainedEngineGetsNoNewCalls(t *testing.T) {
	inPark(t, []string{east, west}, func(p *park) {
		stays := p.call()
		if err := p.engines.Drain(east+":2223", true); err != nil {
			t.Fatal(err)
		}
		a, b := p.call(), p.call()
		p.have(1, 2)
		if _, err := stays.Offer(rtpengine.B, []byte(phoneSDP(5000, "a=sendonly")), loop, loop); err != nil {
			t.Errorf("a call in progress: %v", err)
		}
		if _, err := stays.Answer(rtpengine.A, []byte(phoneSDP(4000, "a=recvonly")), loop, loop); err != nil {
			t.Errorf("a call in progress: %v", err)
		}
		p.have(1, 2)
		_ = p.engines.Drain(east+":2223", false)
		c := p.call()
		p.have(2, 2)
		if err := p.engines.Drain("192.0.2.9:2223", true); err == nil {
			t.Error("an unknown engine was drained")
		}
		for _, r := range []*Remote{stays, a, b, c} {
			r.Close()
		}
		time.Sleep(time.Second)
		p.have(0, 0)
	})
}

func TestACallWhoseEngineDiesWhileItRingsIsNotGivenAnotherOne(t *testing.T) {
	inPark(t, []string{east, west}, func(p *park) {
		r := p.session()
		if _, err := r.Offer(rtpengine.A, []byte(phoneSDP(4000)), loop, loop); err != nil {
			t.Fatal(err)
		}
		p.stop(east)
		began := time.Now()
		if _, err := r.Answer(rtpengine.B, []byte(phoneSDP(5000)), loop, loop); !errors.Is(err, rtpengine.ErrUnreachable) || !strings.Contains(err.Error(), east) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took > askFor {
			t.Errorf("a shard waited for %v", took)
		}
		r.Close()
	})
}

func TestNewCallsGoElsewhereWhenAnEngineDies(t *testing.T) {
	inPark(t, []string{east, west}, func(p *park) {
		p.stop(east)
		began := time.Now()
		a := p.call() // nobody has missed a ping yet
		if took := time.Since(began); took > askFor+50*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		began = time.Now()
		b := p.call()
		if took := time.Since(began); took > 50*time.Millisecond {
			t.Errorf("the next one took %v", took)
		}
		if st := p.engines.Stats(); st.Failovers != 1 || st.Engines[0].Up || st.Engines[1].Sessions != 2 {
			t.Errorf("%+v", st)
		}
		p.stop(west)
		r := p.session()
		if _, err := r.Offer(rtpengine.A, []byte(phoneSDP(4000)), loop, loop); !errors.Is(err, rtpengine.ErrUnreachable) {
			t.Errorf("without any engine: %v", err)
		}
		p.start(east, 0)
		time.Sleep(2 * pingMost)
		c := p.call()
		if st := p.engines.Stats(); !st.Engines[0].Up || st.Engines[0].Sessions != 1 {
			t.Errorf("an engine that came back is not used: %+v", st)
		}
		for _, r := range []*Remote{a, b, c} {
			r.Close()
		}
	})
}

func TestTheCallsOfALostEngineEndWithTheReason(t *testing.T) {
	inPark(t, []string{east, west}, func(p *park) {
		a, b := p.call(), p.call()
		p.stop(east)
		time.Sleep(time.Minute)
		p.lostOne(east + ":2223 does not answer")
		if st := p.engines.Stats(); st.Lost != 1 || st.Engines[0].Sessions != 0 || st.Engines[1].Sessions != 1 {
			t.Errorf("%+v", st)
		}
		a.Close()
		b.Close()
		time.Sleep(time.Second)
		if p.servers[west].Stats().Sessions != 0 {
			t.Error("the other call is left")
		}
	})
}

func TestACallThatItsEngineForgotEnds(t *testing.T) {
	inPark(t, []string{east}, func(p *park) {
		r := p.call()
		p.stop(east)
		p.start(east, 0) // between two pings
		time.Sleep(time.Duration(lookEvery)*pingFor + 5*time.Second)
		p.lostOne("has ended the session")
		if _, err := r.Offer(rtpengine.A, []byte(phoneSDP(4000)), loop, loop); !errors.Is(err, rtpengine.ErrClosed) {
			t.Errorf("got %v", err)
		}
		r.Close()
	})
}

func TestAFullEngineSendsCallsOn(t *testing.T) {
	inPark(t, []string{east, west}, func(p *park) {
		p.stop(east)
		p.start(east, 1)
		time.Sleep(2 * pingMost)
		var calls []*Remote
		for range 4 {
			calls = append(calls, p.call())
		}
		p.have(1, 3)
		bad := p.session()
		var reject *rtpengine.RejectError
		if _, err := bad.Offer(rtpengine.A, []byte("v=0\r\nnonsense"), loop, loop); !errors.As(err, &reject) || reject.Status != 488 {
			t.Errorf("a description that nobody understands: %v", err)
		}
		for _, r := range append(calls, bad) {
			r.Close()
		}
		time.Sleep(time.Second)
		p.have(0, 0)
	})
}

func TestWhatAnEngineCountsIsReadBack(t *testing.T) {
	answer := dict{"tags": dict{"a": dict{"medias": []any{dict{"type": "audio", "streams": []any{dict{"stats": dict{"packets": int64(7), "bytes": int64(1204)}}}}}}, "b": dict{"medias": []any{dict{"type": "audio"}}}}}
	st := statsOf(answer)
	if len(st.Media) != 1 || st.Media[0].Kind != "audio" || st.Media[0].Sides[rtpengine.A].Packets != 7 || st.Media[0].Sides[rtpengine.A].Bytes != 1204 || st.Media[0].Sides[rtpengine.B].Packets != 0 {
		t.Errorf("%+v", st)
	}
	for _, strange := range []dict{{}, {"tags": "x"}, {"tags": dict{"a": dict{"medias": []any{"x"}}}}} {
		statsOf(strange)
	}
}

func TestEnginesAreChecked(t *testing.T) {
	for _, addrs := range [][]string{nil, {"engine.example:2223"}, {"192.0.2.1:2223", "192.0.2.1:2223"}} {
		if _, err := NewEngines(EnginesConfig{Addrs: addrs}); err == nil {
			t.Errorf("%v was taken", addrs)
		}
	}
	if got := quoted("a \"b\"\r\nc"); got != "a 'b'''c" {
		t.Errorf("%q", got)
	}
}

// A browser's call goes over an engine elsewhere as it would over ours: each side is spoken to in its own way, in re-INVITEs too.
func TestBrowsersAreServedByEnginesElsewhere(t *testing.T) {
	inPark(t, []string{engineHost}, func(p *park) {
		head := "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
		phone := []byte(head + "m=audio 4000 RTP/AVP 8\r\n")
		browser := func(setup string) []byte {
			return []byte(head + "m=audio 9 UDP/TLS/RTP/SAVPF 8\r\na=mid:0\r\na=rtcp-mux\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:" + setup +
				"\r\na=fingerprint:sha-256 " + strings.Repeat("AB:", 31) + "AB\r\n")
		}
		isFor := func(what string, web bool, sdp []byte, err error) {
			t.Helper()
			if got := strings.Contains(string(sdp), " UDP/TLS/RTP/SAVPF 8") && strings.Contains(string(sdp), "a=candidate:") && strings.Contains(string(sdp), "a=fingerprint:"); err != nil || got != web ||
				!web && (!strings.Contains(string(sdp), " RTP/AVP 8") || strings.Contains(string(sdp), "a=ice-")) {
				t.Errorf("%s: %v\n%s", what, err, sdp)
			}
		}
		r := p.session()
		out, err := r.OfferWith(rtpengine.A, phone, loop, loop, rtpengine.OfferOptions{Speaks: rtpengine.WebRTC})
		isFor("a phone calls a browser", true, out, err)
		out, err = r.Answer(rtpengine.B, browser("active"), loop, loop)
		isFor("it answers", false, out, err)
		out, err = r.OfferWith(rtpengine.A, phone, loop, loop, rtpengine.OfferOptions{})
		isFor("the phone asks again", true, out, err)
		out, err = r.Answer(rtpengine.B, browser("active"), loop, loop)
		isFor("it answers", false, out, err)
		out, err = r.OfferWith(rtpengine.B, browser("actpass"), loop, loop, rtpengine.OfferOptions{})
		isFor("the browser asks", false, out, err)
		out, err = r.Answer(rtpengine.A, phone, loop, loop)
		isFor("the phone answers", true, out, err)
		r.Close()

		r = p.session()
		out, err = r.OfferWith(rtpengine.A, browser("actpass"), loop, loop, rtpengine.OfferOptions{Speaks: rtpengine.Phone})
		isFor("a browser calls a phone", false, out, err)
		out, err = r.Answer(rtpengine.B, phone, loop, loop)
		isFor("it answers", true, out, err)
		r.Close()
	})
}
