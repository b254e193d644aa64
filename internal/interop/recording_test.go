//go:build interop

package interop

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// channel is one channel of a stereo recording, as its header says.
func channel(t testing.TB, path string, right bool) sound {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil || len(raw) < wavHeader {
		return sound{rate: sampleRate}
	}
	if got := binary.LittleEndian.Uint16(raw[22:]); string(raw[:4]) != "RIFF" || got != 2 {
		t.Fatalf("%s has %d channels", path, got)
	}
	size := int(binary.LittleEndian.Uint32(raw[40:]))
	if size > len(raw)-wavHeader {
		t.Fatalf("the header of %s promises %d octets, there are %d", path, size, len(raw)-wavHeader)
	}
	s := sound{path: path, rate: int(binary.LittleEndian.Uint32(raw[24:]))}
	raw = raw[wavHeader : wavHeader+size]
	for at := 0; at+4 <= len(raw); at += 4 {
		if right {
			s.samples = append(s.samples, int16(binary.LittleEndian.Uint16(raw[at+2:])))
		} else {
			s.samples = append(s.samples, int16(binary.LittleEndian.Uint16(raw[at:])))
		}
	}
	return s
}

// hasBoth waits until a recording has the caller's tone left and the callee's right.
func hasBoth(t testing.TB, path string, caller, callee float64) {
	t.Helper()
	hears(t, "the left channel of "+path, caller, func() sound { return channel(t, path, false) })
	hears(t, "the right channel of "+path, callee, func() sound { return channel(t, path, true) })
}

// recordedPath matches the file in what `tandem call record` prints.
var recordedPath = regexp.MustCompile(`(/\S+\.wav)`)

func TestRecordedCallHasTheCallerLeftAndTheCalleeRightAlsoWhenTheNodeIsKilled(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	alice, bob := pair(t, n, phoneConfig{}, phoneConfig{})
	alice.dial(t, "1001")
	alice.talks(t, 1)
	hearEachOther(t, alice, bob)
	call := alice.all("CALL_ESTABLISHED")[0].ID
	record := func() string {
		out, err := n.cli(t, "call", "record", call, "start")
		path := recordedPath.FindString(out)
		if err != nil || path == "" {
			t.Fatalf("call record start: %v\n%s", err, out)
		}
		return path
	}
	first := record()
	hasBoth(t, first, 440, 1000)
	if out, err := n.cli(t, "call", "record", call, "start"); err == nil {
		t.Errorf("it is recorded twice\n%s", out)
	}
	if out, err := n.cli(t, "call", "record", call, "stop"); err != nil {
		t.Fatalf("call record stop: %v\n%s", err, out)
	}
	bob.hangUp(t)
	alice.ends(t, 1)
	eventually(t, soon, "the record of the call to name its recording", func() bool {
		out, err := n.cli(t, "calls", "history", "-o", "json")
		return err == nil && strings.Contains(out, first)
	})
	ratedCDR(t, n)

	alice.dial(t, "1001")
	alice.talks(t, 2)
	call = alice.all("CALL_ESTABLISHED")[1].ID
	second := record()
	hasBoth(t, second, 440, 1000)
	before := len(channel(t, second, false).samples)
	eventually(t, soon, "two more seconds", func() bool { return len(channel(t, second, false).samples) >= before+2*sampleRate })
	n.crash(t)
	for hz, right := range map[float64]bool{440: false, 1000: true} {
		s := channel(t, second, right)
		if heard, ok := analyse(s); !ok || !heard.is(hz) || len(s.samples) < before+2*sampleRate {
			t.Errorf("after the kill: %d samples, %v, want %v Hz", len(s.samples), heard, hz)
		}
	}
}

// ratedCDR checks that the newest record rates both sides of a call over loopback as perfect.
func ratedCDR(t testing.TB, n *node) {
	t.Helper()
	out, err := n.cli(t, "calls", "history", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	type side struct {
		MOS   float64 `json:"mos"`
		Codec string  `json:"codec"`
	}
	type cdr struct {
		Media    struct{ Caller, Callee side } `json:"media"`
		Duration time.Duration                 `json:"duration_ns"`
	}
	var list []cdr
	var page struct{ Items []cdr }
	if json.Unmarshal([]byte(out), &list) != nil && json.Unmarshal([]byte(out), &page) == nil {
		list = page.Items
	}
	if len(list) == 0 || list[0].Media.Caller.MOS < 4.3 || list[0].Media.Callee.MOS < 4.3 || list[0].Media.Caller.Codec == "" {
		t.Errorf("want two good ratings\n%s", out)
	}
}
