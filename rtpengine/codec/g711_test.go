package codec

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
)

// The sums are of the complete tables as Python's audioop 3.11 (Sun's g711.c) computes them:
// all 256 codes decoded, all 65,536 samples encoded.
func TestG711AgreesBitByBitWithTheReferenceTables(t *testing.T) {
	decode := func(f func(byte) int16) (out []byte) {
		for code := range 256 {
			v := f(byte(code))
			out = append(out, byte(v), byte(v>>8))
		}
		return out
	}
	encode := func(f func(int16) byte) (out []byte) {
		for v := -32768; v < 32768; v++ {
			out = append(out, f(int16(v)))
		}
		return out
	}
	for _, table := range []struct {
		name, want string
		bytes      []byte
	}{
		{"µ-law decoded", "3dab54339e520bb2c924826e3b72a917a2b612e9fd12fc867500f1d983a75827", decode(DecodeUlaw)},
		{"A-law decoded", "e04788d110e58ff8c70c93b8480190d973e3b67876b6119abbaec766cc75c174", decode(DecodeAlaw)},
		{"µ-law encoded", "81d633c9e6972a18c74a58720b96cb8ca0bdd096d4060b646dd708c3b846019a", encode(EncodeUlaw)},
		{"A-law encoded", "38488f6fd710f4686360edc4d38639f96c491595ef93f8eb8d62d5e07ca6ce7b", encode(EncodeAlaw)},
	} {
		sum := sha256.Sum256(table.bytes)
		if got := hex.EncodeToString(sum[:]); got != table.want {
			t.Errorf("%s: sum %s, want %s", table.name, got, table.want)
		}
	}
}

func TestG711KnownVectors(t *testing.T) {
	for code, want := range map[byte]int16{0x00: -32124, 0x80: 32124, 0xff: 0, 0x7f: 0, 0xfe: 8, 0x7e: -8} {
		if got := DecodeUlaw(code); got != want {
			t.Errorf("µ-law %#x: got %d, want %d", code, got, want)
		}
	}
	for code, want := range map[byte]int16{0xd5: 8, 0x55: -8, 0xaa: 32256, 0x2a: -32256} {
		if got := DecodeAlaw(code); got != want {
			t.Errorf("A-law %#x: got %d, want %d", code, got, want)
		}
	}
	for code := range 256 {
		if got := EncodeAlaw(DecodeAlaw(byte(code))); got != byte(code) {
			t.Errorf("A-law %#x comes back as %#x", code, got)
		}
		if got := EncodeUlaw(DecodeUlaw(byte(code))); got != byte(code) && code != 0x7f { // two zeros
			t.Errorf("µ-law %#x comes back as %#x", code, got)
		}
	}
}
