package ng

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"tandem/internal/simnet"
	"tandem/rtpengine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden files anew")

const (
	engineHost = "192.0.2.1"
	proxyHost  = "192.0.2.2"
	ngAddr     = engineHost + ":2223"
	firstPort  = 44000
)

// world is a server in fake time on a fake network, its engine with real ports, and the proxies that command it. The engine stands still:
// sessions get ports and descriptions, no packet moves.
type world struct {
	t      *testing.T
	net    *simnet.Network
	engine *rtpengine.Engine
	server *Server
	stop   func()
	*proxy
}

// inWorld runs a story in fake time.
func inWorld(t *testing.T, change func(*rtpengine.Config, *Config), story func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, net: simnet.ForTest(t, 1)}
		ec := rtpengine.Config{
			Bind: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}, PortMin: firstPort, PortMax: firstPort + 399, Shards: 1,
		}
		sc := Config{Listen: []string{ngAddr}, Allow: []netip.Prefix{netip.MustParsePrefix(proxyHost + "/32")}, ListenPacket: w.net.Host(engineHost).ListenPacket}
		if change != nil {
			change(&ec, &sc)
		}
		engine, err := rtpengine.New(ec)
		if err != nil {
			t.Fatal(err)
		}
		w.engine, sc.Engine = engine, engine
		if w.server, err = New(sc); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.server.Run(ctx) }()
		w.stop = func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Run: %v", err)
			}
			if err := engine.Run(ctx); err != nil { // closes its ports
				t.Errorf("engine: %v", err)
			}
		}
		w.proxy = newProxy(t, w.net.Host(proxyHost), proxyHost)
		synctest.Wait()
		story(w)
		w.stop()
	})
}

// proxy speaks NG to the server, and writes down what was said.
type proxy struct {
	t          *testing.T
	conn       net.PacketConn
	cookies    int
	transcript strings.Builder
	ports      map[string]string
}

func newProxy(t *testing.T, h *simnet.Host, addr string) *proxy {
	conn, err := h.ListenPacket("udp", addr+":0")
	if err != nil {
		t.Fatal(err)
	}
	return &proxy{t: t, conn: conn, ports: map[string]string{}}
}

// raw sends a datagram and returns the answer, "" when none comes.
func (p *proxy) raw(text string) string {
	p.t.Helper()
	if _, err := p.conn.WriteTo([]byte(text), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(ngAddr))); err != nil {
		p.t.Fatal(err)
	}
	_ = p.conn.SetReadDeadline(time.Now().Add(time.Second))
	buffer := make([]byte, maxPacket)
	n, _, err := p.conn.ReadFrom(buffer)
	if err != nil {
		return ""
	}
	return string(buffer[:n])
}

// ask sends a command under a cookie of its own and returns the answer.
func (p *proxy) ask(d dict) dict {
	p.t.Helper()
	p.cookies++
	cookie := fmt.Sprintf("77_%d", p.cookies)
	answer, ok := strings.CutPrefix(p.raw(cookie+" "+string(encode(nil, d, bencoded))), cookie+" ")
	if !ok {
		p.t.Fatalf("no answer to %v", d)
	}
	got, _, err := decode([]byte(answer))
	if err != nil {
		p.t.Fatalf("%v in %q", err, answer)
	}
	p.note(">", d)
	p.note("<", got)
	return got
}

// note writes a dictionary into the transcript, a line an entry.
func (p *proxy) note(arrow string, d dict) {
	for _, key := range slices.Sorted(maps.Keys(d)) {
		text := fmt.Sprintf("%v", d[key])
		if key == "sdp" {
			text = "\n" + arrow + "     " + strings.ReplaceAll(strings.TrimSpace(text), "\r\n", "\n"+arrow+"     ")
		}
		fmt.Fprintf(&p.transcript, "%s %s: %s\n", arrow, key, p.plain(text))
	}
	p.transcript.WriteString("\n")
}

var (
	enginePort = regexp.MustCompile(`\b44[0-3]\d\d\b`)
	sessionID  = regexp.MustCompile(`(o=\S+) \d{9,} `)
	ownMark    = regexp.MustCompile(`(tandem-ng:)\w+`)
	longWord   = regexp.MustCompile(`(\w{20})\w{200,}`)
)

// plain replaces what is different in every run: the engine's ports by their order, the ids of sessions.
func (p *proxy) plain(text string) string {
	text = sessionID.ReplaceAllString(text, "$1 ID ")
	text = longWord.ReplaceAllString(text, "$1...")
	text = ownMark.ReplaceAllString(text, "${1}MARK")
	return enginePort.ReplaceAllStringFunc(text, func(port string) string {
		n, _ := strconv.Atoi(port)
		even := strconv.Itoa(n &^ 1)
		if p.ports[even] == "" {
			p.ports[even] = fmt.Sprintf("P%d", len(p.ports)+1)
		}
		if n%2 == 1 {
			return p.ports[even] + "+1"
		}
		return p.ports[even]
	})
}

// say writes a line of the story into the transcript.
func (p *proxy) say(line string) { fmt.Fprintf(&p.transcript, "# %s\n\n", line) }

// golden compares the transcript with a file.
func (p *proxy) golden(name string) {
	p.t.Helper()
	file, got := filepath.Join("testdata", name+".golden"), p.transcript.String()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		p.t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		p.t.Errorf("%s (-want +got; -update writes it anew):\n%s", file, diff)
	}
}

// phoneSDP is a phone's description.
func phoneSDP(port int, extra ...string) string {
	text := fmt.Sprintf("v=0\r\no=phone 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %d RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n", port)
	for _, line := range extra {
		text += line + "\r\n"
	}
	return text
}

// list is a bencode list of texts.
func list(words ...string) []any {
	var out []any
	for _, word := range words {
		out = append(out, word)
	}
	return out
}

// offer and answer are what Kamailio sends with the flags "replace-origin replace-session-connection ICE=remove".
func offer(from, to, sdp string, more ...any) dict {
	return speech("offer", from, to, sdp, more)
}

func answer(from, to, sdp string, more ...any) dict {
	return speech("answer", from, to, sdp, more)
}

func speech(command, from, to, sdp string, more []any) dict {
	d := dict{
		"command": command, "call-id": "c1", "from-tag": from, "sdp": sdp, "ICE": "remove", "flags": list("trust-address"),
		"replace": list("origin", "session-connection"), "received-from": list("IP4", "127.0.0.1"),
	}
	if to != "" {
		d["to-tag"] = to
	}
	for i := 0; i+1 < len(more); i += 2 {
		d[more[i].(string)] = more[i+1]
	}
	return d
}

// ok fails the test when an answer is not result=ok.
func (p *proxy) ok(d dict) string {
	p.t.Helper()
	got := p.ask(d)
	if got["result"] != "ok" {
		p.t.Fatalf("%v: %v", d["command"], got)
	}
	return got.text("sdp")
}

// refused fails the test when an answer is no error, and returns its reason.
func (p *proxy) refused(d dict) string {
	p.t.Helper()
	got := p.ask(d)
	if got["result"] != "error" {
		p.t.Fatalf("%v was not refused: %v", d["command"], got)
	}
	return got.text("error-reason")
}

// sessions fails the test when the server does not have so many.
func (w *world) sessions(want int) {
	w.t.Helper()
	if st := w.server.Stats(); st.Sessions != want || w.engine.Stats().Sessions != want {
		w.t.Fatalf("%d sessions of the server, %d of the engine, want %d", st.Sessions, w.engine.Stats().Sessions, want)
	}
}
