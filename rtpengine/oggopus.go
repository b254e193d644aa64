package rtpengine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"

	audio "tandem/rtpengine/codec"
)

// An Opus stream in Ogg (RFC 7845) begins with a page that holds its head, and one with its tags:
//
//	| "OpusHead" | version 1 | channels 1 | pre-skip 2 | input rate 4 | gain 2 | mapping family 1 |
//	             family 1 goes on: | streams 1 | coupled 1 | which stream a channel is 1 ... |
//
// Its positions count 48 kHz. Two channels are two mono streams: what the caller says tells nothing of what the called one says, and
// neither leaks into the other. A packet then holds one Opus packet of each, the first in the self-delimiting form of RFC 6716 B.
const (
	opusClock = 48000
	opusFrame = opusClock / 50
	opusDelay = opusClock * 13 / 2000 // what libopus delays by, 6.5 ms, in 48 kHz samples
)

// oggOut writes a recording as Ogg/Opus, a page for what is appended at once: who reads it finds whole pages up to the last append.
type oggOut struct {
	file    *os.File
	sides   *opusSides
	page    oggPage
	held    []int16 // less than a frame
	samples int64   // in the stream so far, at 48 kHz
	granule int64
	written int64
	buf     []byte
}

// opusSides makes packets of one or two channels, a mono stream for each.
type opusSides struct {
	rate     int // of the samples that come
	encoders []audio.Encoder
	voice    []int16
	packet   []byte
	room     [1500]byte
}

func newOpusSides(lib *audio.Library, rate, channels int) (*opusSides, error) {
	o := &opusSides{rate: rate, voice: make([]int16, rate/50)}
	for range channels {
		enc, err := lib.NewEncoder(audio.Opus, rate)
		if err != nil {
			return nil, err
		}
		o.encoders = append(o.encoders, enc)
	}
	return o, nil
}

// frame is how many samples a packet takes, those of all channels.
func (o *opusSides) frame() int { return len(o.voice) * len(o.encoders) }

// head is the identification header.
func (o *opusSides) head() []byte {
	head := append([]byte("OpusHead\x01"), byte(len(o.encoders)))
	head = binary.LittleEndian.AppendUint16(head, opusDelay)
	head = binary.LittleEndian.AppendUint32(head, uint32(o.rate))
	head = append(head, 0, 0)
	if len(o.encoders) == 1 {
		return append(head, 0)
	}
	return append(head, 1, 2, 0, 0, 1)
}

// encode makes the packet of a frame, until the next call.
func (o *opusSides) encode(pcm []int16) ([]byte, error) {
	o.packet = o.packet[:0]
	for c, enc := range o.encoders {
		for i := range o.voice {
			o.voice[i] = pcm[i*len(o.encoders)+c]
		}
		n, err := enc.Encode(o.room[:], o.voice)
		if err != nil {
			return nil, err
		}
		one := o.room[:n]
		if c == len(o.encoders)-1 {
			o.packet = append(o.packet, one...)
		} else if o.packet, err = appendDelimited(o.packet, one); err != nil {
			return nil, err
		}
	}
	return o.packet, nil
}

func newOggFile(file *os.File, lib *audio.Library, rate, channels int) (*oggOut, error) {
	sides, err := newOpusSides(lib, rate, channels)
	if err != nil {
		return nil, err
	}
	o := &oggOut{file: file, sides: sides, page: oggPage{serial: rand.Uint32()}}
	o.page.add(sides.head())
	o.buf = o.page.flush(o.buf, oggFirst, 0)
	vendor := "Tandem"
	tags := binary.LittleEndian.AppendUint32([]byte("OpusTags"), uint32(len(vendor)))
	tags = binary.LittleEndian.AppendUint32(append(tags, vendor...), 0)
	o.page.add(tags)
	o.buf = o.page.flush(o.buf, 0, 0)
	return o, o.save()
}

func (o *oggOut) append(pcm []int16) error {
	o.held = append(o.held, pcm...)
	frame := o.sides.frame()
	at := 0
	for ; at+frame <= len(o.held); at += frame {
		if err := o.encode(o.held[at : at+frame]); err != nil {
			return err
		}
	}
	o.held = o.held[:copy(o.held, o.held[at:])]
	if len(o.page.lengths) > 0 {
		o.buf = o.page.flush(o.buf, 0, o.granule)
	}
	return o.save()
}

// encode adds a frame of every channel.
func (o *oggOut) encode(pcm []int16) error {
	packet, err := o.sides.encode(pcm)
	if err != nil {
		return err
	}
	if !o.page.fits(len(packet)) {
		o.buf = o.page.flush(o.buf, 0, o.granule)
	}
	o.page.add(packet)
	o.samples += opusFrame
	o.granule = o.samples
	return nil
}

// appendDelimited appends a packet of one frame in the self-delimiting form: its length stands behind the first octet (RFC 6716 B, §3.2.1).
func appendDelimited(out, packet []byte) ([]byte, error) {
	if packet[0]&3 != 0 {
		return out, errors.New("the encoder made several frames of one")
	}
	out = append(out, packet[0])
	if n := len(packet) - 1; n < 252 {
		out = append(out, byte(n))
	} else {
		out = append(out, byte(252+n&3), byte((n-252-n&3)/4))
	}
	return append(out, packet[1:]...), nil
}

func (o *oggOut) save() error {
	n, err := o.file.WriteAt(o.buf, o.written)
	o.written += int64(n)
	o.buf = o.buf[:0]
	return err
}

func (o *oggOut) octets() int64 { return o.written }

// close writes what is left, and as much more as the delay has held back. The last position says where the sound really ends.
func (o *oggOut) close() error {
	end := o.samples + int64(len(o.held)/len(o.sides.encoders))*opusClock/int64(o.sides.rate) + opusDelay
	var err error
	for o.samples < end && err == nil {
		frame := make([]int16, o.sides.frame())
		copy(frame, o.held)
		o.held = o.held[:0]
		err = o.encode(frame)
	}
	if err == nil {
		o.buf = o.page.flush(o.buf, oggLast, end)
		err = o.save()
	}
	return errors.Join(err, o.file.Close())
}

// opusIn reads an Ogg/Opus file for playing, as mono at 48 kHz.
type opusIn struct {
	pages    *oggReader
	decoders []audio.Decoder
	skip     int // samples that are not heard
	pcm      []int16
	at       int
	other    []int16
}

// openOpus reads up to the first sound. Its errors say what the file is and what would be good.
func openOpus(r io.Reader, lib *audio.Library) (*opusIn, error) {
	in := &opusIn{pages: newOggReader(r)}
	head, err := in.pages.next()
	switch {
	case errors.Is(err, errNoOgg):
		return nil, err
	case err != nil || len(head) < 19 || string(head[:8]) != "OpusHead":
		return nil, errors.New("the Ogg file holds no Opus; WAV and Opus can be played")
	case head[8]>>4 != 0:
		return nil, fmt.Errorf("the Ogg file is of version %d of Opus in Ogg", head[8])
	}
	streams := 1
	in.skip = int(binary.LittleEndian.Uint16(head[10:]))
	switch {
	case head[18] == 0 && (head[9] == 1 || head[9] == 2):
	case head[18] == 1 && len(head) >= 23 && head[9] == 2 && head[19] == 2 && head[20] == 0:
		streams = 2 // as recordings have it
	default:
		return nil, fmt.Errorf("the Ogg file has %d channels of Opus; one or two can be played", head[9])
	}
	if _, err := in.pages.next(); err != nil {
		return nil, errors.New("the Ogg file ends before its sound")
	}
	for range streams {
		dec, err := lib.NewDecoder(audio.Opus, opusClock)
		if err != nil {
			return nil, err
		}
		in.decoders = append(in.decoders, dec)
	}
	in.pcm, in.other = make([]int16, 0, audio.MaxSamples), make([]int16, audio.MaxSamples)
	return in, nil
}

func (in *opusIn) hertz() int { return opusClock }

// seconds is not known before all of the file is read.
func (in *opusIn) seconds(int64) float64 { return 0 }

// next gives the next sample, the mean of the channels; false at the end.
func (in *opusIn) next() (float32, bool) {
	for in.at == len(in.pcm) {
		packet, err := in.pages.next()
		if err != nil {
			return 0, false
		}
		in.decode(packet)
	}
	v := in.pcm[in.at]
	in.at++
	return float32(v), true
}

// decode takes a packet; one that is none is left out.
func (in *opusIn) decode(packet []byte) {
	in.pcm, in.at = in.pcm[:0], 0
	first, rest, ok := packet, []byte(nil), true
	if len(in.decoders) == 2 {
		first, rest, ok = cutDelimited(packet)
	}
	if !ok {
		return
	}
	n, err := in.decoders[0].Decode(in.pcm[:cap(in.pcm)], first)
	if err != nil {
		return
	}
	in.pcm = in.pcm[:n]
	if len(in.decoders) == 2 {
		if m, err := in.decoders[1].Decode(in.other, rest); err == nil {
			for i := range min(n, m) {
				in.pcm[i] = int16((int32(in.pcm[i]) + int32(in.other[i])) / 2)
			}
		}
	}
	in.at = min(in.skip, n)
	in.skip -= in.at
}

// cutDelimited takes the self-delimiting packet of one frame off the front of packet and gives it in the usual form.
func cutDelimited(packet []byte) (first, rest []byte, ok bool) {
	if len(packet) < 2 || packet[0]&3 != 0 {
		return nil, nil, false
	}
	n, head := int(packet[1]), 2
	if n >= 252 {
		if len(packet) < 3 {
			return nil, nil, false
		}
		n, head = n+4*int(packet[2]), 3
	}
	if len(packet) < head+n {
		return nil, nil, false
	}
	toc := packet[0]
	rest = packet[head+n:]
	first = packet[head-1 : head+n]
	first[0] = toc
	return first, rest, true
}
