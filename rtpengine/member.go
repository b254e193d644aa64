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
	payload uint8
	muted   bool
	in      jitterBuffer
	pcm     []int16 // decoded and not heard yet
	voice   [frameSamples]int16
	level   float64 // of voice, dBov; or what its packet said
	score   float64 // level that falls slowly: how much the member has the floor
	talks   bool    // it has the floor
	step    uint32  // timestamp units since the last frame that it was told
	own     [frameSamples]byte
}

func newMember(r *Room, id string) *Member {
	m := &Member{room: r, seat: newSeat(), id: id, since: time.Now(), score: silentLevel}
	m.pcm = make([]int16, 0, mostDecoded+frameSamples)
	return m
}

// mostDecoded bounds the samples of one packet: 200 ms, the longest packet of RFC 3551 §4.2.
const mostDecoded = sampleRate / 5

// agree takes the payload type that was negotiated.
func (m *Member) agree(payload int) {
	m.room.mu.Lock()
	defer m.room.mu.Unlock()
	if m.payload = uint8(payload); m.in.clock == 0 {
		m.in.reset(sampleRate)
	}
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
	for len(m.pcm) < frameSamples {
		body, _, lost := m.in.get()
		if body == nil && !lost {
			break
		}
		if lost {
			m.pcm = m.pcm[:len(m.pcm)+min(int(m.in.step), mostDecoded)]
			continue
		}
		m.decode(body)
	}
	n := copy(m.voice[:], m.pcm)
	clear(m.voice[n:])
	m.pcm = m.pcm[:copy(m.pcm, m.pcm[n:])]
	m.level = silentLevel
	if n > 0 {
		m.level = loudness(m.voice[:])
	}
}

func (m *Member) decode(body []byte) {
	decode := audio.DecodeUlaw
	if m.payload == payloadPCMA {
		decode = audio.DecodeAlaw
	}
	for _, code := range body[:min(len(body), mostDecoded)] {
		m.pcm = append(m.pcm, decode(code))
	}
}

// tell gives the member a frame.
func (m *Member) tell(frame []byte) {
	if m.seat.tell(m.payload, m.step, frame) {
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
