package transport

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Net is a SIP transport protocol.
type Net uint8

// The transports, RFC 3261 §18 and RFC 7118.
const (
	UDP Net = iota
	TCP
	TLS
	WS
	WSS
	numNets
)

var netNames = [numNets]string{"udp", "tcp", "tls", "ws", "wss"}

var viaNames = [numNets]string{"UDP", "TCP", "TLS", "WS", "WSS"}

// String is the name as it stands in a transport parameter: "udp".
func (n Net) String() string {
	if n < numNets {
		return netNames[n]
	}
	return fmt.Sprintf("net(%d)", uint8(n))
}

// Via is the name as it stands in a Via header: "UDP".
func (n Net) Via() string {
	if n < numNets {
		return viaNames[n]
	}
	return n.String()
}

// Reliable tells whether the transport repeats what was lost by itself: no retransmission timers then (RFC 3261 §17).
func (n Net) Reliable() bool { return n != UDP }

// Secure tells whether the hop is encrypted.
func (n Net) Secure() bool { return n == TLS || n == WSS }

// ParseNet reads a transport name, whatever its case.
func ParseNet(s string) (Net, bool) {
	for i, name := range netNames {
		if strings.EqualFold(name, s) {
			return Net(i), true
		}
	}
	return 0, false
}

// Flow says where a packet came from and is the way back to it (RFC 5626 §1). It is a comparable value, kept by the
// 100,000 and used as a map key. A Flow of a connection that has ended never comes to life again, not even in another
// process: connection numbers are not reused.
type Flow struct {
	Net      Net
	Listener uint16         // low byte: index of the socket group or listener it belongs to; high byte: see source
	Node     uint32         // NodeNumber of another node of the cluster that holds the flow, 0: this one does
	Conn     uint64         // stream connection number, 0 for UDP
	Remote   netip.AddrPort // the other end
}

// index is the listener's place in Transport.listeners.
func (f Flow) index() int { return int(f.Listener & 0xFF) }

// source is 0, or the number of the address of ours that the peer talks to: when the listener is bound to all addresses and the
// routing table would answer from another one (a second address in one network, a virtual address). The peer, and each NAT and
// firewall on the way, must hear from the address it sent to.
func (f Flow) source() uint8 { return uint8(f.Listener >> 8) }

// String is for logs: "udp 192.0.2.1:5060".
func (f Flow) String() string { return f.Net.String() + " " + f.Remote.String() }

// Packet is one whole SIP message as it arrived.
type Packet struct {
	Text string // its own copy, never written to again
	Flow Flow
	At   time.Time // when the batch it came in was read
}

// Handler is one shard's protocol machine. All its methods run on that shard's one goroutine and must not block.
type Handler interface {
	// Receive handles one message. Messages of one source and Call-ID come in the order they arrived.
	Receive(p Packet)
	// FlowClosed tells that a stream connection has ended or could not be opened. Every shard is told, after all messages
	// that came over the connection.
	FlowClosed(f Flow, err error)
	// Wake is called once the instant asked for by SetWake has come.
	Wake(now time.Time)
}
