package rtpengine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	audio "tandem/rtpengine/codec"

	"tandem/rtpengine/srtp"
)

// readRecording gives the two channels of a recording as its header says that they are.
func readRecording(t *testing.T, path string) (left, right []int16) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := openWAV(bytes.NewReader(b))
	if err != nil || w.rate != sampleRate || w.channels != 2 || w.bits != 16 {
		t.Fatalf("%s: %+v, %v", path, w, err)
	}
	samples := make([]int16, binary.LittleEndian.Uint32(b[40:])/2)
	if err := binary.Read(w.in, binary.LittleEndian, samples); err != nil && len(samples) > 0 {
		t.Fatalf("%s says that it has %d samples: %v", path, len(samples), err)
	}
	if _, err := w.in.ReadByte(); err != io.EOF {
		t.Errorf("%s has more than its header says", path)
	}
	for i := 0; i < len(samples); i += 2 {
		left, right = append(left, samples[i]), append(right, samples[i+1])
	}
	return left, right
}

// bench is a recorder with one recording, in a time that the test tells.
type bench struct {
	*testing.T
	recorder *recorder
	shard    *shard
	rec      *Recording
	now      int64
	ends     []RecordingEnd
}

func newBench(t *testing.T, rc RecordingConfig) *bench {
	b := &bench{T: t, now: 1}
	if rc.Dir == "" {
		rc.Dir = filepath.Join(t.TempDir(), "recordings")
	}
	b.recorder = newRecorder(&Config{Recording: rc, Log: slog.New(slog.DiscardHandler)}, audio.Open(""), func() int64 { return b.now })
	b.rec = &Recording{
		File: filepath.Join(rc.Dir, "call.wav"), began: 1, tap: newTap(tapBytes), opened: make(chan struct{}),
		onEnd: func(e RecordingEnd) { b.ends = append(b.ends, e) },
	}
	b.shard = newShard(func() int64 { return b.now }, 0, 1)
	b.rec.untap = func() { b.rec.untapLegs(b.shard, nil, b.recorder.now) }
	b.shard.stop() // it has ended: what it is told happens at once
	if err := b.shard.run(); err != nil {
		t.Fatal(err)
	}
	if err := b.recorder.add(b.rec); err != nil {
		t.Fatal(err)
	}
	return b
}

// end stops the recording and gives its channels.
func (b *bench) end() (left, right []int16) {
	b.Helper()
	b.rec.stop()
	b.recorder.step()
	if b.recorder.busy() != 0 || len(b.ends) != 1 {
		b.Fatalf("%d recordings go on, %d ends", b.recorder.busy(), len(b.ends))
	}
	return readRecording(b.T, b.rec.File)
}

// arrival is a packet of a tone on its way, n the number of its 20 ms.
type arrival struct {
	at      int64
	n       int
	channel uint8
}

const ms = int64(time.Millisecond)

// speech is the n-th packet of a side's tone, under a clock and sequence that wrap on the way.
func speech(a arrival, hz float64, shift uint32) []byte {
	body := make([]byte, frameSamples)
	for i := range body {
		v := int16(8000 * math.Sin(2*math.Pi*hz*float64(a.n*frameSamples+i)/sampleRate))
		if body[i] = audio.EncodeUlaw(v); a.channel == 1 {
			body[i] = audio.EncodeAlaw(v)
		}
	}
	return packet([2]uint8{payloadPCMU, payloadPCMA}[a.channel], uint16(65530+a.n), 0xffffff00+shift+uint32(a.n*frameSamples), 7+uint32(a.channel), string(body))
}

// deliver lets packets arrive in their order, with the recorder looking every 200 ms.
func (b *bench) deliver(list []arrival, look int64) {
	b.Helper()
	next := look
	for _, a := range list {
		for ; next <= a.at; next += look {
			b.now = next
			b.recorder.step()
		}
		b.now = a.at
		p := speech(a, [2]float64{440, 1000}[a.channel], 0)
		h, ok := parseRTP(p)
		if !ok {
			b.Fatal("no RTP")
		}
		b.rec.tap.put(a.channel, &h, p, b.now)
	}
}

func TestRecordingIsWholeInSpiteOfJitterReorderingDuplicatesAndLoss(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	b := newBench(t, RecordingConfig{})
	const packets, lostFrom, lostTo = 500, 200, 210
	var list []arrival
	for n := range packets {
		for channel := range uint8(2) {
			if channel == 0 && n >= lostFrom && n < lostTo {
				continue
			}
			jitter := int64(0)
			if n > 0 {
				jitter = random.Int64N(150) * ms
			}
			list = append(list, arrival{int64(n)*20*ms + 1 + jitter, n, channel})
			if random.IntN(10) == 0 {
				list = append(list, arrival{int64(n)*20*ms + 1 + jitter + random.Int64N(100)*ms, n, channel})
			}
		}
	}
	sortArrivals(list)
	b.deliver(list, 200*ms)
	b.now = packets * 20 * ms
	left, right := b.end()
	if len(left) < packets*frameSamples || len(left) > packets*frameSamples+2000 || b.ends[0].Lost != 0 || b.ends[0].Late != 0 || b.ends[0].Err != nil {
		t.Errorf("%d samples, %+v", len(left), b.ends[0])
	}
	for i := range packets * frameSamples {
		wantL, wantR := audio.DecodeUlaw(audio.EncodeUlaw(int16(8000*math.Sin(2*math.Pi*440*float64(i)/sampleRate)))), audio.DecodeAlaw(audio.EncodeAlaw(int16(8000*math.Sin(2*math.Pi*1000*float64(i)/sampleRate))))
		if i >= lostFrom*frameSamples && i < lostTo*frameSamples {
			wantL = 0
		}
		if left[i] != wantL || right[i] != wantR {
			t.Fatalf("sample %d: %d and %d, want %d and %d", i, left[i], right[i], wantL, wantR)
		}
	}
}

func sortArrivals(list []arrival) {
	for i := 1; i < len(list); i++ {
		for j := i; j > 0 && list[j].at < list[j-1].at; j-- {
			list[j], list[j-1] = list[j-1], list[j]
		}
	}
}

func TestSilenceSuppressionLeavesAPauseOfItsLength(t *testing.T) {
	b := newBench(t, RecordingConfig{})
	var list []arrival
	for _, n := range []int{0, 1, 2, 200, 201, 202} {
		list = append(list, arrival{int64(n)*20*ms + 1, n, 0})
	}
	b.deliver(list, 200*ms)
	left, _ := b.end()
	loud := func(from, to int) bool { return amplitude(left[from*frameSamples:to*frameSamples], 440) > 4000 }
	if !loud(0, 3) || loud(3, 200) || !loud(200, 203) || len(left) != 203*frameSamples {
		t.Errorf("%d samples", len(left))
	}
}

func TestRecordingFollowsASourceThatChangesOrJumpsAndAClockThatDrifts(t *testing.T) {
	for name, c := range map[string]struct {
		stamp func(n int) uint32 // of the n-th packet
		ssrc  func(n int) uint32
		lost  int // samples that may be missing
	}{
		"another source":        {func(n int) uint32 { return uint32(n)*160 + uint32(n/500)*1e9 }, func(n int) uint32 { return uint32(n / 500) }, 0},
		"a jump of the clock":   {func(n int) uint32 { return uint32(n)*160 + uint32(n/500)*1e9 }, func(int) uint32 { return 1 }, 160},
		"a clock 0.5% too slow": {func(n int) uint32 { return uint32(float64(n) * 159.2) }, func(int) uint32 { return 1 }, 1200},
		"a clock 0.5% too fast": {func(n int) uint32 { return uint32(float64(n) * 160.8) }, func(int) uint32 { return 1 }, 1200},
	} {
		b := newBench(t, RecordingConfig{})
		const packets = 1000
		body := strings.Repeat(string([]byte{audio.EncodeUlaw(5000)}), 161)
		for n := range packets {
			b.now = int64(n)*20*ms + 1
			p := packet(0, uint16(n), c.stamp(n), c.ssrc(n), body)
			h, _ := parseRTP(p)
			b.rec.tap.put(0, &h, p, b.now)
			if n%10 == 0 {
				b.recorder.step()
			}
		}
		left, _ := b.end()
		silent := 0
		for _, v := range left {
			if v == 0 {
				silent++
			}
		}
		if d := len(left) - packets*frameSamples; silent > c.lost || d < -800 || d > 800 {
			t.Errorf("%s: %d samples of silence in %d, %+v", name, silent, len(left), b.ends[0])
		}
	}
}

func TestRecorderThatIsTooSlowLosesSoundAndCountsIt(t *testing.T) {
	b := newBench(t, RecordingConfig{})
	var list []arrival
	for n := range 500 {
		list = append(list, arrival{int64(n)*20*ms + 1, n, 0})
	}
	b.deliver(list, 5000*ms) // it looks after five seconds, and at the end
	left, _ := b.end()
	held := uint64(tapBytes / (tapHeader + frameSamples))
	if got := b.ends[0].Lost; got != 500-2*held || len(left) != 499*frameSamples || b.recorder.stats().Lost != b.ends[0].Lost {
		t.Errorf("lost %d of 500, %d samples, %+v", got, len(left), b.recorder.stats())
	}
	if amplitude(left[:100*frameSamples], 440) < 7000 || amplitude(left[200*frameSamples:240*frameSamples], 440) > 1 {
		t.Error("what was heard is not in its place")
	}
}

// Whoever kills the program leaves a file that says the truth about itself.
func TestRecordingCanBeReadAfterEachSecondOfIt(t *testing.T) {
	b := newBench(t, RecordingConfig{})
	for n := range 400 {
		b.deliver([]arrival{{int64(n)*20*ms + 1, n, 0}}, 1<<62)
		if n%10 != 9 {
			continue
		}
		b.recorder.step()
		left, _ := readRecording(t, b.rec.File)
		if missing := n*frameSamples - len(left); missing > sampleRate+playout || len(left) > n*frameSamples {
			t.Fatalf("after %d samples the file has %d", n*frameSamples, len(left))
		}
	}
}

func TestRecordingEndsAtItsLimitsAndSaysWhy(t *testing.T) {
	for want, rc := range map[string]RecordingConfig{
		"longest time": {MaxTime: 3 * time.Second},
		"room":         {MaxBytes: 100_000},
	} {
		b := newBench(t, rc)
		for n := range 400 {
			b.deliver([]arrival{{int64(n)*20*ms + 1, n, 0}}, 1<<62)
			b.recorder.step()
		}
		left, _ := readRecording(t, b.rec.File)
		if len(b.ends) != 1 || !strings.Contains(b.ends[0].Reason, want) || len(left) < 2*sampleRate || len(left) > 5*sampleRate {
			t.Errorf("%s: %d samples, %+v", want, len(left), b.ends)
		}
	}
	full := newBench(t, RecordingConfig{Dir: t.TempDir(), MaxBytes: 10})
	writeFile(t, filepath.Join(full.recorder.cfg.Dir, "old.wav"), make([]byte, 10))
	full.recorder.step()
	if err := full.rec.Opened(t.Context()); !errors.Is(err, ErrRecordingFull) || len(full.ends) != 1 || full.recorder.stats().Failed != 1 {
		t.Errorf("without room: %v, %+v", err, full.ends)
	}
}

func TestTapAllocatesNothing(t *testing.T) {
	ring, p := newTap(tapBytes), packet(0, 1, 160, 7, strings.Repeat("x", 160))
	h, _ := parseRTP(p)
	room := make([]byte, 1<<16)
	if n := testing.AllocsPerRun(1000, func() {
		ring.put(0, &h, p, 1)
		ring.next(room)
	}); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

// ended gives a callback and a way to wait for it.
func ended() (func(RecordingEnd), chan RecordingEnd) {
	ends := make(chan RecordingEnd, 4)
	return func(e RecordingEnd) { ends <- e }, ends
}

func TestRelayedCallIsRecordedCallerLeftCalleeRight(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "recordings")
	e := startEngine(t, func(c *Config) { c.Recording = RecordingConfig{Dir: dir, AtOnce: 1} })
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	onEnd, ends := ended()
	s, err := e.NewSession(SessionConfig{ID: "a call/1", OnRecorded: onEnd})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Record(); !errors.Is(err, ErrNothingHere) {
		t.Errorf("before its media: %v", err)
	}
	renew(t, s, a, b)
	rec := must(s.Record())
	if err := rec.Opened(t.Context()); err != nil {
		t.Fatal(err)
	}
	if name := filepath.Base(rec.File); !strings.Contains(name, "-a_call_1-") {
		t.Errorf("file %s", rec.File)
	}
	if _, err := s.Record(); !errors.Is(err, ErrRecording) {
		t.Errorf("twice: %v", err)
	}
	other := call(t, e, newPhone(t, loop4), newPhone(t, loop4))
	if _, err := other.Record(); !errors.Is(err, ErrRecordingBusy) || e.Stats().Recordings.Refused != 1 {
		t.Errorf("beyond the limit: %v", err)
	}
	for n := range 20 { // 0.4 s at once: the time stamps count, not the arrival
		tone := func(hz float64) string { return string(speech(arrival{n: n}, hz, 0)[12:]) }
		a.say(tone(440))
		b.say(tone(1000))
		a.next(a.rtp)
		b.next(b.rtp)
	}
	if !calm(s).StopRecording() || s.StopRecording() {
		t.Error("a recording stops once")
	}
	end := <-ends
	left, right := readRecording(t, rec.File)
	if end.File != rec.File || end.Err != nil || end.Reason != "" || end.Lost != 0 || len(left) < 20*frameSamples {
		t.Errorf("%d samples, %+v", len(left), end)
	}
	if amplitude(left, 440) < 20*amplitude(left, 1000) || amplitude(right, 1000) < 20*amplitude(right, 440) {
		t.Errorf("left %.0f and %.0f, right %.0f and %.0f", amplitude(left, 440), amplitude(left, 1000), amplitude(right, 440), amplitude(right, 1000))
	}
	settle(s.shard)
	again := must(s.Record()) // and the end of the call ends it
	s.Close()
	if end := <-ends; end.File != again.File || end.File == rec.File {
		t.Errorf("%+v", end)
	}
}

func TestAnsweredCallIsRecordedWithWhatItHears(t *testing.T) {
	e := startEngine(t, func(c *Config) { c.Recording.Dir = t.TempDir() })
	onEnd, ends := ended()
	p, err := e.NewEndpoint(SessionConfig{ID: "echo", OnRecorded: onEnd})
	if err != nil {
		t.Fatal(err)
	}
	a := newPhone(t, loop4)
	p.Echo()
	answer, err := p.Answer(a.sdp(), loop4)
	if err != nil {
		t.Fatal(err)
	}
	a.dial(answer)
	rec := must(p.Record())
	settle(p.shard)
	for n := range 20 {
		a.say(string(speech(arrival{n: n}, 440, 0)[12:]))
		a.next(a.rtp)
	}
	p.Close()
	<-ends
	left, right := readRecording(t, rec.File)
	if amplitude(left, 440) < 1000 || math.Abs(amplitude(left, 440)-amplitude(right, 440)) > 300 {
		t.Errorf("left %.0f, right %.0f", amplitude(left, 440), amplitude(right, 440))
	}
	if _, err := p.Record(); !errors.Is(err, ErrClosed) {
		t.Errorf("when it is over: %v", err)
	}
}

// What an encrypted phone hears is recorded as it sounds, not as it is sent.
func TestAnsweredCallOfAnEncryptedPhoneIsRecordedReadable(t *testing.T) {
	e := startEngine(t, func(c *Config) { c.Recording.Dir = t.TempDir() })
	onEnd, ends := ended()
	p, err := e.NewEndpoint(SessionConfig{ID: "echo", OnRecorded: onEnd})
	if err != nil {
		t.Fatal(err)
	}
	a := newSecure(t, "RTP/SAVP", srtp.AES128GCM)
	p.Echo()
	answer, err := p.Answer(a.sdp(true), loop4)
	if err != nil {
		t.Fatal(err)
	}
	a.dial(answer)
	rec := must(p.Record())
	settle(p.shard)
	for n := range 20 {
		voice := string(speech(arrival{n: n}, 440, 0)[12:])
		a.say(voice)
		a.hears(voice)
	}
	p.Close()
	<-ends
	left, right := readRecording(t, rec.File)
	if amplitude(left, 440) < 1000 || math.Abs(amplitude(left, 440)-amplitude(right, 440)) > 300 {
		t.Errorf("left %.0f, right %.0f", amplitude(left, 440), amplitude(right, 440))
	}
}

func TestRecordingThatCannotBeWrittenFailsAloneAndSaysWhy(t *testing.T) {
	file := writeFile(t, filepath.Join(t.TempDir(), "taken"), nil)
	e := startEngine(t, func(c *Config) { c.Recording.Dir = filepath.Join(file, "recordings") })
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, e, a, b)
	if err := must(s.Record()).Opened(t.Context()); err == nil {
		t.Error("a file in a file")
	}
	settle(s.shard)
	a.say("still")
	b.hears("still")
	if st := e.Stats().Recordings; st.Failed != 1 || st.Begun != 1 {
		t.Errorf("%+v", st)
	}
	unset := startEngine(t, func(c *Config) { c.PortMin, c.PortMax = 29100, 29199 })
	if _, err := call(t, unset, newPhone(t, loop4), newPhone(t, loop4)).Record(); !errors.Is(err, ErrNoRecording) {
		t.Errorf("without a directory: %v", err)
	}
}
