package ng

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tandem/rtpengine"
)

// Config sets a Server up. Engine and Listen are needed.
type Config struct {
	Engine *rtpengine.Engine
	// Listen holds the addresses: IP:port for UDP, tcp:IP:port for TCP, http:IP:port for HTTP and WebSocket. One that is not loopback wants Allow to
	// say who may command.
	Listen []string
	// Allow holds the control addresses that are listened to besides loopback: of the proxies. The protocol has no passwords.
	Allow []netip.Prefix
	// MaxCallTime ends sessions that are older; default 12 h.
	MaxCallTime time.Duration
	// Log receives lines for operators; nil discards them.
	Log *slog.Logger
	// ListenPacket opens UDP sockets; nil means net.ListenPacket.
	ListenPacket func(network, addr string) (net.PacketConn, error)
}

const (
	inboxSize = 256 // requests that wait for their turn; beyond it they wait in the kernel, whose queue drops and whose senders ask again
	// maxFaults in a row end a reader: its socket is broken.
	maxFaults  = 100
	sweepEvery = time.Second
	maxPacket  = 65507     // UDP's
	maxMessage = 256 << 10 // of a stream
)

// Server answers NG requests. All methods may be called from any goroutine.
type Server struct {
	cfg      Config
	log      *slog.Logger
	inbox    chan request
	ended    chan outcome
	workers  sync.WaitGroup
	count    counters
	draining atomic.Bool

	slots  chan struct{} // of connections
	listen struct {
		sync.Mutex
		open  bool
		conns []net.PacketConn
		doors []door
	}

	// owned by Run's loop:
	calls    map[string]*call
	memory   memory
	pending  map[asker]bool  // requests that workers are busy with
	nameless uint64          // requests without a cookie
	told     map[string]bool // what is not done and the log has named
	mark     string          // attribute of our own that loop-protect writes and looks for
}

// request is one message of somebody who may command.
type request struct {
	back   asking
	host   netip.Addr
	packet []byte
	plain  bool // it has no cookie, nor has its answer: what is asked again is done again
}

// asking is who waits for an answer. Its methods do not block.
type asking interface {
	tell(answer []byte) error
	room() int // the longest answer
	String() string
}

// New checks the configuration. It opens nothing and starts nothing.
func New(c Config) (*Server, error) {
	if c.Engine == nil || len(c.Listen) == 0 {
		return nil, errors.New("ng: an engine and an address to listen on are needed")
	}
	for _, text := range c.Listen {
		_, addr, err := parseListen(text)
		if err != nil {
			return nil, fmt.Errorf("ng: listen: %w", err)
		}
		if !addr.Addr().Unmap().IsLoopback() && len(c.Allow) == 0 {
			return nil, fmt.Errorf("ng: %s is not loopback and nobody is allowed: whoever reaches an NG port commands the media engine; name the proxies with media.ng_allow", text)
		}
	}
	if c.MaxCallTime == 0 {
		c.MaxCallTime = 12 * time.Hour
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.ListenPacket == nil {
		c.ListenPacket = net.ListenPacket
	}
	return &Server{
		cfg: c, log: c.Log, inbox: make(chan request, inboxSize), ended: make(chan outcome), slots: make(chan struct{}, maxConns), pending: make(map[asker]bool), told: make(map[string]bool), calls: make(map[string]*call), mark: "a=tandem-ng:" + rand.Text(),
	}, nil
}

// parseListen takes "tcp:127.0.0.1:2223" apart; what names no network is UDP's.
func parseListen(text string) (network string, addr netip.AddrPort, err error) {
	network = "udp"
	for _, n := range [...]string{"udp", "tcp", "http"} {
		if rest, ok := strings.CutPrefix(text, n+":"); ok {
			network, text = n, rest
		}
	}
	addr, err = netip.ParseAddrPort(text)
	return network, addr, err
}

// Listen opens the sockets; Run does it when nobody has. Once is enough.
func (s *Server) Listen() error {
	s.listen.Lock()
	defer s.listen.Unlock()
	if s.listen.open {
		return nil
	}
	for _, text := range s.cfg.Listen {
		network, addr, _ := parseListen(text) // New has read it before
		var err error
		if network == "udp" {
			var conn net.PacketConn
			if conn, err = s.cfg.ListenPacket("udp", addr.String()); err == nil {
				s.listen.conns = append(s.listen.conns, conn)
			}
		} else {
			var l net.Listener
			if l, err = net.Listen("tcp", addr.String()); err == nil {
				s.listen.doors = append(s.listen.doors, door{s.guarding(l), network})
			}
		}
		if err != nil {
			s.closeListeners()
			return fmt.Errorf("NG address %s: %w; another process has it, or choose one with media.ng", text, err)
		}
	}
	s.listen.open = true
	return nil
}

func (s *Server) closeListeners() {
	for _, c := range s.listen.conns {
		_ = c.Close() // wakes its reader
	}
	for _, d := range s.listen.doors {
		_ = d.Close()
	}
	s.listen.conns, s.listen.doors = nil, nil
}

// Addrs are the bound addresses, as in Config.Listen.
func (s *Server) Addrs() (list []string) {
	s.listen.Lock()
	defer s.listen.Unlock()
	for _, conn := range s.listen.conns {
		list = append(list, conn.LocalAddr().String())
	}
	for _, d := range s.listen.doors {
		list = append(list, d.network+":"+d.Addr().String())
	}
	return list
}

// Run answers until ctx ends, then closes all sessions and sockets and returns when every goroutine has ended.
func (s *Server) Run(ctx context.Context) error {
	if err := s.Listen(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.listen.Lock()
	conns, doors := s.listen.conns, s.listen.doors
	s.listen.Unlock()
	var readers sync.WaitGroup
	for _, conn := range conns {
		readers.Go(func() {
			if err := s.read(ctx, conn); err != nil {
				cancel(fmt.Errorf("ng: read %s: %w", conn.LocalAddr(), err))
			}
		})
	}
	for _, d := range doors {
		readers.Go(func() {
			if err := s.serve(ctx, d); err != nil {
				cancel(fmt.Errorf("ng: serve %s: %w", d.Addr(), err))
			}
		})
	}
	s.loop(ctx)
	s.workers.Wait()
	s.listen.Lock()
	s.closeListeners()
	s.listen.Unlock()
	cancel(context.Canceled) // a listener that fails from here on does so because it is closed
	readers.Wait()
	for _, c := range s.calls {
		s.end(c, c.dialogues)
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// Drain refuses new calls and returns when those in progress are over or ctx ends.
func (s *Server) Drain(ctx context.Context) error {
	s.draining.Store(true)
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for s.count.sessions.Load() > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
		}
	}
	return nil
}

// read hands the datagrams of those who may command to the loop.
func (s *Server) read(ctx context.Context, conn net.PacketConn) error {
	buffer := make([]byte, maxPacket+1)
	for faults := 0; ; {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			s.count.faults.Add(1)
			if faults++; faults == maxFaults {
				return err
			}
			continue
		}
		faults = 0
		udp, ok := from.(*net.UDPAddr)
		if !ok || !s.admits(hostOf(udp.AddrPort()), from) {
			continue
		}
		select {
		case s.inbox <- request{back: datagram{conn, from}, host: hostOf(udp.AddrPort()), packet: slices.Clone(buffer[:n])}:
		case <-ctx.Done():
			return nil
		}
	}
}

// datagram is who asks by UDP.
type datagram struct {
	conn net.PacketConn
	from net.Addr
}

func (d datagram) tell(answer []byte) error {
	_, err := d.conn.WriteTo(answer, d.from)
	return err
}

func (datagram) room() int { return maxPacket }

func (d datagram) String() string { return d.from.String() }

func hostOf(addr netip.AddrPort) netip.Addr { return addr.Addr().Unmap().WithZone("") }

// admits reports whether a host may command; who may not is counted, and gets no answer: a forged source must not be sent anything, and a
// stranger need not know that we are here.
func (s *Server) admits(host netip.Addr, from net.Addr) bool {
	if s.mayCommand(host) {
		return true
	}
	if s.count.refused.Add(1) == 1 {
		s.log.Warn("an NG request of a stranger was dropped; further ones are counted", "peer", from.String())
	}
	return false
}

func (s *Server) mayCommand(host netip.Addr) bool {
	return host.IsLoopback() || slices.ContainsFunc(s.cfg.Allow, func(p netip.Prefix) bool { return p.Contains(host) })
}

func (s *Server) loop(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-s.inbox:
			s.take(ctx, &r, time.Now())
		case o := <-s.ended:
			delete(s.pending, o.who)
			s.tell(&o.request, o.who, o.reply, o.as, time.Now())
		case <-tick.C:
			s.sweep(time.Now())
		}
	}
}

// maxPending bounds the requests that workers are busy with: those that may read a file.
const maxPending = 16

// outcome is how a request ended that a worker was busy with.
type outcome struct {
	request request
	who     asker
	as      encoding
	reply   dict
}

// take answers one request, or has a worker do it.
func (s *Server) take(ctx context.Context, r *request, now time.Time) {
	who, body, err := s.nameOf(r)
	if err != nil {
		s.malformed(r, err)
		return
	}
	if answer := s.memory.recall(who, now); answer != nil {
		s.count.repeated.Add(1)
		s.send(r, answer)
		return
	}
	if s.pending[who] { // the answer is on its way
		s.count.repeated.Add(1)
		return
	}
	ask, as, err := decode(body)
	if err != nil { // answered all the same: the proxy's log is where its operator looks
		s.malformed(r, err)
		s.tell(r, who, failure("the message cannot be read: "+err.Error()), as, now)
		return
	}
	reply, later := s.carryOut(ask, now)
	if later != nil && len(s.pending) >= maxPending {
		s.count.busy.Add(1)
		reply, later = failure("too many sounds are being read"), nil
	}
	if later == nil {
		s.tell(r, who, reply, as, now)
		return
	}
	s.pending[who] = true
	request := *r
	s.workers.Go(func() {
		select {
		case s.ended <- outcome{request, who, as, later()}:
		case <-ctx.Done():
		}
	})
}

// nameOf takes the cookie off a request. One without gets a name that no cookie can be.
func (s *Server) nameOf(r *request) (who asker, body []byte, err error) {
	if r.plain {
		s.nameless++
		return asker{r.host, " " + strconv.FormatUint(s.nameless, 10)}, r.packet, nil
	}
	cookie, body, err := cutCookie(r.packet)
	return asker{r.host, cookie}, body, err
}

// tell answers a request, and remembers the answer when it has a cookie to be asked for again.
func (s *Server) tell(r *request, who asker, reply dict, as encoding, now time.Time) {
	var prefix []byte
	if !r.plain {
		prefix = append([]byte(who.cookie), ' ')
	}
	head := len(prefix)
	answer := encode(prefix, reply, as)
	if len(answer) > r.back.room() {
		answer = encode(answer[:head], failure("the answer is too long"), as)
	}
	if !r.plain && s.memory.keep(who, answer, now) {
		s.count.forgotten.Add(1)
	}
	s.send(r, answer)
}

func (s *Server) send(r *request, answer []byte) {
	switch err := r.back.tell(answer); {
	case errors.Is(err, errSlow):
		s.count.slow.Add(1)
	case err != nil:
		s.count.faults.Add(1)
	}
}

func (s *Server) malformed(r *request, err error) {
	s.count.malformed.Add(1)
	s.log.Debug("a message that is no NG request", "peer", r.back.String(), "error", err)
}
