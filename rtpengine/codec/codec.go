package codec

import (
	"errors"
	"fmt"
	"strings"
)

// Kind is a codec, whatever number a session has given it.
type Kind uint8

const (
	None Kind = iota // nothing we can decode
	PCMU
	PCMA
	G722
	Opus
	Noise // comfort noise, RFC 3389
	Event // telephone-event, RFC 4733
)

// kinds are the names of RFC 3551, RFC 7587, RFC 3389 and RFC 4733 with their RTP clocks. G.722 samples at 16 kHz and counts in
// 8 kHz (RFC 3551 §4.5.2); Opus counts in 48 kHz and says two channels whatever is in it (RFC 7587 §4.1).
var kinds = [...]struct {
	name            string
	clock, channels int
	static          int
}{
	PCMU:  {"PCMU", 8000, 1, 0},
	PCMA:  {"PCMA", 8000, 1, 8},
	G722:  {"G722", 8000, 1, 9},
	Opus:  {"opus", 48000, 2, -1},
	Noise: {"CN", 8000, 1, 13},
	Event: {"telephone-event", 8000, 1, -1},
}

// Named finds a codec by the words of its rtpmap line; 0 channels means that the line gives none, which is one. None when there is
// none. Events and comfort noise are of every clock.
func Named(name string, clock, channels int) Kind {
	for k := PCMU; int(k) < len(kinds); k++ {
		is := &kinds[k]
		if !strings.EqualFold(name, is.name) || max(1, channels) != is.channels {
			continue
		}
		if clock == is.clock || k == Event || k == Noise {
			return k
		}
	}
	return None
}

// Static finds a codec by a payload type that needs no rtpmap line (RFC 3551 §6).
func Static(payload int) Kind {
	for k := PCMU; int(k) < len(kinds); k++ {
		if kinds[k].static == payload && payload >= 0 {
			return k
		}
	}
	return None
}

// String is the name that SDP uses, "" for None.
func (k Kind) String() string { return kinds[k].name }

// Clock is that of the RTP timestamp, in Hz; of an Event it is the usual one.
func (k Kind) Clock() int { return kinds[k].clock }

// Channels is what an rtpmap line says.
func (k Kind) Channels() int { return kinds[k].channels }

// Payload is the payload type that needs no rtpmap line; -1 where there is none.
func (k Kind) Payload() int { return kinds[k].static }

// Mapping is the value of an rtpmap line behind the number: "opus/48000/2".
func (k Kind) Mapping() string {
	is := &kinds[k]
	if is.channels > 1 {
		return fmt.Sprintf("%s/%d/%d", is.name, is.clock, is.channels)
	}
	return fmt.Sprintf("%s/%d", is.name, is.clock)
}

// Speech reports whether a Kind carries sound that can be decoded, given a Library that has it.
func (k Kind) Speech() bool { return k >= PCMU && k <= Opus }

// Rate is the sampling rate at which the codec itself works; Opus takes any of its rates, and 48000 is its best.
func (k Kind) Rate() int {
	switch k {
	case PCMU, PCMA:
		return 8000
	case G722:
		return 16000
	case Opus:
		return 48000
	}
	return 0
}

var (
	// ErrShort is told when the destination has no room for the frame.
	ErrShort = errors.New("codec: no room for the frame")
	// ErrFrame is told of a payload that is none of the codec, or of a number of samples that makes no frame of it.
	ErrFrame = errors.New("codec: not a frame of this codec")
	// ErrRate is told of a sampling rate that the codec does not have.
	ErrRate = errors.New("codec: not a rate of this codec")
	// ErrMissing is told of what this machine cannot do.
	ErrMissing = errors.New("codec: not available here")
)

// MaxSamples is room for the longest payload: 120 ms at 48 kHz.
const MaxSamples = 48000 * 120 / 1000

// Decoder turns the payloads of one stream into mono samples.
type Decoder interface {
	// Rate is the sampling rate of what comes out, in Hz.
	Rate() int
	// Decode writes the samples of a payload and tells how many. A payload that is refused changes nothing.
	Decode(dst []int16, payload []byte) (int, error)
	// Conceal fills dst with what may have been said instead of what was lost after the last payload.
	Conceal(dst []int16)
	// Recover fills dst with what was lost directly before a payload, as far as that payload repeats it; false when it does not, and
	// then Conceal does what can be done. The payload is decoded afterwards, as always.
	Recover(dst []int16, next []byte) bool
	// Samples is how many samples a payload decodes to, 0 when it is none.
	Samples(payload []byte) int
}

// Encoder makes the payloads of one stream from mono samples.
type Encoder interface {
	// Rate is the sampling rate of what goes in, in Hz.
	Rate() int
	// Encode writes the payload of one frame and tells its length. Any even number of samples is a frame of G.711 and G.722; Opus
	// takes 10, 20, 40 and 60 ms.
	Encode(dst []byte, pcm []int16) (int, error)
}

// Redundant is an Encoder that can repeat in a packet what was said in the one before, for listeners who lose some.
type Redundant interface {
	Encoder
	// Expect says how many of 100 packets are being lost, 0 to begin with. The listener's decoder must know such packets.
	Expect(percent int)
}

// Library makes the codecs of this machine. It may be used by any goroutine.
type Library struct {
	opus *libopus // nil: decoding is pion's, encoding there is none
	why  error    // of opus being nil
}

// Open looks for libopus: by a path, or where the system has it for "". "none" does without. It never fails: Missing tells what is not there.
func Open(path string) *Library {
	l := &Library{}
	if path == "none" {
		l.why = errors.New("switched off")
		return l
	}
	l.opus, l.why = openOpus(path)
	return l
}

// Missing says what cannot be done here and why; nil when everything can.
func (l *Library) Missing() error {
	if l.opus != nil {
		return nil
	}
	return fmt.Errorf("libopus cannot be used, so that Opus is decoded only: %w", l.why)
}

// Version is libopus's own words, "" without it.
func (l *Library) Version() string {
	if l.opus == nil {
		return ""
	}
	return l.opus.version
}

// Decodes reports whether NewDecoder has the codec.
func (l *Library) Decodes(k Kind) bool { return k.Speech() }

// Encodes reports whether NewEncoder has the codec.
func (l *Library) Encodes(k Kind) bool { return k.Speech() && (k != Opus || l.opus != nil) }

// NewDecoder makes a decoder whose samples come at a rate: 8000 for G.711, 16000 for G.722, any of 8000, 12000, 16000, 24000 and
// 48000 for Opus, which costs less the lower it is. Errors: ErrRate, ErrMissing.
func (l *Library) NewDecoder(k Kind, rate int) (Decoder, error) {
	switch {
	case k == Opus && l.opus != nil:
		return l.opus.decoder(rate)
	case k == Opus:
		return newPionDecoder(rate)
	case !l.Decodes(k):
		return nil, fmt.Errorf("%w: %s", ErrMissing, k)
	case rate != k.Rate():
		return nil, fmt.Errorf("%w: %s at %d Hz", ErrRate, k, rate)
	case k == G722:
		return newG722Decoder(), nil
	}
	return &g711Decoder{concealer: newConcealer(rate), alaw: k == PCMA}, nil
}

// NewEncoder makes an encoder that takes samples at a rate; the rates are those of NewDecoder. Errors: ErrRate, ErrMissing.
func (l *Library) NewEncoder(k Kind, rate int) (Encoder, error) {
	switch {
	case !l.Encodes(k):
		return nil, fmt.Errorf("%w: %s", ErrMissing, k)
	case k == Opus:
		return l.opus.encoder(rate)
	case rate != k.Rate():
		return nil, fmt.Errorf("%w: %s at %d Hz", ErrRate, k, rate)
	case k == G722:
		return newG722Encoder(), nil
	}
	return g711Encoder{alaw: k == PCMA}, nil
}
