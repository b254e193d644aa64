package main

import (
	"os"
	"syscall"
	"unsafe"
)

// isTerminal tells whether f is a terminal.
func isTerminal(f *os.File) bool {
	var t syscall.Termios
	return control(f, syscall.TCGETS, &t) == nil
}

// hideInput stops a terminal from showing what is typed, until restore is called.
func hideInput(f *os.File) (restore func(), err error) {
	var before syscall.Termios
	if err := control(f, syscall.TCGETS, &before); err != nil {
		return nil, err
	}
	hidden := before
	hidden.Lflag &^= syscall.ECHO
	hidden.Lflag |= syscall.ICANON | syscall.ISIG
	if err := control(f, syscall.TCSETS, &hidden); err != nil {
		return nil, err
	}
	return func() { _ = control(f, syscall.TCSETS, &before) }, nil
}

func control(f *os.File, request uintptr, t *syscall.Termios) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(t)))
	})
	if err == nil && errno != 0 {
		err = errno
	}
	return err
}
