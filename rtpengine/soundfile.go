package rtpengine

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"

	audio "tandem/rtpengine/codec"
)

// RecordingFormat is how recordings are written.
type RecordingFormat string

const (
	RecordWAV RecordingFormat = "wav" // 16 bits, 16 kB a second and channel
	RecordOgg RecordingFormat = "ogg" // Opus (RFC 7845), 2.5 kB a second and channel; needs libopus
)

func (f RecordingFormat) check() error {
	if !slices.Contains([]RecordingFormat{"", RecordWAV, RecordOgg}, f) {
		return fmt.Errorf("rtpengine: no recording format %q", f)
	}
	return nil
}

// soundFile is what a recording grows in. After each append it can be read as it stands, also by somebody else and when the program was
// killed.
type soundFile interface {
	append(pcm []int16) error // samples at the rate that it was made for, the channels of each in turn
	octets() int64            // so far
	close() error             // completes it
}

// makeSoundFile makes a new file.
func makeSoundFile(format RecordingFormat, lib *audio.Library, path string, rate, channels int) (soundFile, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	var out soundFile
	if format == RecordOgg {
		out, err = newOggFile(file, lib, rate, channels)
	} else {
		out, err = newWAVFile(file, rate, channels)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return out, nil
}

// wavOut writes a WAV file: the samples first, then a header that says how many there are.
type wavOut struct {
	file     *os.File
	rate     int
	channels int
	written  int64 // octets of samples
	buf      []byte
}

func newWAVFile(file *os.File, rate, channels int) (*wavOut, error) {
	w := &wavOut{file: file, rate: rate, channels: channels}
	_, err := file.Write(w.header())
	return w, err
}

func (w *wavOut) append(pcm []int16) error {
	w.buf = w.buf[:0]
	for _, v := range pcm {
		w.buf = append(w.buf, byte(v), byte(v>>8))
	}
	if _, err := w.file.WriteAt(w.buf, recordedHead+w.written); err != nil {
		return err
	}
	w.written += int64(len(w.buf))
	_, err := w.file.WriteAt(w.header(), 0)
	return err
}

func (w *wavOut) octets() int64 { return recordedHead + w.written }

func (w *wavOut) close() error { return w.file.Close() }

// recordedHead is the length of the header.
const recordedHead = 44

// header is that of the file as it is; 4 GB, which it cannot say, are 37 hours of stereo at 8 kHz.
func (w *wavOut) header() []byte {
	size := uint32(min(w.written, 1<<32-1-recordedHead))
	b := append(make([]byte, 0, recordedHead), "RIFF"...)
	b = binary.LittleEndian.AppendUint32(b, size+recordedHead-8)
	b = append(b, "WAVEfmt "...)
	b = binary.LittleEndian.AppendUint32(b, 16)
	b = binary.LittleEndian.AppendUint16(b, wavPCM)
	b = binary.LittleEndian.AppendUint16(b, uint16(w.channels))
	b = binary.LittleEndian.AppendUint32(b, uint32(w.rate))
	b = binary.LittleEndian.AppendUint32(b, uint32(w.rate*2*w.channels))
	b = binary.LittleEndian.AppendUint16(b, uint16(2*w.channels))
	b = binary.LittleEndian.AppendUint16(b, 16)
	b = append(b, "data"...)
	return binary.LittleEndian.AppendUint32(b, size)
}
