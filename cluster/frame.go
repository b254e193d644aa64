package cluster

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// What nodes say to each other, Raft aside, goes in frames:
//
//	+---------+------+---------+---------------+---------+
//	| length  | type | id      | uv len, kind  | payload |
//	| 4 bytes | 1    | 8 bytes |               |         |
//	+---------+------+---------+---------------+---------+
//
// length counts what follows it. The side that dialled sends requests and messages, the other one answers and faults, whose id is that
// of the request and whose kind is empty; a fault's payload is a code and a text.
const (
	frameRequest = 1
	frameMessage = 2
	frameAnswer  = 3
	frameFault   = 4

	frameHead  = 4 + 1 + 8
	maxKind    = 64
	maxFrame   = MaxCommand + 64<<10
	frameLimit = frameHead + 1 + maxKind // beside the payload

	// What may wait for one connection; more is refused (ErrBusy).
	outFrames = 8192
	outBytes  = 32 << 20
	// writeTimeout is how long a peer may refuse to read before its connection is given up.
	writeTimeout = 5 * time.Second
)

// MaxPayload is the longest payload of a call or message between nodes, in bytes.
const MaxPayload = maxFrame - frameLimit

var errFrame = errors.New("damaged frame")

type frame struct {
	typ     byte
	id      uint64
	kind    string
	payload []byte
}

func (f frame) encode() []byte {
	b := make([]byte, 4, frameLimit+len(f.payload))
	b = append(b, f.typ)
	b = binary.BigEndian.AppendUint64(b, f.id)
	b = append(b, byte(len(f.kind)))
	b = append(append(b, f.kind...), f.payload...)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// readFrame reads one frame. Its length is bounded before anything is allocated.
func readFrame(r *bufio.Reader) (f frame, err error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return f, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < frameHead-4+1 || n > maxFrame {
		return f, fmt.Errorf("%w: length %d", errFrame, n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return f, err
	}
	f.typ, f.id = b[0], binary.BigEndian.Uint64(b[1:])
	kind := int(b[9])
	if f.typ < frameRequest || f.typ > frameFault || kind > maxKind || 10+kind > len(b) {
		return f, fmt.Errorf("%w: type %d, kind of %d bytes", errFrame, f.typ, kind)
	}
	f.kind, f.payload = string(b[10:10+kind]), b[10+kind:]
	return f, nil
}

// outgoing is what waits to be written to one connection. put never blocks; run writes.
type outgoing struct {
	wake chan struct{}

	mu     sync.Mutex
	frames [][]byte
	bytes  int
	closed bool
}

func newOutgoing() *outgoing { return &outgoing{wake: make(chan struct{}, 1)} }

func (o *outgoing) put(f frame) error {
	b := f.encode()
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		return ErrUnreachable
	case len(o.frames) >= outFrames || o.bytes+len(b) > outBytes:
		return ErrBusy
	}
	o.frames = append(o.frames, b)
	o.bytes += len(b)
	signal(o.wake)
	return nil
}

// close makes run return once what waits is written, and put refuse.
func (o *outgoing) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	signal(o.wake)
}

func (o *outgoing) take() (frames [][]byte, closed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	frames, o.frames, o.bytes = o.frames, nil, 0
	return frames, o.closed
}

// run writes until close, or until the connection fails, which it then closes.
func (o *outgoing) run(conn net.Conn) {
	w := bufio.NewWriterSize(conn, 64<<10)
	for {
		frames, closed := o.take()
		if len(frames) == 0 {
			if closed {
				return
			}
			<-o.wake
			continue
		}
		conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		for _, b := range frames {
			if _, err := w.Write(b); err != nil {
				conn.Close()
				o.close()
				return
			}
		}
		if w.Flush() != nil {
			conn.Close()
			o.close()
			return
		}
	}
}
