//go:build interop

package rtpengine

import (
	"encoding/binary"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestOggRecordingsAreHeardByOthers has ffmpeg decode a recording, whole and cut in its middle as a crash would leave it: each side in its channel.
func TestOggRecordingsAreHeardByOthers(t *testing.T) {
	lib := withOpus(t)
	path := filepath.Join(t.TempDir(), "call.ogg")
	out, err := makeSoundFile(RecordOgg, lib, path, sampleRate, 2)
	if err != nil {
		t.Fatal(err)
	}
	for second := range 6 {
		var pcm []int16
		for i := range sampleRate {
			at := 2 * math.Pi * float64(second*sampleRate+i) / sampleRate
			pcm = append(pcm, int16(8000*math.Sin(440*at)), int16(8000*math.Sin(1000*at)))
		}
		if err := out.append(pcm); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.close(); err != nil {
		t.Fatal(err)
	}
	size := out.octets()
	for _, c := range []struct {
		name    string
		octets  int64
		seconds int
	}{{"whole", size, 5}, {"cut", size / 2, 2}} {
		if err := os.Truncate(path, c.octets); err != nil {
			t.Fatal(err)
		}
		pcm, err := exec.Command("ffmpeg", "-hide_banner", "-loglevel", "fatal", "-i", path, "-f", "s16le", "-ar", "8000", "-").Output()
		if err != nil {
			t.Fatalf("%s: ffmpeg: %v", c.name, err)
		}
		var sides [2][]int16
		for i := 0; i+4 <= len(pcm); i += 4 {
			for side := range sides {
				sides[side] = append(sides[side], int16(binary.LittleEndian.Uint16(pcm[i+2*side:])))
			}
		}
		if len(sides[0]) < c.seconds*sampleRate {
			t.Fatalf("%s: %d samples", c.name, len(sides[0]))
		}
		for side, hz := range []float64{440, 1000} {
			sound := sides[side][sampleRate : c.seconds*sampleRate]
			if mine, other := amplitude(sound, hz), amplitude(sound, 1440-hz); mine < 7000 || other > 200 {
				t.Errorf("%s, channel %d: %v Hz at %.0f, the other side at %.0f", c.name, side, hz, mine, other)
			}
		}
	}
}
