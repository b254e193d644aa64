package srtp

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"testing"
)

// The library's own HMAC must agree, or a new version of it writes its states in another way.
func TestMacIsHMAC(t *testing.T) {
	var h hasher
	key, text := make([]byte, authKeyBytes), make([]byte, 300)
	for n := range text {
		_, _ = rand.Read(key)
		_, _ = rand.Read(text)
		m := h.key(key)
		want := hmac.New(sha1.New, key)
		want.Write(text[:n])
		want.Write(text[:4])
		if got := h.sum(&m, text[:n], text[:4]); !bytes.Equal(got, want.Sum(nil)) {
			t.Fatalf("of %d octets it is %x, want %x", n, got, want.Sum(nil))
		}
	}
}

func TestMacDoesNotAllocate(t *testing.T) {
	var h hasher
	m := h.key(make([]byte, authKeyBytes))
	text := make([]byte, 172)
	if n := testing.AllocsPerRun(100, func() { h.sum(&m, text, text[:4]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
