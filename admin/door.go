package admin

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tandem/sip/transport"
)

// maxSocketPath is what fits into sockaddr_un with its final NUL; longer paths go through the directory's descriptor.
const maxSocketPath = 107

// A door is a listener that lets a bounded number of connections in and knows when the last one has ended.
type door struct {
	net.Listener
	max    int64
	open   *atomic.Int64 // over all doors, for metrics
	turned *atomic.Uint64
	mine   atomic.Int64
	wg     sync.WaitGroup
	path   string // of a unix socket, removed at the end
}

// Accept closes connections over the limit at once.
func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if d.mine.Load() < d.max {
			return c, nil
		}
		d.turned.Add(1)
		_ = c.Close()
	}
}

// Close stops listening and takes the socket's file away.
func (d *door) Close() error {
	if d.path != "" {
		_ = os.Remove(d.path)
	}
	return d.Listener.Close()
}

// changed keeps count of connections (http.Server.ConnState): each is new once and closed once.
func (d *door) changed(state http.ConnState) {
	switch state {
	case http.StateNew:
		d.wg.Add(1)
		d.mine.Add(1)
		d.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		d.open.Add(-1)
		d.mine.Add(-1)
		d.wg.Done()
	}
}

func (d *door) wait() { d.wg.Wait() }

// Listen binds the socket and the address. On an error nothing stays bound.
func (s *Server) Listen() error {
	if s.cfg.Socket != "" {
		l, err := listenSocket(s.cfg.Socket)
		if err != nil {
			return err
		}
		s.unix = s.door(l, s.cfg.Socket)
	}
	if s.cfg.Listen == "" {
		return nil
	}
	l, err := net.Listen("tcp", s.cfg.Listen)
	if err == nil {
		s.tcp = s.door(l, "")
		return nil
	}
	if s.unix != nil {
		_ = s.unix.Close()
		s.unix = nil
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("admin address %s: %w by another process; choose another with admin.listen or TANDEM_ADMIN_LISTEN", s.cfg.Listen, transport.ErrPortTaken)
	}
	return fmt.Errorf("admin address %s cannot be bound: %w; choose another with admin.listen or TANDEM_ADMIN_LISTEN", s.cfg.Listen, err)
}

func (s *Server) door(l net.Listener, path string) *door {
	return &door{Listener: l, max: int64(s.cfg.Connections), open: &s.count.conns, turned: &s.count.turned, path: path}
}

// Addr is the host:port the TCP listener is bound to, "" without one.
func (s *Server) Addr() string {
	if s.tcp == nil {
		return ""
	}
	return s.tcp.Addr().String()
}

// loopback tells whether only this machine can reach the TCP listener.
func (s *Server) loopback() bool {
	a, ok := s.tcp.Addr().(*net.TCPAddr)
	return ok && a.IP.IsLoopback()
}

// listenSocket binds a unix socket that only its owner may use. A socket file left behind by a process that is gone is
// replaced; one that still answers is not.
func listenSocket(path string) (net.Listener, error) {
	if err := vacant(path); err != nil {
		return nil, err
	}
	// Bound under another name in a directory of our own, and moved into place with its mode set: nobody can connect before.
	dir, err := os.MkdirTemp(filepath.Dir(path), ".admin")
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	defer os.RemoveAll(dir)
	birth := filepath.Join(dir, "sock")
	addr, release, err := socketAddress(birth)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	defer release()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: addr, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("admin socket %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false)
	err = os.Chmod(birth, 0o600)
	if err == nil {
		err = os.Rename(birth, path)
	}
	if err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	return l, nil
}

// vacant tells whether a socket may be put at path.
func vacant(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("admin socket: %w", err)
	case info.Mode()&os.ModeSocket == 0:
		return fmt.Errorf("admin socket %s: there is something else with this name; move it away or choose another node.data_dir", path)
	}
	addr, release, err := socketAddress(path)
	if err != nil {
		return fmt.Errorf("admin socket: %w", err)
	}
	defer release()
	c, err := net.DialTimeout("unix", addr, time.Second)
	if err == nil {
		_ = c.Close()
		return fmt.Errorf("admin socket %s: %w: a node that is running answers on it; stop it, or choose another node.data_dir or TANDEM_NODE_DATA_DIR", path, transport.ErrPortTaken)
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrNotExist) {
		return nil // left behind
	}
	return fmt.Errorf("admin socket: %w", err)
}

// socketAddress is a name for path that the kernel takes, however long path is. release is called after use.
func socketAddress(path string) (addr string, release func(), err error) {
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	return "/proc/self/fd/" + strconv.Itoa(int(dir.Fd())) + "/" + filepath.Base(path), func() { _ = dir.Close() }, nil
}
