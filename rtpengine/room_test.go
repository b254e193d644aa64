package rtpengine

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	audio "tandem/rtpengine/codec"
)

// hall is a room whose phones and clock are the test's.
type hall struct {
	testing.TB
	room *Room
	n    int // packet times so far
}

func newHall(t testing.TB, c RoomConfig) *hall {
	e, err := New(Config{Bind: []netip.Addr{loop4}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := e.OpenRoom(c)
	if err != nil {
		t.Fatal(err)
	}
	return &hall{TB: t, room: r}
}

// caller is a member and its phone.
type caller struct {
	*Member
	hz    float64
	loud  float64
	seq   uint16
	heard []int16
}

func (h *hall) join(payload int, hz, loud float64) *caller {
	h.Helper()
	m := newMember(h.room, fmt.Sprint(hz), tongue{audio.Static(payload), uint8(payload)})
	if err := h.room.admit(m); err != nil {
		h.Fatal(err)
	}
	return &caller{Member: m, hz: hz, loud: loud, seq: 65500}
}

// packet is the next of the caller's tone.
func (c *caller) packet() []byte {
	body := make([]byte, frameSamples)
	for i := range body {
		v := int16(c.loud * math.Sin(2*math.Pi*c.hz*float64(int(c.seq)*frameSamples+i)/sampleRate))
		if body[i] = audio.EncodeUlaw(v); c.speaks.payload == payloadPCMA {
			body[i] = audio.EncodeAlaw(v)
		}
	}
	c.seq++
	return packet(c.speaks.payload, c.seq, uint32(c.seq)*frameSamples, 77, string(body))
}

func (c *caller) say(b []byte) {
	h, _ := parseRTP(b)
	c.seat.hear(&h, unknownLevel, b)
}

// listen reads what the caller is told.
func (c *caller) hear() {
	var entry [frameHeader]byte
	for !c.seat.out.empty() {
		c.seat.out.peek(entry[:])
		frame := make([]byte, int(entry[0])|int(entry[1])<<8)
		c.seat.out.take(frameHeader, frame)
		for _, code := range frame {
			if entry[2] == payloadPCMA {
				c.heard = append(c.heard, audio.DecodeAlaw(code))
			} else {
				c.heard = append(c.heard, audio.DecodeUlaw(code))
			}
		}
	}
}

// pass lets packet times pass in which every caller speaks.
func (h *hall) pass(n int, callers ...*caller) {
	for range n {
		for _, c := range callers {
			c.say(c.packet())
		}
		h.room.tick(0)
		h.n++
		for _, c := range callers {
			c.hear()
		}
	}
}

// last is what a caller heard in the last half second.
func (c *caller) last() []int16 { return c.heard[max(0, len(c.heard)-sampleRate/2):] }

func TestEachMemberHearsTheOthersAndNotItself(t *testing.T) {
	h := newHall(t, RoomConfig{})
	all := []*caller{h.join(payloadPCMU, 400, 6000), h.join(payloadPCMA, 1000, 6000), h.join(payloadPCMU, 1700, 6000)}
	h.pass(60, all...)
	for _, c := range all {
		if len(c.heard) != 60*frameSamples {
			t.Errorf("%v Hz heard %d samples", c.hz, len(c.heard))
		}
		for _, other := range all {
			got := amplitude(c.last(), other.hz)
			if other == c && got > 100 || other != c && math.Abs(got-6000) > 300 {
				t.Errorf("%v Hz hears %v Hz at %.0f", c.hz, other.hz, got)
			}
		}
	}
	all[0].Mute(true)
	h.pass(60, all...)
	if got := amplitude(all[1].last(), 400); got > 100 {
		t.Errorf("a muted member is heard at %.0f", got)
	}
	if got := amplitude(all[0].last(), 1000); got < 5700 {
		t.Errorf("a muted member hears the others at %.0f", got)
	}
	h.room.dismiss(all[2].Member)
	h.pass(60, all[:2]...)
	if got := amplitude(all[0].last(), 1700); got > 100 {
		t.Errorf("who has left is heard at %.0f", got)
	}
}

// Many loud voices in phase: the sum neither wraps nor goes beyond full scale.
func TestLoudVoicesArePressedAndDoNotWrap(t *testing.T) {
	h := newHall(t, RoomConfig{})
	var all []*caller
	for range mostTalkers {
		all = append(all, h.join(payloadPCMA, 500, 30000))
	}
	listener := h.join(payloadPCMU, 500, 0)
	h.pass(60, append(all, listener)...)
	if len(h.room.floor.talkers) != mostTalkers {
		t.Fatalf("%d talk", len(h.room.floor.talkers))
	}
	heard := listener.last()
	peak := 0
	for i, v := range heard {
		phase := math.Sin(2 * math.Pi * 500 * float64(i) / sampleRate)
		peak = max(peak, int(v), -int(v))
		if math.Abs(phase) > 0.3 && float64(v)*phase*float64(heard[4]) < 0 {
			t.Fatalf("sample %d is %d: it has wrapped", i, v)
		}
	}
	if peak < 31000 {
		t.Errorf("the peak is %d", peak)
	}
	for v, before := int32(-200_000), int16(math.MinInt16); v < 200_000; v++ {
		if got := limit(v); got < before || v >= -kneeLevel && v <= kneeLevel && int32(got) != v || limit(-v) != -got {
			t.Fatalf("limit(%d) = %d after %d", v, got, before)
		} else {
			before = got
		}
	}
}

func TestTheLoudestHaveTheFloorAndKeepItOverPauses(t *testing.T) {
	h := newHall(t, RoomConfig{})
	var all []*caller
	for i := range 12 {
		all = append(all, h.join(payloadPCMU, 300+100*float64(i), 0))
	}
	talking := func() (out []int) {
		for i, c := range all {
			if c.talks {
				out = append(out, i)
			}
		}
		return out
	}
	h.pass(200, all...)
	if got := talking(); len(got) != 0 {
		t.Errorf("in silence %v have the floor", got)
	}
	for i := range 7 {
		all[i].loud = 4000
	}
	h.pass(50, all...)
	first := fmt.Sprint(talking())
	if first != "[0 1 2 3 4]" {
		t.Errorf("%s have the floor", first)
	}
	all[5].loud = 6000 // a little louder
	all[0].loud = 0    // between two words
	h.pass(6, all...)
	if got := fmt.Sprint(talking()); got != first {
		t.Errorf("%s have the floor", got)
	}
	all[11].loud = 20000
	h.pass(5, all...)
	if got := talking(); len(got) != mostTalkers || !all[11].talks || all[0].talks {
		t.Errorf("%v have the floor, not who is much louder", got)
	}
	for _, c := range all {
		if got := amplitude(c.last()[len(c.last())-10*frameSamples:], all[6].hz); got > 100 && c != all[6] {
			t.Errorf("who has not the floor is heard at %.0f", got)
		}
	}
	all[11].loud = 0
	h.pass(200, all...)
	if got := talking(); all[11].talks || len(got) != mostTalkers {
		t.Errorf("%v have the floor after a long pause", got)
	}
}

func TestRoomRidesOutJitterLossAndReordering(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	h := newHall(t, RoomConfig{})
	speaker, listener := h.join(payloadPCMU, 1000, 8000), h.join(payloadPCMU, 0, 0)
	const packets = 2000
	due := make(map[int][][]byte)
	for n := range packets {
		p := speaker.packet()
		if n%100 == 50 { // lost
			continue
		}
		at := n + random.IntN(4) // up to 80 ms late
		due[at] = append(due[at], p)
		if n%10 == 0 {
			due[at+1] = append(due[at+1], p)
		}
	}
	for n := range packets {
		for _, p := range due[n] {
			speaker.say(p)
		}
		h.pass(1, listener)
		speaker.hear()
	}
	st := speaker.Member.stats()
	silent := 0
	for i := 100 * frameSamples; i+frameSamples <= len(listener.heard); i += frameSamples {
		if amplitude(listener.heard[i:i+frameSamples], 1000) < 6000 {
			silent++
		}
	}
	// Of 300 seeds the worst had 53 late packets (second copies among them) and 11 frames that were not whole.
	if silent > packets/100+20 || st.Late > packets/20 || st.Lost < packets/200 || st.Wait > 250*time.Millisecond {
		t.Errorf("%d frames of %d are not whole, %+v", silent, packets, st)
	}
}

// A sender whose clock is 1 % fast does not become later and later, and one whose clock is slow is not torn apart more than it must be.
func TestRoomFollowsClocksThatDrift(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ every, of int }{"too fast": {1, 100}, "too slow": {-1, 100}} {
		h := newHall(t, RoomConfig{})
		speaker, listener := h.join(payloadPCMU, 1000, 8000), h.join(payloadPCMU, 0, 0)
		most := 0
		for n := range 10_000 {
			if n%c.of != 0 || c.every > 0 {
				speaker.say(speaker.packet())
			}
			if n%c.of == 0 && c.every > 0 {
				speaker.say(speaker.packet())
			}
			h.pass(1, listener)
			speaker.hear()
			if n > 1000 {
				most = max(most, speaker.in.held())
			}
		}
		torn := 0
		for i := 500 * frameSamples; i+frameSamples <= len(listener.heard); i += frameSamples {
			if amplitude(listener.heard[i:i+frameSamples], 1000) < 4000 {
				torn++
			}
		}
		if most > 8 || torn > 400 {
			t.Errorf("%s: up to %d packets wait, %d frames of 10000 are torn", name, most, torn)
		}
	}
}

func TestWhoIsAloneHearsMusicAndTheDoorIsHeard(t *testing.T) {
	h := newHall(t, RoomConfig{Music: "tone:dial", Announce: true})
	first := h.join(payloadPCMU, 1000, 5000)
	h.pass(10, first)
	if got := amplitude(first.heard[:10*frameSamples], 523); got < 500 {
		t.Errorf("coming is heard at %.0f", got)
	}
	h.pass(60, first)
	if got := amplitude(first.last(), 350); got < 1500 || amplitude(first.last(), 1000) > 100 {
		t.Errorf("music at %.0f", got)
	}
	second := h.join(payloadPCMA, 600, 0)
	h.pass(50, first, second)
	if got := amplitude(first.last(), 350); got > 100 {
		t.Errorf("music for two, at %.0f", got)
	}
	h.room.dismiss(second.Member)
	before := len(first.heard)
	h.pass(6, first)
	if got := amplitude(first.heard[before:], 784); got < 500 {
		t.Errorf("going is heard at %.0f", got)
	}
	h.room.Close()
	h.room.Close()
	before = len(first.heard)
	h.pass(5, first)
	if len(first.heard) != before {
		t.Error("a closed room speaks")
	}
	if st := h.room.engine.sounds.stats(); st.Kept != 1 || !h.room.engine.sounds.evict() {
		t.Errorf("the music is not given back: %+v", st)
	}
}

func TestRoomsAndMembersAreBounded(t *testing.T) {
	e, err := New(Config{Bind: []netip.Addr{loop4}, MaxRooms: 2, MaxMembers: 3})
	if err != nil {
		t.Fatal(err)
	}
	small := must(e.OpenRoom(RoomConfig{MaxMembers: 2}))
	big := must(e.OpenRoom(RoomConfig{MaxMembers: 1000}))
	if _, err := e.OpenRoom(RoomConfig{}); !errors.Is(err, ErrRooms) {
		t.Errorf("a third room: %v", err)
	}
	for room, most := range map[*Room]int{small: 2, big: 3} {
		for range most {
			if err := room.admit(newMember(room, "", tongue{audio.PCMU, payloadPCMU})); err != nil {
				t.Error(err)
			}
		}
		if err := room.admit(newMember(room, "", tongue{audio.PCMU, payloadPCMU})); !errors.Is(err, ErrRoomFull) {
			t.Errorf("beyond %d: %v", most, err)
		}
	}
	if st := e.Stats().Mixer; st.Rooms != 2 || st.Refused != 1 || st.Full != 2 || st.Opened != 2 {
		t.Errorf("%+v", st)
	}
	small.Close()
	if _, err := e.OpenRoom(RoomConfig{Music: "no such"}); err == nil {
		t.Error("music that is not there")
	}
	must(e.OpenRoom(RoomConfig{})).Close()
	big.Close()
	if st := e.Stats().Mixer; st.Rooms != 0 {
		t.Errorf("%+v", st)
	}
}

func TestTickAllocatesNothing(t *testing.T) {
	h := newHall(t, RoomConfig{})
	var all []*caller
	for i := range 20 {
		all = append(all, h.join([2]int{payloadPCMU, payloadPCMA}[i&1], 300, 5000))
	}
	h.pass(100, all...)
	var said [][]byte
	for _, c := range all {
		said = append(said, c.packet())
	}
	var room [mostFrame]byte
	if n := testing.AllocsPerRun(500, func() {
		for i, c := range all {
			b := said[i]
			c.seq++
			b[2], b[3] = byte(c.seq>>8), byte(c.seq)
			c.say(b)
		}
		h.room.tick(0)
		for _, c := range all {
			c.seat.out.take(frameHeader, room[:frameSamples])
		}
	}); n != 0 {
		t.Errorf("%v allocations a tick", n)
	}
}

func TestThreePhonesMeetInARoom(t *testing.T) {
	e := startEngine(t, nil)
	room := must(e.OpenRoom(RoomConfig{ID: "sales"}))
	defer room.Close()
	var phones []*phone
	var ends []*Endpoint
	for i := range 3 {
		p, a := startEndpoint(t, e), newPhone(t, loop4)
		if _, err := room.Join(p); !errors.Is(err, ErrNoAudio) {
			t.Errorf("before the offer: %v", err)
		}
		answer, err := p.Answer(a.sdp("a=extmap:3 "+levelURI+" vad=on"), loop4)
		if err != nil {
			t.Fatal(err)
		}
		if !hasLine(answer, "a=extmap:3/recvonly "+levelURI) {
			t.Errorf("the level is not asked for in\n%s", answer)
		}
		a.dial(answer)
		if _, err := room.Join(p); err != nil {
			t.Fatal(err)
		}
		if _, err := room.Join(p); !errors.Is(err, ErrInRoom) {
			t.Errorf("twice: %v", err)
		}
		settle(p.shard)
		phones, ends = append(phones, a), append(ends, p)
		if i == 0 {
			continue
		}
	}
	tones := []float64{400, 1000, 1700}
	heard := make([][]int16, 3)
	var steps [3]uint32
	for n := range 100 {
		for i, a := range phones {
			a.say(string(speech(arrival{n: n}, tones[i], 0)[12:]))
		}
		for i, a := range phones {
			b := a.next(a.rtp)
			h, _ := parseRTP(b)
			if h.payload != payloadPCMU || steps[i] != 0 && (h.stamp-steps[i])%frameSamples != 0 {
				t.Fatalf("payload type %d, timestamp %d after %d", h.payload, h.stamp, steps[i])
			}
			steps[i] = h.stamp
			for _, code := range b[h.body:] {
				heard[i] = append(heard[i], audio.DecodeUlaw(code))
			}
		}
	}
	for i := range phones {
		right := 0 // tenths of a second: the machine may be late now and then
		for at := 0; at+800 <= len(heard[i]); at += 400 {
			good := true
			for j, hz := range tones {
				got := amplitude(heard[i][at:at+800], hz)
				good = good && (i == j && got < 300 || i != j && got > 5000)
			}
			if good {
				right++
			}
		}
		if right < 5 {
			t.Errorf("phone %d hears the others and not itself %d times", i, right)
		}
	}
	if st := room.Stats(); len(st.Members) != 3 || !st.Members[0].Talking {
		t.Errorf("%+v", st)
	}
	if st := e.Stats().Mixer; st.Members != 3 || st.Rooms != 1 || st.Ticks < 100 {
		t.Errorf("%+v", st)
	}
	ends[0].Close()
	ends[1].Echo()
	settle(ends[1].shard)
	if st := room.Stats(); len(st.Members) != 1 || e.Stats().Mixer.Members != 1 {
		t.Errorf("%+v", st)
	}
}

func BenchmarkRoomTick(b *testing.B) {
	for _, members := range []int{3, 10, 100} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			h := newHall(b, RoomConfig{MaxMembers: members})
			var all []*caller
			for i := range members {
				all = append(all, h.join(payloadPCMU, 300+float64(i), float64(200*(i%20))))
			}
			h.pass(100, all...)
			var said [][]byte
			for _, c := range all {
				said = append(said, c.packet())
			}
			var room [mostFrame]byte
			b.ReportAllocs()
			for b.Loop() {
				for i, c := range all {
					p := said[i]
					c.seq++
					p[2], p[3] = byte(c.seq>>8), byte(c.seq)
					c.say(p)
				}
				h.room.tick(0)
				for _, c := range all {
					c.seat.out.take(frameHeader, room[:frameSamples])
				}
			}
			perTick := b.Elapsed().Seconds() / float64(b.N)
			b.ReportMetric(float64(members)*0.020/perTick, "members/core")
		})
	}
}
