//go:build linux && !portable

package rtpengine

import "sync"

// mailboxSize bounds the orders that wait for one shard. When it is full, signalling waits: an order
// must not be lost, and a shard empties the box once per batch.
const mailboxSize = 1024

// mailbox is the bounded ring through which signalling talks to a shard.
type mailbox struct {
	mu     sync.Mutex
	room   *sync.Cond
	ring   []func(*shard)
	spare  []func(*shard)
	open   bool // a shard is running: it may be woken
	closed bool
	waits  uint64 // times somebody had to wait for room
}

func (m *mailbox) init() {
	m.room = sync.NewCond(&m.mu)
	m.ring = make([]func(*shard), 0, 16)
	m.spare = make([]func(*shard), 0, 16)
}

// put adds an order; false when the shard has ended, and then the order will never run.
func (m *mailbox) put(order func(*shard)) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.ring) >= mailboxSize && !m.closed {
		m.waits++
		m.room.Wait()
	}
	if m.closed {
		return false
	}
	m.ring = append(m.ring, order)
	return true
}

// empty takes every waiting order. The caller runs them and gives the slice back with done.
func (m *mailbox) empty() []func(*shard) {
	m.mu.Lock()
	defer m.mu.Unlock()
	orders := m.ring
	m.ring, m.spare = m.spare[:0], nil
	if orders != nil {
		m.room.Broadcast()
	}
	return orders
}

func (m *mailbox) done(orders []func(*shard)) {
	clear(orders)
	m.mu.Lock()
	m.spare = orders[:0]
	m.mu.Unlock()
}

// start says that the shard runs.
func (m *mailbox) start() {
	m.mu.Lock()
	m.open = true
	m.mu.Unlock()
}

// close refuses further orders.
func (m *mailbox) close() {
	m.mu.Lock()
	m.open, m.closed = false, true
	m.room.Broadcast()
	m.mu.Unlock()
}
