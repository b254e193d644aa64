package rtpengine

import (
	"time"

	audio "tandem/rtpengine/codec"
)

// Member is an endpoint in a room. Its methods may be called from any goroutine.
type Member struct {
	room  *Room
	seat  *seat
	id    string
	since time.Time

	// Guarded by Room.mu:
	speaks tongue
	muted  bool
	in     jitterBuffer
	ear    audio.Decoder
	rates  *audio.Resampler        // from its rate to the room's
	pcm    []int16                 // decoded, at the room's rate, and not heard yet
	voice  [2 * frameSamples]int16 // of a packet time
	level  float64                 // of voice, dBov
	score  float64                 // level that falls slowly: how much the member has the floor
	talks  bool                    // it has the floor
	step   uint32                  // timestamp units since the last frame that it was told
	own    *mouth                  // what it hears while it talks itself
}

func newMember(r *Room, id string, speaks tongue) *Member {
	m := &Member{room: r, seat: newSeat(), id: id, speaks: speaks, since: time.Now(), score: silentLevel}
	m.pcm = make([]int16, 0, 2*(mostDecoded+frameSamples))
	m.in.reset(uint32(speaks.kind.Clock()))
	return m
}

// mostDecoded bounds the samples of one packet at 8 kHz: 200 ms, the longest packet of RFC 3551 §4.2.
const mostDecoded = sampleRate / 5

// agree takes the codec of a new agreement.
func (m *Member) agree(speaks tongue) {
	m.room.mu.Lock()
	defer m.room.mu.Unlock()
	had := m.speaks.kind
	if m.speaks = speaks; had == speaks.kind {
		return
	}
	m.in.reset(uint32(speaks.kind.Clock()))
	m.room.tune(m)
}

// tune makes what the member is heard and told by, at the room's rate.
func (m *Member) tune() {
	lib, rate, at := m.room.engine.codecs, m.room.rate, m.speaks.kind.Rate()
	if m.speaks.kind == audio.Opus {
		at = rate
	}
	m.ear, m.rates, m.pcm = nil, audio.NewResampler(at, rate), m.pcm[:0]
	if ear, err := lib.NewDecoder(m.speaks.kind, at); err == nil {
		m.ear = ear
	}
	m.own = newMouth(lib, m.speaks.kind, rate)
}

// Mute keeps the member from being heard, or no longer; it hears the others all the same.
func (m *Member) Mute(muted bool) {
	m.room.mu.Lock()
	defer m.room.mu.Unlock()
	m.muted = muted
}

// listen takes what the phone has said and decodes the next packet time of it into voice.
func (m *Member) listen() {
	var room [mostHeard]byte
	for h, ok := m.seat.next(room[:]); ok; h, ok = m.seat.next(room[:]) {
		m.in.put(&h)
	}
	size := m.room.size()
	for len(m.pcm) < size {
		body, _, lost := m.in.get()
		if body == nil && !lost {
			break
		}
		if m.ear != nil {
			m.hear(body)
		}
	}
	n := copy(m.voice[:size], m.pcm)
	clear(m.voice[n:])
	m.pcm = m.pcm[:copy(m.pcm, m.pcm[n:])]
	m.level = silentLevel
	if n > 0 {
		m.level = loudness(m.voice[:size])
	}
}

// hear decodes a packet; nil is one that was lost.
func (m *Member) hear(body []byte) {
	room := m.room.scratch[:]
	n := 0
	if body == nil {
		n = min(int(m.in.step)*m.ear.Rate()/int(m.in.clock), len(room))
		m.ear.Conceal(room[:n])
	} else {
		n, _ = m.ear.Decode(room, body[:min(len(body), mostDecoded)]) // what is no packet of the codec is not heard
	}
	m.pcm = m.rates.Run(m.pcm, room[:n])
}

// tell gives the member a frame.
func (m *Member) tell(frame []byte) {
	if len(frame) > 0 && m.seat.tell(m.speaks.payload, m.step, frame) {
		m.step = 0
	}
}

// MemberStats are those of a member.
type MemberStats struct {
	ID      string // of its endpoint's SessionConfig
	Since   time.Time
	Muted   bool
	Talking bool
	Level   float64       // how loud it is, dBov: 0 is full scale, -127 silence
	Wait    time.Duration // depth of its jitter buffer
	Late    uint64        // packets that came too late to be heard
	Lost    uint64        // packets that never came
	Left    uint64        // packets left out to catch up with its clock, or because the mixer was too slow
	Untold  uint64        // frames that its shard was too slow for
}

// stats; Room.mu is held.
func (m *Member) stats() MemberStats {
	return MemberStats{
		ID: m.id, Since: m.since, Muted: m.muted, Talking: m.talks && m.score > floorLevel, Level: m.level,
		Wait: time.Duration(m.in.target) * time.Second / time.Duration(m.in.clock), Late: m.in.late, Lost: m.in.lost, Left: m.in.skipped + m.seat.lost.Load(),
		Untold: m.seat.late.Load(),
	}
}
