package rtpengine

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	audio "tandem/rtpengine/codec"
)

// Prompt is a sound that was made ready to be kept by all nodes.
type Prompt struct {
	WAV    []byte // one channel of 16 bits
	Rate   int    // 8000 or 16000 samples a second
	Length time.Duration
}

// ErrLongPrompt is told of a sound that does not fit into the room for a prompt; the error says how long one may be.
var ErrLongPrompt = errors.New("the sound is too long for a prompt")

// MakePrompt makes a prompt of at most so many octets from a file: WAV or Ogg/Opus, at any rate that can be played, of one or two channels. It is kept as
// it is played: in one channel, at 16 kHz for phones that hear more than G.711 has, or at 8 kHz where the file has no more, or no room for more. The
// errors say what the file is and what would be good. It takes some milliseconds a second of sound. Any goroutine.
func (e *Engine) MakePrompt(file []byte, most int) (Prompt, error) {
	return makePrompt(e.codecs, file, most)
}

func makePrompt(codecs *audio.Library, file []byte, most int) (Prompt, error) {
	for _, rate := range []int{wideRate, sampleRate} {
		in, err := openUpload(codecs, file)
		if err != nil {
			return Prompt{}, err
		}
		if in.hertz() < rate {
			continue
		}
		samples, whole := read(in, rate, (most-recordedHead)/2)
		switch {
		case len(samples) == 0:
			return Prompt{}, errors.New("the file holds no samples")
		case whole:
			return Prompt{WAV: promptWAV(samples, rate), Rate: rate, Length: time.Duration(len(samples)) * time.Second / time.Duration(rate)}, nil
		}
	}
	return Prompt{}, fmt.Errorf("%w: %v is the most", ErrLongPrompt, time.Duration(most/2/sampleRate)*time.Second)
}

// openUpload looks at what a file is, and names what others upload most.
func openUpload(codecs *audio.Library, file []byte) (soundIn, error) {
	begins := func(magic string) bool { return bytes.HasPrefix(file, []byte(magic)) }
	switch {
	case begins("OggS"):
		return openOpus(bytes.NewReader(file), codecs)
	case begins("RIFF"):
		return openWAV(bytes.NewReader(file))
	case begins("ID3"), len(file) > 1 && file[0] == 0xff && file[1]&0xe0 == 0xe0:
		return nil, notPlayed("an MP3 file")
	case begins("fLaC"):
		return nil, notPlayed("a FLAC file")
	case len(file) > 8 && string(file[4:8]) == "ftyp":
		return nil, notPlayed("an MP4 file")
	case len(file) == 0:
		return nil, errors.New("the file is empty")
	}
	return nil, errors.New("the file is neither WAV nor Ogg/Opus")
}

func notPlayed(what string) error {
	return fmt.Errorf("this is %s; WAV and Ogg/Opus can be played: `ffmpeg -i FILE prompt.wav` makes one of it", what)
}

// promptWAV is a WAV file of samples in one channel.
func promptWAV(samples []int16, rate int) []byte {
	w := wavOut{rate: rate, channels: 1, written: int64(2 * len(samples))}
	out := append(make([]byte, 0, recordedHead+2*len(samples)), w.header()...)
	for _, v := range samples {
		out = append(out, byte(v), byte(v>>8))
	}
	return out
}
