package ng

import (
	"encoding/base64"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/rtpengine"
)

// want fails the test when a command does not end as it should, and returns the answer.
func (r *running) want(result string, d dict) dict {
	r.t.Helper()
	got := r.ask(d)
	if got["result"] != result {
		r.t.Fatalf("%v: %v", d["command"], got)
	}
	return got
}

// about is a command about the call.
func about(command string, more ...any) dict {
	d := dict{"command": command, "call-id": "c1"}
	for i := 0; i+1 < len(more); i += 2 {
		d[more[i].(string)] = more[i+1]
	}
	return d
}

// hearsTone waits for a packet of a player: 20 ms of sound, which no word of the tests is.
func (p *phone) hearsTone() {
	p.t.Helper()
	b := make([]byte, 2048)
	for range 100 {
		_ = p.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, err := p.conn.Read(b)
		if err != nil {
			p.t.Fatalf("no sound: %v", err)
		}
		if n == 172 {
			return
		}
	}
	p.t.Fatal("no sound")
}

func TestAProxyPlaysAnAnnouncementToOneSide(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "acme"), 0o700); err != nil {
		t.Fatal(err)
	}
	second := wav(8000)
	if err := os.WriteFile(filepath.Join(dir, "acme", "welcome.wav"), second, 0o600); err != nil {
		t.Fatal(err)
	}
	r := runWith(t, rtpengine.Config{Prompts: dir})
	a, b := newPhone(t), newPhone(t)
	r.connect(a, b)
	a.tells(b, "hello")
	b.tells(a, "hello")

	for _, sound := range []dict{
		about("play media", "from-tag", "a", "file", "acme/welcome"),
		about("play media", "from-tag", "a", "file", filepath.Join(dir, "acme", "welcome.wav"), "repeat-times", int64(3), "start-pos", int64(500)),
		about("play media", "address", "127.0.0.1", "flags", list("all"), "blob64", base64Of(second), "repeat-duration", int64(60000)),
	} {
		if got, _ := r.want("ok", sound).number("duration"); got != 1000 {
			t.Errorf("%v: %d ms, want 1000", sound, got)
		}
		a.hearsTone()
	}
	r.want("ok", about("stop media", "flags", list("all")))
	b.tells(a, "and now me")
	if got := r.want("ok", about("stop media", "from-tag", "a")); got.text("warning") == "" {
		t.Errorf("nothing was stopped without a word: %v", got)
	}

	for _, wrong := range []struct {
		ask  dict
		says string
	}{
		{about("play media", "file", "music"), "no participant of the call is named"},
		{about("play media", "from-tag", "nobody", "file", "music"), "no participant of the call has this tag"},
		{about("play media", "from-tag", "a"), "no media file is named"},
		{about("play media", "from-tag", "a", "file", "acme/nothing"), "is not there"},
		{about("play media", "from-tag", "a", "file", "acme/../../etc/passwd"), "no place for the prompt"},
		{about("play media", "from-tag", "a", "blob", "RIFF"), "no WAV file"},
		{about("play media", "from-tag", "a", "blob64", "?"), "not base64"},
		{about("play media", "from-tag", "a", "db-id", int64(7)), "db-id is not available"},
		{about("play media", "from-tag", "a", "file", "music", "repeat-times", "often"), "repeat-times is no number"},
		{about("play media", "from-tag", "a", "file", "music", "start-pos", int64(3600_000)), "ends before the place"},
		{about("stop media"), "no participant of the call is named"},
		{about("play DTMF", "code", "5"), "no participant of the call is named"},
		{about("play DTMF", "from-tag", "a", "code", "55"), "a code is a number"},
		{about("play DTMF", "from-tag", "a", "code", int64(16)), "a code is a number"},
		{about("play DTMF", "from-tag", "a", "code", "x"), "digits are"},
	} {
		if got := r.want("error", wrong.ask).text("error-reason"); !strings.Contains(got, wrong.says) {
			t.Errorf("%v: %q, want %q", wrong.ask, got, wrong.says)
		}
	}
	if st := r.server.Stats(); st.Panics != 0 || st.Busy != 0 {
		t.Errorf("%+v", st)
	}
}

func TestAProxyHasOneSidePressAKey(t *testing.T) {
	r := run(t, time.Minute)
	a, b := newPhone(t), newPhone(t)
	r.connect(a, b)
	a.tells(b, "hello")
	b.tells(a, "hello")
	r.want("ok", about("play DTMF", "from-tag", "a", "code", int64(11)))
	for range 200 {
		a.say("on its packets")
		_ = b.conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		p := make([]byte, 2048)
		if n, err := b.conn.Read(p); err == nil && n >= 16 && p[1]&0x7f == 101 && p[12] == 11 {
			return
		}
	}
	t.Error("the key was never heard")
}

func TestAProxyBlocksACallOrOneSideOfIt(t *testing.T) {
	r := run(t, time.Minute)
	a, b := newPhone(t), newPhone(t)
	r.connect(a, b, "a=rtpmap:101 telephone-event/8000")
	a.tells(b, "hello")
	b.tells(a, "hello")

	r.want("ok", about("block media", "from-tag", "a"))          // a proxy names the sender of its request with everything: the call is meant
	r.want("ok", about("silence media", "address", "127.0.0.1")) // and here both sides, by their address
	a.deafTo(b)
	b.deafTo(a)
	r.want("ok", about("unblock media"))
	r.want("ok", about("unsilence media", "flags", list("all")))
	a.tells(b, "again")
	b.tells(a, "again")

	r.want("ok", about("block media", "from-tag", "a", "flags", list("directional")))
	b.deafTo(a)
	b.tells(a, "only b")
	r.want("ok", about("unblock media")) // lifts what was set for the call, not what was set for a side
	b.deafTo(a)
	r.want("ok", about("unblock media", "flags", list("all")))
	a.tells(b, "free")
	r.want("error", about("block media", "label", "nobody"))
	r.want("error", about("block DTMF", "DTMF-security", "random"))
	r.want("error", about("block media", "call-id", "c2"))
}

// deafTo fails the test when a word of the other phone comes through: 20 of them leave, and none may arrive before one that the engine
// lets through again.
func (p *phone) deafTo(other *phone) {
	p.t.Helper()
	b := make([]byte, 2048)
	for {
		_ = p.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := p.conn.Read(b); err != nil {
			break
		}
	}
	for range 20 {
		other.say("blocked")
	}
	_ = p.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := p.conn.Read(b); err == nil && strings.Contains(string(b[:n]), "blocked") {
		p.t.Fatal("a blocked side is heard")
	}
}

func TestAProxyHasACallRecorded(t *testing.T) {
	dir := t.TempDir()
	r := runWith(t, rtpengine.Config{Recording: rtpengine.RecordingConfig{Dir: dir}})
	a, b := newPhone(t), newPhone(t)
	r.connect(a, b)
	got := r.want("ok", about("start recording"))
	files, _ := got["recording-files"].([]any)
	if len(files) != 1 || filepath.Dir(files[0].(string)) != dir {
		t.Fatalf("%v", got)
	}
	if again := r.want("ok", about("start recording"))["recording-files"].([]any); again[0] != files[0] {
		t.Errorf("a second recording: %v", again)
	}
	r.want("error", about("pause recording"))
	r.want("error", about("stop recording", "flags", list("pause")))
	r.want("ok", about("stop recording"))
	if got := r.want("ok", about("stop recording")); got.text("warning") == "" {
		t.Errorf("%v", got)
	}
	r.want("ok", about("delete"))

	got = r.ask(offer("a", "", a.sdp(), "record-call", "on"))
	if got["result"] != "ok" || got["warning"] != nil {
		t.Errorf("%v", got)
	}
	if got := r.want("ok", about("stop recording")); got["warning"] != nil {
		t.Errorf("the call was not recorded from its offer on: %v", got)
	}
}

// wav is a WAV file of so many samples, mu-law at 8 kHz.
func wav(samples int) []byte {
	b := binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(36+samples))
	b = append(b, "WAVEfmt "...)
	b = binary.LittleEndian.AppendUint32(b, 16)
	b = binary.LittleEndian.AppendUint16(b, 7)
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint32(b, 8000)
	b = binary.LittleEndian.AppendUint32(b, 8000)
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint16(b, 8)
	b = binary.LittleEndian.AppendUint32(append(b, "data"...), uint32(samples))
	for i := range samples {
		b = append(b, byte(i))
	}
	return b
}

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
