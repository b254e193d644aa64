package tandem

import (
	"os"
	"strings"
)

// machine names the network stack that this process has: of two processes with the same one, either can bind what the other had bound.
func machine() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil { // no Linux
		name, _ := os.Hostname()
		return name
	}
	space, _ := os.Readlink("/proc/self/ns/net")
	return strings.TrimSpace(string(boot)) + " " + space
}
