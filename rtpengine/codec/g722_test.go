package codec

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"testing"
)

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func octets(pcm []int16) (b []byte) {
	for _, v := range pcm {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	return b
}

// The sums are of what ffmpeg 5.1 makes of the same input, `ffmpeg -f s16le -ar 16000 -ac 1 -i in.raw -c:a g722 -f g722 out` and
// back; it is bit-exact with the recommendation's own program.
func TestG722AgreesBitByBitWithTheReference(t *testing.T) {
	pcm := probe(32000)
	coded := make([]byte, len(pcm)/2)
	if n, err := newG722Encoder().Encode(coded, pcm); n != len(coded) || err != nil {
		t.Fatal(n, err)
	}
	if got, want := sumOf(coded), "474486779e984e446cad8ba9117c3fbf0c4b114fa39aed1b394b11ac107db68d"; got != want {
		t.Errorf("encoded: sum %s, want %s", got, want)
	}
	chance, state := make([]byte, 16000), uint32(7)
	for i := range chance {
		state = state*1664525 + 1013904223
		chance[i] = byte(state >> 24)
	}
	for _, c := range []struct {
		name, want string
		in         []byte
	}{
		{"the encoder's own", "e4531bfe4aa8a1f7e9137891097f69d5668522633efb3a7a9daa5973a0fc22d6", coded},
		{"any octets", "52fa1580d7fbc0b899a0e5057008acf8ef9a51718303631159880b73b5ee317c", chance},
	} {
		out := make([]int16, 2*len(c.in))
		if n, err := newG722Decoder().Decode(out, c.in); n != len(out) || err != nil {
			t.Fatal(n, err)
		}
		if got := sumOf(octets(out)); got != c.want {
			t.Errorf("decoded %s: sum %s, want %s", c.name, got, c.want)
		}
	}
}

func TestG722CarriesTheWideBand(t *testing.T) {
	for _, hz := range []float64{200, 1000, 3000, 5000, 6800} {
		pcm := tone(16000, hz, 8000, 0, 16000)
		b, out := make([]byte, 8000), make([]int16, 16000)
		_, _ = newG722Encoder().Encode(b, pcm)
		_, _ = newG722Decoder().Decode(out, b)
		if got, _ := aligned(pcm[4000:8000], out[4000:], 30); got < 12 {
			t.Errorf("%.0f Hz: %.1f dB", hz, got)
		}
		if got := share(out[4000:], 16000, hz); got < 0.94 {
			t.Errorf("%.0f Hz: the tone is %.3f of what is heard", hz, got)
		}
	}
}

func TestG722TakesFramesOfAnyEvenLength(t *testing.T) {
	pcm := probe(960)
	whole, pieces := make([]byte, 480), make([]byte, 480)
	_, _ = newG722Encoder().Encode(whole, pcm)
	e, at := newG722Encoder(), 0
	for _, n := range []int{2, 318, 160, 480} {
		m, err := e.Encode(pieces[at/2:], pcm[at:at+n])
		if err != nil || m != n/2 {
			t.Fatal(m, err)
		}
		at += n
	}
	if string(whole) != string(pieces) {
		t.Error("the pieces are not the whole")
	}
	if _, err := e.Encode(pieces, pcm[:3]); !errors.Is(err, ErrFrame) {
		t.Errorf("three samples: %v", err)
	}
	if _, err := e.Encode(pieces[:1], pcm[:4]); !errors.Is(err, ErrShort) {
		t.Errorf("no room: %v", err)
	}
	if _, err := newG722Decoder().Decode(make([]int16, 1), whole); !errors.Is(err, ErrShort) {
		t.Errorf("no room: %v", err)
	}
}
