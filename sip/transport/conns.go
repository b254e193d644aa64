package transport

import (
	"net/netip"
	"sync"
	"time"
)

// A connTable is all stream connections, open or being opened. Shards find a connection by its number for every message,
// so those maps are striped; the rest is touched once in a connection's life.
type connTable struct {
	t       *Transport
	stripes [64]connStripe

	mu       sync.Mutex
	serial   uint64
	total    int
	perIP    map[netip.Addr]int
	byRemote map[remoteKey]*conn // the connection FlowTo uses; the first one when there are several
	closed   bool
	wg       sync.WaitGroup // one for every connection's goroutine; Add under mu, never once closed
}

type connStripe struct {
	sync.RWMutex
	m map[uint64]*conn
}

type remoteKey struct {
	net    Net
	remote netip.AddrPort
}

func (ct *connTable) init(t *Transport) {
	ct.t = t
	// Numbers go up from the clock, so that a flow kept from before a restart cannot name a connection of now.
	ct.serial = uint64(time.Now().UnixNano())
	ct.perIP = make(map[netip.Addr]int)
	ct.byRemote = make(map[remoteKey]*conn)
	for i := range ct.stripes {
		ct.stripes[i].m = make(map[uint64]*conn)
	}
}

func (ct *connTable) stripe(id uint64) *connStripe { return &ct.stripes[id%uint64(len(ct.stripes))] }

// get is the connection of a flow, nil when it is gone. Number, transport and remote must all agree.
func (ct *connTable) get(f Flow) *conn {
	if f.Conn == 0 || f.Node != 0 {
		return nil
	}
	s := ct.stripe(f.Conn)
	s.RLock()
	c := s.m[f.Conn]
	s.RUnlock()
	if c == nil || c.flow.Net != f.Net || c.flow.Remote != f.Remote {
		return nil
	}
	return c
}

// enter puts a new connection into the table and counts its goroutine, which must call leave. Limits may refuse it.
func (ct *connTable) enter(c *conn) error {
	ct.mu.Lock()
	err := ct.enterLocked(c)
	ct.mu.Unlock()
	if err == ErrLimit {
		ct.t.notices.refused.say(ct.t.cfg.Log, time.Now(), "net", c.flow.Net.String(), "peer", c.flow.Remote)
	}
	return err
}

func (ct *connTable) enterLocked(c *conn) error {
	lim := ct.t.limits()
	ip := c.flow.Remote.Addr()
	switch {
	case ct.closed:
		return ErrClosed
	case ct.total >= lim.Connections || ct.perIP[ip] >= lim.PerIP:
		ct.t.count.refusedConns.Add(1)
		return ErrLimit
	}
	ct.serial++
	c.flow.Conn = ct.serial
	ct.total++
	ct.perIP[ip]++
	ct.wg.Add(1)
	key := remoteKey{c.flow.Net, c.flow.Remote}
	if ct.byRemote[key] == nil {
		ct.byRemote[key] = c
	}
	s := ct.stripe(c.flow.Conn)
	s.Lock()
	s.m[c.flow.Conn] = c
	s.Unlock()
	return nil
}

// reserve counts a connection that is not one of ours yet: an HTTP request before its upgrade.
func (ct *connTable) reserve(ip netip.Addr) bool {
	ct.mu.Lock()
	defer ct.mu.Unlock()
	lim := ct.t.limits()
	if ct.closed || ct.total >= lim.Connections || ct.perIP[ip] >= lim.PerIP {
		return false
	}
	ct.total++
	ct.perIP[ip]++
	return true
}

func (ct *connTable) release(ip netip.Addr) {
	ct.mu.Lock()
	defer ct.mu.Unlock()
	ct.releaseLocked(ip)
}

func (ct *connTable) releaseLocked(ip netip.Addr) {
	ct.total--
	if ct.perIP[ip]--; ct.perIP[ip] == 0 {
		delete(ct.perIP, ip)
	}
}

// remove takes a connection out; nothing is sent on it from then on.
func (ct *connTable) remove(c *conn) {
	ct.mu.Lock()
	defer ct.mu.Unlock()
	s := ct.stripe(c.flow.Conn)
	s.Lock()
	delete(s.m, c.flow.Conn)
	s.Unlock()
	key := remoteKey{c.flow.Net, c.flow.Remote}
	if ct.byRemote[key] == c {
		delete(ct.byRemote, key)
	}
	ct.releaseLocked(c.flow.Remote.Addr())
}

// leave is the end of a connection's goroutine: the connection is taken out and all shards are told.
func (ct *connTable) leave(c *conn, err error) {
	ct.remove(c)
	for _, s := range ct.t.shards {
		s.in.putWait(&item{Packet: Packet{Flow: c.flow}, err: err, closed: true}, ct.t.dead)
	}
	ct.wg.Done()
}

// liveOrNew is the connection to a remote; made is called under the lock when there is none.
func (ct *connTable) liveOrNew(key remoteKey, made func() *conn) (c *conn, isNew bool, err error) {
	ct.mu.Lock()
	defer ct.mu.Unlock()
	if c = ct.byRemote[key]; c != nil && !c.gone() {
		return c, false, nil
	}
	delete(ct.byRemote, key)
	if c = made(); c == nil {
		return nil, false, ErrNoRoute
	}
	return c, true, ct.enterLocked(c)
}

// to is the connection to a remote, nil without one.
func (ct *connTable) to(key remoteKey) *conn {
	ct.mu.Lock()
	defer ct.mu.Unlock()
	return ct.byRemote[key]
}

func (ct *connTable) all() []*conn {
	var list []*conn
	for i := range ct.stripes {
		s := &ct.stripes[i]
		s.RLock()
		for _, c := range s.m {
			list = append(list, c)
		}
		s.RUnlock()
	}
	return list
}

// shutdown lets all connections write what they hold, ends them and waits for their goroutines.
func (ct *connTable) shutdown() {
	ct.mu.Lock()
	ct.closed = true
	ct.mu.Unlock()
	var closing sync.WaitGroup
	for _, c := range ct.all() {
		closing.Go(func() {
			c.drain(time.Second)
			c.part(ErrClosed)
		})
	}
	closing.Wait()
	ct.wg.Wait()
}

func (ct *connTable) len() int {
	ct.mu.Lock()
	defer ct.mu.Unlock()
	return ct.total
}
