package auth

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The encoding of commands and snapshots: integers as varints, strings and lists with their length in front,
// fixed arrays as they are. Every length is checked against what is left before anything is allocated.

var errTruncated = errors.New("it ends too early")

type encoder struct{ b []byte }

func (e *encoder) byte(v byte)    { e.b = append(e.b, v) }
func (e *encoder) bool(v bool)    { e.byte(byte(bit(v))) }
func (e *encoder) uint(v uint64)  { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) int(v int64)    { e.b = binary.AppendVarint(e.b, v) }
func (e *encoder) fixed(v []byte) { e.b = append(e.b, v...) }
func (e *encoder) strings(v ...string) {
	for _, s := range v {
		e.uint(uint64(len(s)))
		e.b = append(e.b, s...)
	}
}

// decoder reads what encoder wrote. After the first error every read returns a zero value; ask done at the end.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
		d.b = nil
	}
}

func (d *decoder) take(n int) []byte {
	if n > len(d.b) {
		d.fail(errTruncated)
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) byte() byte {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) bool() bool {
	v := d.byte()
	if v > 1 {
		d.fail(fmt.Errorf("%d is not a truth value", v))
	}
	return v == 1
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail(errTruncated)
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail(errTruncated)
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count reads the length of a list whose items take at least size bytes each.
func (d *decoder) count(limit, size int) int {
	n := d.uint()
	if n > uint64(limit) || n > uint64(len(d.b)/size) {
		d.fail(fmt.Errorf("%d items cannot be", n))
		return 0
	}
	return int(n)
}

// string returns a copy, so that the buffer need not outlive the call.
func (d *decoder) string(limit int) string {
	n := d.uint()
	if n > uint64(limit) {
		d.fail(fmt.Errorf("a text of %d bytes, at most %d may be", n, limit))
		return ""
	}
	return string(d.take(int(n)))
}

func (d *decoder) fixed(dst []byte) { copy(dst, d.take(len(dst))) }

// done reports the first error; bytes left over are one too.
func (d *decoder) done() error {
	if d.err == nil && len(d.b) > 0 {
		d.fail(fmt.Errorf("%d bytes too many", len(d.b)))
	}
	return d.err
}
