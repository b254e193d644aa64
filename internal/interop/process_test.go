//go:build interop

package interop

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a program that a test started, with all that it wrote.
type process struct {
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan struct{} // closed when the program is gone and its output complete
	// patience is how long the program may take to end when asked.
	patience time.Duration

	mu     sync.Mutex
	output []byte
}

// launch starts a program in dir and stops it when the test ends. The output
// is shown when the test fails.
func launch(t testing.TB, name, dir string, env []string, argv ...string) *process {
	t.Helper()
	p := &process{name: name, ended: make(chan struct{}), patience: 5 * time.Second}
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.WaitDelay = 2 * time.Second
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = stdin
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // the exit state is kept in cmd.ProcessState
	}()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("what %s wrote (its end):\n%s", name, tail(p.text(0), 12000))
		}
	})
	return p
}

// Write takes what the program writes.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.output = append(p.output, b...)
	return len(b), nil
}

// mark is the place in the output that the program has reached.
func (p *process) mark() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.output)
}

// text is the output from a mark on.
func (p *process) text(from int) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Clone(p.output[from:])
}

// find waits until the output from a mark on matches, and returns the match
// with its groups.
func (p *process) find(t testing.TB, from int, within time.Duration, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var found []string
	ok := holds(within, func() bool {
		for _, m := range [][][]byte{re.FindSubmatch(p.text(from))} {
			for _, group := range m {
				found = append(found, string(group))
			}
		}
		return found != nil || p.gone()
	})
	if !ok || found == nil {
		t.Fatalf("waited %v in vain for %s to write %q (ended: %v)", within, p.name, pattern, p.gone())
	}
	return found
}

// say writes one line to the program's standard input.
func (p *process) say(t testing.TB, line string) {
	t.Helper()
	if _, err := fmt.Fprintln(p.stdin, line); err != nil {
		t.Fatalf("tell %s %q: %v", p.name, line, err)
	}
}

// gone reports whether the program has ended.
func (p *process) gone() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// signal sends sig to the program.
func (p *process) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatalf("signal %s: %v", p.name, err)
	}
}

// waitEnd waits until the program has ended and returns its exit code.
func (p *process) waitEnd(t testing.TB, within time.Duration) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		t.Fatalf("%s still runs after %v", p.name, within)
		return -1
	}
}

// stop asks the program to end, then makes it.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may be gone
	select {
	case <-p.ended:
		return
	case <-time.After(p.patience):
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// tail returns the last n bytes.
func tail(b []byte, n int) []byte {
	return b[max(0, len(b)-n):]
}

// peer returns the path of another program, or skips the test with the name of
// the Debian package that has it. Under CI=true a missing peer is a failure.
func peer(t testing.TB, program, debian string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	switch {
	case err == nil:
		return path
	case os.Getenv("CI") == "true":
		t.Fatalf("%s is missing: apt-get install %s", program, debian)
	default:
		t.Skipf("%s is missing: apt-get install %s", program, debian)
	}
	return ""
}
