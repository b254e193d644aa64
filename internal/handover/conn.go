// Package handover is how two processes of one machine talk while one takes the place of the other: frames over a unix socket, which may
// carry an open file, between processes of one user.
package handover

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// MaxFrame is the longest payload of a frame.
const MaxFrame = 4 << 20

// maxFiles bounds the files of one frame that the kernel is given room for.
const maxFiles = 4

// Errors that callers branch on.
var (
	ErrFrame    = errors.New("handover: the other process said something that makes no sense")
	ErrStranger = errors.New("handover: the other process belongs to another user")
)

// A Conn carries frames. One goroutine sends and one receives.
//
//	kind(1) length(4, big endian) payload
type Conn struct {
	c     *net.UnixConn
	files []*os.File // that came and were not taken yet
}

// New makes a Conn of a connection whose other end must belong to the user of this process, or to root.
func New(c *net.UnixConn) (*Conn, error) {
	uid, err := peerUser(c)
	if err != nil {
		return nil, fmt.Errorf("handover: who is at the other end: %w", err)
	}
	if uid != 0 && uid != os.Geteuid() {
		return nil, ErrStranger
	}
	return &Conn{c: c}, c.SetDeadline(time.Time{})
}

// Within gives everything that follows an end in time.
func (c *Conn) Within(d time.Duration) { _ = c.c.SetDeadline(time.Now().Add(d)) }

// Close ends the connection, and the files that nobody has taken.
func (c *Conn) Close() {
	for _, f := range c.files {
		_ = f.Close()
	}
	c.files = nil
	_ = c.c.Close()
}

// Send writes one frame. file may be nil; it stays the caller's.
func (c *Conn) Send(kind byte, payload []byte, file *os.File) error {
	if len(payload) > MaxFrame {
		return fmt.Errorf("%w: a frame of %d octets", ErrFrame, len(payload))
	}
	b := make([]byte, 5, 5+len(payload))
	b[0] = kind
	binary.BigEndian.PutUint32(b[1:], uint32(len(payload)))
	b = append(b, payload...)
	if file == nil {
		_, err := c.c.Write(b)
		return err
	}
	// The file goes with the first octets; the rest may need several writes.
	n, _, err := c.c.WriteMsgUnix(b, syscall.UnixRights(int(file.Fd())), nil)
	if err == nil && n < len(b) {
		_, err = c.c.Write(b[n:])
	}
	return err
}

// Receive reads one frame. file is nil when none came with it, and the caller's otherwise. io.EOF: the other process has closed.
func (c *Conn) Receive() (kind byte, payload []byte, file *os.File, err error) {
	var head [5]byte
	if err := c.read(head[:]); err != nil {
		return 0, nil, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > MaxFrame {
		return 0, nil, nil, fmt.Errorf("%w: a frame of %d octets", ErrFrame, n)
	}
	payload = make([]byte, n)
	if err := c.read(payload); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, nil, err
	}
	if len(c.files) > 0 {
		file, c.files = c.files[0], c.files[1:]
	}
	return head[0], payload, file, nil
}

// read fills b and keeps the files that come with it.
func (c *Conn) read(b []byte) error {
	for at := 0; at < len(b); {
		room := make([]byte, syscall.CmsgSpace(4*maxFiles))
		n, with, _, _, err := c.c.ReadMsgUnix(b[at:], room)
		if with > 0 {
			if err := c.keep(room[:with]); err != nil {
				return err
			}
		}
		switch {
		case n > 0:
			at += n
		case err != nil && !errors.Is(err, io.EOF):
			return err
		case at > 0:
			return io.ErrUnexpectedEOF
		default:
			return io.EOF
		}
	}
	return nil
}

func (c *Conn) keep(control []byte) error {
	messages, err := syscall.ParseSocketControlMessage(control)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFrame, err)
	}
	for i := range messages {
		fds, err := syscall.ParseUnixRights(&messages[i])
		if err != nil {
			return fmt.Errorf("%w: %w", ErrFrame, err)
		}
		for _, fd := range fds {
			syscall.CloseOnExec(fd)
			c.files = append(c.files, os.NewFile(uintptr(fd), "handover"))
		}
	}
	return nil
}
