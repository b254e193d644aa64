//go:build linux

package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/pion/srtp/v3"
)

func TestKeyInAPhonesDescriptionIsReadBack(t *testing.T) {
	for _, suite := range []string{suiteCM, suiteGCM} {
		text := string(sdp(nil, 7, "127.0.0.1", 9000, suite))
		for _, form := range []string{text, strings.ReplaceAll(text, "=\r\n", "\r\n"), strings.ReplaceAll(text, "\r\na=ptime", "|2^20\r\na=ptime")} {
			key, err := answeredKey([]byte(form), suite)
			if err != nil || !bytes.Equal(key, keyOf(7, suite)) {
				t.Errorf("%s: %x, %v in\n%s", suite, key, err, form)
			}
		}
		cipher, _ := profile(suite)
		if _, err := srtp.CreateContext(keyOf(7, suite)[:16], keyOf(7, suite)[16:], cipher); err != nil {
			t.Error(err)
		}
	}
	if _, err := answeredKey(sdp(nil, 7, "127.0.0.1", 9000, ""), suiteCM); err == nil {
		t.Error("a plain description has a key")
	}
	if _, err := answeredKey(sdp(nil, 7, "127.0.0.1", 9000, suiteGCM), suiteCM); err == nil {
		t.Error("the key of another suite was taken")
	}
}

func TestLoadsAreRead(t *testing.T) {
	for text, want := range map[string]string{"plain@500": "media plain 500", "gcm@20": "media gcm 20", "setup-cm": "setup-cm", "capacity": "capacity"} {
		if l, err := parseLoad(text); err != nil || l.String() != want {
			t.Errorf("%s: %q, %v", text, l, err)
		}
	}
	for _, text := range []string{"plain", "plain@0", "plain@9000", "des@5", "setup@5", ""} {
		if _, err := parseLoad(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
