//go:build linux

package main

import "testing"

func TestTheSpeechIsWhole(t *testing.T) {
	s, err := newSpoken()
	if err != nil {
		t.Fatal(err)
	}
	if n, want := len(s.frames), 200; n < want {
		t.Errorf("%d Opus frames, want %d: four seconds", n, want)
	}
	for i, frame := range s.frames {
		if len(frame) < 3 || len(frame) > 300 {
			t.Errorf("frame %d has %d bytes", i, len(frame))
		}
	}
	for caller, bytes := range map[bool]int{true: 12 + len(s.frames[5]), false: 12 + ulawBytes} {
		packet := s.packet(nil, 0, caller, 5, 7)
		if len(packet) != bytes || s.heard(caller, packet) == false || s.heard(!caller, packet) {
			t.Errorf("caller %v sends %d bytes %x...", caller, len(packet), packet[:13])
		}
	}
}

func TestACutOggStreamIsRefused(t *testing.T) {
	for n := range len(speechOpus) {
		_, _ = opusFrames(speechOpus[:n]) // may not panic
	}
	if _, err := opusFrames(speechOpus[:len(speechOpus)-1]); err == nil {
		t.Error("a page without its last byte was taken")
	}
}
