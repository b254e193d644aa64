//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"sort"
	"strconv"
	"time"

	"tandem/bench/internal/gauge"
	"tandem/bench/internal/wire"
)

// ngRelay sets calls up through rtpengine's NG protocol: a cookie, a space, a bencoded dictionary, over UDP.
type ngRelay struct {
	*ngClient
	l     *wire.Loop
	calls int
}

// ngClient is a proxy that commands a relay.
type ngClient struct {
	conn   net.Conn
	cookie int
	run    int64
}

func newNGClient(t gauge.Target) (*ngClient, error) {
	conn, err := net.Dial("udp", t.NG.String())
	if err != nil {
		return nil, err
	}
	return &ngClient{conn: conn, run: time.Now().UnixNano()}, nil
}

func newNGRelay(t gauge.Target) (*ngRelay, error) {
	c, err := newNGClient(t)
	if err != nil {
		return nil, err
	}
	l, err := wire.NewLoop()
	return &ngRelay{ngClient: c, l: l}, err
}

func (r *ngRelay) loop() *wire.Loop { return r.l }

func (r *ngRelay) close() {
	r.conn.Close()
	r.l.Close()
}

func (r *ngRelay) setUp(s *streams) error {
	for call := range s.load.calls {
		a, b := s.caller(call), s.callee(call)
		body, codec := sdp(nil, call, a.Addr().String(), a.Port(), s.load.suite), map[string]any(nil)
		if s.load.opus {
			body, codec = sdpOpus(nil, call, a.Addr().String(), a.Port()), map[string]any{"transcode": []string{"PCMU"}}
		}
		offered, err := r.offer(call, body, codec)
		if err != nil {
			return err
		}
		r.calls++
		answered, err := r.answer(call, sdp(nil, call, b.Addr().String(), b.Port(), ""))
		if err != nil {
			return err
		}
		if err := errors.Join(s.towards(call, false, offered), s.towards(call, true, answered), s.encrypt(call, answered)); err != nil {
			return err
		}
	}
	return nil
}

func (r *ngRelay) tearDown() error {
	var failed error
	for call := range r.calls {
		if err := r.delete(call); err != nil {
			failed = err
		}
	}
	return failed
}

// offer and answer pass a description to the relay and return what the other phone gets. The callee is always offered plain RTP.
// codec is what the relay is to add to the offer and transcode, or nil.
func (r *ngClient) offer(call int, sdp []byte, codec map[string]any) ([]byte, error) {
	command := map[string]any{
		"command": "offer", "call-id": r.id(call), "from-tag": "a", "replace": []string{"origin", "session-connection"}, "ICE": "remove",
		"transport-protocol": "RTP/AVP", "sdp": string(sdp),
	}
	if codec != nil {
		command["codec"] = codec
	}
	return r.ask(command)
}

func (r *ngClient) answer(call int, sdp []byte) ([]byte, error) {
	return r.ask(map[string]any{
		"command": "answer", "call-id": r.id(call), "from-tag": "a", "to-tag": "b", "replace": []string{"origin", "session-connection"}, "ICE": "remove",
		"sdp": string(sdp),
	})
}

func (r *ngClient) delete(call int) error {
	_, err := r.ask(map[string]any{"command": "delete", "call-id": r.id(call), "from-tag": "a", "delete-delay": 0})
	return err
}

func (r *ngClient) id(call int) string { return fmt.Sprintf("bench-%x-%d", r.run, call) }

// ask sends a command, again if need be, and returns the sdp of the answer.
func (r *ngClient) ask(command map[string]any) ([]byte, error) {
	r.cookie++
	cookie := fmt.Sprintf("%x_%d ", r.run, r.cookie) // rtpengine remembers cookies: they must differ between runs
	packet := bencode([]byte(cookie), command)
	buffer := make([]byte, 65536)
	for range 5 {
		if _, err := r.conn.Write(packet); err != nil {
			return nil, err
		}
		_ = r.conn.SetReadDeadline(time.Now().Add(time.Second))
		for {
			n, err := r.conn.Read(buffer)
			if err != nil {
				break
			}
			if body, ok := bytes.CutPrefix(buffer[:n], []byte(cookie)); ok {
				return readAnswer(body)
			}
		}
	}
	return nil, fmt.Errorf("NG %s: no answer from %s", command["command"], r.conn.RemoteAddr())
}

func readAnswer(body []byte) ([]byte, error) {
	value, _, err := unbencode(body)
	if err != nil {
		return nil, err
	}
	answer, _ := value.(map[string]any)
	if result, _ := answer["result"].(string); result != "ok" {
		return nil, fmt.Errorf("NG: result %q: %v", result, answer["error-reason"])
	}
	text, _ := answer["sdp"].(string)
	return []byte(text), nil
}

// bencode appends strings, ints, lists of strings and dictionaries.
func bencode(out []byte, value any) []byte {
	switch v := value.(type) {
	case string:
		return append(strconv.AppendInt(out, int64(len(v)), 10), ":"+v...)
	case int:
		return append(strconv.AppendInt(append(out, 'i'), int64(v), 10), 'e')
	case []string:
		out = append(out, 'l')
		for _, item := range v {
			out = bencode(out, item)
		}
		return append(out, 'e')
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		out = append(out, 'd')
		for _, k := range keys {
			out = bencode(bencode(out, k), v[k])
		}
		return append(out, 'e')
	}
	panic(fmt.Sprintf("bencode: %T", value))
}

var errBencode = errors.New("NG: an answer that is not bencode")

// unbencode reads one value: string, int64, []any or map[string]any.
func unbencode(in []byte) (value any, rest []byte, err error) {
	if len(in) == 0 {
		return nil, nil, errBencode
	}
	switch in[0] {
	case 'i':
		digits, rest, ok := bytes.Cut(in[1:], []byte{'e'})
		n, err := strconv.ParseInt(string(digits), 10, 64)
		if !ok || err != nil {
			return nil, nil, errBencode
		}
		return n, rest, nil
	case 'l', 'd':
		return unbencodeList(in[0] == 'd', in[1:])
	}
	digits, rest, ok := bytes.Cut(in, []byte{':'})
	n, err := strconv.Atoi(string(digits))
	if !ok || err != nil || n < 0 || n > len(rest) {
		return nil, nil, errBencode
	}
	return string(rest[:n]), rest[n:], nil
}

func unbencodeList(dictionary bool, in []byte) (any, []byte, error) {
	var list []any
	for len(in) > 0 && in[0] != 'e' {
		item, rest, err := unbencode(in)
		if err != nil {
			return nil, nil, err
		}
		list, in = append(list, item), rest
	}
	if len(in) == 0 {
		return nil, nil, errBencode
	}
	if !dictionary {
		return list, in[1:], nil
	}
	entries := map[string]any{}
	for i := 0; i+1 < len(list); i += 2 {
		key, _ := list[i].(string)
		entries[key] = list[i+1]
	}
	return entries, in[1:], nil
}
