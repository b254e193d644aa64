//go:build linux

package main

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"

	"tandem/bench/internal/wire"
)

// The same four seconds of speech, for both kinds of phone. Made by ffmpeg's filter flite, and by libopus at 24 kbit/s in frames of 20 ms:
// what a codec costs depends on what is said.
var (
	//go:embed speech.opus
	speechOpus []byte
	//go:embed speech.ulaw
	speechUlaw []byte
)

const (
	payloadOpus = 111
	ulawBytes   = 160 // 20 ms
	clockOpus   = 960 // 48 kHz, whatever is encoded
)

// sdpOpus is the body of a phone that speaks Opus and nothing else.
func sdpOpus(out []byte, id int, phone string, port uint16) []byte {
	return fmt.Appendf(out, "v=0\r\no=- %d 1 IN IP4 %s\r\ns=-\r\nc=IN IP4 %s\r\nt=0 0\r\nm=audio %d RTP/AVP %d\r\na=rtpmap:%d opus/48000/2\r\na=ptime:20\r\na=sendrecv\r\n",
		id, phone, phone, port, payloadOpus, payloadOpus)
}

// opusFrames are the packets of an Ogg stream of one logical stream (RFC 3533 §6), without its two headers (RFC 7845 §3).
func opusFrames(ogg []byte) (frames [][]byte, err error) {
	const header = 27
	var packet []byte
	for len(ogg) > 0 {
		if len(ogg) < header || !bytes.HasPrefix(ogg, []byte("OggS")) || len(ogg) < header+int(ogg[26]) {
			return nil, errors.New("speech.opus: not an Ogg page")
		}
		lacing := ogg[header : header+int(ogg[26])]
		ogg = ogg[header+len(lacing):]
		for _, n := range lacing {
			if len(ogg) < int(n) {
				return nil, errors.New("speech.opus: a page is cut off")
			}
			packet, ogg = append(packet, ogg[:n]...), ogg[n:]
			if n < 255 {
				frames, packet = append(frames, packet), nil
			}
		}
	}
	if len(frames) < 3 {
		return nil, errors.New("speech.opus: no frames")
	}
	return frames[2:], nil
}

// spoken is a load whose relay turns Opus into G.711 and back. What arrives carries no mark of what was sent, so each phone has a socket of
// its own, and packets are counted; their delay is not measured.
type spoken struct {
	frames  [][]byte
	heardAt map[*wire.Socket]int // the stream that arrives there
}

func newSpoken() (*spoken, error) {
	frames, err := opusFrames(speechOpus)
	return &spoken{frames: frames, heardAt: map[*wire.Socket]int{}}, err
}

// packet is the next packet of a stream: each begins at another word, or all would be loud at the same time.
func (s *spoken) packet(out []byte, stream int, caller bool, sequence uint32, ssrc uint32) []byte {
	payload, clock, frame := byte(0), uint32(samplesApart), stream*17+int(sequence)
	if caller {
		payload, clock = payloadOpus, clockOpus
	}
	out = append(out, 0x80, payload)
	out = binary.BigEndian.AppendUint16(out, uint16(sequence))
	out = binary.BigEndian.AppendUint32(out, sequence*clock)
	out = binary.BigEndian.AppendUint32(out, ssrc)
	if caller {
		return append(out, s.frames[frame%len(s.frames)]...)
	}
	at := frame % (len(speechUlaw) / ulawBytes) * ulawBytes
	return append(out, speechUlaw[at:at+ulawBytes]...)
}

// heard tells whether a packet is what a phone of that side expects: the other codec, and not a frame of nothing.
func (s *spoken) heard(caller bool, packet []byte) bool {
	if len(packet) < 13 || packet[0]&0xc0 != 0x80 {
		return false
	}
	body := packet[12:]
	if caller {
		return packet[1]&0x7f == payloadOpus
	}
	return packet[1]&0x7f == 0 && len(body) == ulawBytes
}
