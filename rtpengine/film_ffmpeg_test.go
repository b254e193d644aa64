//go:build interop

package rtpengine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tandem/rtpengine"
)

// filmed is a call between two ffmpegs, each a phone that speaks a tone and shows a moving test picture.
type filmed struct {
	name, sdp string // of the video: format and its lines
	codec     string // as ffprobe calls it
	encoder   []string
	suffix    string
}

var films = []filmed{
	{"VP8", "a=rtpmap:96 VP8/90000\r\n", "vp8", []string{"-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-g", "45"}, ".webm"},
	{"VP9", "a=rtpmap:96 VP9/90000\r\n", "vp9", []string{"-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "45", "-strict", "-2"}, ".webm"},
	{"H.264", "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n", "h264", []string{"-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "45", "-bsf:v", "dump_extra"}, ".mkv"},
}

// freePair is a pair of ports that was free a moment ago.
func freePair(t testing.TB) int {
	t.Helper()
	for range 100 {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		port := c.LocalAddr().(*net.UDPAddr).Port
		c.Close()
		if port%2 == 0 {
			return port
		}
	}
	t.Fatal("no even port is free")
	return 0
}

// describe is the description of such a phone.
func (f *filmed) describe(audio, video int) []byte {
	return fmt.Appendf(nil, "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %d RTP/AVP 0\r\nm=video %d RTP/AVP 96\r\n%s", audio, video, f.sdp)
}

var mediaPort = regexp.MustCompile(`m=(?:audio|video) (\d+) `)

// show starts a phone that speaks and shows to the ports that it was told. For five seconds it is black and silent.
func (f *filmed) show(t testing.TB, name string, told []byte, audio, video int, hz int, size string) (stop func()) {
	t.Helper()
	ports := mediaPort.FindAllSubmatch(told, -1)
	if len(ports) != 2 {
		t.Fatalf("no two ports in\n%s", told)
	}
	argv := []string{
		"ffmpeg", "-hide_banner", "-loglevel", "error", "-re", "-f", "lavfi", "-i", fmt.Sprintf("testsrc2=size=%s:rate=15,drawbox=t=fill:c=black:enable='lt(t,5)'", size),
		"-re", "-f", "lavfi", "-i", fmt.Sprintf("sine=frequency=%d:sample_rate=8000,volume=0:enable='lt(t,5)'", hz), "-map", "0:v", "-pix_fmt", "yuv420p", "-b:v", "300k",
	}
	argv = append(argv, f.encoder...)
	argv = append(argv, "-payload_type", "96", "-f", "rtp", fmt.Sprintf("rtp://127.0.0.1:%s?localrtpport=%d&pkt_size=1200", ports[1][1], video),
		"-map", "1:a", "-c:a", "pcm_mulaw", "-ar", "8000", "-ac", "1", "-f", "rtp", fmt.Sprintf("rtp://127.0.0.1:%s?localrtpport=%d&pkt_size=172", ports[0][1], audio))
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("%s: %s", name, said.String())
		}
	})
	t.Cleanup(stop)
	return stop
}

// tail returns the last n octets.
func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// probed is what ffprobe says of a file.
type probed struct {
	Streams []struct {
		Codec  string `json:"codec_name"`
		Kind   string `json:"codec_type"`
		Width  int    `json:"width"`
		Height int    `json:"height"`
		Frames string `json:"nb_read_frames"`
	} `json:"streams"`
	Format struct {
		Name     string `json:"format_name"`
		Duration string `json:"duration"`
	} `json:"format"`
}

// probe decodes all of a file and tells what was in it. complaints are what the decoders said of it.
func probe(t testing.TB, path string) (p probed, complaints string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ffprobe", "-v", "error", "-count_frames", "-show_streams", "-show_format", "-of", "json", path)
	var complained strings.Builder
	cmd.Stderr = &complained
	out, err := cmd.Output()
	if err != nil {
		return p, complained.String() + err.Error()
	}
	if err := json.Unmarshal(out, &p); err != nil {
		t.Fatalf("ffprobe: %v\n%s", err, out)
	}
	return p, complained.String()
}

// engineWith runs a media engine of the test's own.
func engineWith(t testing.TB, rc rtpengine.RecordingConfig) *rtpengine.Engine {
	t.Helper()
	e, err := rtpengine.New(rtpengine.Config{Bind: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, PortMin: 31000, PortMax: 31199, Recording: rc})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the engine: %v", err)
		}
	})
	return e
}

// TestVideoCallsAreRecordedWithTheirPictures has ffmpeg show, and ffprobe look: both sides' pictures are there, in their codecs and sizes, and the
// sound; while it is written and however it is cut off, the file can be decoded up to there without a complaint.
func TestVideoCallsAreRecordedWithTheirPictures(t *testing.T) {
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Fatal("ffmpeg is missing: apt-get install ffmpeg")
	}
	for _, f := range films {
		t.Run(f.name, func(t *testing.T) {
			ends := make(chan rtpengine.RecordingEnd, 1)
			e := engineWith(t, rtpengine.RecordingConfig{Dir: t.TempDir(), Video: true})
			s, err := e.NewSession(rtpengine.SessionConfig{ID: f.name, OnRecorded: func(end rtpengine.RecordingEnd) { ends <- end }})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			here := netip.MustParseAddr("127.0.0.1")
			ports := [4]int{freePair(t), freePair(t), freePair(t), freePair(t)}
			offer, err := s.Offer(rtpengine.A, f.describe(ports[0], ports[1]), here, here)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := s.Answer(rtpengine.B, f.describe(ports[2], ports[3]), here, here)
			if err != nil {
				t.Fatal(err)
			}
			caller := f.show(t, "caller", answer, ports[0], ports[1], 440, "320x240")
			called := f.show(t, "called", offer, ports[2], ports[3], 1000, "192x144")
			rec, err := s.Record()
			if err != nil {
				t.Fatal(err)
			}
			if err := rec.Opened(t.Context()); err != nil || filepath.Ext(rec.File) != f.suffix {
				t.Fatalf("%s: %v", rec.File, err)
			}
			<-time.After(9*time.Second - time.Since(rec.Began)) // ffmpeg's clock is the real one
			growing, err := os.ReadFile(rec.File)
			if err != nil {
				t.Fatal(err)
			}
			part := filepath.Join(t.TempDir(), "growing"+f.suffix)
			if err := os.WriteFile(part, growing, 0o600); err != nil {
				t.Fatal(err)
			}
			f.shows(t, part, 45)
			s.Close()
			end := <-ends
			caller()
			called()
			if end.Err != nil || end.Lost > 0 || end.Shown < 150 {
				t.Errorf("%+v", end)
			}
			f.shows(t, rec.File, 75)
			if p, _ := probe(t, rec.File); p.Format.Duration == "" {
				t.Error("it does not say how long it is")
			}
			inStep(t, ffmpeg, rec.File)
			whole, err := os.ReadFile(rec.File)
			if err != nil {
				t.Fatal(err)
			}
			seed := rand.Uint64()
			random := rand.New(rand.NewPCG(seed, 0))
			for range 5 {
				at := len(whole)/2 + random.IntN(len(whole)/2)
				if err := os.WriteFile(part, whole[:at], 0o600); err != nil {
					t.Fatal(err)
				}
				t.Logf("seed %d, cut at %d of %d", seed, at, len(whole))
				f.shows(t, part, 20)
			}
		})
	}
}

var (
	blackEnds  = regexp.MustCompile(`black_end:([0-9.]+)`)
	silentEnds = regexp.MustCompile(`silence_end: ([0-9.]+)`)
)

// inStep checks that the caller is seen and heard at the same time.
func inStep(t *testing.T, ffmpeg, path string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), ffmpeg, "-hide_banner", "-i", path, "-map", "0:v:0", "-map", "0:a", "-vf", "blackdetect=d=1",
		"-af", "pan=mono|c0=c0,silencedetect=n=-30dB:d=1", "-f", "null", "-").CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, tail(out, 2000))
	}
	seen, heard := blackEnds.FindSubmatch(out), silentEnds.FindSubmatch(out)
	if seen == nil || heard == nil {
		t.Fatalf("nothing is seen or heard\n%s", tail(out, 2000))
	}
	at, _ := strconv.ParseFloat(string(seen[1]), 64)
	sound, _ := strconv.ParseFloat(string(heard[1]), 64)
	if d := at - sound; d < -0.2 || d > 0.2 {
		t.Errorf("the caller is seen at %v s and heard at %v s", at, sound)
	} else {
		t.Logf("the caller is seen at %v s and heard at %v s", at, sound)
	}
}

// shows checks that a file has at least so many pictures of each side, and sound.
func (f *filmed) shows(t *testing.T, path string, least int) {
	t.Helper()
	p, complaints := probe(t, path)
	// A cluster that is cut off is all that a decoder may complain of.
	for line := range strings.Lines(complaints) {
		if !strings.Contains(line, "ended prematurely") && !strings.Contains(line, "Truncat") && !strings.Contains(line, "End of file") && !strings.Contains(line, "invalid as first byte") {
			t.Errorf("%s: %s", path, line)
		}
	}
	if len(p.Streams) != 3 || p.Streams[2].Kind != "audio" {
		t.Fatalf("%s: %+v", path, p)
	}
	for i, size := range [][2]int{{320, 240}, {192, 144}} {
		v := p.Streams[i]
		n, _ := strconv.Atoi(v.Frames)
		if v.Codec != f.codec || v.Width != size[0] || v.Height != size[1] || n < least {
			t.Errorf("%s: side %d is %+v, want %d pictures", path, i, v, least)
		}
	}
	if n, _ := strconv.Atoi(p.Streams[2].Frames); n < 50*least/15 {
		t.Errorf("%s: %d packets of sound", path, n)
	}
}
