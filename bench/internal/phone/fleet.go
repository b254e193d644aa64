//go:build linux

package phone

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"tandem/bench/internal/wire"
)

// Config sets up a Fleet.
type Config struct {
	Server      netip.AddrPort // where the server listens on UDP, IPv4
	Domain      string         // host part of every address of record
	Users       int            // the first half calls, the second half is called
	First       int            // number of the first user
	Contacts    int            // bindings of each user, all in one REGISTER; 0 = 1
	Host        netip.Addr     // where the fleet's sockets are, IPv4; zero = 127.0.0.1
	Sockets     int            // UDP sockets of the fleet, half for callers, half for callees
	FirstPort   uint16         // of the sockets, 0 = any
	MaxCalls    int            // calls at once, finished ones of the last seconds included
	Algorithm   Algorithm      // digest algorithm picked from the challenges
	CachedNonce bool           // INVITE carries credentials from the last challenge (nc increasing) instead of waiting for a new one
	Ring        time.Duration  // a callee rings this long; 0 sends 180 and 200 back to back
	Hold        time.Duration  // between ACK and BYE; 0 sends them back to back, negative holds until HangUp
	Expires     int            // of registrations, seconds

	// SDP bodies; nil for calls without any. They append to out. The observers see the other side's body; it is borrowed.
	Offer, Answer       func(slot uint32, out []byte) []byte
	OnOffer, OnAnswered func(slot uint32, sdp []byte)
}

// Fleet is all phones towards one server. All its methods belong to one goroutine.
type Fleet struct {
	Loop *wire.Loop

	config Config
	server wire.Addr
	run    uint32 // part of every Call-ID, so that two runs never meet
	callee []*wire.Socket
	caller []*wire.Socket
	users  []user
	calls  []call
	free   []uint32 // slots of calls

	ring, hold, linger, watch lane
	again                     [4]lane // retransmissions after T1, 2*T1, ...

	tally  Tally
	active int // registrations and calls that are not over
	next   int // whose turn it is

	message message // the one being handled
}

// user is one telephone account and its phone.
type user struct {
	name, password string
	socket         *wire.Socket
	contact        []byte // <sip:name@host:port>
	contacts       []byte // what it registers
	www, proxy     credential

	registerCSeq uint32
	registering  bool
	probing      bool // the 401 is all that is wanted
	registered   bool
	counted      bool
	challenged   int
	attempt      int
	started      int64
	last         []byte // REGISTER in flight
}

type timerKind uint8

const (
	timeToAnswer timerKind = iota + 1
	timeToHangUp
	timeToForget
	timeToGiveUp
	againInvite
	againAnswer
	againBye
	againRegister
)

// t1 is RFC 3261 §17.1.1.1's T1, 500 ms, in nanoseconds.
const t1 = int64(500 * time.Millisecond)

// patience is how long a call may take to be answered.
const patience = 10 * time.Second

// NewFleet opens the sockets. Nothing is sent yet.
func NewFleet(c Config) (*Fleet, error) {
	if !c.Host.IsValid() {
		c.Host = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if c.Users < 2 || c.Sockets < 2 || c.Server.Addr().Is6() {
		return nil, fmt.Errorf("a fleet needs two users, two sockets and a server at an IPv4 address")
	}
	loop, err := wire.NewLoop()
	if err != nil {
		return nil, err
	}
	f := &Fleet{
		Loop: loop, config: c, server: wire.AddrFrom(c.Server), run: uint32(time.Now().UnixNano()),
		users: make([]user, c.Users), calls: make([]call, c.MaxCalls), free: make([]uint32, 0, c.MaxCalls),
	}
	f.ring.wait, f.hold.wait = int64(c.Ring), int64(c.Hold)
	f.linger.wait, f.watch.wait = int64(2*time.Second), int64(patience)
	for i := range f.again {
		f.again[i].wait = t1 << i
	}
	for i := c.MaxCalls; i > 0; i-- {
		f.free = append(f.free, uint32(i-1))
	}
	if err := f.open(); err != nil {
		loop.Close()
		return nil, err
	}
	f.populate()
	return f, nil
}

func (f *Fleet) open() error {
	for i := range f.config.Sockets {
		address := netip.AddrPortFrom(f.config.Host, 0)
		if f.config.FirstPort != 0 {
			address = netip.AddrPortFrom(address.Addr(), f.config.FirstPort+uint16(i))
		}
		s, err := f.Loop.Open(address, false, f.receive)
		if err != nil {
			return err
		}
		if i < f.config.Sockets/2 {
			f.caller = append(f.caller, s)
		} else {
			f.callee = append(f.callee, s)
		}
	}
	return nil
}

func (f *Fleet) populate() {
	for i := range f.users {
		u := &f.users[i]
		u.name, u.password = UserName(f.config.First+i), Password(f.config.First+i)
		if i < f.callers() {
			u.socket = f.caller[i%len(f.caller)]
		} else {
			u.socket = f.callee[i%len(f.callee)]
		}
		u.contact = []byte("<sip:" + u.name + "@" + u.socket.Host + ">")
		u.contacts = u.contact
		for n := 2; n <= f.config.Contacts; n++ {
			u.contacts = fmt.Appendf(u.contacts[:len(u.contacts):len(u.contacts)], ", <sip:%s-%d@%s>", u.name, n, u.socket.Host)
		}
	}
}

func (f *Fleet) callers() int { return len(f.users) / 2 }

// UserName is the name of user i.
func UserName(i int) string { return fmt.Sprintf("u%05d", i) }

// Password is the password of user i.
func Password(i int) string { return "pw-" + strconv.Itoa(i*7919+17) }

// Close closes the sockets.
func (f *Fleet) Close() { f.Loop.Close() }

// SetPace changes how long calls ring and last from the next call on. No call may be active.
func (f *Fleet) SetPace(ring, hold time.Duration) {
	f.config.Ring, f.config.Hold = ring, hold
	f.ring.wait, f.hold.wait = int64(ring), int64(hold)
}

// receive is the handler of all sockets.
func (f *Fleet) receive(s *wire.Socket, packet []byte, from *wire.Addr, _ int64) {
	m := &f.message
	if !m.parse(packet) {
		if len(packet) > 4 { // not a keep-alive
			f.tally.Unreadable++
		}
		return
	}
	now := wire.Now()
	switch {
	case m.callID[0] == 'r' && m.method == nil:
		f.registerResponse(now, m)
	case m.callID[0] == 'c' && m.method == nil:
		f.callResponse(now, m)
	case m.callID[0] == 'c':
		f.request(now, s, m, from)
	case m.method != nil:
		f.reply(s, m, from, "200 OK", nil)
	default:
		f.tally.Strays++
	}
}

// identify cuts slot and generation out of a Call-ID of ours: kind, 8 hex digits slot, 8 generation, 8 run.
func (f *Fleet) identify(callID []byte) (slot, generation uint32, ok bool) {
	if len(callID) < 25 {
		return 0, 0, false
	}
	slot, a := hex32(callID[1:9])
	generation, b := hex32(callID[9:17])
	run, c := hex32(callID[17:25])
	return slot, generation, a && b && c && run == f.run
}

func hex32(b []byte) (n uint32, ok bool) {
	for _, c := range b {
		switch {
		case '0' <= c && c <= '9':
			n = n<<4 | uint32(c-'0')
		case 'a' <= c && c <= 'f':
			n = n<<4 | uint32(c-'a'+10)
		default:
			return 0, false
		}
	}
	return n, true
}

// appendID writes what identify reads.
func (f *Fleet) appendID(out []byte, kind byte, slot, generation uint32) []byte {
	return appendHex32(appendHex32(appendHex32(append(out, kind), slot), generation), f.run)
}

// fire runs every timer that is due and says when the next one will be.
func (f *Fleet) fire(now int64) (next int64) {
	next = now + int64(100*time.Millisecond)
	for _, l := range []*lane{&f.ring, &f.hold, &f.linger, &f.watch, &f.again[0], &f.again[1], &f.again[2], &f.again[3]} {
		for t, ok := l.pop(now); ok; t, ok = l.pop(now) {
			f.timer(now, t)
		}
		next = l.next(next)
	}
	return next
}

func (f *Fleet) timer(now int64, t timer) {
	if t.kind == againRegister {
		f.registerAgain(now, t)
		return
	}
	c := &f.calls[t.slot]
	if c.generation != t.generation {
		return
	}
	switch t.kind {
	case timeToAnswer:
		f.answer(now, t.slot, c)
	case timeToHangUp:
		f.bye(now, t.slot, c)
	case timeToForget:
		f.forget(t.slot, c)
	case timeToGiveUp:
		if c.state == inviting || c.state == ringing {
			f.fail(now, t.slot, c, "no final answer to INVITE in time, state "+c.state.String())
		}
	case againInvite:
		if c.state == inviting && !c.provisional {
			f.sendAgain(now, t.slot, c, againInvite, "INVITE without any answer")
		}
	case againBye:
		if c.state == leaving {
			f.sendAgain(now, t.slot, c, againBye, "BYE without any answer")
		}
	case againAnswer:
		f.answerAgain(now, t.slot, c)
	}
}
