package pbx

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"tandem/dialplan"
	"tandem/events"
	"tandem/rtpengine"
	"tandem/sip/transport"
)

// relayMedia anchors the media of one relayed call: it gives session descriptions to the engine and takes them back
// rewritten (sip.Media). The engine's session is made with the first offer, so that calls without one cost nothing.
type relayMedia struct {
	call  *Call
	out   *dialplan.Trunk // that is called, nil = phones
	own   bool            // the caller's side is an end of our own: see bridge
	rings atomic.Bool     // the phones of a call of our own ring: they have not spoken for themselves yet

	mu      sync.Mutex
	session Session
	last    *events.Media // what was measured, once the session is closed
	awaited bool          // the session is still to come from another process
	closed  bool
	blind   [2]bool // by side: it has refused to be asked for a picture by INFO
}

// Session is the media of one relayed call: an *rtpengine.Session, or one on an engine elsewhere.
type Session interface {
	OfferWith(from rtpengine.Side, sdp []byte, src, dst netip.Addr, o rtpengine.OfferOptions) ([]byte, error)
	AnswerWith(from rtpengine.Side, sdp []byte, src, dst netip.Addr, o rtpengine.AnswerOptions) ([]byte, error)
	Rollback()
	Record() (*rtpengine.Recording, error)
	StopRecording() bool
	Recording() string
	SendDigits(to rtpengine.Side, digits string) error
	RequestPicture(rtpengine.Side) error
	Quality() []rtpengine.LineQuality
	Close()
}

// Relay makes the sessions of relayed calls on engines elsewhere. lost ends the call of a session that is gone, with the reason.
type Relay func(c rtpengine.SessionConfig, lost func(reason string)) Session

// session makes the session of a call, here or elsewhere.
func (p *PBX) session(c rtpengine.SessionConfig, lost func(string)) (Session, error) {
	if p.cfg.Relay != nil {
		return p.cfg.Relay(c, lost), nil
	}
	s, err := p.cfg.Media.NewSession(c)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func newRelayMedia(c *Call) *relayMedia { return &relayMedia{call: c} }

var (
	errOver    = errors.New("the call is over")
	errAwaited = errors.New("the media of the call are on their way from another process")
)

func (m *relayMedia) open() (Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, errOver
	}
	if m.session != nil {
		return m.session, nil
	}
	if m.awaited {
		return nil, noMedia{errAwaited}
	}
	s, err := m.call.pbx.session(m.config(), m.lost)
	if err != nil {
		return nil, noMedia{err}
	}
	m.session = s
	return s, nil
}

// silence ends the call of a phone that vanished. It comes from the engine's housekeeping.
func (m *relayMedia) silence(side rtpengine.Side, d time.Duration) {
	if !m.call.talking() || m.rings.Load() { // early media may pause as long as the phone rings
		return
	}
	if entitled := m.call.pbx.cfg.Entitled; entitled != nil && !entitled() {
		return // the phone may speak to another node: silence here is no end
	}
	m.call.pbx.silent.Add(1)
	who := "caller"
	if side == rtpengine.B {
		who = "callee"
	}
	m.call.hangup("no media from the " + who + " for " + d.Round(time.Second).String())
}

// lost ends the call whose engine is gone, once it is answered: a call that still rings is told by the next offer or answer.
func (m *relayMedia) lost(reason string) {
	if m.call.talking() {
		m.call.hangup(reason)
	}
}

func side(fromCaller bool) rtpengine.Side {
	if fromCaller {
		return rtpengine.A
	}
	return rtpengine.B
}

// Offer rewrites an offer (sip.Media).
func (m *relayMedia) Offer(fromCaller bool, sdp string, src, dst transport.Flow, terms uint8) (string, error) {
	s, err := m.open()
	if err != nil {
		return "", err
	}
	out, err := s.OfferWith(side(fromCaller), []byte(sdp), src.Remote.Addr().Unmap(), dst.Remote.Addr().Unmap(), rtpengine.OfferOptions{
		Speaks: m.dialect(dst), SRTP: m.srtp(!fromCaller, terms), Own: m.srtp(fromCaller, terms), Codecs: m.codecs(!fromCaller),
	})
	return string(out), mediaError(err)
}

// dialect is how who is reached over a flow will speak: who comes by WebSocket is a browser. Once the call is answered both sides have
// spoken for themselves.
func (m *relayMedia) dialect(dst transport.Flow) rtpengine.Dialect {
	switch {
	case m.call.talking() && !m.rings.Load():
		return rtpengine.Usual
	case dst.Net == transport.WS || dst.Net == transport.WSS:
		return rtpengine.WebRTC
	}
	return rtpengine.Phone
}

// Answer rewrites an answer (sip.Media).
func (m *relayMedia) Answer(fromCaller bool, sdp string, src, dst transport.Flow, terms uint8) (string, error) {
	s, err := m.open()
	if err != nil {
		return "", err
	}
	out, err := s.AnswerWith(side(fromCaller), []byte(sdp), src.Remote.Addr().Unmap(), dst.Remote.Addr().Unmap(), rtpengine.AnswerOptions{
		SRTP: m.srtp(fromCaller, terms),
	})
	return string(out), mediaError(err)
}

// holdMusic says what each side hears while the other one holds it: "" leaves that to the phones, and so does an engine elsewhere.
func (m *relayMedia) holdMusic(callers, callees string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s, here := m.session.(*rtpengine.Session); here {
		s.HoldMusic(rtpengine.A, callers)
		s.HoldMusic(rtpengine.B, callees)
	}
}

// record starts to record the call.
func (m *relayMedia) record() (*rtpengine.Recording, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.session == nil || m.closed {
		return nil, rtpengine.ErrNothingHere
	}
	return m.session.Record()
}

func (m *relayMedia) stopRecording() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.session != nil && m.session.StopRecording()
}

func (m *relayMedia) recording() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.session == nil {
		return ""
	}
	return m.session.Recording()
}

// Rollback keeps what was agreed before the last offer (sip.Media).
func (m *relayMedia) Rollback() {
	m.mu.Lock()
	s := m.session
	m.mu.Unlock()
	if s != nil {
		s.Rollback()
	}
}

// Close frees the ports (sip.Media).
func (m *relayMedia) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	m.closed = true
	if m.session != nil {
		m.last = quality(m.session.Quality())
		m.session.Close()
	}
}

// quality is what was measured, for the CDR.
func (m *relayMedia) quality() *events.Media {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last == nil && m.session != nil {
		return quality(m.session.Quality())
	}
	return m.last
}

// mediaError gives the engine's refusals the SIP answer they ask for (sip.MediaError).
func mediaError(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, rtpengine.ErrBusy) || errors.Is(err, rtpengine.ErrNoPorts) || errors.Is(err, rtpengine.ErrClosed) || errors.Is(err, rtpengine.ErrUnreachable) {
		return noMedia{err}
	}
	var r *rtpengine.RejectError
	if errors.As(err, &r) {
		return refusedMedia{r}
	}
	return err
}

type refusedMedia struct{ *rtpengine.RejectError }

// SIPStatus gives what is in the Warning but for the agent, which is the signalling side's to name.
func (r refusedMedia) SIPStatus() (status, code int, text string) { return r.Status, r.Code, r.Text }

type noMedia struct{ error }

func (n noMedia) SIPStatus() (status, code int, text string) { return 503, 399, n.Error() }
