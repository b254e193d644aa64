package doctor

import "golang.org/x/sys/unix"

// fileLimit is how many files a process may have open; the Go runtime raises the soft limit to it.
func fileLimit() (uint64, bool) {
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	return limit.Max, err == nil
}

func freeBytes(dir string) (uint64, bool) {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0, false
	}
	return st.Bavail * uint64(st.Bsize), true
}

// clockSynced asks whether a time server disciplines the clock.
func clockSynced() (synced, known bool) {
	var tx unix.Timex
	state, err := unix.Adjtimex(&tx)
	return state != unix.TIME_ERROR && tx.Status&unix.STA_UNSYNC == 0, err == nil
}
