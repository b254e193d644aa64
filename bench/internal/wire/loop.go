//go:build linux

// Package wire moves UDP datagrams for the load drivers as cheaply as the kernel allows: one thread, one epoll, recvmmsg and
// sendmmsg, no allocation per packet. It shares two processor cores with the server that is being measured, so its own cost matters.
package wire

import (
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Loop is an event loop of one thread over UDP sockets. Everything (handlers, step, sending) runs on the goroutine that calls Run.
type Loop struct {
	epoll   int
	sockets []*Socket
	events  []unix.EpollEvent
	dirty   []*Socket // have queued datagrams
	in      batch
}

// NewLoop returns a loop without sockets.
func NewLoop() (*Loop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	l := &Loop{epoll: fd, events: make([]unix.EpollEvent, 256)}
	l.in.init(batchLength, receiveBytes)
	return l, nil
}

// Close closes the loop and its sockets.
func (l *Loop) Close() {
	for _, s := range l.sockets {
		if s != nil {
			unix.Close(s.fd)
		}
	}
	l.sockets = nil
	unix.Close(l.epoll)
}

// Now is the loop's clock: nanoseconds, monotonic.
func Now() int64 { return int64(time.Since(epoch)) }

var epoch = time.Now()

// Run calls step, sends what was queued, waits for packets until the time step named, hands them to their sockets' handlers, and so on,
// until step says it is done. The calling goroutine is locked to its thread meanwhile.
func (l *Loop) Run(step func(now int64) (next int64, done bool)) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		next, done := step(Now())
		l.Flush()
		if done {
			return
		}
		l.wait(next)
	}
}

// Flush sends everything queued.
func (l *Loop) Flush() {
	for _, s := range l.dirty {
		s.flush()
		s.dirty = false
	}
	l.dirty = l.dirty[:0]
}

func (l *Loop) wait(until int64) {
	pause := max(until-Now(), 0)
	limit := unix.NsecToTimespec(pause)
	n, _, e := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(l.epoll), uintptr(unsafe.Pointer(&l.events[0])),
		uintptr(len(l.events)), uintptr(unsafe.Pointer(&limit)), 0, 0)
	if e != 0 {
		return // EINTR: the next turn waits again
	}
	for _, ev := range l.events[:n] {
		l.sockets[ev.Fd].receive(&l.in)
	}
}
