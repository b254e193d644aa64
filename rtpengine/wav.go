package rtpengine

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	audio "tandem/rtpengine/codec"
)

// Formats of a WAV file that are understood (RFC 2361, and mmreg.h for the last one).
const (
	wavPCM        = 0x0001
	wavAlaw       = 0x0006
	wavUlaw       = 0x0007
	wavExtensible = 0xfffe
)

// maxChunk bounds what is skipped in front of the samples: covers and tags are long, but not that long.
const maxChunk = 64 << 20

// wavFile reads the samples of a RIFF WAVE file, one channel of them:
//
//	"RIFF" size "WAVE"  { id(4) size(4) body, padded to two octets } ...
//	"fmt "  format(2) channels(2) rate(4) octets a second(4) octets a frame(2) bits(2) ...
//	"data"  samples, the channels of a frame in turn, little endian
type wavFile struct {
	in       *bufio.Reader
	format   uint16
	channels int
	rate     int
	bits     int
	left     int64 // octets of samples; a file that is still written says 0 or too much, and then its end counts
	frame    [16]byte
}

// openWAV reads up to the first sample. Its errors say what the file is and what would be good.
func openWAV(r io.Reader) (*wavFile, error) {
	w := &wavFile{in: bufio.NewReaderSize(r, 64<<10)}
	var head [12]byte
	if _, err := io.ReadFull(w.in, head[:]); err != nil || string(head[:4]) != "RIFF" || string(head[8:]) != "WAVE" {
		return nil, errors.New("this is no WAV file")
	}
	for {
		var chunk [8]byte
		if _, err := io.ReadFull(w.in, chunk[:]); err != nil {
			return nil, errors.New("the WAV file ends before its samples")
		}
		size := int64(binary.LittleEndian.Uint32(chunk[4:]))
		switch string(chunk[:4]) {
		case "fmt ":
			if err := w.readFormat(size); err != nil {
				return nil, err
			}
		case "data":
			if w.rate == 0 {
				return nil, errors.New("the WAV file has samples before it says what they are")
			}
			if w.left = size; size == 0 {
				w.left = 1 << 62
			}
			return w, nil
		default:
			if err := w.skip(size); err != nil {
				return nil, err
			}
		}
	}
}

func (w *wavFile) skip(size int64) error {
	if size > maxChunk {
		return fmt.Errorf("the WAV file has %d octets of something in front of its samples", size)
	}
	if _, err := io.CopyN(io.Discard, w.in, size+size&1); err != nil {
		return errors.New("the WAV file ends before its samples")
	}
	return nil
}

func (w *wavFile) readFormat(size int64) error {
	if size < 16 || size > 1024 {
		return fmt.Errorf("the WAV file describes its samples in %d octets", size)
	}
	b := make([]byte, size+size&1)
	if _, err := io.ReadFull(w.in, b); err != nil {
		return errors.New("the WAV file ends before its samples")
	}
	w.format, w.channels = binary.LittleEndian.Uint16(b), int(binary.LittleEndian.Uint16(b[2:]))
	w.rate, w.bits = int(binary.LittleEndian.Uint32(b[4:])), int(binary.LittleEndian.Uint16(b[14:]))
	if w.format == wavExtensible && size >= 40 {
		w.format = binary.LittleEndian.Uint16(b[24:]) // the first two octets of the GUID
	}
	switch {
	case w.format == wavPCM && (w.bits == 8 || w.bits == 16), (w.format == wavAlaw || w.format == wavUlaw) && w.bits == 8:
	default:
		return fmt.Errorf("the WAV file has format %d with %d bits a sample; PCM of 8 or 16 bits, A-law and mu-law can be played", w.format, w.bits)
	}
	if w.channels != 1 && w.channels != 2 {
		return fmt.Errorf("the WAV file has %d channels; one or two can be played", w.channels)
	}
	if w.rate < sampleRate || w.rate > 48000 {
		return fmt.Errorf("the WAV file has %d samples a second; 8000 to 48000 can be played", w.rate)
	}
	return nil
}

func (w *wavFile) hertz() int { return w.rate }

// next gives the next sample, the mean of the channels; false at the end.
func (w *wavFile) next() (float32, bool) {
	frame := w.frame[:w.channels*w.bits/8]
	if w.left -= int64(len(frame)); w.left < 0 {
		return 0, false
	}
	if _, err := io.ReadFull(w.in, frame); err != nil {
		w.left = 0
		return 0, false
	}
	sum := 0
	for i := 0; i < len(frame); i += w.bits / 8 {
		switch {
		case w.format == wavAlaw:
			sum += int(audio.DecodeAlaw(frame[i]))
		case w.format == wavUlaw:
			sum += int(audio.DecodeUlaw(frame[i]))
		case w.bits == 8: // unsigned, unlike the wider ones
			sum += (int(frame[i]) - 128) << 8
		default:
			sum += int(int16(binary.LittleEndian.Uint16(frame[i:])))
		}
	}
	return float32(sum) / float32(w.channels), true
}

// seconds is how long the samples of a file of that size can be at most.
func (w *wavFile) seconds(fileBytes int64) float64 {
	return float64(min(w.left, fileBytes)) / float64(w.channels*w.bits/8*w.rate)
}
