package rtpengine

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestPortsRestBeforeTheyAreUsedAgain(t *testing.T) {
	p := newPool(loop4, 5000, 5003, -1)
	first, ok := p.take(0)
	second, ok2 := p.take(0)
	if !ok || !ok2 || first == second || first%2 != 0 {
		t.Fatalf("got %d %v, %d %v", first, ok, second, ok2)
	}
	p.give(first, 10)
	p.give(first, 10) // twice is once
	if port, ok := p.take(10 + int64(quarantine) - 1); ok {
		t.Errorf("%d given out in quarantine", port)
	}
	if port, ok := p.take(10 + int64(quarantine)); !ok || port != first {
		t.Errorf("got %d %v, want %d", port, ok, first)
	}
	if port, ok := p.take(1 << 60); ok {
		t.Errorf("%d given out twice", port)
	}
}

func TestPortThatAnotherProgramHoldsIsSkipped(t *testing.T) {
	var taken *net.UDPConn
	var port uint16
	for port = 27000; port < 27400; port += 4 { // room for the neighbours of this machine
		conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loop4, port+1)))
		if err == nil {
			taken = conn
			break
		}
	}
	if taken == nil {
		t.Skip("all of 27001-27397 are taken on this machine")
	}
	defer taken.Close()
	p := newPool(loop4, port, port+3, -1)
	clock := func() int64 { return 0 }
	for range 2 {
		got, err := p.open(clock)
		if err != nil {
			break // the other pair is out, and the taken one stays so
		}
		defer got.close(0)
		if got.port == port {
			t.Fatal("bound a pair of which one port was taken")
		}
	}
	if _, err := p.open(clock); err == nil {
		t.Error("opened a third pair of two")
	}
}

// The pool must behave as a set from which ports leave and return after their rest.
func TestPoolAgreesWithASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 40).Draw(t, "pairs")
		p := newPool(loop4, 6000, uint16(6000+2*n-1), -1)
		out, rest := map[uint16]bool{}, map[uint16]int64{}
		now := int64(0)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now += rapid.Int64Range(0, int64(2*time.Second)).Draw(t, "pause")
			if len(out) > 0 && rapid.Bool().Draw(t, "give") {
				for port := range out {
					p.give(port, now)
					delete(out, port)
					rest[port] = now
					break
				}
				continue
			}
			port, ok := p.take(now)
			rested := n - len(out)
			for _, at := range rest {
				if now-at < int64(quarantine) {
					rested--
				}
			}
			if ok != (rested > 0) {
				t.Fatalf("take said %v, %d pairs are rested", ok, rested)
			}
			if !ok {
				continue
			}
			if at, was := rest[port]; out[port] || port%2 != 0 || was && now-at < int64(quarantine) {
				t.Fatalf("%d is taken or rests", port)
			}
			delete(rest, port)
			out[port] = true
		}
	})
}
