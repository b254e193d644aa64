package rtpengine

import (
	"errors"
	"slices"
	"sync"
	"time"

	audio "tandem/rtpengine/codec"
)

// Errors of rooms that callers branch on.
var (
	ErrRooms    = errors.New("rtpengine: too many rooms")     // Config.MaxRooms
	ErrRoomFull = errors.New("rtpengine: the room is full")   // RoomConfig.MaxMembers
	ErrInRoom   = errors.New("rtpengine: it is in that room") // or in another one
)

// RoomConfig says how a room is.
type RoomConfig struct {
	ID         string // for logs and Stats
	MaxMembers int    // 0, and what is beyond it: Config.MaxMembers
	Music      string // what who is alone hears, as for Endpoint.Play; "" is silence
	Announce   bool   // a tone tells that somebody has come or gone
}

// Room is a conference: endpoints that hear each other and not themselves. It is mixed at 16 kHz while somebody in it speaks G.722 or Opus, else
// at 8 kHz. Everything it does for a packet time is done by one mixer worker, under mu. All methods may be called from any goroutine.
type Room struct {
	engine *Engine
	cfg    RoomConfig
	mixer  *mixer
	began  time.Time

	mu      sync.Mutex
	closed  bool
	members []*Member // by the time they came
	floor   floor
	rate    int // of what is mixed, Hz
	music   *keptSound
	musicAt int
	chime   []int16          // what is left of the tone that plays
	rates   *audio.Resampler // of tone and music, to the room's rate

	arriving, leaving []int16 // tones; nil when nothing is announced

	tap       *tap   // of the recording; nil when there is none
	recorded  uint32 // its timestamp
	recording *Recording

	shared [audio.Opus + 1]*mouth // what all who only listen hear, by codec

	// For one tick:
	sum     [2 * frameSamples]int32
	frame   [2 * frameSamples]int16
	scratch [2 * mostDecoded]int16
}

// size is how many samples a packet time has.
func (r *Room) size() int { return r.rate / 50 }

// OpenRoom makes an empty room. It may read the file of its music. Errors: ErrRooms, ErrClosed, and those of Endpoint.Play.
func (e *Engine) OpenRoom(c RoomConfig) (*Room, error) {
	if c.MaxMembers == 0 || c.MaxMembers > e.cfg.MaxMembers {
		c.MaxMembers = e.cfg.MaxMembers
	}
	r := &Room{engine: e, cfg: c, began: time.Now(), rate: sampleRate}
	if c.Music != "" {
		var err error
		if r.music, err = e.sounds.take(c.Music); err != nil {
			return nil, err
		}
	}
	if c.Announce {
		r.arriving, r.leaving = chime(523, 784), chime(784, 523)
	}
	if err := e.rooms.add(r); err != nil {
		if r.music != nil {
			e.sounds.release(r.music)
		}
		return nil, err
	}
	return r, nil
}

// Join takes an endpoint in, in place of what it did before. Give it its offer or answer first. Errors: ErrRoomFull, ErrInRoom,
// ErrNoAudio, ErrClosed.
func (r *Room) Join(p *Endpoint) (*Member, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := p.audio()
	switch {
	case p.closed:
		return nil, ErrClosed
	case p.member != nil:
		return nil, ErrInRoom
	case i < 0:
		return nil, ErrNoAudio
	}
	m := newMember(r, p.cfg.ID, p.tongues[i])
	if err := r.admit(m); err != nil {
		return nil, err
	}
	p.stopPlaying()
	p.echo, p.member = false, m
	p.perform()
	return m, nil
}

func (r *Room) admit(m *Member) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return ErrClosed
	case len(r.members) >= r.cfg.MaxMembers:
		r.engine.rooms.full.Add(1)
		return ErrRoomFull
	}
	r.members = append(r.members, m)
	r.tune(m)
	r.chime = r.arriving
	return nil
}

// tune fits the room to a member that has come or speaks another codec, or nil when one has gone; mu is held. When the rate changes everybody
// begins anew, so that what is between packets is lost: some milliseconds.
func (r *Room) tune(m *Member) {
	rate := sampleRate
	for _, m := range r.members {
		rate = max(rate, min(m.speaks.kind.Rate(), 2*sampleRate))
	}
	if rate != r.rate {
		r.rate, r.rates = rate, audio.NewResampler(sampleRate, rate)
		clear(r.shared[:])
		for _, m := range r.members {
			m.tune()
		}
	} else if m != nil {
		m.tune()
	}
	for _, m := range r.members {
		if k := m.speaks.kind; r.shared[k] == nil {
			r.shared[k] = newMouth(r.engine.codecs, k, rate)
		}
	}
}

// dismiss takes a member out; it hears nothing more.
func (r *Room) dismiss(m *Member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(r.members, m)
	if i < 0 {
		return
	}
	r.members = slices.Delete(r.members, i, i+1)
	r.floor.leave(m)
	r.tune(nil)
	r.chime = r.leaving
	r.engine.rooms.lost.Add(m.seat.lost.Load() + m.seat.late.Load())
}

// Record starts to record what is heard in the room, from now on, as one channel. It waits for no disk: Opened does. onEnd is told when the
// file is complete. Errors: ErrClosed, ErrRecording and those of the recorder.
func (r *Room) Record(onEnd func(RecordingEnd)) (*Recording, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return nil, ErrClosed
	case !r.recording.over():
		return nil, ErrRecording
	}
	rec := r.engine.recorder.make(r.cfg.ID, onEnd, [2]medium{})
	rec.mono, rec.rate, rec.untap = true, r.rate, func() {
		r.mu.Lock()
		r.tap = nil
		r.mu.Unlock()
		rec.closed.CompareAndSwap(0, max(1, r.engine.now()))
	}
	if err := r.engine.recorder.add(rec); err != nil {
		return nil, err
	}
	r.tap, r.recording = rec.tap, rec
	return rec, nil
}

// Close ends the room. Its members become silent; their calls go on.
func (r *Room) Close() {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	r.closed = true
	r.members = nil
	if r.music != nil {
		r.engine.sounds.release(r.music)
	}
	rec := r.recording
	r.mu.Unlock()
	r.engine.stopRecording(rec)
	r.engine.rooms.remove(r)
}

// tick makes the sound of the next packet time, after skipped ones that nobody was given.
func (r *Room) tick(skipped int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.members) == 0 {
		return
	}
	for _, m := range r.members {
		m.listen()
	}
	r.floor.give(r.members)
	r.gather()
	for _, s := range r.shared {
		if s != nil {
			s.made = false
		}
	}
	if r.recorded += uint32(skipped+1) * frameSamples; r.tap != nil {
		r.tap.mixed(r.recorded, r.mixed(nil), r.engine.now())
	}
	for _, m := range r.members {
		m.step += uint32(skipped+1) * uint32(m.speaks.kind.Clock()/50)
		m.tell(r.frameFor(m))
	}
}

// chime is a tone at the door: two notes.
func chime(hertz ...float64) (out []int16) {
	for _, hz := range hertz {
		note := samplesOf([]segment{on(120, hz)})
		fade(note, 80)
		out = append(out, note...)
	}
	return out
}

// gather adds up everything that is heard in the room.
func (r *Room) gather() {
	clear(r.sum[:])
	r.entertain()
	for _, m := range r.floor.talkers {
		mixIn(r.sum[:], m.voice[:r.size()])
	}
}

// entertain adds the tone at the door and the music for who is alone.
func (r *Room) entertain() {
	n := min(len(r.chime), frameSamples)
	plays := len(r.members) == 1 && r.music != nil
	if n == 0 && !plays {
		return
	}
	narrow := r.scratch[:frameSamples]
	clear(narrow[copy(narrow, r.chime[:n]):])
	r.chime = r.chime[n:]
	if plays {
		for i, code := range r.music.pcma[r.musicAt : r.musicAt+frameSamples] {
			narrow[i] = limit(int32(narrow[i]) + int32(audio.DecodeAlaw(code)))
		}
		r.musicAt = (r.musicAt + frameSamples) % len(r.music.pcma)
	}
	mixIn(r.sum[:], r.rates.Run(r.frame[:0], narrow))
}

func mixIn(sum []int32, voice []int16) {
	for i, v := range voice {
		sum[i] += int32(v)
	}
}

// frameFor is what a member hears: who talks hears the others, and all who listen the same, which is encoded once for each codec.
func (r *Room) frameFor(m *Member) []byte {
	s := r.shared[m.speaks.kind]
	switch {
	case s == nil || m.own == nil: // that cannot be encoded here
		return nil
	case m.talks:
		return m.own.say(r.mixed(m))
	case !s.made:
		return s.say(r.mixed(nil))
	}
	return s.body[:s.size]
}

// mixed is everything that is heard in the room but a member, or nobody, until the next call.
func (r *Room) mixed(but *Member) []int16 {
	out := r.frame[:r.size()]
	for i := range out {
		v := r.sum[i]
		if but != nil {
			v -= int32(but.voice[i])
		}
		out[i] = limit(v)
	}
	return out
}

// RoomStats are those of a room.
type RoomStats struct {
	ID      string
	Began   time.Time
	Rate    int           // samples a second that are mixed
	Members []MemberStats // by the time they came
}

// Stats may be called at any time.
func (r *Room) Stats() RoomStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := RoomStats{ID: r.cfg.ID, Began: r.began, Rate: r.rate, Members: make([]MemberStats, 0, len(r.members))}
	for _, m := range r.members {
		st.Members = append(st.Members, m.stats())
	}
	return st
}
