package ng

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"tandem/rtpengine"
)

// EnginesConfig sets up the engines that media is given to. Addrs is needed.
type EnginesConfig struct {
	Addrs []string // UDP, IP:port each
	// Log receives lines for operators; nil discards them.
	Log *slog.Logger
	// Dial opens sockets; nil means net.Dial.
	Dial func(network, addr string) (net.Conn, error)
}

const (
	// askFor is how long a signalling shard waits at most for an engine; after half of it the question is asked again. An engine that is silent for
	// so long is given no more calls until it answers a ping, so it costs a shard this once and not once a call.
	askFor    = 250 * time.Millisecond
	pingFor   = time.Second // between pings of an engine that answers
	pingMost  = 30 * time.Second
	loadEvery = 5  // pings
	lostAfter = 5  // pings without an answer until the calls on an engine are given up
	lookEvery = 30 // pings: how often a session is asked for
	leaving   = 4096
)

// Engines are media engines elsewhere that speak the NG protocol: tandem nodes or rtpengine daemons. New sessions go to the one with the least to do
// among those that answer and are not drained. All methods may be called from any goroutine.
type Engines struct {
	log    *slog.Logger
	dial   func(network, addr string) (net.Conn, error)
	list   []*engine
	prefix string // of cookies and call-ids: those of another start are not ours
	last   atomic.Uint64

	failovers, refused, lost atomic.Uint64
}

// engine is one of them.
type engine struct {
	all  *Engines
	addr string

	up      atomic.Bool
	drained atomic.Bool
	load    atomic.Int64 // sessions of everybody, as it said last
	ours    atomic.Int64

	asked, timeouts, failures, unclosed atomic.Uint64

	leave chan *Remote // sessions that are over

	mu       sync.Mutex
	conn     net.Conn
	waiting  map[string]chan dict // by cookie
	sessions map[*Remote]struct{}
}

// NewEngines checks the configuration. It opens nothing and starts nothing.
func NewEngines(c EnginesConfig) (*Engines, error) {
	if len(c.Addrs) == 0 {
		return nil, errors.New("ng: no engine is named")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Dial == nil {
		c.Dial = net.Dial
	}
	all := &Engines{log: c.Log, dial: c.Dial, prefix: rand.Text()[:10]}
	for _, addr := range c.Addrs {
		if _, err := netip.ParseAddrPort(addr); err != nil {
			return nil, fmt.Errorf("ng: engine: %w", err)
		}
		if slices.ContainsFunc(all.list, func(e *engine) bool { return e.addr == addr }) {
			return nil, fmt.Errorf("ng: the engine %s is named twice", addr)
		}
		all.list = append(all.list, &engine{
			all: all, addr: addr, leave: make(chan *Remote, leaving), waiting: make(map[string]chan dict), sessions: make(map[*Remote]struct{}),
		})
	}
	return all, nil
}

// Run keeps in touch with the engines until ctx ends, and returns when every goroutine has ended. Sessions are possible once an engine has
// answered its first ping.
func (all *Engines) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, e := range all.list {
		conn, err := all.dial("udp", e.addr)
		if err != nil {
			return fmt.Errorf("media engine %s: %w", e.addr, err)
		}
		e.mu.Lock()
		e.conn = conn
		e.mu.Unlock()
		defer conn.Close() // wakes its reader; before the wait above, which was deferred first
		running.Go(func() { e.read(ctx, conn) })
		running.Go(func() { e.tend(ctx) })
		running.Go(func() { e.dismiss(ctx) })
	}
	<-ctx.Done()
	return nil
}

// read gives answers to those who wait for them.
func (e *engine) read(ctx context.Context, conn net.Conn) {
	buffer := make([]byte, maxPacket+1)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			continue // ICMP says that nobody listens there: silence says so too
		}
		cookie, body, err := cutCookie(buffer[:n])
		if err != nil {
			continue
		}
		e.mu.Lock()
		waiting := e.waiting[cookie]
		e.mu.Unlock()
		if waiting == nil {
			continue
		}
		if answer, _, err := decode(body); err == nil {
			select {
			case waiting <- answer:
			default: // it has one
			}
		}
	}
}

// ask sends a request and waits for its answer.
func (e *engine) ask(d dict) (dict, error) {
	cookie := e.all.name()
	answer := make(chan dict, 1)
	e.mu.Lock()
	conn := e.conn
	e.waiting[cookie] = answer
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.waiting, cookie)
		e.mu.Unlock()
	}()
	if conn == nil {
		return nil, rtpengine.ErrUnreachable
	}
	e.asked.Add(1)
	message := encode(append([]byte(cookie), ' '), d, bencoded)
	timer := time.NewTimer(askFor / 2)
	defer timer.Stop()
	for range 2 {
		_, _ = conn.Write(message) // what is not sent is not answered
		select {
		case got := <-answer:
			return got, nil
		case <-timer.C:
			timer.Reset(askFor / 2)
		}
	}
	e.timeouts.Add(1)
	return nil, rtpengine.ErrUnreachable
}

// name is one that nobody else uses.
func (all *Engines) name() string { return all.prefix + "_" + strconv.FormatUint(all.last.Add(1), 36) }

// tend pings an engine, asks how much it has to do, and looks after the sessions on it.
func (e *engine) tend(ctx context.Context) {
	wait, missed := time.Duration(0), 0
	for round := 0; ; round++ {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if answer, err := e.ask(dict{"command": "ping"}); err != nil || answer.text("result") != "pong" {
			if missed++; missed == lostAfter {
				e.giveUp("the media engine " + e.addr + " does not answer any more")
			}
			e.down()
			wait = min(pingMost, pingFor<<min(max(missed-lostAfter, 0), 6))
			continue
		}
		missed, wait = 0, pingFor
		if !e.up.Swap(true) {
			e.all.log.Info("a media engine answers", "peer", e.addr)
			round = 0
		}
		if round%loadEvery == 0 {
			e.measure()
		}
		e.look(round % lookEvery)
	}
}

// down takes an engine out until it answers a ping.
func (e *engine) down() {
	if e.up.Swap(false) {
		e.all.log.Warn("a media engine does not answer; calls are given to the others", "peer", e.addr, "sessions", e.ours.Load())
	}
}

// measure asks how much an engine has to do. One that has no answer to this counts with what we gave it.
func (e *engine) measure() {
	answer, err := e.ask(dict{"command": "statistics"})
	if err != nil {
		return
	}
	statistics, _ := answer["statistics"].(dict)
	current, _ := statistics["currentstatistics"].(dict)
	n, _ := current.number("sessionstotal")
	e.load.Store(n - e.ours.Load()) // those of others: ours we know better
}

// look asks for the sessions whose turn it is: of those that the engine has ended, for silence or in a restart, the calls must end too.
func (e *engine) look(turn int) {
	for _, r := range e.all.sessionsOf(e) {
		if int(r.turn%lookEvery) != turn {
			continue
		}
		if !r.look(e) {
			return // it does not answer; the next ping says so
		}
	}
}

func (all *Engines) sessionsOf(e *engine) []*Remote {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]*Remote, 0, len(e.sessions))
	for r := range e.sessions {
		list = append(list, r)
	}
	return list
}

// giveUp ends the calls whose media were on an engine.
func (e *engine) giveUp(reason string) {
	list := e.all.sessionsOf(e)
	if len(list) > 0 {
		e.all.log.Error("a media engine is lost, and the calls on it with it", "peer", e.addr, "sessions", len(list))
	}
	for _, r := range list {
		r.lose(reason)
	}
}

// dismiss deletes sessions that are over.
func (e *engine) dismiss(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-e.leave:
			if !e.up.Load() {
				e.unclosed.Add(1) // it is gone, or deletes them itself when no media comes
			} else if _, err := e.ask(dict{"command": "delete", "call-id": r.id, "flags": []any{"fast"}}); err != nil {
				e.unclosed.Add(1)
			}
		}
	}
}

// choose is the engine with the least to do, besides those that were tried.
func (all *Engines) choose(tried []*engine) *engine {
	var best *engine
	least := int64(0)
	for _, e := range all.list {
		if !e.up.Load() || e.drained.Load() || slices.Contains(tried, e) {
			continue
		}
		if load := e.load.Load() + e.ours.Load(); best == nil || load < least {
			best, least = e, load
		}
	}
	return best
}

// Drain takes an engine out of the choice for new sessions, or back in. Those on it go on. The error says which engines there are.
func (all *Engines) Drain(addr string, on bool) error {
	for _, e := range all.list {
		if e.addr == addr {
			e.drained.Store(on)
			return nil
		}
	}
	return fmt.Errorf("there is no media engine %s", addr)
}

// EngineStats are the counters of one engine since the start, and what is known of it now.
type EngineStats struct {
	Addr     string `json:"address"`
	Up       bool   `json:"up" doc:"It answers."`
	Drained  bool   `json:"drained" doc:"It gets no new calls."`
	Sessions int    `json:"sessions" doc:"Of calls of this node."`
	Others   int    `json:"others" doc:"Sessions of other proxies, as it said last."`
	Asked    uint64 `json:"asked" doc:"Requests sent to it."`
	Timeouts uint64 `json:"timeouts" doc:"Requests without an answer."`
	Failures uint64 `json:"failures" doc:"Requests answered with an error."`
	Unclosed uint64 `json:"unclosed" doc:"Sessions that were over and could not be deleted there; it ends them itself."`
}

// EnginesStats are those of all of them.
type EnginesStats struct {
	Engines   []EngineStats
	Failovers uint64 // sessions that went to another engine because the first did not answer or was full
	Refused   uint64 // sessions that no engine took
	Lost      uint64 // sessions ended because their engine was gone or had ended them
}

// Stats may be called at any time.
func (all *Engines) Stats() EnginesStats {
	st := EnginesStats{Failovers: all.failovers.Load(), Refused: all.refused.Load(), Lost: all.lost.Load()}
	for _, e := range all.list {
		st.Engines = append(st.Engines, EngineStats{
			Addr: e.addr, Up: e.up.Load(), Drained: e.drained.Load(), Sessions: int(e.ours.Load()), Others: int(max(e.load.Load(), 0)),
			Asked: e.asked.Load(), Timeouts: e.timeouts.Load(), Failures: e.failures.Load(), Unclosed: e.unclosed.Load(),
		})
	}
	return st
}

// Remote is a session on one of the engines. It is fed like an rtpengine.Session; Offer and Answer wait for the engine, at most a quarter of a
// second for each that does not answer. All methods may be called from any goroutine.
type Remote struct {
	all  *Engines
	id   string
	turn uint64
	lost func(reason string)

	mu       sync.Mutex
	engine   *engine // nil before the first offer
	answered bool
	over     bool
	spoke    [2]bool                // by side: it has given a description
	web      [2]bool                // and that is a browser's
	stats    rtpengine.SessionStats // of the last look
}

// NewSession makes a session without media; its first offer chooses an engine. lost is told once when the engine is gone or has ended
// the session; it must not block, and it may be told in Close's stead.
func (all *Engines) NewSession(c rtpengine.SessionConfig, lost func(reason string)) *Remote {
	return &Remote{all: all, id: c.ID + "_" + all.name(), turn: all.last.Load(), lost: lost, stats: rtpengine.SessionStats{ID: c.ID}}
}

// The sides are known by these tags: one for all branches of a fork, so that they share a session.
var tagOf = [2]string{"a", "b"}

// OfferWith is rtpengine.Session's. Policies, and how who is called speaks, travel as NG's words.
func (r *Remote) OfferWith(from rtpengine.Side, sdp []byte, src, dst netip.Addr, o rtpengine.OfferOptions) ([]byte, error) {
	wish, err := wordsFor(sdp, &o)
	if err != nil {
		return nil, err
	}
	return r.offer(from, sdp, src, dst, r.dialect(wish, from.Other(), sdp, o.Speaks))
}

// dialect adds how a side is spoken to. Once it has spoken that is known here, since not every engine remembers.
func (r *Remote) dialect(wish dict, to rtpengine.Side, sdp []byte, speaks rtpengine.Dialect) dict {
	r.mu.Lock()
	web, spoke := r.web[to], r.spoke[to]
	r.mu.Unlock()
	switch {
	case speaks == rtpengine.WebRTC, speaks == rtpengine.Usual && web:
		return dict{"transport-protocol": "UDP/TLS/RTP/SAVPF", "ICE": "force", "rtcp-mux": []any{"offer"}}
	case speaks == rtpengine.Usual && !spoke:
		return wish
	}
	if wish == nil {
		wish = dict{}
	}
	if wish["ICE"] = "remove"; wish["transport-protocol"] == nil && isWeb(sdp) { // encrypted if it can, as ours does
		wish["transport-protocol"], wish["OSRTP"] = "RTP/AVP", []any{"offer"}
	}
	return wish
}

// isWeb reports whether who has written a description speaks DTLS-SRTP.
func isWeb(sdp []byte) bool { return bytes.Contains(sdp, []byte(" UDP/TLS/RTP/SAVP")) }

// wordsFor says a policy in NG's words. What NG has none for is refused, never given up in silence.
func wordsFor(sdp []byte, o *rtpengine.OfferOptions) (dict, error) {
	keyed := bytes.Contains(sdp, []byte("\na=crypto:")) || bytes.Contains(sdp, []byte("\na=fingerprint:"))
	is := func(p *rtpengine.SRTPPolicy, policy rtpengine.SRTPPolicy) bool { return p != nil && *p == policy }
	switch {
	case is(o.Own, rtpengine.SRTPRequired) && !keyed:
		return nil, &rtpengine.RejectError{Status: 488, Code: 302, Text: "Media encryption is required here (RTP/SAVP)"}
	case keyed && (is(o.Own, rtpengine.SRTPPassThrough) || is(o.SRTP, rtpengine.SRTPPassThrough)):
		return nil, &rtpengine.RejectError{Status: 488, Code: 302, Text: "End-to-end keys (srtp = passthrough) are not available by this media engine"}
	case is(o.SRTP, rtpengine.SRTPRequired):
		return dict{"transport-protocol": "RTP/SAVP"}, nil
	case is(o.SRTP, rtpengine.SRTPPreferred):
		return dict{"transport-protocol": "RTP/AVP", "OSRTP": []any{"offer"}}, nil
	case is(o.SRTP, rtpengine.SRTPOff):
		return dict{"transport-protocol": "RTP/AVP"}, nil
	}
	return nil, nil
}

// AnswerWith is rtpengine.Session's.
func (r *Remote) AnswerWith(from rtpengine.Side, sdp []byte, src, dst netip.Addr, _ rtpengine.AnswerOptions) ([]byte, error) {
	return r.Answer(from, sdp, src, dst)
}

// Offer is rtpengine.Session's. An engine that does not answer, or has no room, is left for another one as long as nobody has answered.
func (r *Remote) Offer(from rtpengine.Side, sdp []byte, src, dst netip.Addr) ([]byte, error) {
	return r.offer(from, sdp, src, dst, nil)
}

func (r *Remote) offer(from rtpengine.Side, sdp []byte, src, dst netip.Addr, wish dict) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return nil, rtpengine.ErrClosed
	}
	d := r.speech("offer", from, sdp, src)
	r.spoke[from], r.web[from] = true, isWeb(sdp)
	maps.Copy(d, wish)
	if dst.IsValid() {
		d["address-family"] = familyWord(dst.Unmap())
	}
	if r.answered {
		d["to-tag"] = tagOf[from.Other()]
		return r.engine.describe(d)
	}
	var tried []*engine
	problem := error(rtpengine.ErrUnreachable)
	for {
		e := r.engine
		if e == nil || slices.Contains(tried, e) {
			if e = r.all.choose(tried); e == nil {
				r.all.refused.Add(1)
				return nil, problem
			}
		}
		r.move(e)
		out, err := e.describe(d)
		var reject *rtpengine.RejectError
		if err == nil || errors.As(err, &reject) {
			return out, err
		}
		problem = err
		tried = append(tried, e)
		r.all.failovers.Add(1)
	}
}

// Answer is rtpengine.Session's.
func (r *Remote) Answer(from rtpengine.Side, sdp []byte, src, _ netip.Addr) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.over:
		return nil, rtpengine.ErrClosed
	case r.engine == nil:
		return nil, rtpengine.ErrNoOffer
	}
	d := r.speech("answer", from.Other(), sdp, src)
	d["to-tag"] = tagOf[from]
	r.spoke[from], r.web[from] = true, isWeb(sdp)
	if r.web[from.Other()] {
		d["ICE"] = "force"
	}
	out, err := r.engine.describe(d)
	r.answered = r.answered || err == nil
	return out, err
}

func (r *Remote) speech(command string, offerer rtpengine.Side, sdp []byte, src netip.Addr) dict {
	d := dict{
		"command": command, "call-id": r.id, "from-tag": tagOf[offerer], "sdp": string(sdp), "ICE": "remove", "flags": []any{"trust-address"},
		"replace": []any{"origin", "session-connection"}, "supports": []any{"load limit"},
	}
	if src.IsValid() {
		d["received-from"] = []any{familyWord(src.Unmap()), src.Unmap().String()}
	}
	return d
}

// describe sends an offer or answer and gives the description that comes back.
func (e *engine) describe(d dict) ([]byte, error) {
	answer, err := e.ask(d)
	if err != nil {
		e.down()
		return nil, fmt.Errorf("%w (%s)", err, e.addr)
	}
	switch answer.text("result") {
	case "ok":
		return []byte(answer.text("sdp")), nil
	case "load limit":
		e.failures.Add(1)
		return nil, fmt.Errorf("the media engine %s is full: %s: %w", e.addr, answer.text("message"), rtpengine.ErrBusy)
	}
	e.failures.Add(1)
	reason := answer.text("error-reason")
	return nil, &rtpengine.RejectError{Status: 488, Code: 399, Text: quoted(cmp.Or(reason, "the media engine refuses this description"))}
}

// quoted is a foreign text that may stand between quotes.
func quoted(text string) string {
	b := []byte(text[:min(len(text), 200)])
	for i, c := range b {
		if c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			b[i] = '\''
		}
	}
	return string(b)
}

// move puts the session on an engine; mu is held.
func (r *Remote) move(e *engine) {
	if r.engine == e {
		return
	}
	if old := r.engine; old != nil {
		old.forget(r)
	}
	r.engine = e
	e.mu.Lock()
	e.sessions[r] = struct{}{}
	e.mu.Unlock()
	e.ours.Add(1)
}

// forget takes a session off an engine and has it deleted there.
func (e *engine) forget(r *Remote) {
	e.mu.Lock()
	_, had := e.sessions[r]
	delete(e.sessions, r)
	e.mu.Unlock()
	if !had {
		return
	}
	e.ours.Add(-1)
	select {
	case e.leave <- r:
	default:
		e.unclosed.Add(1)
	}
}

// Rollback does nothing: an engine that is asked nothing more goes on with what was answered last.
func (r *Remote) Rollback() {}

// ErrRemoteRecording is Remote.Record's.
var ErrRemoteRecording = errors.New("the media of this call are on another node: they cannot be recorded from here")

// Record is refused: a file on another host is not what an operator looks for here.
func (r *Remote) Record() (*rtpengine.Recording, error) { return nil, ErrRemoteRecording }

// StopRecording has nothing to stop.
func (r *Remote) StopRecording() bool { return false }

// Recording is "".
func (r *Remote) Recording() string { return "" }

// RequestPicture leaves it to signalling: the protocol has no word for it. What the phones say of it in the media the engine carries.
func (r *Remote) RequestPicture(rtpengine.Side) error { return rtpengine.ErrNoFeedback }

// SendDigits is rtpengine.Session's, but that the engine chooses how long digits are; pauses are left out.
func (r *Remote) SendDigits(to rtpengine.Side, digits string) error {
	r.mu.Lock()
	e, over := r.engine, r.over
	r.mu.Unlock()
	if e == nil || over {
		return rtpengine.ErrClosed
	}
	for _, digit := range digits {
		if digit == ',' {
			continue
		}
		answer, err := e.ask(dict{"command": "play DTMF", "call-id": r.id, "from-tag": tagOf[to.Other()], "code": string(digit)})
		if err != nil {
			e.down()
			return fmt.Errorf("%w (%s)", err, e.addr)
		}
		if answer.text("result") != "ok" {
			e.failures.Add(1)
			return fmt.Errorf("the media engine %s: %s", e.addr, quoted(answer.text("error-reason")))
		}
	}
	return nil
}

// Quality is what was counted when the session was last looked at, up to half a minute ago, without the course.
func (r *Remote) Quality() []rtpengine.LineQuality {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]rtpengine.LineQuality, len(r.stats.Media))
	for i, m := range r.stats.Media {
		list[i].MediaStats = m
	}
	return list
}

// Close ends the session. It waits for nobody. It may be called more than once.
func (r *Remote) Close() {
	r.mu.Lock()
	e, was := r.engine, r.over
	r.over = true
	r.mu.Unlock()
	if e != nil && !was {
		e.forget(r)
	}
}

// look asks the engine for the session; false when there is no answer.
func (r *Remote) look(e *engine) bool {
	answer, err := e.ask(dict{"command": "query", "call-id": r.id})
	if err != nil {
		return false
	}
	if answer.text("result") != "ok" {
		r.lose("the media engine " + e.addr + " has ended the session")
		return true
	}
	st := statsOf(answer)
	r.mu.Lock()
	st.ID = r.stats.ID
	r.stats = st
	r.mu.Unlock()
	return true
}

// lose tells that the session is gone, once.
func (r *Remote) lose(reason string) {
	r.mu.Lock()
	was, e := r.over, r.engine
	r.over = true
	r.mu.Unlock()
	if was {
		return
	}
	e.forget(r)
	r.all.lost.Add(1)
	if r.lost != nil {
		r.lost(reason)
	}
}

// statsOf reads what query says of packets, by m-line and side.
func statsOf(answer dict) (st rtpengine.SessionStats) {
	tags, _ := answer["tags"].(dict)
	for side, name := range tagOf {
		tag, _ := tags[name].(dict)
		medias, _ := tag["medias"].([]any)
		for i, item := range medias[:min(len(medias), 64)] {
			m, _ := item.(dict)
			if i == len(st.Media) {
				st.Media = append(st.Media, rtpengine.MediaStats{})
			}
			st.Media[i].Kind = m.text("type")
			streams, _ := m["streams"].([]any)
			if len(streams) == 0 {
				continue
			}
			stream, _ := streams[0].(dict)
			stats, _ := stream["stats"].(dict)
			packets, _ := stats.number("packets")
			bytes, _ := stats.number("bytes")
			st.Media[i].Sides[side].Packets, st.Media[i].Sides[side].Bytes = uint64(max(packets, 0)), uint64(max(bytes, 0))
		}
	}
	return st
}
