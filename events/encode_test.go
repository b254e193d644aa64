package events

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// asJSON is a record as encoding/json writes it to a file.
func asJSON(r *CDR) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(r)
	return strings.TrimSuffix(b.String(), "\n"), err
}

func sameAsJSON(t *testing.T, r *CDR) {
	t.Helper()
	want, errWant := asJSON(r)
	got, err := appendCDR([]byte("kept "), r)
	if (err != nil) != (errWant != nil) {
		t.Fatalf("%+v: got error %v, want %v", r, err, errWant)
	}
	if string(got) != "kept "+want {
		t.Fatalf("got  %s\nwant kept %s", got, want)
	}
}

// randomText is made of what a text could trip over.
func randomText(rnd *rand.Rand) string {
	pieces := []string{
		"", "1000", "sip:bob@acme.example", `"`, `\`, "<&>", "\u2028", "\u2029", "\ufffd", "ü", "日本", "😀", "\x00", "\b\f\n\r\t\v\x1f\x7f", "\xff", "\xe2\x80",
		"\xed\xa0\x80", "\xf4\x90\x80\x80",
	}
	var s strings.Builder
	for range rnd.IntN(4) {
		s.WriteString(pieces[rnd.IntN(len(pieces))])
		if rnd.IntN(4) == 0 {
			s.WriteByte(byte(rnd.Uint32()))
		}
	}
	return s.String()
}

func randomTime(rnd *rand.Rand) time.Time {
	zones := []*time.Location{time.UTC, time.Local, time.FixedZone("x", 5*3600+45*60), time.FixedZone("y", -3600), time.FixedZone("z", 30*3600)}
	t := time.Unix(rnd.Int64N(1<<36)-1<<35, rnd.Int64N(1e9)).In(zones[rnd.IntN(len(zones))])
	switch rnd.IntN(8) {
	case 0:
		return time.Time{}
	case 1:
		return t.Truncate(time.Second)
	case 2:
		return t.Truncate(time.Millisecond)
	case 3:
		return t.AddDate(rnd.IntN(20_000)-10_000, 0, 0)
	}
	return t
}

func randomQuality(rnd *rand.Rand) Quality {
	return Quality{
		Packets: rnd.Uint64(), Bytes: rnd.Uint64N(1000), Lost: rnd.Uint64N(2), Dropped: math.MaxUint64, Jitter: time.Duration(rnd.Int64() - rnd.Int64()),
		Codec: randomText(rnd), RTT: time.Duration(rnd.IntN(2)) * time.Duration(rnd.Int64()), R: float64(rnd.IntN(1001)) / 10, MOS: float64(rnd.IntN(451)) / 100,
	}
}

func TestARecordIsWrittenAsEncodingJSONWritesIt(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	text := func() string { return randomText(rnd) }
	for range 20_000 {
		r := CDR{
			Call: text(), CallID: text(), Tenant: text(), From: text(), To: text(), Answerer: text(), Peer: text(), Result: text(), Reason: text(), Node: text(),
			Status: rnd.IntN(3) * 200, Started: randomTime(rnd), Ringing: randomTime(rnd), Answered: randomTime(rnd), Ended: randomTime(rnd),
			Duration: time.Duration(rnd.Int64() >> rnd.IntN(64)), Uncopied: rnd.IntN(2) == 0,
		}
		for range rnd.IntN(3) {
			r.Route = append(r.Route, text())
		}
		for i := range rnd.IntN(3) {
			if r.Answers == nil {
				r.Answers = map[string]string{}
			}
			r.Answers[fmt.Sprint("app.", i)] = text()
		}
		for range rnd.IntN(3) {
			r.Recordings = append(r.Recordings, text())
		}
		if rnd.IntN(2) == 0 {
			r.Media = &Media{Caller: randomQuality(rnd), Callee: randomQuality(rnd)}
		}
		sameAsJSON(t, &r)
	}
}

func FuzzRecordAsEncodingJSON(f *testing.F) {
	f.Add("call", "1000", "\xe2\x80\xa8", int64(1), 200)
	f.Fuzz(func(t *testing.T, call, from, node string, at int64, status int) {
		sameAsJSON(t, &CDR{Call: call, From: from, Route: []string{node, from}, Started: time.Unix(at, at), Status: status, Duration: time.Duration(at)})
	})
}

// TestRecordsStayRightWhenTheirMemoryIsUsedAgain plays calls of random lengths while records are written, overwritten in the ring
// and read, and compares the file and what was read with a plain retelling.
func TestRecordsStayRightWhenTheirMemoryIsUsedAgain(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 2))
	dir := t.TempDir()
	l := newLog(t, Config{Dir: dir, CDRs: 7})
	var open, ended []CDR
	var read, expected [][]CDR
	for i := range 5000 {
		switch n := rnd.IntN(20); {
		case n < 9:
			r := CDR{Call: fmt.Sprint("c", i), Started: at(float64(i)), To: fmt.Sprint(i)}
			l.Publish(Event{Kind: CallStarted, Time: r.Started, Call: r.Call, To: r.To})
			for step := range rnd.IntN(4) {
				r.Route = append(r.Route, fmt.Sprintf("ring.%d-%d", i, step))
				l.Publish(Event{Kind: CallRouted, Call: r.Call, Reason: r.Route[step]})
			}
			open = append(open, r)
		case n < 18 && len(open) > 0:
			k := rnd.IntN(len(open))
			r := open[k]
			open = slices.Delete(open, k, k+1)
			r.Result, r.Status, r.Ended = ResultBusy, 486, at(float64(i))
			l.Publish(Event{Kind: CallEnded, Time: r.Ended, Call: r.Call, Status: 486})
			ended = append(ended, r)
		case n == 18:
			l.flush()
		case n == 19:
			read, expected = append(read, l.CDRs(7)), append(expected, slices.Clone(ended[max(0, len(ended)-7):]))
		}
	}
	l.flush()
	if err := l.closeFile(); err != nil {
		t.Fatal(err)
	}
	for i := range expected {
		if got, want := fmt.Sprint(read[i]), fmt.Sprint(expected[i]); got != want {
			t.Fatalf("reading %d:\ngot  %s\nwant %s", i, got, want)
		}
	}
	ids := readCalls(t, filepath.Join(dir, cdrName))
	if len(ids) != len(ended) {
		t.Fatalf("%d records are in the file, want %d", len(ids), len(ended))
	}
	for i, id := range ids {
		if id != ended[i].Call {
			t.Fatalf("record %d is %s, want %s", i, id, ended[i].Call)
		}
	}
}

func TestTheMemoryOfEndedCallsIsUsedAgainWithinBounds(t *testing.T) {
	l := newLog(t, Config{Dir: t.TempDir(), CDRs: 16})
	defer l.closeFile()
	for i := range 3 * maxSpare { // a peak of open calls
		l.Publish(Event{Kind: CallStarted, Call: fmt.Sprint(i)})
	}
	for i := range 3 * maxSpare {
		l.Publish(Event{Kind: CallEnded, Call: fmt.Sprint(i)})
	}
	l.flush()
	if got, want := l.fold.spares, maxSpare; got != want {
		t.Errorf("%d spare calls after the peak, want %d", got, want)
	}
	now := time.Now()
	allocs := testing.AllocsPerRun(100, func() {
		l.Publish(Event{Kind: CallStarted, Call: "x", Time: now})
		l.Publish(Event{Kind: CallRouted, Call: "x", Time: now, Reason: "user.bob"})
		l.Publish(Event{Kind: CallEnded, Call: "x", Time: now, Status: 486})
		l.flush()
	})
	if allocs != 0 {
		t.Errorf("a call allocates %v times, want 0", allocs)
	}
}
