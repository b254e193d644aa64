package codec

import "github.com/pion/opus"

// opusRate reports whether Opus can speak at a rate (RFC 6716 §2.1.1, the API's five).
func opusRate(rate int) bool {
	switch rate {
	case 8000, 12000, 16000, 24000, 48000:
		return true
	}
	return false
}

// opusTime is how long an Opus packet is, in 48 kHz samples, told by its first octets (RFC 6716 §3.1 and §3.2); 0 when it is none:
//
//	| config 5 | stereo 1 | code 2 |  and for code 3  | VBR 1 | padding 1 | frames 6 |
func opusTime(payload []byte) int {
	if len(payload) == 0 {
		return 0
	}
	frame := 0
	switch config := int(payload[0] >> 3); {
	case config < 12: // SILK alone: 10, 20, 40, 60 ms
		frame = [4]int{480, 960, 1920, 2880}[config&3]
	case config < 16: // both layers: 10, 20 ms
		frame = 480 << (config & 1)
	default: // CELT alone: 2.5, 5, 10, 20 ms
		frame = 120 << (config & 3)
	}
	count := 1
	switch payload[0] & 3 {
	case 1, 2:
		count = 2
	case 3:
		if len(payload) < 2 {
			return 0
		}
		count = int(payload[1] & 63)
	}
	if frame*count > MaxSamples {
		return 0 // RFC 6716 §3.2.5: 120 ms is the longest
	}
	return frame * count
}

// pionDecoder is Opus without libopus: slower, and what is lost is concealed as for G.711.
type pionDecoder struct {
	concealer
	opus opus.Decoder
}

func newPionDecoder(rate int) (Decoder, error) {
	if !opusRate(rate) {
		return nil, ErrRate
	}
	d, err := opus.NewDecoderWithOutput(rate, 1)
	if err != nil {
		return nil, err
	}
	return &pionDecoder{concealer: newConcealer(rate), opus: d}, nil
}

func (p *pionDecoder) Samples(payload []byte) int { return opusTime(payload) * p.rate / 48000 }

func (p *pionDecoder) Decode(dst []int16, payload []byte) (int, error) {
	want := p.Samples(payload)
	switch {
	case want == 0:
		return 0, ErrFrame
	case len(dst) < want:
		return 0, ErrShort
	case len(payload) < 3: // nothing was sent but a sign of life: discontinuous transmission
		p.Conceal(dst[:want])
		return want, nil
	}
	n, err := p.opus.DecodeToInt16(payload, dst)
	if err != nil {
		return 0, ErrFrame
	}
	p.heard(dst[:n])
	return n, nil
}
