package sip

import (
	"net/netip"
	"sync"
	"time"
)

// maxRefusals bounds the table below; a full one is forgotten whole, which costs each target one more try.
const maxRefusals = 4096

// tcpRefusals remembers for ten minutes which UDP targets could not be reached over TCP, so that only the first large
// request waits for it. Any goroutine.
type tcpRefusals struct {
	mu    sync.Mutex
	until map[netip.AddrPort]time.Time
}

func (t *tcpRefusals) has(a netip.AddrPort, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return now.Before(t.until[a])
}

func (t *tcpRefusals) add(a netip.AddrPort, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.until == nil || len(t.until) >= maxRefusals {
		t.until = make(map[netip.AddrPort]time.Time)
	}
	t.until[a] = now.Add(10 * time.Minute)
}
