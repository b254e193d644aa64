package rtpengine

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

// An Ogg page (RFC 3533 §6), all numbers little endian. A packet is a run of segments of 255 octets and one that is shorter:
//
//	| "OggS" | version 1 | type 1 | granule position 8 | serial 4 | page number 4 | CRC 4 | segments 1 | lengths ... | segments ...
const (
	oggHeader   = 27
	oggSegments = 255 // of a page

	oggContinued = 1
	oggFirst     = 2
	oggLast      = 4
)

var errNoOgg = errors.New("this is no Ogg stream")

// oggPage builds pages of one stream.
type oggPage struct {
	serial, number uint32
	lengths        []byte
	body           []byte
}

// fits tells whether a packet has room on the page.
func (p *oggPage) fits(n int) bool { return len(p.lengths)+n/255+1 <= oggSegments }

func (p *oggPage) add(packet []byte) {
	for n := len(packet); ; n -= 255 {
		p.lengths = append(p.lengths, byte(min(n, 255)))
		if n < 255 {
			break
		}
	}
	p.body = append(p.body, packet...)
}

// flush appends the page to out and begins the next one. granule is the position behind the last packet on it.
func (p *oggPage) flush(out []byte, kind byte, granule int64) []byte {
	at := len(out)
	out = append(out, "OggS\x00"...)
	out = append(out, kind)
	out = binary.LittleEndian.AppendUint64(out, uint64(granule))
	out = binary.LittleEndian.AppendUint32(out, p.serial)
	out = binary.LittleEndian.AppendUint32(out, p.number)
	out = append(out, 0, 0, 0, 0, byte(len(p.lengths)))
	out = append(append(out, p.lengths...), p.body...)
	binary.LittleEndian.PutUint32(out[at+22:], oggSum(out[at:]))
	p.number++
	p.lengths, p.body = p.lengths[:0], p.body[:0]
	return out
}

// oggSum is the CRC of RFC 3533 §6: the polynomial 0x04c11db7, the highest bit first, begun with 0 and not inverted.
func oggSum(b []byte) (sum uint32) {
	for _, c := range b {
		sum ^= uint32(c) << 24
		for range 8 {
			carry := sum >> 31
			sum = sum<<1 ^ carry*0x04c11db7
		}
	}
	return sum
}

// oggReader gives the packets of the first stream of a file. It ends where the file does, or is damaged: so a file whose writer was killed
// gives what is whole in it.
type oggReader struct {
	in     *bufio.Reader
	serial uint32
	begun  bool
	page   []byte // what is left of its body
	left   []byte // lengths of its segments that are left
	packet []byte // of it, so far
	broken bool   // a packet's beginning is missing
}

func newOggReader(r io.Reader) *oggReader { return &oggReader{in: bufio.NewReaderSize(r, 64<<10)} }

// mostPacket bounds a packet; tags may hold a picture.
const mostPacket = 16 << 20

// next gives a packet until the next call; io.EOF at the end.
func (r *oggReader) next() ([]byte, error) {
	r.packet = r.packet[:0]
	for {
		for len(r.left) > 0 {
			n := r.left[0]
			r.left = r.left[1:]
			if !r.broken {
				r.packet = append(r.packet, r.page[:n]...)
			}
			r.page = r.page[n:]
			switch {
			case n < 255 && r.broken:
				r.broken = false
			case n < 255:
				return r.packet, nil
			case len(r.packet) > mostPacket:
				return nil, errNoOgg
			}
		}
		if err := r.turn(); err != nil {
			return nil, err
		}
	}
}

// turn reads the next page of the stream.
func (r *oggReader) turn() error {
	for {
		var head [oggHeader]byte
		if _, err := io.ReadFull(r.in, head[:]); err != nil {
			return io.EOF
		}
		if !bytes.Equal(head[:5], []byte("OggS\x00")) {
			if !r.begun {
				return errNoOgg
			}
			return io.EOF
		}
		lengths := make([]byte, head[26])
		if _, err := io.ReadFull(r.in, lengths); err != nil {
			return io.EOF
		}
		size := 0
		for _, n := range lengths {
			size += int(n)
		}
		body := make([]byte, size)
		if _, err := io.ReadFull(r.in, body); err != nil {
			return io.EOF
		}
		sum := binary.LittleEndian.Uint32(head[22:])
		clear(head[22:26])
		if oggSum(append(append(head[:], lengths...), body...)) != sum {
			return io.EOF
		}
		serial := binary.LittleEndian.Uint32(head[14:])
		if !r.begun {
			r.begun, r.serial = true, serial
		}
		if serial != r.serial {
			continue
		}
		// What continues a packet whose beginning was never read is left out, and what was begun and is not continued, too.
		if continued := head[5]&oggContinued != 0; continued != (len(r.packet) > 0) {
			r.broken, r.packet = continued, r.packet[:0]
		}
		r.left, r.page = lengths, body
		return nil
	}
}
