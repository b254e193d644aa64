//go:build linux && !portable

package rtpengine

import (
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tandem/rtpengine/srtp"
)

const (
	batch     = 256      // sockets looked at per wake-up
	slabBytes = 16 << 10 // the longest datagram relayed

	// napBelow and nap let packets gather when a wake-up brought few: one wake-up for many packets
	// is cheaper than many for one. A nap ends so long after the wake-up before it, whatever the work took, and the
	// kernel's timer slack (50 us) later: near saturation there is none, since it would only add delay.
	napBelow = 4
	nap      = 130 * time.Microsecond

	// Negative slots of epoll events: the event descriptor, and the inbox's sockets by family.
	eventSlot = -1
	inboxSlot = -2 // IPv4's; IPv6's is one less
)

// shard is one relay with its sockets, run by one goroutine locked to its thread.
type shard struct {
	relay
	gauges

	clock   func() int64
	mail    mailbox
	pending atomic.Bool // the event descriptor has been written and not yet read
	ticks   atomic.Int32
	stopped bool

	epoll, event int
	table        []*socket // by slot; the slot travels in the epoll event
	vacant       []int32
	events       [batch]unix.EpollEvent
	slab         [slabBytes + srtp.Overhead]byte
	from         rawAddr
	inbox        *inbox    // nil when packets are not steered
	bypasser     *bypasser // nil when the kernel forwards nothing
	visited      int       // places of the table that this round of visits has seen
}

func newShard(clock func() int64, epoch int64, rate int) *shard {
	s := &shard{clock: clock, epoll: -1, event: -1}
	s.rate, s.epoch = rate, epoch
	s.mail.init()
	return s
}

// open makes the shard's own descriptors. Orders given before are waiting in the mailbox.
func (s *shard) open() (err error) {
	if s.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if s.event, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return os.NewSyscallError("eventfd2", err)
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: eventSlot}
	if err = unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, s.event, &ev); err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	if s.inbox == nil {
		return nil
	}
	for family, fd := range s.inbox.fds {
		ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: inboxSlot - int32(family)}
		if fd < 0 {
			continue
		}
		if err = unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
			return os.NewSyscallError("epoll_ctl", err)
		}
	}
	return nil
}

// order has the shard's goroutine run f between two batches; false when the shard has ended.
func (s *shard) order(f func(*shard)) bool {
	if !s.mail.put(f) {
		return false
	}
	s.wake()
	return true
}

// tick says that n packet times of the players have passed.
func (s *shard) tick(n int) {
	s.ticks.Add(int32(n))
	s.wake()
}

// wake writes the event descriptor, once until it is read. The mailbox's mutex keeps the descriptor
// open meanwhile: run closes it only after the mailbox.
func (s *shard) wake() {
	if !s.pending.CompareAndSwap(false, true) {
		return
	}
	s.mail.mu.Lock()
	defer s.mail.mu.Unlock()
	if s.mail.open {
		one := [8]byte{1}
		_, _ = unix.Write(s.event, one[:])
	}
}

// called says that a coder has made something.
func (s *shard) called() { s.wake() }

// stop ends run after the orders before it.
func (s *shard) stop() { s.order(func(s *shard) { s.stopped = true }) }

// run serves until stop. On return every socket is closed and further orders are refused.
func (s *shard) run() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer s.end()
	if err := s.open(); err != nil {
		return err
	}
	s.mail.start()
	s.now = s.clock()
	s.obey()
	enough := napBelow
	if s.inbox != nil {
		enough = inboxNapBelow
	}
	for !s.stopped {
		n := s.wait()
		s.now = s.clock()
		s.heed() // before the packets: an answer that a phone has heard is in force when its first packet is read
		packets := s.read(n)
		s.wakeups.Add(1)
		s.received.Add(uint64(packets))
		s.heed() // after the event descriptor was read: an order whose write went with it must not wait
		if s.noticed > 0 {
			s.pass()
		}
		s.totals.add(&s.count)
		s.iced.add(&s.ice)
		s.singled.add(&s.single)
		s.recount()
		if packets > 0 && packets < enough && !s.stopped {
			if rest := int64(nap) - max(s.clock()-s.now, 0); rest > 0 { // tests put now ahead
				s.naps.Add(1)
				sleep := unix.NsecToTimespec(rest)
				_ = unix.Nanosleep(&sleep, nil)
			}
		}
	}
	return nil
}

func (s *shard) end() {
	s.mail.close()
	s.obey()
	if s.inbox != nil {
		s.inbox.close() // first: without it the program steers nothing here
		s.outbox.close()
	}
	for _, k := range s.table {
		if k != nil {
			k.close()
		}
	}
	for _, fd := range [...]int{s.epoll, s.event} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// wait returns how many events are ready, blocking when none is. The first look is a raw call that
// the Go scheduler does not hear of; only a real wait gives the processor away.
func (s *shard) wait() int {
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(s.epoll),
		uintptr(unsafe.Pointer(&s.events)), batch, 0, 0, 0)
	if errno == 0 && n > 0 {
		return int(n)
	}
	got, err := unix.EpollWait(s.epoll, s.events[:], -1)
	if err != nil {
		return 0 // interrupted
	}
	return got
}

// read takes one datagram from every ready socket, some from the ICE port, and a batch from the inbox. Level-triggered: what is left is reported again,
// after all others had their turn.
func (s *shard) read(n int) (packets int) {
	for i := range s.events[:n] {
		slot := s.events[i].Fd
		if slot <= inboxSlot {
			packets += s.unpack(int(inboxSlot - slot))
			continue
		}
		if slot < 0 {
			var count [8]byte
			_, _ = unix.Read(s.event, count[:])
			continue
		}
		k := s.table[slot]
		if k == nil { // closed by an order since
			continue
		}
		for range k.share {
			got := k.receive(s.slab[:slabBytes], &s.from)
			if got < 0 {
				break
			}
			packets++
			if got > slabBytes {
				if k.leg != nil {
					s.drop(k.leg, DropOversize)
				}
				continue
			}
			s.receive(k, s.from.source(), &s.from, s.slab[:got])
		}
	}
	return packets
}

// heed obeys when there is something to.
func (s *shard) heed() {
	if s.pending.Load() {
		s.obey()
		s.totals.add(&s.count)
		s.singled.add(&s.single)
	}
}

// obey runs waiting orders and due ticks.
func (s *shard) obey() {
	s.pending.Store(false)
	orders := s.mail.empty()
	for _, f := range orders {
		f(s)
	}
	s.orders.Add(uint64(len(orders)))
	s.mail.done(orders)
	s.collect()
	if n := s.ticks.Swap(0); n > 0 {
		s.play(int(n))
	}
}

// waited is how often signalling found the mailbox full.
func (s *shard) waited() uint64 {
	s.mail.mu.Lock()
	defer s.mail.mu.Unlock()
	return s.mail.waits
}

// attach starts watching a socket for a leg.
func (s *shard) attach(k *socket, l *leg, component int) {
	k.leg, k.component = l, uint8(component)
	if n := len(s.vacant); n > 0 {
		k.slot, s.vacant = s.vacant[n-1], s.vacant[:n-1]
	} else {
		k.slot = int32(len(s.table))
		s.table = append(s.table, nil)
	}
	s.table[k.slot] = k
	if l != nil { // the ICE port is nobody's
		l.sockets[k.family][component] = k
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: k.slot}
	if err := unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, k.fd, &ev); err != nil {
		s.faults.Add(1)
	}
	if s.inbox != nil && l != nil && !k.foreign && !s.inbox.take(k) {
		s.faults.Add(1) // its own socket serves it
	}
	s.sockets.Add(1)
}

// detach closes a socket. Events that were waiting may still name its slot, which is empty then, or another socket's that has nothing yet.
func (s *shard) detach(k *socket) {
	if k.slot >= 0 {
		s.table[k.slot] = nil
		s.vacant = append(s.vacant, k.slot)
		k.slot = -1
		s.sockets.Add(-1)
	}
	if s.inbox != nil && !k.foreign && k.leg != nil { // the ICE port was never steered
		s.inbox.forget(k)
	}
	if l := k.leg; l != nil {
		l.withdraw(&s.relay)
		if l.out != nil {
			l.out.withdraw(&s.relay)
		}
		l.sockets[k.family][k.component] = nil
	}
	k.close()
}
