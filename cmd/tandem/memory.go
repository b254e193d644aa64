package main

import (
	"os"
	"runtime/debug"
)

// tuneCollector lets the heap of a node grow to five times what is live before it is collected, unless the environment says
// otherwise (GOGC). What lives is small; with Go's default, collections during 3,000 calls a second took p99 of INVITE to 180
// from 3 to 17 ms on two cores.
func tuneCollector() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}
