//go:build !linux

package transport

import (
	"net"
	"os"
)

// bindUDP binds one socket: other systems have no SO_REUSEPORT that spreads load, and no recvmmsg.
func bindUDP(addr string, _ int) ([]datagramSocket, error) {
	pc, err := net.ListenPacket("udp", addr)
	if err != nil {
		return nil, err
	}
	s, err := newPacketSocket(pc)
	if err != nil {
		return nil, err
	}
	return []datagramSocket{s}, nil
}

// adoptUDP takes a socket of one address from another process.
func adoptUDP(files []*os.File) (*udpGroup, error) {
	pc, err := net.FilePacketConn(files[0])
	for _, f := range files {
		_ = f.Close()
	}
	if err != nil {
		return nil, err
	}
	s, err := newPacketSocket(pc)
	if err != nil {
		return nil, err
	}
	return &udpGroup{sockets: []datagramSocket{s}}, nil
}
