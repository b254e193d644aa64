//go:build unix

package cluster

import (
	"errors"
	"os"
	"syscall"
)

// lockFileOf locks an open file until it is closed; errLocked where another process has.
func lockFileOf(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errLocked
	}
	return os.NewSyscallError("flock", err)
}
