package rtpengine

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	audio "tandem/rtpengine/codec"
)

// vp8 is the n-th picture of a video in packets of three pieces; a key picture is 320x240.
func vp8(n int, key bool) (pieces []string) {
	tag := "\x01"
	if key {
		tag = "\x00\x00\x00\x9d\x01\x2a\x40\x01\xf0\x00"
	}
	for i, start := range []string{"\x90\x80", "\x80\x80", "\x80\x80"} {
		piece := start + string(rune(n&0x7f))
		if i == 0 {
			piece += tag
		}
		pieces = append(pieces, piece+strings.Repeat(string(rune('a'+i)), 50))
	}
	return pieces
}

// filming is a recorder of pictures whose time the test tells.
type filming struct {
	pictures
	track track
	now   int64
}

func (f *filming) packet(n, i int, key bool) *tapped {
	return &tapped{medium: mediumVP8, marker: i == 2, seq: uint16(3*n + i), stamp: uint32(n * 6000), ssrc: 7, at: f.now, body: []byte(vp8(n, key)[i])}
}

func (f *filming) take(e *tapped) {
	e.at = f.now
	f.put(e, f.now/int64(time.Second/sampleRate))
	f.turn(f.now, func(q *filmed) int64 { return f.track.follow(f.ssrc, q.stamp, videoClock, q.pos) }, false)
}

func TestPicturesAreWholeInSpiteOfReorderingAndRepetition(t *testing.T) {
	var f filming
	random := rand.New(rand.NewPCG(3, 4))
	for n := range 100 {
		order := random.Perm(3)
		if n == 0 {
			order = []int{0, 1, 2}
		}
		for _, i := range order {
			e := f.packet(n, i, n%30 == 0)
			if n == 50 && i == 1 { // lost, and sent again
				e.medium |= repair
				e.ssrc = 99
			}
			f.take(e)
			f.take(f.packet(n, i, n%30 == 0))
		}
		f.now += int64(66 * time.Millisecond)
	}
	done := f.until(1 << 60)
	if len(done) != 100 || f.spoilt != 0 || f.size != 0 {
		t.Fatalf("%d pictures, %d spoilt, %d octets left", len(done), f.spoilt, f.size)
	}
	for n, p := range done {
		want := strings.Repeat("a", 50) + strings.Repeat("b", 50) + strings.Repeat("c", 50)
		if !strings.HasSuffix(string(p.data), want) || p.key != (n%30 == 0) || p.key && (p.width != 320 || p.height != 240) {
			t.Errorf("picture %d: key %v, %dx%d, %d octets", n, p.key, p.width, p.height, len(p.data))
		}
		if ideal := int64(n) * 6000 * sampleRate / videoClock; p.pos-ideal > driftMost || ideal-p.pos > driftMost {
			t.Errorf("picture %d at %d, want %d", n, p.pos, ideal)
		}
	}
}

// What is shown after a loss would be smears; so nothing is, a key picture is asked for, once a second, and the film goes on with that.
func TestAfterALossNothingIsFilmedUpToTheNextKeyPictureWhichIsAskedFor(t *testing.T) {
	var f filming
	asked := 0
	for n := range 100 {
		for i := range 3 {
			if n == 40 && i == 1 {
				continue
			}
			f.take(f.packet(n, i, n == 0 || n == 80))
		}
		if f.wants(f.now) {
			asked++
		}
		f.now += int64(66 * time.Millisecond)
	}
	done := f.until(1 << 60)
	if len(done) != 60 || f.spoilt != 40 || !done[40].key || asked < 2 || asked > 4 {
		t.Errorf("%d pictures, %d spoilt, asked %d times", len(done), f.spoilt, asked)
	}
}

func TestFilmsOfH264HaveUnitsWithTheirLengths(t *testing.T) {
	sps := "\x67\x42\xc0\x0d\xd9\x01\x41\xfb\x01\x10\x00\x00\x03\x00\x10\x00\x00\x03\x01\xe0\xf1\x42\xa4\x80"
	pps := "\x68\xcb\x83\xcb\x20"
	var s parameters
	p := picture{open: -1}
	stap := "\x78" + "\x00\x18" + sps + "\x00\x05" + pps
	for i, body := range []string{stap, "\x7c\x85abc", "\x7c\x05def", "\x7c\x45ghi", "\x41xyz"} {
		if !s.depacket(&p, []byte(body), i == 0) {
			t.Fatalf("piece %d is refused", i)
		}
	}
	want := "\x00\x00\x00\x18" + sps + "\x00\x00\x00\x05" + pps + "\x00\x00\x00\x0a\x65abcdefghi" + "\x00\x00\x00\x04\x41xyz"
	if string(p.data) != want || !p.key || p.open >= 0 || p.width != 320 || p.height != 240 {
		t.Errorf("key %v, %dx%d\n%q\n%q", p.key, p.width, p.height, p.data, want)
	}
	if c := string(s.configuration()); !strings.Contains(c, sps) || !strings.Contains(c, pps) {
		t.Errorf("%q", c)
	}
	for _, bad := range []string{"", "\x78", "\x78\x00\x10abc", "\x78\x00\x00a", "\x7c\x05abc", "\x79abc", "\x7c\x85"} {
		if s.depacket(&picture{open: -1}, []byte(bad), true) {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestSenderReportsPutSoundAndPicturesOfASideTogether(t *testing.T) {
	var r Recording
	r.tracks[0].anchor(1, 1000, sampleRate, 0)
	r.tracks[2].anchor(2, 90000, videoClock, 0) // came with the sound, but was filmed 300 ms before it was heard
	report := func(ssrc, stamp uint32, ntp float64) {
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], uint64((1000+ntp)*(1<<32)))
		r.report(&tapped{medium: reported, ssrc: ssrc, stamp: stamp, body: b[:]})
	}
	report(1, 1000+8000, 1)
	if r.shift[0] != 0 {
		t.Errorf("moved by %d without a report of the pictures", r.shift[0])
	}
	report(2, 90000+2*90000, 1.7)
	if got := r.shift[0]; got < -2401 || got > -2399 {
		t.Errorf("moved by %d, want -2400", got)
	}
	report(2, 90000+2*90000, 400)
	if got := r.shift[0]; got > -2399 {
		t.Errorf("clocks that have nothing to do with each other moved it by %d", got)
	}
	r.report(&tapped{medium: reported, ssrc: 1, body: []byte{1}})
}

// elements lists the elements of a level, and fails where one is cut off in another way than by the end of the file.
func elements(t *testing.T, b []byte) (ids []uint32, bodies [][]byte) {
	t.Helper()
	for len(b) > 0 {
		size := 1
		for mask := byte(0x80); size <= 4 && b[0]&mask == 0; mask >>= 1 {
			size++
		}
		if size > 4 || len(b) <= size {
			return ids, bodies
		}
		id := uint32(0)
		for _, c := range b[:size] {
			id = id<<8 | uint32(c)
		}
		b = b[size:]
		size = 1
		for mask := byte(0x80); size <= 8 && b[0]&mask == 0; mask >>= 1 {
			size++
		}
		if size > 8 || len(b) < size {
			return ids, bodies
		}
		length, unknown := uint64(b[0])&(1<<(8-size)-1), b[0]|0xff<<(8-size) == 0xff
		for _, c := range b[1:size] {
			length, unknown = length<<8|uint64(c), unknown && c == 0xff
		}
		b = b[size:]
		if unknown || id == mkvSegment {
			length = uint64(len(b))
		}
		if length > uint64(len(b)) {
			return ids, bodies
		}
		ids, bodies = append(ids, id), append(bodies, b[:length])
		b = b[length:]
	}
	return ids, bodies
}

// A killed program leaves a file of whole clusters: what is in it ends at most two and a half seconds before.
func TestFilmIsReadableWheneverTheProgramIsKilled(t *testing.T) {
	b := newBench(t, RecordingConfig{Video: true})
	b.rec.scenes = [2]medium{mediumVP8, 0}
	b.rec.tap = newTap(filmBytes)
	b.rec.tap.words[2].Store(&vocabulary{96: mediumVP8})
	asked := 0
	b.rec.ask = func(int) { asked++ }
	clusters := func() (n, blocks int, end int64) {
		raw, err := os.ReadFile(b.rec.File)
		if err != nil {
			t.Fatal(err)
		}
		if len(raw) == 0 {
			return 0, 0, 0
		}
		top, parts := elements(t, raw)
		if len(top) != 2 || top[0] != mkvEBML || top[1] != mkvSegment {
			t.Fatalf("%x", top)
		}
		ids, bodies := elements(t, parts[1])
		size := 0
		for i, id := range ids {
			if id == mkvCluster {
				n++
				inner, blocksOf := elements(t, bodies[i])
				for k, id := range inner {
					if id == mkvTimestamp {
						end = 0
						for _, c := range blocksOf[k] {
							end = end<<8 | int64(c)
						}
					}
				}
				blocks += len(inner) - 1
			}
			size += len(bodies[i])
		}
		return n, blocks, end
	}
	b.recorder.step()
	for n := range 200 { // 10 s of 20 pictures and 50 packets of sound a second
		for k := range 5 {
			if k&1 == 0 {
				b.deliver([]arrival{{int64(n)*50*ms + int64(k)*10*ms + 1, n*5/2 + k/2, 0}}, 1<<62)
			}
		}
		for i, body := range vp8(n, n%40 == 7) {
			p := packet(96, uint16(3*n+i), uint32(n)*4500, 9, body)
			if i == 2 {
				p[1] |= 0x80
			}
			h, _ := parseRTP(p)
			b.rec.tap.put(2, &h, p, b.now)
		}
		if n%4 == 3 {
			b.recorder.step()
			if _, _, end := clusters(); n > 100 && end < int64(n)*50-2600 {
				t.Fatalf("after %d ms the last cluster begins at %d", n*50, end)
			}
		}
	}
	b.rec.stop()
	b.recorder.step()
	n, blocks, _ := clusters()
	if e := b.ends[0]; n < 8 || e.Err != nil || e.Shown != 193 || e.Spoilt != 7 || uint64(blocks) < e.Shown+450 || asked == 0 {
		t.Errorf("%d clusters of %d blocks, asked %d times, %+v", n, blocks, asked, e)
	}
}

// A call with video is recorded with it, in a file that says by its name what players it is for, and both phones are asked for key pictures.
func TestRecordingOfAVideoCallAsksForPictures(t *testing.T) {
	for _, c := range []struct{ codec, suffix string }{{"VP8", ".webm"}, {"H264", ".mkv"}} {
		e := startEngine(t, func(cfg *Config) { cfg.Recording.Dir, cfg.Recording.Video = t.TempDir(), true })
		onEnd, ends := ended()
		asked := make(chan Side, 8)
		s := must(e.NewSession(SessionConfig{ID: "film", OnRecorded: onEnd, OnPicture: func(side Side) { asked <- side }}))
		a, b := newPhone(t, loop4), newPhone(t, loop4)
		video := "m=video 4000 RTP/AVP 96\r\na=rtpmap:96 " + c.codec + "/90000"
		must(s.Offer(A, a.sdp(video), loop4, loop4))
		must(s.Answer(B, b.sdp(video), loop4, loop4))
		rec := must(s.Record())
		if err := rec.Opened(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := c.suffix
		if !audio.Open("").Encodes(audio.Opus) {
			want = ".mkv"
		}
		if got := filepath.Ext(rec.File); got != want {
			t.Errorf("%s: %s", c.codec, got)
		}
		settle(s.shard)
		if first, second := <-asked, <-asked; first == second {
			t.Errorf("side %v is asked twice", first)
		}
		s.Close()
		if end := <-ends; end.Err != nil {
			t.Error(end.Err)
		}
	}
}

func FuzzPictures(f *testing.F) {
	for _, medium := range []byte{byte(mediumVP8), byte(mediumVP9), byte(mediumH264)} {
		f.Add(medium, []byte(vp8(0, true)[0]), []byte("\x8a\x80\x01\x49\x83\x42"), []byte("\x7c\x85abc"))
	}
	f.Add(byte(mediumVP9), []byte("\xfa\x81\x02\x24\x05\x01\x18\x01\x40\x00\xf0\x01\x04\x05\x82\x49\x83\x42\x20\x13\xf0\x0e\xf0"), []byte("\x02\x18"), []byte("\xb0\x00"))
	f.Fuzz(func(t *testing.T, kind byte, one, two, three []byte) {
		var p pictures
		for i, body := range [][]byte{one, two, three, one, three} {
			e := &tapped{medium: mediumVP8 + medium(kind%3), marker: i&1 == 1, seq: uint16(i), stamp: uint32(i / 2), ssrc: 1, body: body}
			p.put(e, int64(i))
		}
		p.turn(1, func(q *filmed) int64 { return q.pos }, true)
		for _, one := range p.until(1 << 60) {
			if len(one.data) == 0 || one.width < 0 || one.height < 0 {
				t.Errorf("%+v", one)
			}
		}
		sizeH264(one)
		p.sets.configuration()
	})
}
