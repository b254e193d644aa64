package ng

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"tandem/rtpengine"
)

// at is the address of a server's listener of a network.
func (r *running) at(network string) string {
	r.t.Helper()
	for _, addr := range r.server.Addrs() {
		if rest, ok := strings.CutPrefix(addr, network+":"); ok {
			return rest
		}
	}
	r.t.Fatalf("nothing listens for %s", network)
	return ""
}

func (r *running) dial() net.Conn {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.at("tcp"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn
}

func TestMessagesFollowEachOtherOverTCP(t *testing.T) {
	r := run(t, time.Minute)
	conn := r.dial()
	script := []byte("a1 d7:command4:pinge" + "\r\n" + `a2 {"command":"ping","note":"a } in a \" text","list":[{},[1]]}` + "a3 d7:command4:liste" + "a1 d7:command4:liste")
	const want = `a1 d6:result4:ponge` + `a2 {"result":"pong"}` + `a3 d5:callsle6:result2:oke` + `a1 d6:result4:ponge` // the last has a cookie that was answered before
	for _, size := range []int{len(script), 1, 7} {
		conn := r.dial()
		go func() {
			for piece := range slices.Chunk(script, size) {
				if _, err := conn.Write(piece); err != nil {
					return
				}
			}
		}()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
			t.Errorf("in pieces of %d: %q, %v", size, got, err)
		}
	}
	_, _ = conn.Write([]byte("a4 x"))
	if b, err := io.ReadAll(conn); err != nil || len(b) > 0 {
		t.Errorf("after what is no dictionary: %q, %v", b, err)
	}
	if st := r.server.Stats(); st.Malformed != 1 {
		t.Errorf("%+v", st)
	}
}

func TestAConnectionThatSendsTooMuchAtOnceEnds(t *testing.T) {
	r := run(t, time.Minute)
	for _, text := range []string{
		strings.Repeat("c", maxCookie+1) + " ",
		"a d4:name99999999:x",
		"a d" + strings.Repeat("1", longestNumber+2),
		"a " + strings.Repeat("d1:a", maxDepth+3),
		"a {\"a\":\"" + strings.Repeat("b", maxMessage),
	} {
		conn := r.dial()
		_, _ = conn.Write([]byte(text))
		if b, err := io.ReadAll(conn); len(b) > 0 || err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%.20q: %q, %v", text, b, err)
		}
	}
	if st := r.server.Stats(); st.Malformed != 5 {
		t.Errorf("%+v", st)
	}
}

func TestHalfAMessageKeepsNoConnectionOpen(t *testing.T) {
	mine, theirs := net.Pipe()
	s, err := New(Config{Engine: new(rtpengine.Engine), Listen: []string{"127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	conn := &impatient{Conn: theirs}
	ended := make(chan error, 1)
	go func() { ended <- s.readStream(t.Context(), conn, loop, nil) }()
	_, _ = mine.Write([]byte("a1 d7:comm"))
	if err := <-ended; err != nil || s.Stats().Slow != 1 {
		t.Errorf("%v, %+v", err, s.Stats())
	}
}

// impatient is a connection whose deadlines pass at once.
type impatient struct{ net.Conn }

func (c *impatient) SetReadDeadline(at time.Time) error {
	if !at.IsZero() {
		at = time.Unix(1, 0)
	}
	return c.Conn.SetReadDeadline(at)
}

func TestConnectionsAreCountedAndBounded(t *testing.T) {
	r := run(t, time.Minute)
	for range maxConns {
		r.server.slots <- struct{}{}
	}
	if b, err := io.ReadAll(r.dial()); len(b) > 0 || err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("%q, %v", b, err)
	}
	if st := r.server.Stats(); st.Full != 1 || st.Connections != maxConns {
		t.Errorf("%+v", st)
	}
	for range maxConns {
		<-r.server.slots
	}
	conn := r.dial()
	_, _ = conn.Write([]byte("1 d7:command4:pinge"))
	if _, err := bufio.NewReader(conn).ReadByte(); err != nil {
		t.Error(err)
	}
}

func (r *running) post(path, kind, host, origin, body string) (status int, answer, answerKind string) {
	r.t.Helper()
	q, err := http.NewRequest(http.MethodPost, "http://"+r.at("http")+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	q.Header.Set("Content-Type", kind)
	if origin != "" {
		q.Header.Set("Origin", origin)
	}
	if host != "" {
		q.Host = host
	}
	q.Close = true
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	defer a.Body.Close()
	b, _ := io.ReadAll(a.Body)
	return a.StatusCode, string(b), a.Header.Get("Content-Type")
}

func TestRequestsOverHTTP(t *testing.T) {
	r := run(t, time.Minute)
	for _, c := range []struct {
		path, kind, host, origin, body string
		status                         int
		answer                         string
	}{
		{"/ng", ngType, "", "", "5 d7:command4:pinge", 200, "5 d6:result4:ponge"},
		{"/ng", ngType, "", "", `6 {"command":"ping"}`, 200, `6 {"result":"pong"}`},
		{"/ng-plain", jsonType + "; charset=utf-8", "", "", `{"command":"ping"}`, 200, `{"result":"pong"}`},
		{"/ng-plain", ngType, "", "", `d7:command4:pinge`, 200, `d6:result4:ponge`},
		{"/ng-plain", jsonType, "", "", `{"command":`, 200, ""},
		{"/ng", jsonType, "", "", `7 {"command":"ping"}`, 415, ""},
		{"/ng-plain", "text/plain", "", "", `{"command":"ping"}`, 415, ""},
		{"/ng-plain", jsonType, "engine.example", "", `{"command":"ping"}`, 403, ""},
		{"/ng-plain", jsonType, "", "https://page.example", `{"command":"ping"}`, 403, ""},
		{"/ng-plain", jsonType, "", "null", `{"command":"ping"}`, 403, ""},
		{"/ng-plain", jsonType, "", "", strings.Repeat(" ", maxMessage+1), 413, ""},
		{"/elsewhere", jsonType, "", "", `{"command":"ping"}`, 405, ""},
	} {
		status, answer, kind := r.post(c.path, c.kind, c.host, c.origin, c.body)
		if status != c.status || c.answer != "" && answer != c.answer {
			t.Errorf("%s %s %q: %d %q", c.path, c.kind, c.body[:min(len(c.body), 40)], status, answer)
		}
		if status == 200 && !strings.HasPrefix(c.kind, kind) {
			t.Errorf("the answer to %s is %s", c.kind, kind)
		}
	}
}

func TestRequestsOverWebSocket(t *testing.T) {
	r := run(t, time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for protocol, script := range map[string][2]string{
		cookieProtocol: {`9 {"command":"ping"}`, `9 {"result":"pong"}`}, plainProtocol: {"d7:command4:pinge", "d6:result4:ponge"},
	} {
		conn, _, err := websocket.Dial(ctx, "ws://"+r.at("http")+"/", &websocket.DialOptions{Subprotocols: []string{protocol}})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := conn.Write(ctx, websocket.MessageText, []byte(script[0])); err != nil {
				t.Fatal(err)
			}
			if _, got, err := conn.Read(ctx); err != nil || string(got) != script[1] {
				t.Errorf("%s: %q, %v", protocol, got, err)
			}
		}
		_ = conn.CloseNow()
	}
	conn, _, err := websocket.Dial(ctx, "ws://"+r.at("http")+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.Read(ctx); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Errorf("without a subprotocol: %v", err)
	}
	_, answer, err := websocket.Dial(ctx, "ws://"+r.at("http")+"/", &websocket.DialOptions{
		Subprotocols: []string{plainProtocol}, HTTPHeader: http.Header{"Origin": {"http://page.example"}},
	})
	if err == nil || answer.StatusCode != http.StatusForbidden {
		t.Errorf("a web page got %v", answer.Status)
	}
}

func TestAddressesOfListeners(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1:2223": "udp 127.0.0.1:2223", "udp:127.0.0.1:2223": "udp 127.0.0.1:2223", "tcp:[::1]:2223": "tcp [::1]:2223", "http:127.0.0.1:2225": "http 127.0.0.1:2225",
	} {
		network, addr, err := parseListen(text)
		if got := network + " " + addr.String(); got != want || err != nil {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"tls:127.0.0.1:1", "http://127.0.0.1:1", "tcp:localhost:1"} {
		if _, _, err := parseListen(text); err == nil {
			t.Errorf("%s was taken", text)
		}
	}
	if _, err := New(Config{Engine: new(rtpengine.Engine), Listen: []string{"http:192.0.2.1:2225"}}); err == nil {
		t.Error("an open door for everybody was made")
	}
}

// FuzzFramer: however a stream is cut into pieces, the same messages come out of it, and each of them is one.
func FuzzFramer(f *testing.F) {
	f.Add([]byte("a1 d7:command4:pingea2 {\"command\":\"ping\"}"), 1)
	f.Add([]byte("a d1:ali1e1:bee x"), 3)
	f.Fuzz(func(t *testing.T, text []byte, size int) {
		if size <= 0 || len(text) > 1<<12 {
			return
		}
		cut := func(size int) (list []string, failed bool) {
			var f framer
			var have []byte
			for piece := range slices.Chunk(text, size) {
				have = append(have, piece...)
				for {
					end, err := f.end(have)
					if err != nil {
						return list, true
					}
					if end == 0 {
						break
					}
					list = append(list, string(have[:end]))
					have = have[end:]
				}
			}
			return list, false
		}
		whole, wrong := cut(len(text) + 1)
		pieces, alsoWrong := cut(size)
		if !slices.Equal(whole, pieces) || wrong != alsoWrong {
			t.Fatalf("%q and %q", whole, pieces)
		}
		for _, message := range whole {
			if _, body, err := cutCookie([]byte(message)); err == nil {
				if _, _, err := decode(bytes.TrimSpace(body)); err != nil && strings.Contains(err.Error(), "after the") {
					t.Errorf("%q: %v", message, err)
				}
			}
		}
	})
}
