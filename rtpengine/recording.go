package rtpengine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	audio "tandem/rtpengine/codec"
)

// Errors of recording that callers branch on.
var (
	ErrNoRecording   = errors.New("rtpengine: recording is not set up here")       // Config.Recording.Dir is ""
	ErrRecordingBusy = errors.New("rtpengine: too many recordings")                // Config.Recording.AtOnce
	ErrRecording     = errors.New("rtpengine: the call is being recorded")         // it is already
	ErrNothingHere   = errors.New("rtpengine: the call has no audio to record")    // or none yet
	ErrRecordingFull = errors.New("rtpengine: the room for recordings is used up") // Config.Recording.MaxBytes
)

// Recording is one call being written to a stereo file, the caller left, the called side right; or a room, mixed to mono. With pictures, if
// RecordingConfig.Video asks for them, it is a WebM or Matroska file of both sides' video and that sound. It has 16 kHz when
// somebody speaks G.722 or Opus at its beginning, else 8 kHz. What is spoken in a codec that cannot be decoded here is silence. The file can be read
// at any time, also when the program was killed: it is brought up to date after each second of sound.
type Recording struct {
	File  string
	Began time.Time

	call   string
	onEnd  func(RecordingEnd)
	untap  func() // nothing comes from the tap any more, or will not soon; then closed is set
	tap    *tap
	mono   bool
	takeOf *take        // nil: it is no message
	line   int          // the m-line of its call's audio
	video  int          // and of its video, when it has scenes
	scenes [2]medium    // the video that each side is expected to send; 0: none
	ask    func(int)    // has a side send a full picture
	rate   int          // of its samples; 0: 8 kHz
	began  int64        // engine ns
	closed atomic.Int64 // engine ns of its end, 0 while it goes on
	ending atomic.Bool  // it was ended; the shard may not have heard of it
	opened chan struct{}
	err    error // of the opening; valid when opened is closed

	// The recorder's own:
	reason  string
	file    soundFile
	tracks  [4]track // by channel
	voices  [2]*voice
	films   [2]*pictures // by side, nil without video
	film    *film        // the file, when it has pictures
	clocks  [4]senderTime
	shift   [2]int64 // by which a side's pictures belong elsewhere than their arrival says
	mix     mix
	pending []int16 // samples for the file, the channels in turn
	samples int64   // in the file, of each channel
	late    uint64  // packets that came too late
}

// RecordingEnd tells how a recording ended.
type RecordingEnd struct {
	File   string
	Length time.Duration
	Lost   uint64        // packets that the recorder had no room for; there the recording is silent
	Late   uint64        // packets that came too late
	Shown  uint64        // pictures in it
	Spoilt uint64        // pictures left out because something of them was missing, or of one before
	Spoken time.Duration // of a message: how far into it anything was to be heard
	Reason string        // why it ended before it was told to; "" when it was told to
	Err    error         // the file could not be made or written
}

// Opened waits until the file is there, and says why it is not.
func (r *Recording) Opened(ctx context.Context) error {
	select {
	case <-r.opened:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// over tells whether the recording has ended or is about to.
func (r *Recording) over() bool { return r == nil || r.ending.Load() }

// Record starts to record the first audio of a relayed call, from now on. It waits for no disk: Opened does.
func (s *Session) Record() (*Recording, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, ErrClosed
	case !s.recording.over():
		return nil, ErrRecording
	case s.endToEnd():
		return nil, ErrEndToEnd
	}
	for i, l := range s.lines {
		if l.kind == "audio" && l.legs[A] != nil && l.legs[B] != nil {
			sc := scene{line: i, legs: [4]*leg{l.legs[A], l.legs[B]}}
			s.compose(&sc)
			rec, err := s.engine.record(&s.cfg, s.shard, &sc)
			s.recording = rec
			return rec, err
		}
	}
	return nil, ErrNothingHere
}

// StopRecording ends the recording; false when there is none. SessionConfig.OnRecorded is told when the file is complete.
func (s *Session) StopRecording() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.engine.stopRecording(s.recording)
}

// Recording is the file that is being written, "" when none is.
func (s *Session) Recording() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.recording.growing()
}

func (r *Recording) growing() string {
	if r.over() {
		return ""
	}
	return r.File
}

// Record starts to record the phone (left) and what it is told (right), from now on. It waits for no disk: Opened does.
func (p *Endpoint) Record() (*Recording, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, ErrClosed
	case !p.recording.over():
		return nil, ErrRecording
	}
	for i, g := range p.legs {
		if g != nil && p.kinds[i] == "audio" {
			sc := scene{line: i, legs: [4]*leg{g}, alone: true}
			sc.words, sc.rate = p.spoken(i)
			rec, err := p.engine.record(&p.cfg, p.shard, &sc)
			p.recording = rec
			return rec, err
		}
	}
	return nil, ErrNothingHere
}

// StopRecording ends the recording; false when there is none.
func (p *Endpoint) StopRecording() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.engine.stopRecording(p.recording)
}

// Recording is the file that is being written, "" when none is.
func (p *Endpoint) Recording() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.recording.growing()
}

// scene is what is to be recorded.
type scene struct {
	legs   [4]*leg // by channel; nil where there is nothing
	alone  bool    // one phone, and what it is told
	line   int
	video  int
	words  [4]*vocabulary
	rate   int
	scenes [2]medium
	take   *take // a message
}

// record begins a recording of two legs that talk to each other, or of one and what it is told.
func (e *Engine) record(c *SessionConfig, sh *shard, sc *scene) (*Recording, error) {
	r := e.recorder.make(c.ID, c.OnRecorded, sc.scenes)
	r.line, r.video, r.rate = sc.line, sc.video, sc.rate
	if sc.take != nil {
		r.takes(sc.take, e.recorder.cfg.Format)
	}
	r.learn(sc.words)
	legs := sc.legs
	r.untap = func() { r.untapLegs(sh, legs[:], e.now) }
	r.ask = func(side int) { sh.order(func(sh *shard) { sh.askPicture(legs[2+side]) }) }
	if err := e.recorder.add(r); err != nil {
		return nil, err
	}
	sh.order(func(sh *shard) {
		if r.over() {
			return
		}
		for i, l := range legs {
			if l == nil {
				continue
			}
			l.withdraw(&sh.relay)
			l.heard, l.channel = r.tap, uint8(i)
			if i >= 2 {
				sh.askPicture(l)
			}
		}
		if sc.alone {
			legs[0].told = r.tap
		}
	})
	return r, nil
}

// make makes a recording that begins now.
func (r *recorder) make(call string, onEnd func(RecordingEnd), scenes [2]medium) *Recording {
	now := time.Now()
	rec := &Recording{Began: now, call: call, onEnd: onEnd, tap: newTap(tapBytes), began: r.now(), opened: make(chan struct{}), scenes: scenes}
	suffix := "." + string(r.cfg.Format)
	if scenes != [2]medium{} {
		rec.tap, suffix = newTap(filmBytes), filmSuffix(scenes, r.codecs.Encodes(audio.Opus))
	}
	rec.File = filepath.Join(r.cfg.Dir, recordingName(call, now, r.count.Add(1))+suffix)
	return rec
}

// recordingName makes a file name of the time and the call; a call's id may hold anything. The number tells two of the same second apart.
func recordingName(call string, now time.Time, n uint64) string {
	safe := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			return c
		}
		return '_'
	}, call)
	return fmt.Sprintf("%s-%s-%d", now.UTC().Format("20060102-150405"), safe[:min(len(safe), 100)], n)
}

// stopRecording ends a recording that goes on; the recorder then writes what is left.
func (e *Engine) stopRecording(r *Recording) bool {
	if r == nil || !r.stop() {
		return false
	}
	e.recorder.nudge()
	return true
}

// stop has the tap taken away; false when that was done before.
func (r *Recording) stop() bool {
	if r.ending.Swap(true) {
		return false
	}
	r.untap()
	return true
}

// learn takes what the payload types of each side mean from now on. Signalling's.
func (r *Recording) learn(words [4]*vocabulary) {
	for i, w := range words {
		if w != nil {
			r.tap.words[i].Store(w)
		}
	}
}

// untapLegs has the shard take the taps away and say that nothing comes any more.
func (r *Recording) untapLegs(sh *shard, legs []*leg, now func() int64) {
	untap := func() {
		for _, l := range legs {
			if l == nil {
				continue
			}
			if l.heard == r.tap {
				l.heard = nil
			}
			if l.told == r.tap {
				l.told = nil
			}
		}
		r.closed.CompareAndSwap(0, max(1, now()))
	}
	if !sh.order(func(*shard) { untap() }) {
		untap() // the shard has ended: nobody else touches the legs
	}
}

// step brings the file up to date; true when the recording is over and its file complete.
func (r *Recording) step(rec *recorder, now int64) (ended bool) {
	if r.file == nil && !r.open(rec) {
		return true
	}
	closed := r.closed.Load()
	var room [1 << 16]byte
	for e, ok := r.tap.next(room[:]); ok; e, ok = r.tap.next(room[:]) {
		r.take(&e)
	}
	r.develop(now, closed != 0)
	r.advance(r.position(now) - playout)
	if closed != 0 {
		r.hear(math.MaxInt64)
		r.advance(max(r.position(closed), r.mix.last))
	}
	if closed != 0 || len(r.pending) >= r.rate*r.channels() {
		if r.listen() && closed == 0 {
			rec.end(r, EndedSilent)
		}
		if err := r.flush(); err != nil {
			r.finish(rec, "the disk", fmt.Errorf("write %s: %w", r.File, err))
			return true
		}
	}
	if closed != 0 {
		r.finish(rec, r.reason, nil)
		return true
	}
	return false
}

func (r *Recording) channels() int {
	if r.mono {
		return 1
	}
	return 2
}

// position is a time on the recording's time line.
func (r *Recording) position(at int64) int64 {
	return max(0, (at-r.began)/int64(time.Second/sampleRate))
}

func (r *Recording) take(e *tapped) {
	arrival := r.position(e.at)
	switch {
	case e.medium == reported:
		r.report(e)
		return
	case e.channel >= 2:
		if p := r.films[e.channel&1]; p != nil {
			p.put(e, arrival)
		}
		return
	}
	r.advance(arrival - playout)
	if e.medium == redundantSound {
		r.takeBlocks(e, arrival)
		return
	}
	pos, ok := r.tracks[e.channel&1].place(e.ssrc, e.stamp, e.medium.clock(), arrival)
	if !ok || !r.voices[e.channel&1].put(e.medium, pos, e.body) {
		r.late++
	}
}

// advance writes the time line up to a position.
func (r *Recording) advance(to int64) {
	if to <= r.mix.from {
		return
	}
	r.hear(to)
	r.pending = r.mix.advance(to, r.pending, r.mono)
}

// hear decodes what begins before a position.
func (r *Recording) hear(to int64) {
	for i, v := range r.voices {
		v.speak(&r.mix, uint8(i), to)
	}
}

func (r *Recording) open(rec *recorder) bool {
	defer close(r.opened)
	r.rate = cmp.Or(r.rate, sampleRate)
	r.mix = newMix(r.rate)
	for i := range r.voices {
		r.voices[i] = newVoice(rec.codecs, r.rate)
	}
	if r.takeOf == nil {
		r.err = rec.makeRoom()
	}
	if r.err == nil {
		r.file, r.err = r.makeFile(rec)
	}
	if r.err != nil {
		r.finish(rec, "it could not begin", r.err)
		return false
	}
	return true
}

// makeFile makes the file, with pictures or without.
func (r *Recording) makeFile(rec *recorder) (soundFile, error) {
	if r.scenes == [2]medium{} {
		return makeSoundFile(rec.cfg.Format, rec.codecs, r.File, r.rate, r.channels())
	}
	f, err := makeFilm(rec.codecs, r)
	if err != nil {
		return nil, err
	}
	r.film = f
	for i, m := range r.scenes {
		if m != 0 {
			r.films[i] = &pictures{}
		}
	}
	return f, nil
}

// flush appends what is pending.
func (r *Recording) flush() error {
	r.project()
	if err := r.file.append(r.pending); err != nil {
		return err
	}
	r.samples += int64(len(r.pending) / r.channels())
	r.pending = r.pending[:0]
	return nil
}

// octets is the size of the file so far.
func (r *Recording) octets() int64 {
	if r.file == nil {
		return 0
	}
	return r.file.octets()
}

// finish closes the file and tells everybody.
func (r *Recording) finish(rec *recorder, reason string, err error) {
	r.stop() // the disk may have ended it
	if r.file != nil {
		err = errors.Join(err, r.file.close())
	}
	end := RecordingEnd{
		File: r.File, Length: time.Duration(r.samples) * time.Second / time.Duration(r.rate), Lost: r.tap.lost.Load(),
		Late: r.late, Shown: r.shown(), Spoilt: r.spoilt(), Spoken: r.spokenFor(), Reason: reason, Err: err,
	}
	rec.ended(r, &end)
	if r.onEnd != nil {
		r.onEnd(end)
	}
}
