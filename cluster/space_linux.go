package cluster

import (
	"os"

	"golang.org/x/sys/unix"
)

// freeSpace is what a directory's disk has left for this process, 0 when that cannot be told.
func freeSpace(dir string) uint64 {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0
	}
	return st.Bavail * uint64(st.Bsize)
}

// dataSync returns when the disk has the file's content, and what it takes to read that.
func dataSync(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
