package main

import (
	"fmt"
	"net"
	"os"
)

// notify tells the service manager how things stand (sd_notify(3)); without one it does nothing. What cannot be told is not worth a line.
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	c, err := net.Dial("unixgram", path) // a leading @ is the abstract name space
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = fmt.Fprint(c, state)
}

// isMain tells that this process is the service now.
func isMain() { notify(fmt.Sprintf("MAINPID=%d", os.Getpid())) }
