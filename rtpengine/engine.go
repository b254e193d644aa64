package rtpengine

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	audio "tandem/rtpengine/codec"
)

// Errors that callers branch on.
var (
	ErrClosed  = errors.New("rtpengine: closed")
	ErrBusy    = errors.New("rtpengine: too many sessions")       // Config.MaxSessions; signalling answers 503
	ErrNoOffer = errors.New("rtpengine: no offer to answer here") // an answer without offer, or from the offerer
	// ErrUnreachable is told by sessions on engines elsewhere; signalling answers 503.
	ErrUnreachable = errors.New("no media engine answers")
)

// Config sets an Engine up. The zero value of every field but Bind is good.
type Config struct {
	// Bind holds the local addresses that media is received on: at most one of each family.
	// 0.0.0.0 and :: receive on all; descriptions then carry the address the kernel would use
	// towards the phone.
	Bind []netip.Addr
	// Advertise maps the local address of a description to the one the world sees (a NAT in front
	// of us); nil, or an invalid result, leaves it. It must be pure and fast.
	Advertise func(local netip.Addr) netip.Addr
	// PortMin and PortMax bound the port pairs, both inclusive; default 20000-29999.
	PortMin, PortMax uint16
	// Shards is the number of relay goroutines; 0 chooses one on up to two processors, else half
	// of them. Work goes to the first until it is loaded: spreading light load costs 20-28 % CPU.
	Shards int
	// Silence is how long a side that should send may say nothing before OnSilence; default 60 s.
	Silence time.Duration
	// MaxSessions bounds sessions and endpoints together; default 20000.
	MaxSessions int
	// PacketRate bounds datagrams per second taken from one side of one m-line; default 5000. A
	// media loop between two of our ports would otherwise run at wire speed.
	PacketRate int
	// AlarmMOS and AlarmAfter say when SessionConfig.OnQuality is told: below that opinion for that long. AlarmMOS 0: never.
	AlarmMOS   float64
	AlarmAfter time.Duration
	// MaxRooms bounds the conferences at once, default 200; MaxMembers those in one of them, default 100.
	MaxRooms, MaxMembers int
	// SRTP says how media is offered, as to encryption.
	SRTP SRTPPolicy
	// Codecs says which codecs the other phone is offered.
	Codecs CodecPolicy
	// Transcode says how sides that share no codec are helped.
	Transcode TranscodeConfig
	// DSCP marks our packets (RFC 2474); 0 means 46, expedited forwarding, as telephony expects
	// (RFC 4594 §4.1), and a negative value leaves them unmarked.
	DSCP int
	// Prompts is the directory of WAV files that Play finds by name; "" means there are none.
	Prompts string
	// Uploaded gives a prompt that all nodes have, before the files of Prompts: a WAV file, which is never changed in place, and its checksum. It is asked
	// whenever something is to be played, so it must not block. nil: there are none.
	Uploaded func(name string) (wav []byte, sum string, ok bool)
	// SoundBytes bounds the memory of all sounds, 16,000 bytes a second; default 64 MiB, over an hour.
	SoundBytes int64
	Recording  RecordingConfig
	// Tier is the cheapest way that packets may take: TierAuto, which "" means, TierSteered or TierSockets.
	Tier Tier
	// Interfaces are those whose packets the kernel may forward; none means all that have an address of Bind.
	Interfaces []string
	// ICEPort is the UDP port that all browsers of the first shard send to; further shards have those above it. 0 takes one from the
	// media range for each.
	ICEPort uint16
	// SinglePort is the UDP port at which RTP and RTCP of all phones is heard that can be told apart there; the others get ports of PortMin
	// to PortMax. It needs one shard. 0: each has ports of its own.
	SinglePort uint16
	// Identity is the certificate of DTLS handshakes; nil makes one. Engines that go on with each other's calls need the same.
	Identity *tls.Certificate
	// Log receives lines for operators; nil discards them.
	Log *slog.Logger
}

func (c *Config) ensureDefaults() {
	if c.PortMin == 0 && c.PortMax == 0 {
		c.PortMin, c.PortMax = 20000, 29999
	}
	if c.Shards == 0 && c.SinglePort != 0 {
		c.Shards = 1
	}
	if c.Shards == 0 {
		c.Shards = max(1, runtime.GOMAXPROCS(0)/2)
	}
	if c.Silence == 0 {
		c.Silence = time.Minute
	}
	if c.MaxSessions == 0 {
		c.MaxSessions = 20000
	}
	if c.PacketRate == 0 {
		c.PacketRate = 5000
	}
	if c.DSCP == 0 {
		c.DSCP = 46
	}
	if c.Tier == "" {
		c.Tier = TierAuto
	}
	c.MaxRooms, c.MaxMembers = cmp.Or(c.MaxRooms, 200), cmp.Or(c.MaxMembers, 100)
	c.Transcode.ensureDefaults()
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

func (c *Config) check() error {
	if len(c.Bind) == 0 {
		return errors.New("rtpengine: Bind names no address")
	}
	seen := [2]bool{}
	for _, addr := range c.Bind {
		switch {
		case !addr.IsValid() || addr.IsMulticast() || addr.Is4In6():
			return fmt.Errorf("rtpengine: cannot bind %s", addr)
		case seen[familyOf(addr)]:
			return fmt.Errorf("rtpengine: Bind names two addresses of one family (%s)", addr)
		}
		seen[familyOf(addr)] = true
	}
	switch {
	case c.PortMin < 1024 || int(c.PortMax)-int(c.PortMin) < 3:
		return fmt.Errorf("rtpengine: port range %d-%d: want at least two pairs from 1024 up", c.PortMin, c.PortMax)
	case c.ICEPort != 0 && (c.ICEPort < 1024 || int(c.ICEPort)+c.Shards > 1<<16 || c.ICEPort <= c.PortMax && int(c.ICEPort)+c.Shards > int(c.PortMin)):
		return fmt.Errorf("rtpengine: ICE port %d for %d shards: want ports from 1024 up outside of %d-%d", c.ICEPort, c.Shards, c.PortMin, c.PortMax)
	case c.SinglePort != 0 && c.Shards != 1:
		return fmt.Errorf("rtpengine: %d shards with a single port: one shard hears it", c.Shards)
	case c.SinglePort != 0 && (c.SinglePort < 1024 || c.SinglePort >= c.PortMin && c.SinglePort <= c.PortMax || c.SinglePort == c.ICEPort):
		return fmt.Errorf("rtpengine: single port %d: want one from 1024 up, outside of %d-%d, and another than that of browsers", c.SinglePort, c.PortMin, c.PortMax)
	case c.Shards < 0 || c.Shards > 256:
		return fmt.Errorf("rtpengine: %d shards", c.Shards)
	case int(c.SRTP) >= len(policyNames):
		return fmt.Errorf("rtpengine: no SRTP policy %d", c.SRTP)
	case c.DSCP > 63:
		return fmt.Errorf("rtpengine: DSCP %d is beyond 63", c.DSCP)
	case c.Silence < 0 || c.MaxSessions < 0 || c.PacketRate < 0 || c.SoundBytes < 0 || c.Recording.MaxTime < 0 || c.Recording.MaxBytes < 0 || c.Recording.AtOnce < 0 || c.MaxRooms < 0 || c.MaxMembers < 0:
		return errors.New("rtpengine: a negative limit")
	}
	if err := c.Recording.Format.check(); err != nil {
		return err
	}
	if err := c.Codecs.Check(); err != nil {
		return err
	}
	if err := c.Transcode.check(); err != nil {
		return err
	}
	return c.Tier.check()
}

// Engine owns the media ports of a node. All methods may be called from any goroutine.
type Engine struct {
	cfg    Config
	log    *slog.Logger
	seed   maphash.Seed
	began  time.Time
	pools  [2]*pool // by family, nil when not bound
	shards []*shard
	sounds *sounds
	rooms  *rooms
	codecs *audio.Library
	coders *coders
	clocks clockTables

	recorder *recorder
	tier     atomic.Pointer[TierStats]
	bypasser atomic.Pointer[bypasser] // nil without the kernel tier

	identity   identity
	handshakes handshakes
	iceMu      sync.Mutex    // above shard.iceNumbers
	sites      []*site       // in whose places it stands, under iceMu
	singles    [2]pair       // the single port, by family
	opened     chan struct{} // closed when Run has bound it

	silence     atomic.Int64 // Config.Silence and MaxSessions as they are now, see SetLimits
	maxSessions atomic.Int64

	playing atomic.Int64
	beat    chan struct{} // wakes the pacer; buffered by one
	board   chan notice   // from the shards to tellAll
	digits  [3]atomic.Uint64

	silences, rejected, refused, alarms atomic.Uint64

	census []member // housekeeping's, kept for its room

	mu      sync.Mutex
	members map[member]struct{}
	ran     bool
	closed  bool
}

// member is a Session or an Endpoint.
type member interface {
	// silent reports sides that said nothing since Config.Silence, once each; called by housekeeping.
	silent(now int64)
	Close()
}

// New checks the configuration. It opens nothing and starts nothing.
func New(c Config) (*Engine, error) {
	c.ensureDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	e := &Engine{
		cfg: c, log: c.Log, seed: maphash.MakeSeed(), began: time.Now(),
		opened: make(chan struct{}), beat: make(chan struct{}, 1), board: make(chan notice, maxNotices), members: make(map[member]struct{}), sounds: newSounds(&c),
	}
	var err error
	if e.identity, err = newIdentity(c.Identity); err != nil {
		return nil, err
	}
	e.codecs = audio.Open(c.Transcode.Opus)
	e.sounds.codecs = e.codecs
	e.recorder = newRecorder(&c, e.codecs, e.now)
	e.rooms = newRooms(&c, e)
	e.coders = newCoders(c.Transcode.Workers, c.Transcode.MaxCalls, e.now)
	e.SetLimits(c.Silence, c.MaxSessions)
	e.tier.Store(&TierStats{Tier: TierSockets, Reason: notYet, Kernel: KernelStats{Reason: notYet}})
	for _, addr := range c.Bind {
		p := newPool(addr, c.PortMin, c.PortMax, c.DSCP)
		e.pools[familyOf(addr)] = p
		e.singles[familyOf(addr)] = pair{pool: p, port: c.SinglePort, single: true}
	}
	for range c.Shards {
		s := newShard(e.now, e.began.UnixNano(), c.PacketRate)
		s.board = e.board
		e.shards = append(e.shards, s)
	}
	return e, nil
}

// SetLimits exchanges Config.Silence and Config.MaxSessions while the engine runs. Sessions that are there stay. Any goroutine.
func (e *Engine) SetLimits(silence time.Duration, maxSessions int) {
	e.silence.Store(int64(silence))
	e.maxSessions.Store(int64(maxSessions))
}

// patience is how long a side may be silent now.
func (e *Engine) patience() time.Duration { return time.Duration(e.silence.Load()) }

// now is ns since New, monotonic.
func (e *Engine) now() int64 { return int64(time.Since(e.began)) }

// Run relays until ctx ends, then closes all sessions and ports and returns when every goroutine has ended.
func (e *Engine) Run(ctx context.Context) error {
	e.mu.Lock()
	if e.ran {
		e.mu.Unlock()
		return errors.New("rtpengine: Run called twice")
	}
	e.ran = true
	e.mu.Unlock()
	if err := e.openSingle(); err != nil {
		return err
	}
	defer e.startTiers()() // after the shards have ended

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var shards, keepers, writers sync.WaitGroup
	silent := make(chan struct{}) // closed when no packet comes any more
	for _, s := range e.shards {
		shards.Go(func() {
			if err := s.run(); err != nil {
				cancel(fmt.Errorf("rtpengine: shard: %w", err))
			}
		})
	}
	keepers.Go(func() { e.keepHouse(ctx) })
	keepers.Go(func() { e.pace(ctx) })
	keepers.Go(func() { e.tellAll(ctx) })
	if b := e.bypasser.Load(); b != nil {
		keepers.Go(func() { e.keepBypass(ctx, b) })
	}
	writers.Go(func() { e.recorder.run(silent) })
	for _, m := range e.rooms.mixers {
		keepers.Go(func() { m.run(ctx) })
	}
	for _, c := range e.coders.all {
		writers.Go(func() { c.run(silent) })
	}
	if err := e.codecs.Missing(); err != nil && !e.cfg.Transcode.Off {
		e.log.Warn("calls from and to Opus are not transcoded", "reason", err)
	}
	<-ctx.Done()
	keepers.Wait() // first, so that no callback comes after the sockets are gone
	e.closeMembers()
	for _, s := range e.shards {
		s.stop()
	}
	shards.Wait()
	e.handshakes.wait()
	close(silent)
	writers.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

func (e *Engine) closeMembers() {
	e.mu.Lock()
	e.closed = true
	all := make([]member, 0, len(e.members))
	for m := range e.members {
		all = append(all, m)
	}
	e.mu.Unlock()
	for _, m := range all {
		m.Close()
	}
}

// keepHouse measures the shards' load and looks for silent sides, once a second.
func (e *Engine) keepHouse(ctx context.Context) {
	period := time.NewTicker(min(time.Second, max(e.cfg.Silence/4, 10*time.Millisecond)))
	defer period.Stop()
	measured := e.now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-period.C:
		}
		now := e.now()
		if took := now - measured; took >= int64(time.Second) {
			e.measure(took)
			measured = now
		}
		e.sweep(now)
		e.askConsent()
		e.sweepSingle()
	}
}

// measure sets every shard's load in datagrams per second.
func (e *Engine) measure(took int64) {
	for _, s := range e.shards {
		count := s.received.Load()
		s.load.Store((count - s.lastCount) * uint64(time.Second) / uint64(took))
		s.lastCount = count
	}
}

// sweep asks every member for silence.
func (e *Engine) sweep(now int64) {
	e.mu.Lock()
	for m := range e.members {
		e.census = append(e.census, m)
	}
	e.mu.Unlock()
	for _, m := range e.census {
		m.silent(now)
	}
	clear(e.census)
	e.census = e.census[:0]
}

// shardFull is the datagrams per second from which new sessions go to the next shard: about half
// of what one processor relays.
const shardFull = 60000

// choose picks the shard of a new session: the first that is not loaded, else the least loaded.
func (e *Engine) choose() *shard {
	best := e.shards[0]
	for _, s := range e.shards {
		load := s.load.Load()
		if load < shardFull {
			return s
		}
		if load < best.load.Load() {
			best = s
		}
	}
	return best
}

func (e *Engine) join(m member) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return ErrClosed
	case len(e.members) >= int(e.maxSessions.Load()):
		e.refused.Add(1)
		return ErrBusy
	}
	e.members[m] = struct{}{}
	return nil
}

func (e *Engine) leave(m member) {
	e.mu.Lock()
	delete(e.members, m)
	e.mu.Unlock()
}

// familyFor picks the family to speak with a side: of the first valid hint that we are bound in.
func (e *Engine) familyFor(hints ...netip.Addr) (int, error) {
	asked := false
	for _, addr := range hints {
		if !addr.IsValid() {
			continue
		}
		asked = true
		if f := familyOf(addr); e.pools[f] != nil {
			return f, nil
		}
	}
	if !asked {
		return familyOf(e.cfg.Bind[0]), nil
	}
	return 0, reject(488, 301, "No media address of the needed IP version")
}

// local is the address of ours to write for a peer.
func (e *Engine) local(family int, peer netip.Addr) netip.Addr {
	addr := e.pools[family].addr
	if addr.IsUnspecified() {
		addr = routeTo(family, peer)
	}
	return e.advertised(addr)
}

// advertised is a local address as the world sees it.
func (e *Engine) advertised(addr netip.Addr) netip.Addr {
	if e.cfg.Advertise != nil {
		if seen := e.cfg.Advertise(addr); seen.IsValid() && familyOf(seen) == familyOf(addr) {
			return seen.Unmap()
		}
	}
	return addr
}

// routeTo asks the kernel which of our addresses it would send from; nothing is sent. Without an
// answer, loopback.
func routeTo(family int, peer netip.Addr) netip.Addr {
	network, fallback, far := "udp4", netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.AddrFrom4([4]byte{192, 0, 2, 1})
	if family == v6 {
		network, fallback, far = "udp6", netip.IPv6Loopback(), netip.MustParseAddr("2001:db8::1")
	}
	if peer.IsValid() && familyOf(peer) == family {
		far = peer
	}
	conn, err := net.DialUDP(network, nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(far, 9)))
	if err != nil {
		return fallback
	}
	defer conn.Close()
	if ap, ok := conn.LocalAddr().(*net.UDPAddr); ok {
		return ap.AddrPort().Addr().Unmap().WithZone("")
	}
	return fallback
}

// newOrigin starts the o= line of one side; ids fit in 63 bits, as some phones want (RFC 3264 §5).
func newOrigin() origin { return origin{id: rand.Uint64() >> 2} }
