//go:build !linux

package transport

import "net"

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
