package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// takeOverPath and takeOverProtocol are how a process that is to take the place of the node asks for that: on the unix socket alone.
const (
	takeOverPath     = "/take-over"
	takeOverProtocol = "tandem-take-over"
)

// takeOver gives the connection of a successor to the node.
func (s *Server) takeOver(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), takeOverProtocol) {
		writeProblem(w, http.StatusUpgradeRequired, "this is for `tandem serve --take-over`")
		return
	}
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		writeProblem(w, http.StatusInternalServerError, err.Error())
		return
	}
	uc, ok := c.(*net.UnixConn)
	if !ok {
		_ = c.Close()
		return
	}
	_ = uc.SetDeadline(time.Time{})
	if _, err := io.WriteString(uc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+takeOverProtocol+"\r\n\r\n"); err != nil {
		_ = uc.Close()
		return
	}
	s.cfg.TakeOver(uc)
}

// DialTakeOver asks the node whose socket is at path to hand over to this process. The connection carries what the two nodes have to say.
func DialTakeOver(ctx context.Context, path string) (*net.UnixConn, error) {
	addr, release, err := socketAddress(path)
	if err != nil {
		return nil, err
	}
	defer release()
	c, err := new(net.Dialer).DialContext(ctx, "unix", addr)
	if err != nil {
		return nil, &UnreachableError{Target: path, Cause: err}
	}
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.New("that is no unix socket")
	}
	if err := upgrade(uc); err != nil {
		_ = uc.Close()
		return nil, err
	}
	return uc, nil
}

// upgrade makes the request. Nothing of what follows the answer may be read with it.
func upgrade(c *net.UnixConn) error {
	if _, err := io.WriteString(c, "POST "+takeOverPath+" HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: "+takeOverProtocol+"\r\nContent-Length: 0\r\n\r\n"); err != nil {
		return err
	}
	_ = c.SetReadDeadline(time.Now().Add(requestTimeout))
	var head strings.Builder
	one := make([]byte, 1)
	for !strings.HasSuffix(head.String(), "\r\n\r\n") {
		if head.Len() > maxHeaderBytes {
			return errors.New("the running node does not end its answer")
		}
		if _, err := io.ReadFull(c, one); err != nil {
			return fmt.Errorf("the running node does not answer: %w", err)
		}
		head.WriteByte(one[0])
	}
	r, err := http.ReadResponse(bufio.NewReader(strings.NewReader(head.String())), nil)
	if err != nil {
		return err
	}
	_ = r.Body.Close()
	if r.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("the running node answers %s: it is too old to hand over; stop it and start this one", r.Status)
	}
	return c.SetDeadline(time.Time{})
}
