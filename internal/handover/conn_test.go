package handover

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ends are the two ends of a connection.
func ends(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr)); err != nil {
		t.Fatal(err)
	}
	if b, err = l.AcceptUnix(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestFramesAndFilesArriveInTheirOrder(t *testing.T) {
	ca, cb := ends(t)
	a, err := New(ca)
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(cb)
	if err != nil {
		t.Fatal(err)
	}
	b.Within(10 * time.Second)
	name := filepath.Join(t.TempDir(), "given")
	if err := os.WriteFile(name, []byte("what is in it"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 1<<20)
	go func() {
		_ = a.Send('a', nil, nil)
		_ = a.Send('f', []byte(long), f)
		_ = a.Send('z', []byte("last"), nil)
		f.Close()
		a.Close()
	}()
	if kind, payload, file, err := b.Receive(); kind != 'a' || len(payload) > 0 || file != nil || err != nil {
		t.Fatalf("%c %q %v %v", kind, payload, file, err)
	}
	kind, payload, file, err := b.Receive()
	if kind != 'f' || string(payload) != long || file == nil || err != nil {
		t.Fatalf("%c, %d octets, %v, %v", kind, len(payload), file, err)
	}
	defer file.Close()
	if text, err := io.ReadAll(file); string(text) != "what is in it" {
		t.Errorf("the file holds %q, %v", text, err)
	}
	if kind, payload, _, err := b.Receive(); kind != 'z' || string(payload) != "last" || err != nil {
		t.Fatalf("%c %q %v", kind, payload, err)
	}
	if _, _, _, err := b.Receive(); err != io.EOF {
		t.Errorf("behind the end: %v", err)
	}
}

func TestWhatIsNoFrameIsRefused(t *testing.T) {
	for what, text := range map[string]string{
		"a long one":   "x\xFF\xFF\xFF\xFF",
		"half a one":   "x\x00\x00\x00\x09half",
		"half a start": "x\x00",
	} {
		ca, cb := ends(t)
		b, err := New(cb)
		if err != nil {
			t.Fatal(err)
		}
		b.Within(10 * time.Second)
		if _, err := ca.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		ca.Close()
		if _, _, _, err := b.Receive(); !errors.Is(err, ErrFrame) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v", what, err)
		}
	}
	ca, _ := ends(t)
	a, err := New(ca)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Send('x', make([]byte, MaxFrame+1), nil); !errors.Is(err, ErrFrame) {
		t.Errorf("too much to send: %v", err)
	}
}
