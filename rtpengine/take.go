package rtpengine

import (
	"path/filepath"
	"slices"
	"time"
)

// TakeConfig says how a message is recorded. File and OnEnd are required.
type TakeConfig struct {
	File    string        // path without its ending, which says the format: ".wav" or ".ogg"
	MaxTime time.Duration // then it ends; 0 is as for other recordings
	Silence time.Duration // of the phone that ends it; 0: none does
	OnEnd   func(RecordingEnd)
}

// Reasons of RecordingEnd for which a message ends by itself.
const (
	EndedLong   = "the longest time of a recording is over"
	EndedSilent = "nothing was said any more"
)

// take is what a recording is besides that takes a message.
type take struct {
	TakeConfig
	loud int64 // samples up to the last that was anything to hear
}

// Take records what the phone says and nothing that it is told, as mono, from now on: a message. A recording of the call ends with that. It waits for no disk.
func (p *Endpoint) Take(c TakeConfig) (*Recording, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	for i, g := range p.legs {
		if g != nil && p.kinds[i] == "audio" {
			p.engine.stopRecording(p.recording)
			sc := scene{line: i, legs: [4]*leg{g}, take: &take{TakeConfig: c}}
			sc.words, sc.rate = p.spoken(i)
			rec, err := p.engine.record(&p.cfg, p.shard, &sc)
			p.recording = rec
			return rec, err
		}
	}
	return nil, ErrNothingHere
}

// takes makes a recording one of a message.
func (r *Recording) takes(t *take, format RecordingFormat) {
	r.takeOf, r.mono, r.onEnd = t, true, t.OnEnd
	r.File = t.File + "." + string(format)
}

// speechAbove is what speech is louder than in some tenth of a second, and the noise of a line is not: 46 dB below full scale.
const speechAbove = -46.0

// listen looks for speech in what is about to be written, and tells whether the phone has been silent for too long.
func (r *Recording) listen() (silent bool) {
	if r.takeOf == nil {
		return false
	}
	window := r.rate / 10
	at := r.samples
	for part := range slices.Chunk(r.pending, window) {
		if at += int64(len(part)); loudness(part) > speechAbove {
			r.takeOf.loud = at
		}
	}
	return r.takeOf.Silence > 0 && at-r.takeOf.loud >= int64(r.takeOf.Silence.Seconds()*float64(r.rate))
}

// spokenFor is how far into the recording anything was to be heard.
func (r *Recording) spokenFor() time.Duration {
	if r.takeOf == nil {
		return 0
	}
	return time.Duration(r.takeOf.loud) * time.Second / time.Duration(r.rate)
}

// longest is how long the recording may last.
func (r *Recording) longest(usual time.Duration) time.Duration {
	if r.takeOf != nil && r.takeOf.MaxTime > 0 {
		return r.takeOf.MaxTime
	}
	return usual
}

// SoundLength tells how long the sound of a file is that can be played. It reads all of it.
func (e *Engine) SoundLength(path string) (time.Duration, error) {
	file, in, err := e.sounds.open(filepath.Base(path), path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	n := 0
	for _, ok := in.next(); ok; _, ok = in.next() {
		n++
	}
	return time.Duration(n) * time.Second / time.Duration(in.hertz()), nil
}
