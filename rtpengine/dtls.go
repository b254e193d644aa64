package rtpengine

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/logging"

	"tandem/rtpengine/srtp"
)

const (
	// handshakeTime is how long a DTLS handshake may take.
	handshakeTime = 20 * time.Second
	// handshakesAtOnce bounds those of the whole engine; who comes when there are as many is taken when he asks again, in a second.
	handshakesAtOnce = 256
	// handshakeTries bounds those of one association.
	handshakeTries = 4
	// flightTime is the first wait before a flight is sent again; browsers begin with 50 ms, for the round trip is known to be short.
	flightTime = 100 * time.Millisecond
	// handshakeRing bounds the datagrams that wait for a handshake: two flights with a long certificate chain.
	handshakeRing = 16
	// lastFlights is how often the last flight is sent again to a client that did not hear it.
	lastFlights = 16
)

// association is a DTLS association for SRTP (RFC 5763, RFC 5764, RFC 8842). It lives for the handshake: a goroutine of the engine
// runs it, fed by the shard; then its keys go to the legs, and nothing is left but the last flight, in case it was lost.
type association struct {
	engine *Engine
	call   string
	active bool // we are the client
	prints []fingerprint
	name   string // a=tls-id of the other side
	by     uint64 // whose certificate it shows
	done   atomic.Bool
	port   int        // component that it protects: RTP with the RTCP muxed to it, or RTCP on its own port
	over   *transport // whose legs it protects

	// The shard's.
	shard   *shard
	to      destination // with its socket
	state   handshakeState
	tries   int
	in      chan []byte
	stop    context.CancelFunc
	flight  []byte // what we sent last, as a server
	repeats int
	keys    [2]*srtp.Context // for what comes, for what goes
}

type handshakeState uint8

const (
	shakeIdle handshakeState = iota
	shaking
	shaken
	shakeFailed
)

// reach says where the other side is; a client begins as soon as it knows. Shard only, as take and key.
func (a *association) reach(to *destination) {
	a.to = *to
	if a.active && a.state != shaking && a.state != shaken {
		a.begin()
	}
}

// take gives a datagram to the handshake, and begins it with the client's first.
func (a *association) take(r *relay, to *destination, b []byte) {
	if a.state == shaken {
		a.again(b)
		return
	}
	if a.state != shaking {
		if a.active || !clientHello(b) {
			r.ice.count.hellos++
			return
		}
		a.to = *to
		if !a.begin() {
			return
		}
	}
	if a.to.addr() != to.addr() {
		a.to = *to
	}
	select {
	case a.in <- append([]byte(nil), b...):
	default:
		r.ice.count.floods++
	}
}

// clientHello recognises the first message of a client: a handshake record of epoch 0 (RFC 6347 §4.1, §4.3.2).
//
//	| type 1 | version 2 | epoch 2 | sequence 6 | length 2 | handshake type 1 ...
func clientHello(b []byte) bool {
	return len(b) > 13 && b[0] == 22 && b[3] == 0 && b[4] == 0 && b[13] == 1
}

// begin starts the goroutine of a handshake.
func (a *association) begin() bool {
	if a.tries == handshakeTries {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTime)
	a.in = make(chan []byte, handshakeRing)
	p := &flightPipe{association: a, in: a.in, ended: ctx.Done(), expired: make(chan struct{})}
	if !a.engine.handshakes.begin(func() { a.run(ctx, cancel, p) }) {
		cancel()
		return false
	}
	a.tries++
	a.state, a.stop, a.flight = shaking, cancel, nil
	return true
}

// again sends the last flight to a client that has not heard it and so repeats its own.
func (a *association) again(b []byte) {
	if b[0] != 22 || a.flight == nil || a.repeats == lastFlights { // alerts need no answer; who took the call over has none
		return
	}
	a.repeats++
	a.to.socket.send(a.flight, &a.to)
}

// abandon ends a handshake that nobody waits for any more; a may be nil.
func (a *association) abandon() {
	if a != nil && a.stop != nil {
		a.stop()
	}
}

// run is the handshake's goroutine.
func (a *association) run(ctx context.Context, cancel context.CancelFunc, p *flightPipe) {
	defer cancel()
	contexts, err := a.shake(ctx, p)
	defer func() { a.engine.handshakes.note(err) }()
	if err != nil && !errors.Is(err, context.Canceled) {
		a.engine.log.Warn("a DTLS handshake failed", "call", a.call, "peer", p.peer(), "error", err)
	}
	a.shard.order(func(*shard) {
		a.in, a.stop, a.state = nil, nil, shakeFailed
		if err != nil || a.over.association[a.port] != a {
			return
		}
		a.keys, a.state = contexts, shaken
		a.done.Store(true)
		for _, l := range a.over.legs {
			a.key(l)
		}
	})
}

// errForeignCertificate means that the other side's certificate is none of those its description named.
var errForeignCertificate = errors.New("the certificate does not fit the fingerprint of the session description")

// shake runs the handshake and exports the keys (RFC 5764 §4.2).
func (a *association) shake(ctx context.Context, p *flightPipe) (contexts [2]*srtp.Context, err error) {
	defer p.Close() // at last, so that closing the connection sends no alert: a browser would end the call
	conn, err := a.connect(p)
	if err != nil {
		return contexts, err
	}
	defer func() {
		p.Close()
		conn.Close()
	}()
	if err := conn.HandshakeContext(ctx); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		if errors.Is(err, context.DeadlineExceeded) || p.foreign == nil {
			return contexts, err
		}
		return contexts, p.foreign
	}
	profile, ok := conn.SelectedSRTPProtectionProfile()
	suite, known := suiteOf(profile)
	if !ok || !known {
		return contexts, errors.New("no SRTP protection profile was agreed on")
	}
	state, ok := conn.ConnectionState()
	if !ok {
		return contexts, errors.New("the handshake left no state")
	}
	exported, err := state.ExportKeyingMaterial("EXTRACTOR-dtls_srtp", nil, 2*suite.KeyBytes())
	if err != nil {
		return contexts, err
	}
	return a.derive(suite, exported)
}

func (a *association) connect(p *flightPipe) (*dtls.Conn, error) {
	shared := []dtls.Option{
		dtls.WithCertificates(a.engine.identity.certificate),
		dtls.WithSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AEAD_AES_256_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80),
		dtls.WithFlightInterval(flightTime),
		dtls.WithInsecureSkipVerify(true), // no authority signs them: the fingerprint is what counts (RFC 5763 §5)
		dtls.WithVerifyPeerCertificate(func(raw [][]byte, _ [][]*x509.Certificate) error {
			if len(raw) == 0 || !slices.ContainsFunc(a.prints, func(f fingerprint) bool { return f.fits(raw[0]) }) {
				p.foreign = errForeignCertificate
				return errForeignCertificate
			}
			return nil
		}),
		dtls.WithLoggerFactory(quietLogs{}),
	}
	if a.active {
		options := make([]dtls.ClientOption, len(shared))
		for i, o := range shared {
			options[i] = o
		}
		return dtls.ClientWithOptions(p, p.peer(), options...)
	}
	// The address has proved itself by ICE or by the latch: no cookie is needed.
	options := []dtls.ServerOption{dtls.WithClientAuth(dtls.RequireAnyClientCert), dtls.WithInsecureSkipVerifyHello(true)}
	for _, o := range shared {
		options = append(options, o)
	}
	return dtls.ServerWithOptions(p, p.peer(), options...)
}

func suiteOf(p dtls.SRTPProtectionProfile) (srtp.Suite, bool) {
	switch p {
	case dtls.SRTP_AEAD_AES_128_GCM:
		return srtp.AES128GCM, true
	case dtls.SRTP_AEAD_AES_256_GCM:
		return srtp.AES256GCM, true
	case dtls.SRTP_AES128_CM_HMAC_SHA1_80:
		return srtp.AES128CM80, true
	}
	return 0, false
}

// derive makes the contexts, for what comes and for what goes. The exported bytes are the client's key, the server's key, the client's
// salt, the server's salt.
func (a *association) derive(s srtp.Suite, exported []byte) (contexts [2]*srtp.Context, err error) {
	salt := 14
	if s != srtp.AES128CM80 {
		salt = 12
	}
	key := s.KeyBytes() - salt
	client := append(append([]byte(nil), exported[:key]...), exported[2*key:2*key+salt]...)
	server := append(append([]byte(nil), exported[key:2*key]...), exported[2*key+salt:]...)
	theirs, ours := client, server
	if a.active {
		theirs, ours = server, client
	}
	if contexts[0], err = srtp.New(s, theirs, srtp.Receiver); err != nil {
		return contexts, err
	}
	contexts[1], err = srtp.New(s, ours, srtp.Sender)
	return contexts, err
}

// key gives a leg the keys of a finished handshake.
func (a *association) key(l *leg) {
	first, last := a.port, a.port
	if a.port == rtp && l.mux { // muxed RTCP uses those of its port
		last = rtcp
	}
	for c := first; c <= last; c++ {
		if s := l.shield; s.unseal[c] != a.keys[0] {
			s.before[c] = s.unseal[c]
		}
		l.shield.unseal[c], l.shield.seal[c] = a.keys[0], a.keys[1]
	}
}

// flightPipe is the handshake's connection: what the shard gives comes out, what goes in the shard sends.
type flightPipe struct {
	association *association
	in          <-chan []byte
	ended       <-chan struct{}
	foreign     error // why the certificate was refused; the handshake's

	mu      sync.Mutex
	expired chan struct{} // closed while a read deadline is over
	closed  bool
}

func (p *flightPipe) ReadFrom(b []byte) (int, net.Addr, error) {
	p.mu.Lock()
	expired, closed := p.expired, p.closed
	p.mu.Unlock()
	if closed {
		return 0, nil, net.ErrClosed
	}
	select {
	case in := <-p.in:
		return copy(b, in), p.peer(), nil
	case <-expired:
		return 0, nil, os.ErrDeadlineExceeded
	case <-p.ended:
		return 0, nil, io.EOF
	}
}

// WriteTo has the shard send to where the other side is now.
func (p *flightPipe) WriteTo(b []byte, _ net.Addr) (int, error) {
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if closed {
		return 0, net.ErrClosed
	}
	a, out := p.association, append([]byte(nil), b...)
	ok := a.shard.order(func(*shard) {
		a.to.socket.send(out, &a.to)
		a.keep(out)
	})
	if !ok {
		return 0, net.ErrClosed
	}
	return len(b), nil
}

// keep remembers the last datagram: all of a server's last flight, ChangeCipherSpec and Finished, fits into one.
func (a *association) keep(b []byte) {
	if !a.active {
		a.flight = b
	}
}

func (p *flightPipe) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.closed = true
		p.expire()
	}
	return nil
}

// expire ends waiting reads; mu is held.
func (p *flightPipe) expire() {
	select {
	case <-p.expired:
	default:
		close(p.expired)
	}
}

// SetReadDeadline knows the two that the DTLS library sets: one long past, to end a read, and none.
func (p *flightPipe) SetReadDeadline(at time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !at.IsZero():
		p.expire()
	case !p.closed:
		p.expired = make(chan struct{})
	}
	return nil
}

func (p *flightPipe) SetWriteDeadline(time.Time) error { return nil }
func (p *flightPipe) SetDeadline(t time.Time) error    { return p.SetReadDeadline(t) }
func (p *flightPipe) LocalAddr() net.Addr              { return &net.UDPAddr{} }

// peer is a name for the other side: its address may change, and the shard alone knows it.
func (p *flightPipe) peer() net.Addr { return &net.UDPAddr{} }

// handshakes are those of an engine.
type handshakes struct {
	mu      sync.Mutex
	running sync.WaitGroup
	now     int
	closed  bool

	done, busy uint64
	failed     map[string]uint64 // by reason
}

// begin runs f unless there are too many.
func (h *handshakes) begin(f func()) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	if h.now == handshakesAtOnce {
		h.busy++
		return false
	}
	h.now++
	h.running.Go(func() {
		f()
		h.mu.Lock()
		h.now--
		h.mu.Unlock()
	})
	return true
}

// note counts how one ended.
func (h *handshakes) note(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		h.done++
		return
	}
	reason := "protocol"
	switch {
	case errors.Is(err, errForeignCertificate):
		reason = "fingerprint"
	case errors.Is(err, context.DeadlineExceeded):
		reason = "timeout"
	case errors.Is(err, context.Canceled):
		reason = "ended"
	}
	if h.failed == nil {
		h.failed = make(map[string]uint64)
	}
	h.failed[reason]++
}

// wait refuses further ones and returns when all have ended; their shards have ended before, and with them what they wait for.
func (h *handshakes) wait() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.running.Wait()
}

// identity is the engine's certificate with its fingerprint as an attribute's value.
type identity struct {
	certificate tls.Certificate
	fingerprint string
	tag         uint64 // the beginning of it, to tell one from another
}

// newIdentity takes the certificate that was given, or makes one.
func newIdentity(given *tls.Certificate) (id identity, err error) {
	switch {
	case given != nil && len(given.Certificate) == 0:
		return id, errors.New("rtpengine: Identity is no certificate")
	case given != nil:
		id.certificate = *given
	default:
		if id.certificate, err = selfMade(); err != nil {
			return id, fmt.Errorf("rtpengine: make a certificate: %w", err)
		}
	}
	print := fingerprintOf(crypto.SHA256, id.certificate.Certificate[0])
	id.fingerprint, id.tag = print.String(), binary.BigEndian.Uint64([]byte(print.sum))
	return id, nil
}

// quietLogs keeps the DTLS library from writing lines: what ends a handshake is its error.
type quietLogs struct{}

func (quietLogs) NewLogger(string) logging.LeveledLogger { return quietLog{} }

type quietLog struct{}

func (quietLog) Trace(string)          {}
func (quietLog) Tracef(string, ...any) {}
func (quietLog) Debug(string)          {}
func (quietLog) Debugf(string, ...any) {}
func (quietLog) Info(string)           {}
func (quietLog) Infof(string, ...any)  {}
func (quietLog) Warn(string)           {}
func (quietLog) Warnf(string, ...any)  {}
func (quietLog) Error(string)          {}
func (quietLog) Errorf(string, ...any) {}
