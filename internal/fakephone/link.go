package fakephone

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// A link is one socket or connection of a phone.
type link struct {
	net    string
	packet net.PacketConn // udp
	stream net.Conn       // tcp
	peer   netip.AddrPort // of a stream
	mu     sync.Mutex     // one write at a time
	deaf   atomic.Bool    // what comes over it is lost
}

func (l *link) send(text string, to netip.AddrPort) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.packet != nil {
		_, err := l.packet.WriteTo([]byte(text), net.UDPAddrFromAddrPort(to))
		return err
	}
	_, err := l.stream.Write([]byte(text))
	return err
}

func (l *link) close() {
	if l.packet != nil {
		_ = l.packet.Close()
		return
	}
	_ = l.stream.Close()
}

// readPackets hands every datagram to receive until the socket closes.
func (l *link) readPackets(receive func(text string, from netip.AddrPort)) {
	b := make([]byte, 65536)
	for {
		n, from, err := l.packet.ReadFrom(b)
		if err != nil {
			return
		}
		ap, _ := netip.ParseAddrPort(from.String())
		receive(string(b[:n]), ap)
	}
}

// readStream hands every message on a stream to receive until the connection ends. Keep-alives are left out.
func (l *link) readStream(receive func(text string, from netip.AddrPort)) {
	in := bufio.NewReader(l.stream)
	for {
		text, err := readMessage(in)
		if err != nil {
			return
		}
		receive(text, l.peer)
	}
}

func readMessage(in *bufio.Reader) (string, error) {
	var head strings.Builder
	length := 0
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return "", err
		}
		if line == "\r\n" && head.Len() == 0 {
			continue
		}
		head.WriteString(line)
		if line == "\r\n" {
			break
		}
		name, v, _ := strings.Cut(line, ":")
		if n := strings.ToLower(strings.TrimSpace(name)); n == "content-length" || n == "l" {
			if length, err = strconv.Atoi(strings.TrimSpace(v)); err != nil || length < 0 {
				return "", errors.New("bad Content-Length")
			}
		}
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(in, body); err != nil {
		return "", err
	}
	return head.String() + string(body), nil
}

// connect opens a stream to the server.
func (p *Phone) connect() *link {
	c, err := p.cfg.Host.Dial(context.Background(), "tcp", netip.AddrPort{}, p.cfg.Server)
	if err != nil {
		p.t.Fatalf("%s: connect to %v: %v", p.cfg.User, p.cfg.Server, err)
	}
	if p.cfg.Net == "tls" {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	l := &link{net: p.cfg.Net, stream: c, peer: p.cfg.Server}
	p.start(l)
	return l
}

func (p *Phone) start(l *link) {
	p.mu.Lock()
	p.links = append(p.links, l)
	p.mu.Unlock()
	receive := func(text string, from netip.AddrPort) { p.receive(l, text, from) }
	p.run(func() {
		if l.packet != nil {
			l.readPackets(receive)
			return
		}
		l.readStream(receive)
	})
}

// listen accepts streams on the phone's own port.
func (p *Phone) listen(addr string) {
	ln, err := p.cfg.Host.Listen("tcp", addr)
	if err != nil {
		p.t.Fatalf("%s: listen: %v", p.cfg.User, err)
	}
	p.listener = ln
	p.run(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			peer, _ := netip.ParseAddrPort(c.RemoteAddr().String())
			p.start(&link{net: "tcp", stream: c, peer: peer})
		}
	})
}
