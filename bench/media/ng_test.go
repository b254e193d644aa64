//go:build linux

package main

import (
	"reflect"
	"testing"
)

func TestBencodeIsReadAsItWasWritten(t *testing.T) {
	packet := bencode(nil, map[string]any{"command": "offer", "delete-delay": 0, "replace": []string{"origin", "x"}, "sdp": "v=0\r\n"})
	if want := "d7:command5:offer12:delete-delayi0e7:replacel6:origin1:xe3:sdp5:v=0\r\ne"; string(packet) != want {
		t.Fatalf("wrote %q", packet)
	}
	got, rest, err := unbencode(packet)
	want := map[string]any{"command": "offer", "delete-delay": int64(0), "replace": []any{"origin", "x"}, "sdp": "v=0\r\n"}
	if err != nil || len(rest) != 0 || !reflect.DeepEqual(got, want) {
		t.Fatalf("read %v, rest %q, %v", got, rest, err)
	}
}

func TestMediaAddressIsTheFirstAudioLine(t *testing.T) {
	got, err := mediaAddress([]byte("v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 20004 RTP/AVP 0\r\nm=audio 9 RTP/AVP 0\r\n"))
	if err != nil || got.String() != "127.0.0.1:20004" {
		t.Fatalf("%v, %v", got, err)
	}
	if _, err := mediaAddress([]byte("v=0\r\nm=audio 0 RTP/AVP 0\r\n")); err == nil {
		t.Fatal("a refused stream has an address")
	}
}

func FuzzAnyAnswerIsReadWithoutPanic(f *testing.F) {
	f.Add([]byte("d6:result2:ok3:sdp3:v=0e"))
	f.Add([]byte("l1:ai-3ee"))
	f.Fuzz(func(t *testing.T, packet []byte) {
		_, _ = readAnswer(packet)
	})
}
