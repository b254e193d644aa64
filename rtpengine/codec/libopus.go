package codec

import "fmt"

// libopus is the C library, loaded when the program runs: so there is no compiler and no header to build Tandem, and no Opus encoder
// where the library is not installed. Its objects live in memory of ours, which it allows (opus_encoder_init), so that the collector
// frees them and nothing leaks. A call costs about 0.1 us more than in C.
type libopus struct {
	version string
	calls   opusCalls
}

// Requests of the opus_*_ctl functions and other numbers of opus_defines.h.
const (
	opusApplicationVoIP   = 2048
	opusSetBitrate        = 4002
	opusSetComplexity     = 4010
	opusSetInbandFEC      = 4012
	opusSetPacketLossPerc = 4014
	opusSetSignal         = 4024
	opusSignalVoice       = 3001
)

// What telephone legs get. The bit rates are where listening tests find no more to gain for speech of that band. Complexity 3 is half the
// work of 10, and of telephone speech it keeps as much: the spectrum of what comes out differs from what went in by 3.1 dB, with 10 by 3.0.
// Redundancy (RFC 6716 §2.1.7) takes its bits from the speech, 5.0 dB at 10 % and the same rate; so there is none before somebody loses
// packets, and then more bits.
const (
	opusComplexity = 3
	opusMostLoss   = 25 // percent; redundancy for more would leave little for the speech
)

func opusBitrate(rate int) int {
	switch {
	case rate <= 8000:
		return 20000
	case rate <= 16000:
		return 28000
	}
	return 40000
}

func (l *libopus) decoder(rate int) (Decoder, error) {
	if !opusRate(rate) {
		return nil, fmt.Errorf("%w: opus at %d Hz", ErrRate, rate)
	}
	d := &opusDecoder{lib: l, rate: rate, state: make([]uint64, (l.calls.decoderSize()+7)/8)}
	if code := l.calls.decoderInit(&d.frame, d.state, rate); code != 0 {
		return nil, fmt.Errorf("libopus: no decoder: error %d", code)
	}
	return d, nil
}

func (l *libopus) encoder(rate int) (Encoder, error) {
	if !opusRate(rate) {
		return nil, fmt.Errorf("%w: opus at %d Hz", ErrRate, rate)
	}
	e := &opusEncoder{lib: l, rate: rate, state: make([]uint64, (l.calls.encoderSize()+7)/8)}
	if code := l.calls.encoderInit(&e.frame, e.state, rate); code != 0 {
		return nil, fmt.Errorf("libopus: no encoder: error %d", code)
	}
	for _, set := range [...][2]int{
		{opusSetBitrate, opusBitrate(rate)},
		{opusSetComplexity, opusComplexity},
		{opusSetSignal, opusSignalVoice},
		{opusSetInbandFEC, 1}, // none for a loss of 0, the library's default
	} {
		if code := l.calls.encoderSet(&e.frame, e.state, set[0], set[1]); code != 0 {
			return nil, fmt.Errorf("libopus: setting %d: error %d", set[0], code)
		}
	}
	return e, nil
}

// opusEncoder is libopus's.
type opusEncoder struct {
	lib   *libopus
	rate  int
	state []uint64
	loss  int // percent
	frame frame
}

func (e *opusEncoder) Rate() int { return e.rate }

func (e *opusEncoder) Expect(percent int) {
	percent = max(0, min(percent, opusMostLoss))
	if percent == e.loss {
		return
	}
	bits := opusBitrate(e.rate)
	if percent > 0 {
		bits += bits / 2
	}
	// These fail for values that the library does not have only, and it has these.
	e.lib.calls.encoderSet(&e.frame, e.state, opusSetBitrate, bits)
	e.lib.calls.encoderSet(&e.frame, e.state, opusSetPacketLossPerc, percent)
	e.loss = percent
}

func (e *opusEncoder) Encode(dst []byte, pcm []int16) (int, error) {
	switch len(pcm) * 1000 / e.rate {
	case 10, 20, 40, 60:
	default:
		return 0, ErrFrame
	}
	if len(dst) < 64 {
		return 0, ErrShort
	}
	n := e.lib.calls.encode(&e.frame, e.state, pcm, dst)
	if n <= 0 {
		return 0, fmt.Errorf("%w: libopus error %d", ErrFrame, n)
	}
	return n, nil
}

// opusDecoder is libopus's. It conceals by itself.
type opusDecoder struct {
	lib   *libopus
	rate  int
	state []uint64
	frame frame
}

func (d *opusDecoder) Rate() int { return d.rate }

func (d *opusDecoder) Samples(payload []byte) int { return opusTime(payload) * d.rate / 48000 }

func (d *opusDecoder) Decode(dst []int16, payload []byte) (int, error) {
	want := d.Samples(payload)
	switch {
	case want == 0:
		return 0, ErrFrame
	case len(dst) < want:
		return 0, ErrShort
	}
	n := d.lib.calls.decode(&d.frame, d.state, payload, dst[:want], false)
	if n <= 0 {
		return 0, ErrFrame
	}
	return n, nil
}

// Conceal works in steps of 2.5 ms, as libopus wants it; what is over is silent.
func (d *opusDecoder) Conceal(dst []int16) {
	step, most := d.rate/400, d.rate*120/1000
	for len(dst) >= step {
		n := min(len(dst)/step*step, most)
		if d.lib.calls.decode(&d.frame, d.state, nil, dst[:n], false) != n {
			break
		}
		dst = dst[n:]
	}
	clear(dst)
}

// Recover uses the redundancy of RFC 6716 §2.1.7, which holds the frame before the packet's own. libopus conceals by itself what that
// does not cover, and tells nobody whether there was any; so this always does what can be done.
func (d *opusDecoder) Recover(dst []int16, next []byte) bool {
	if opusTime(next) == 0 || len(dst)%(d.rate/400) != 0 || len(dst) > d.rate*120/1000 || next[0]&0x80 != 0 {
		return false // a packet of CELT alone has no redundancy
	}
	return d.lib.calls.decode(&d.frame, d.state, next, dst, true) == len(dst)
}
