//go:build linux

package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/pion/srtp/v3"
)

const saltBytes = 14 // of AES-CM; GCM takes 12

// profile is a suite's cipher and the length of its SDES key, master key and salt.
func profile(suite string) (srtp.ProtectionProfile, int) {
	if suite == suiteGCM {
		return srtp.ProtectionProfileAeadAes128Gcm, 16 + 12
	}
	return srtp.ProtectionProfileAes128CmHmacSha1_80, 16 + saltBytes
}

// keyOf is the key of a call's caller: the same in every run, of no use to anybody.
func keyOf(call int, suite string) []byte {
	_, length := profile(suite)
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(call)))
	return sum[:length]
}

// encrypt takes the key that the relay answered with: the caller's stream is protected with the caller's own key, and what arrives
// there with the relay's.
func (s *streams) encrypt(call int, answer []byte) (err error) {
	if s.load.suite == "" {
		return nil
	}
	theirs, err := answeredKey(answer, s.load.suite)
	if err != nil {
		return fmt.Errorf("call %d: %w", call, err)
	}
	cipher, _ := profile(s.load.suite)
	ours := keyOf(call, s.load.suite)
	if s.list[call].seal, err = srtp.CreateContext(ours[:16], ours[16:], cipher); err != nil {
		return err
	}
	s.list[call+s.load.calls].unseal, err = srtp.CreateContext(theirs[:16], theirs[16:], cipher)
	return err
}

// answeredKey is the key of the crypto line for a suite.
func answeredKey(sdp []byte, suite string) ([]byte, error) {
	for line := range strings.Lines(string(sdp)) {
		words := strings.Fields(line)
		if len(words) < 3 || !strings.HasPrefix(words[0], "a=crypto:") || words[1] != suite {
			continue
		}
		text, _, _ := strings.Cut(strings.TrimPrefix(words[2], "inline:"), "|")
		key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "=")) // rtpengine leaves the padding out
		if _, length := profile(suite); err == nil && len(key) != length {
			err = fmt.Errorf("%d bytes of key", len(key))
		}
		return key, err
	}
	return nil, fmt.Errorf("the relay does not answer with %s", suite)
}
