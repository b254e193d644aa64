package tandem

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// isolated marks the process that runs in a network namespace of its own.
const isolated = "TANDEM_TEST_ISOLATED"

// TestMain runs the tests in a network namespace of their own, where every port is free and addresses may come and go; without the right to one,
// those that need it skip.
func TestMain(m *testing.M) {
	if os.Getenv(isolated) != "" {
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			_, _ = os.Stderr.Write(append([]byte("ip: "+err.Error()+": "), out...))
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

func needNamespace(t testing.TB) {
	t.Helper()
	if os.Getenv(isolated) == "" {
		t.Skip("no right to a network namespace")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("no ip command (iproute2)")
	}
}

func shell(t testing.TB, command string) string {
	t.Helper()
	words := strings.Fields(command)
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", command, err, bytes.TrimSpace(out))
	}
	return string(out)
}
