// Package netns gives the tests of a package a network namespace of their own, where every port is free and interfaces and addresses may come and go.
package netns

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// isolated marks the process that runs in a network namespace of its own.
const isolated = "TANDEM_TEST_ISOLATED"

// Main is for TestMain: it runs the tests once more in a network namespace of their own, with its loopback up, and ends the process as that one
// ended. Without the right to a namespace the tests run here, and those that Need one skip.
func Main(m *testing.M) {
	if os.Getenv(isolated) != "" {
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "ip: %v: %s\n", err, out)
		}
		os.Exit(m.Run())
	}
	again := exec.Command(os.Args[0], os.Args[1:]...)
	again.Env = append(os.Environ(), isolated+"=1")
	again.Stdout, again.Stderr = os.Stdout, os.Stderr
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig is about the thread
	var ended *exec.ExitError
	switch err := again.Run(); {
	case err == nil:
		os.Exit(0)
	case errors.As(err, &ended):
		os.Exit(ended.ExitCode())
	}
	os.Exit(m.Run())
}

// Need skips a test where the machine does not let us try.
func Need(t testing.TB) {
	t.Helper()
	if os.Getenv(isolated) == "" {
		t.Skip("no right to a network namespace")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("no ip command (iproute2)")
	}
}

// Run runs a command of words without quotes and gives what it says; the test fails when the command does.
func Run(t testing.TB, command string) string {
	t.Helper()
	words := strings.Fields(command)
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", command, err, bytes.TrimSpace(out))
	}
	return string(out)
}
