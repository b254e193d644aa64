//go:build interop

package interop

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// baresipModules is where Debian keeps baresip's plug-ins.
const baresipModules = "/usr/lib/baresip/modules"

// phoneIP is where all phones of the node are. Their media sockets have no
// address of their own, and whatever such a socket sends inside 127/8 comes
// from 127.0.0.1.
func (n *node) phoneIP() string {
	if n.ip.Is6() {
		return n.ip.String()
	}
	return "127.0.0.1"
}

// host is the node's domain as it stands in a URI.
func (n *node) host() string {
	if strings.Contains(n.ready.Domain, ":") {
		return "[" + n.ready.Domain + "]"
	}
	return n.ready.Domain
}

// phone is one baresip: it registers one account, plays one tone, records what
// it hears, and is driven over its JSON control connection (ctrl_tcp).
type phone struct {
	*process
	user    string
	node    *node
	address string // ip:port its SIP listens on
	dir     string
	control net.Conn
	tokens  atomic.Int64

	mu      sync.Mutex
	events  []phoneEvent
	replies map[string]phoneReply
}

// phoneEvent is what baresip reports about its calls and registration.
type phoneEvent struct {
	Type      string `json:"type"`
	Direction string `json:"direction"`
	Peer      string `json:"peeruri"`
	ID        string `json:"id"`
	Param     string `json:"param"`
}

// phoneReply answers one command.
type phoneReply struct {
	Token string `json:"token"`
	OK    bool   `json:"ok"`
	Data  string `json:"data"`
}

// phoneConfig says how one phone differs from the others.
type phoneConfig struct {
	user      string
	transport string  // udp when empty
	tone      float64 // Hz that it plays
	answer    string  // auto when empty; manual
	codecs    string  // baresip's modules of them, g711 when empty
	srtp      string  // baresip's mediaenc: srtp offers RTP/AVP with keys, srtp-mand RTP/SAVP, dtls_srtp UDP/TLS/RTP/SAVP; empty is plain
	video     bool    // from a drawn picture
	pictures  string  // baresip's module of their codec, vp8 when empty; avcodec is H.264
	password  string  // the demo's when empty
	extra     string  // more account parameters, each with its leading ;
	contact   string  // user that it writes its texts to
}

// startPhone starts a baresip that registers at the node. It does not wait for
// the registration: see registered.
func startPhone(t testing.TB, n *node, c phoneConfig) *phone {
	t.Helper()
	path := peer(t, "baresip", "baresip-core")
	if c.transport == "" {
		c.transport = "udp"
	}
	if c.answer == "" {
		c.answer = "auto"
	}
	if c.password == "" {
		c.password = password
	}
	port, control := freePort(t), freePort(t)
	p := &phone{
		user: c.user, node: n, dir: t.TempDir(), address: net.JoinHostPort(n.phoneIP(), strconv.Itoa(port)),
		replies: make(map[string]phoneReply),
	}
	writeTone(t, filepath.Join(p.dir, "tone.wav"), c.tone)
	account := fmt.Sprintf("<sip:%s@%s;transport=%s>;auth_pass=%s;outbound=\"sip:%s;transport=%s\";regint=600;answermode=%s%s\n",
		c.user, n.host(), c.transport, c.password, n.sip(c.transport), c.transport, c.answer, c.extra)
	if c.srtp != "" {
		account = strings.TrimSuffix(account, "\n") + ";mediaenc=" + c.srtp + "\n"
	}
	write(t, filepath.Join(p.dir, "accounts"), account)
	contacts := ""
	if c.contact != "" {
		uri := "sip:" + c.contact + "@" + n.host()
		contacts = fmt.Sprintf("\"%s\" <%s>\n", c.contact, uri)
		write(t, filepath.Join(p.dir, "current_contact"), uri)
	}
	write(t, filepath.Join(p.dir, "contacts"), contacts)
	write(t, filepath.Join(p.dir, "config"), p.config(control, c))
	family := "-4"
	if n.ip.Is6() {
		family = "-6"
	}
	p.process = launch(t, "baresip "+c.user, p.dir, []string{"HOME=" + p.dir}, path, family, "-s", "-v", "-f", p.dir)
	p.patience = 300 * time.Millisecond // it waits for the answer to its last REGISTER, and its node may be gone
	p.find(t, 0, soon, `baresip is ready`)
	p.connect(t, net.JoinHostPort(n.phoneIP(), strconv.Itoa(control)))
	return p
}

// config is baresip's configuration file.
func (p *phone) config(control int, c phoneConfig) string {
	lines := []string{
		"poll_method epoll", "sip_listen " + p.address, "net_interface " + p.node.phoneIP(), "sip_trans_bsize 128",
		"ctrl_tcp_listen " + net.JoinHostPort(p.node.phoneIP(), strconv.Itoa(control)),
		"audio_path " + p.dir, // no ring tones
		"audio_source aufile," + filepath.Join(p.dir, "tone.wav"),
		"audio_player aubridge,ear", "audio_alert aubridge,bell",
		"ausrc_srate 8000", "auplay_srate 8000", "ausrc_channels 1", "auplay_channels 1",
		"rtp_ports 16000-18999", "rtcp_mux no", "jitter_buffer_delay 2-10", "rtp_stats yes",
		"statmode_default off", "snd_path " + p.dir, "module_path " + baresipModules,
		"module srtp.so", "module dtls_srtp.so", "module ice.so", "module aufile.so", "module aubridge.so", "module sndfile.so",
		"module_tmp account.so", "module_app contact.so", "module_app menu.so", "module_app ctrl_tcp.so",
	}
	for codec := range strings.FieldsSeq(cmp.Or(c.codecs, "g711")) {
		lines = append(lines, "module "+codec+".so")
	}
	if c.video {
		lines = append(lines, "module "+cmp.Or(c.pictures, "vp8")+".so", "module fakevideo.so", "video_source fakevideo,nil",
			"video_display fakevideo,nil", "video_size 176x144", "video_fps 10", "video_bitrate 128000")
	}
	return strings.Join(lines, "\n") + "\n"
}

// write writes one small file of a phone.
func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// connect opens the control connection and reads it until the phone ends.
func (p *phone) connect(t testing.TB, address string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, soon)
	if err != nil {
		t.Fatalf("control of %s: %v", p.name, err)
	}
	p.control = conn
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.listen(bufio.NewReader(conn))
	}()
	t.Cleanup(func() {
		conn.Close()
		<-read
	})
}

// listen takes events and replies from the control connection; each is one
// netstring ("12:{...},").
func (p *phone) listen(r *bufio.Reader) {
	for {
		digits, err := r.ReadString(':')
		if err != nil {
			return
		}
		n, err := strconv.Atoi(strings.Trim(digits, ":, \n"))
		if err != nil {
			return
		}
		raw := make([]byte, n+1) // the comma too
		if _, err := io.ReadFull(r, raw); err != nil {
			return
		}
		p.take(raw[:n])
	}
}

// take files one JSON object of the control connection.
func (p *phone) take(raw []byte) {
	var reply phoneReply
	var event phoneEvent
	if json.Unmarshal(raw, &reply) != nil || json.Unmarshal(raw, &event) != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if event.Type != "" {
		p.events = append(p.events, event)
	} else {
		p.replies[reply.Token] = reply
	}
}

// do runs one of baresip's long commands and returns what it printed.
func (p *phone) do(t testing.TB, command, params string) string {
	t.Helper()
	token := strconv.FormatInt(p.tokens.Add(1), 10)
	raw, err := json.Marshal(map[string]string{"command": command, "params": params, "token": token})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(p.control, "%d:%s,", len(raw), raw); err != nil {
		t.Fatalf("%s: %s: %v", p.name, command, err)
	}
	var reply phoneReply
	eventually(t, soon, p.name+" to answer the command "+command, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		var ok bool
		reply, ok = p.replies[token]
		return ok
	})
	if !reply.OK {
		t.Fatalf("%s refused %s %s: %s", p.name, command, params, reply.Data)
	}
	return reply.Data
}

// happened counts the events of a type.
func (p *phone) happened(kind string) int {
	return len(p.all(kind))
}

// all returns the events of a type so far.
func (p *phone) all(kind string) []phoneEvent {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []phoneEvent
	for _, e := range p.events {
		if e.Type == kind {
			list = append(list, e)
		}
	}
	return list
}

// await waits until an event of a type has happened n times, and returns the
// n-th.
func (p *phone) await(t testing.TB, kind string, n int) phoneEvent {
	t.Helper()
	eventually(t, soon, fmt.Sprintf("%s to report %s number %d", p.name, kind, n), func() bool { return p.happened(kind) >= n })
	return p.all(kind)[n-1]
}

// registered waits for the registrar's 200.
func (p *phone) registered(t testing.TB) *phone {
	t.Helper()
	p.find(t, 0, soon, `: \{.*\} 200 OK .*\[\d+ binding`)
	return p
}

// dial calls a user or number of the node's domain.
func (p *phone) dial(t testing.TB, to string) {
	t.Helper()
	p.do(t, "dial", fmt.Sprintf("sip:%s@%s", to, p.node.host()))
}

// talks waits until the n-th call of the phone is answered.
func (p *phone) talks(t testing.TB, n int) {
	t.Helper()
	p.await(t, "CALL_ESTABLISHED", n)
}

// hears waits until half a second of what the phone records from now on is the
// tone alone.
func (p *phone) hears(t testing.TB, hz float64) {
	t.Helper()
	hears(t, p.name, hz, p.recorded)
}

// hears waits until half a second of a growing recording is the tone alone.
func hears(t testing.TB, who string, hz float64, recorded func() sound) {
	t.Helper()
	before := recorded()
	var heard spectrum
	ok := holds(soon, func() bool {
		heard, _ = analyse(recorded().since(before))
		return heard.is(hz)
	})
	if !ok {
		t.Fatalf("%s: want to hear %v Hz, heard %v", who, hz, heard)
	}
}

// recorded is what the phone heard in its newest stream.
func (p *phone) recorded() sound {
	return newest(filepath.Join(p.dir, "dump-*-dec.wav"))
}

// got returns the messages that the phone received and whose first line
// matches.
func (p *phone) got(pattern string) []sipMessage {
	return p.filter(pattern, func(m sipMessage) bool {
		return m.from != p.address && m.to == p.address || m.from == p.node.sip("tcp") || m.from == p.node.sip("tls")
	})
}

// sent returns the messages that the phone sent and whose first line matches.
func (p *phone) sent(pattern string) []sipMessage {
	return p.filter(pattern, func(m sipMessage) bool {
		return m.to == p.node.sip("udp") || m.to == p.node.sip("tcp") || m.to == p.node.sip("tls")
	})
}

func (p *phone) filter(pattern string, keep func(sipMessage) bool) []sipMessage {
	re := regexp.MustCompile(pattern)
	var list []sipMessage
	for _, m := range messages(p.text(0)) {
		if keep(m) && re.MatchString(m.start()) {
			list = append(list, m)
		}
	}
	return list
}

// relayed checks that every stream the phone was offered or answered is the
// node's, so that no packet goes from phone to phone directly.
func (p *phone) relayed(t testing.TB, kinds ...string) {
	t.Helper()
	seen := make(map[string]bool)
	for _, m := range p.got(`^INVITE |^SIP/2.0 (183|200)`) {
		for _, s := range m.media() {
			if s.port == 0 {
				continue
			}
			seen[s.kind] = true
			if !p.node.owns(s.host, s.port) {
				t.Errorf("%s was told to send %s to %s:%d, not to the node's media ports\n%s", p.name, s.kind, s.host, s.port, m.text)
			}
		}
	}
	for _, kind := range kinds {
		if !seen[kind] {
			t.Errorf("%s never received an SDP with %s", p.name, kind)
		}
	}
}

// hangUp ends the phone's call and waits for the end of it.
func (p *phone) hangUp(t testing.TB) {
	t.Helper()
	before := p.happened("CALL_CLOSED")
	p.do(t, "hangup", "")
	p.await(t, "CALL_CLOSED", before+1)
}

// ends waits until n calls of the phone have ended.
func (p *phone) ends(t testing.TB, n int) phoneEvent {
	t.Helper()
	return p.await(t, "CALL_CLOSED", n)
}
