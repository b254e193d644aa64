//go:build linux && (amd64 || arm64) && !static

package codec

import (
	"cmp"
	"fmt"
	"unsafe"

	"github.com/ebitengine/purego"
)

// opusCalls are the addresses of libopus's functions.
type opusCalls struct {
	encSize, encInit, enc, encCtl uintptr
	decSize, decInit, dec         uintptr
}

// openOpus loads the library. It stays loaded.
func openOpus(path string) (l *libopus, err error) {
	defer func() {
		if r := recover(); r != nil { // purego panics where it cannot work at all
			l, err = nil, fmt.Errorf("%v", r)
		}
	}()
	handle, err := purego.Dlopen(cmp.Or(path, "libopus.so.0"), purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, err
	}
	l = &libopus{}
	c := &l.calls
	var version uintptr
	for _, f := range []struct {
		name string
		addr *uintptr
	}{
		{"opus_encoder_get_size", &c.encSize},
		{"opus_encoder_init", &c.encInit},
		{"opus_encode", &c.enc},
		{"opus_encoder_ctl", &c.encCtl},
		{"opus_decoder_get_size", &c.decSize},
		{"opus_decoder_init", &c.decInit},
		{"opus_decode", &c.dec},
		{"opus_get_version_string", &version},
	} {
		if *f.addr, err = purego.Dlsym(handle, f.name); err != nil {
			return nil, err
		}
	}
	var text func() string
	purego.RegisterFunc(&text, version)
	l.version = text()
	return l, nil
}

// frame is the arguments of one call, kept in an object of ours: as a variadic list they would be allocated for each.
type frame [6]uintptr

// call calls a function that takes integers and pointers and returns an int. What the pointers lead to is forced to the heap, where
// nothing moves, and kept alive until it returns.
//
//go:uintptrescapes
func (f *frame) call(function uintptr, a, b, c, d, e, g uintptr) int {
	*f = frame{a, b, c, d, e, g}
	r, _, _ := purego.SyscallN(function, f[:]...)
	return int(int32(r))
}

func (c *opusCalls) encoderSize() int { return new(frame).call(c.encSize, 1, 0, 0, 0, 0, 0) }

func (c *opusCalls) decoderSize() int { return new(frame).call(c.decSize, 1, 0, 0, 0, 0, 0) }

func (c *opusCalls) encoderInit(f *frame, st []uint64, rate int) int {
	return f.call(c.encInit, uintptr(unsafe.Pointer(unsafe.SliceData(st))), uintptr(rate), 1, opusApplicationVoIP, 0, 0)
}

func (c *opusCalls) decoderInit(f *frame, st []uint64, rate int) int {
	return f.call(c.decInit, uintptr(unsafe.Pointer(unsafe.SliceData(st))), uintptr(rate), 1, 0, 0, 0)
}

// encoderSet calls a variadic function, which on these processors takes integers as any other does.
func (c *opusCalls) encoderSet(f *frame, st []uint64, what, value int) int {
	return f.call(c.encCtl, uintptr(unsafe.Pointer(unsafe.SliceData(st))), uintptr(what), uintptr(value), 0, 0, 0)
}

// encode gives the length of the packet, or an error below zero.
func (c *opusCalls) encode(f *frame, st []uint64, pcm []int16, dst []byte) int {
	return f.call(c.enc, uintptr(unsafe.Pointer(unsafe.SliceData(st))), uintptr(unsafe.Pointer(unsafe.SliceData(pcm))), uintptr(len(pcm)),
		uintptr(unsafe.Pointer(unsafe.SliceData(dst))), uintptr(len(dst)), 0)
}

// decode gives the number of samples, or an error below zero. No payload conceals len(dst) samples; again decodes the redundancy for
// the frame before.
func (c *opusCalls) decode(f *frame, st []uint64, payload []byte, dst []int16, again bool) int {
	fec := uintptr(0)
	if again {
		fec = 1
	}
	return f.call(c.dec, uintptr(unsafe.Pointer(unsafe.SliceData(st))), uintptr(unsafe.Pointer(unsafe.SliceData(payload))), uintptr(len(payload)),
		uintptr(unsafe.Pointer(unsafe.SliceData(dst))), uintptr(len(dst)), fec)
}
