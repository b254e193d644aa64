package rtpengine

import (
	"fmt"
	"hash/maphash"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Side of a session.
type Side uint8

const (
	A Side = iota // the offerer of the first offer: the caller
	B             // the other
)

func (s Side) String() string { return [...]string{"A", "B"}[s&1] }

// Other is the opposite side.
func (s Side) Other() Side { return s ^ 1 }

// SessionConfig names a session or an endpoint.
type SessionConfig struct {
	ID string // for logs and Stats; the Call-ID
	// OnSilence is told that a side which should send has said nothing for d: no RTP and no RTCP, on
	// any m-line, since the last packet or answer. It comes once; a new answer, or a packet, arms it
	// again. A side on hold is not expected to send. It runs in the engine's housekeeping with no
	// lock held: it may call Close, and must not block.
	OnSilence func(side Side, d time.Duration)
	// OnRecorded is told that a recording is complete, or failed. It runs in the recorder with no lock held and must not block.
	OnRecorded func(RecordingEnd)
	// OnDigit is told of each digit that a side sends in its media, when it is let go; nil wants none. An endpoint hears tones where its
	// phone takes no telephone-event. It runs in one goroutine for all sessions, with no lock held, and must not block.
	OnDigit func(Digit)
	// OnPicture is told that a side is wanted to send a full picture, and has not agreed to be told so by its media: signalling may ask it. It
	// comes once a second and m-line at most. It runs in the goroutine of OnDigit, with no lock held, and must not block.
	OnPicture func(Side)
	// OnQuality is told when a side has sounded worse than Config.AlarmMOS for Config.AlarmAfter, and when it has sounded as it should for as
	// long again. It runs in the engine's housekeeping with no lock held and must not block.
	OnQuality func(QualityAlarm)
}

// Session relays the media of one call between two sides. It is fed with the descriptions that pass
// through signalling and gives back what to pass on. All methods may be called from any goroutine.
type Session struct {
	engine *Engine
	cfg    SessionConfig
	shard  *shard
	site   *site // where it is heard; nil: at the engine's own addresses

	mu      sync.Mutex
	closed  bool
	lines   []*line // by position of the m-line; grows only
	origins [2]origin
	latest  *exchange // of the last Offer, answered or not
	before  *exchange // what Rollback returns to
	watch   [2]watch
	wires   [2]wires

	recording *Recording // the latest
	courses   courses

	plays  [2]*playing // by the side that hears it, nil when nothing plays
	music  [2]string   // what the other side hears while a side holds
	onHold [2]*playing // that music, by the side that hears it
	blocks [2]Block    // by the side that is not heard
	treat  [2]Treatment
	coded  bool // it has one of the places for calls that are transcoded

	exchanges uint32 // how often one was put in force
}

// line is one m-line: its kind and our sockets towards both sides.
type line struct {
	kind     string
	legs     [2]*leg
	placed   [2]placing
	rings    [2]*keyring // nil where nobody has spoken of keys
	numbers  [2]numbering
	takes    [2]feedback    // what each side has agreed to be sent
	pictures bool           // video has been agreed on
	vias     [2]*transcoder // of what each side says
}

// placing is where a side last said that it is; a change of it means latching anew.
type placing struct {
	addr [2]address
	from address // without a port
}

// exchange is one offer and its (last) answer.
type exchange struct {
	from     Side
	said     [2]*statement // by side
	text     uint64        // of the offer, hashed
	bargains []bargain     // what the other side was offered, by policy, this time's last
	struck   bargain       // that of the answer in force
	mux      []bool        // likewise
	shown    [][]told      // by m-line, how the offer's formats were told; nil: as they are
	back     [][]told      // and the answer's
	lent     [][]codec     // by m-line, what we added to the offer
	coded    []coding      // and what came of it
	remaking remaking      // for which else its packets are made anew
	width    int           // m-lines that the other side was offered
	answered bool
	inForce  bool // its answer has been applied
}

// statement is what one side's description said that outlives the description.
type statement struct {
	from   netip.Addr // signalling source
	family int        // in which we speak to that side
	lines  []said
}

// said is one m-line of a statement.
type said struct {
	mline  string // kind, port 0, proto and formats, for an answer that leaves the line out
	kind   string
	proto  string
	addr   [2]address
	dir    direction
	mux    bool
	active bool // port not 0, and nothing we refuse
	codecs []codec
	ptime  int // ms of the packets that its writer wants
	extmap []string
	rsize  bool

	feedback feedback // that it names
	most     uint64   // bit/s that it wants to be sent; 0: it does not say

	datagrams bool // no RTP: relayed as they are

	secrecy secrecy
	keys    *agreement // with this side; nil: plain
	theirs  theirs
	covered bool // passed with keys that are its writer's own
}

// NewSession makes a session without media; the first Offer opens its ports.
func (e *Engine) NewSession(c SessionConfig) (*Session, error) {
	s := e.session(c, e.choose(), nil)
	s.origins = [2]origin{newOrigin(), newOrigin()}
	if err := e.join(s); err != nil {
		return nil, err
	}
	return s, nil
}

func (e *Engine) session(c SessionConfig, sh *shard, at *site) *Session {
	s := &Session{engine: e, cfg: c, shard: sh, site: at}
	for side := range s.wires {
		s.wires[side] = wires{engine: e, shard: sh, site: at, call: c.ID}
	}
	return s
}

// Offer takes a side's offer and returns it as the other side must see it. src is where from's
// signalling came from, dst where the other side's goes: its family chooses IPv4 or IPv6. Media flows
// on as before until an Answer. The same offer may be given again for another fork.
//
// Errors: *RejectError when the offer cannot be served, ErrNoPorts, ErrClosed.
func (s *Session) Offer(from Side, sdp []byte, src, dst netip.Addr) ([]byte, error) {
	return s.OfferWith(from, sdp, src, dst, OfferOptions{})
}

// OfferWith is Offer with wishes for how the other side is offered media. Forks may speak different dialects: the offer is given again
// for each.
func (s *Session) OfferWith(from Side, sdp []byte, src, dst netip.Addr, o OfferOptions) ([]byte, error) {
	d, err := s.engine.parse(sdp)
	if err != nil {
		return nil, err
	}
	policy := s.engine.cfg.SRTP.or(o.SRTP)
	own, other, opaque := passing(d, s.engine.cfg.SRTP.or(o.Own), policy)
	if err := s.engine.acceptable(d, own); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	st, err := s.engine.hear(d, src, own)
	if err != nil {
		return nil, err
	}
	chosen, err := s.limit(d, st, &o)
	if err != nil {
		return nil, err
	}
	to := from.Other()
	there, err := s.engine.familyFor(s.knownAddr(to, dst), dst, s.lastAddr(to))
	if err != nil {
		return nil, err
	}
	d.pad(s.width(to))
	view := facing{addr: s.engine.localAt(s.site, there, dst), sections: make([]facingSection, len(d.sections))}
	deal := bargain{policy: policy, toward: make([]secrecy, len(d.sections)), opaque: opaque}
	if opaque {
		deal.insist = policy == SRTPRequired || s.engine.cfg.SRTP.or(o.Own) == SRTPRequired
		if err := s.keepAll(d, st, &deal, o.Speaks); err != nil {
			return nil, err
		}
	}
	x := &exchange{
		from: from, text: maphash.Bytes(s.engine.seed, sdp), bargains: []bargain{deal}, mux: make([]bool, len(d.sections)), shown: make([][]told, len(d.sections)), width: len(d.sections),
		lent: make([][]codec, len(d.sections)), remaking: o.wished(&s.engine.cfg.Transcode),
	}
	s.wires[from].offered(st)
	for i := range st.lines {
		if !st.lines[i].active {
			view.sections[i].bare = d.sections[i].port != 0 // refused by us: nothing of it travels on
			continue
		}
		l := s.line(i, d.sections[i].kind)
		if _, _, err := s.reach(i, from, st.lines[i].theirs.manner, st.family, nil); err != nil {
			return nil, err
		}
		m := s.manner(to, o.Speaks, i)
		if st.lines[i].datagrams || opaque {
			m = asRTP // on ports of its own
		}
		port, ports, err := s.reach(i, to, m, there, &expected{from: dst})
		if err != nil {
			return nil, err
		}
		if st.lines[i].datagrams {
			view.sections[i] = facingSection{port: port}
			continue
		}
		x.mux[i] = o.Mux.offered(st.lines[i].mux)
		view.sections[i] = facingSection{port: port, mux: x.mux[i]}
		if opaque {
			view.sections[i].wiring = d.secretLines(&d.sections[i])
			continue
		}
		if deal.toward[i], err = l.offerKeys(&d.sections[i], &st.lines[i], from, &view.sections[i], other, &o); err != nil {
			return nil, err
		}
		x.shown[i] = l.tellOffer(from, &st.lines[i], &d.sections[i], chosen[i], &view.sections[i])
		s.offered(&view.sections[i], i, to, m, &st.lines[i], d.sections[i].wiring.mid, ports, dst)
		if x.lent[i] = s.lend(l, to, &st.lines[i], &view.sections[i], o.Lend); len(chosen[i]) == 0 && len(x.lent[i]) == 0 {
			return nil, reject(488, 305, d.sections[i].where()+"None of its codecs is allowed here, and there is nothing to make of them")
		}
		s.lendEvents(x.remaking, l, to, &st.lines[i], &view.sections[i])
		s.offerFeedback(&view.sections[i], &d.sections[i], &st.lines[i], to)
	}
	s.wires[to].facing(&view)
	x.inherit(s.latest)
	if s.latest != nil && s.latest.answered {
		s.before = s.latest
	}
	x.said[from] = st
	s.latest = x
	return d.render(&view, &s.origins[to]), nil
}

// Answer takes the other side's answer to the latest Offer, puts both in force and returns the answer
// as the offerer must see it. It may be called again, for early media and for forks: the last one wins.
func (s *Session) Answer(from Side, sdp []byte, src, dst netip.Addr) ([]byte, error) {
	return s.AnswerWith(from, sdp, src, dst, AnswerOptions{})
}

// AnswerWith is Answer with what signalling knows of who answers.
func (s *Session) AnswerWith(from Side, sdp []byte, src, dst netip.Addr, o AnswerOptions) ([]byte, error) {
	d, err := s.engine.parse(sdp)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	x := s.latest
	if x == nil || x.from == from {
		return nil, ErrNoOffer
	}
	to := x.from
	offered := x.said[to]
	if len(d.sections) > x.width {
		return nil, reject(488, 399, fmt.Sprintf("%d m-lines answer %d", len(d.sections), x.width))
	}
	d.sections = d.sections[:min(len(d.sections), len(offered.lines))]
	d.pad(len(offered.lines), offered.lines)
	deal := x.offeredUnder(o.SRTP)
	own := deal.policy
	if deal.opaque {
		own = SRTPPassThrough
	}
	st, err := s.engine.hear(d, src, own)
	if err != nil {
		return nil, err
	}
	agreed, err := s.answerKeys(x, deal, d, st)
	if err != nil {
		s.engine.rejected.Add(1)
		return nil, err
	}
	peer := s.lastAddr(to)
	if dst.IsValid() && familyOf(dst) == offered.family {
		peer = dst
	}
	view := facing{addr: s.engine.localAt(s.site, offered.family, peer), sections: make([]facingSection, len(d.sections))}
	back, err := s.tellAnswer(x, deal, d, st, &view)
	if err != nil {
		return nil, err
	}
	if err := s.wires[from].answered(st); err != nil {
		s.engine.rejected.Add(1)
		return nil, err
	}
	for i := range d.sections {
		view.sections[i].proto = offered.lines[i].proto // RFC 3264 §6: as offered
		if st.lines[i].theirs.manner != browser {       // which is always offered it
			st.lines[i].mux = st.lines[i].mux && x.mux[i] // an answer cannot add it
		}
		if !st.lines[i].active {
			d.sections[i] = rejected(&offered.lines[i])
			continue
		}
		// RFC 5761 §5.1.1: the offerer asked for mux and gets it; the relay bridges when the other side does not mux.
		m := &offered.lines[i].theirs
		port, ports, err := s.reach(i, to, m.manner, offered.family, &expected{offered.lines[i].addr, offered.from, true})
		if err != nil {
			return nil, err
		}
		view.sections[i].port, view.sections[i].mux = port, offered.lines[i].mux
		view.sections[i].phones = st.lines[i].theirs.manner == browser && m.manner != browser
		s.wires[to].place(&view.sections[i], i, m.manner, m.part(), ports, peer)
		if !deal.opaque {
			view.sections[i].answerFeedback(&d.sections[i], &st.lines[i])
		}
		switch k := offered.lines[i].keys; {
		case deal.opaque:
			view.sections[i].wiring = d.secretLines(&d.sections[i])
		case k != nil:
			view.sections[i].crypto = []string{k.ours.line(k.theirs.tag)}
		}
		st.lines[i].keys, st.lines[i].secrecy = agreed[i], deal.toward[i]
	}
	s.wires[to].facing(&view)
	x.said[from], x.back, x.answered, x.struck = st, back, true, *deal
	s.enforce(x)
	return d.render(&view, &s.origins[to]), nil
}

// Rollback forgets the latest Offer, and its answer if one came: the offer was refused (a re-INVITE's
// 4xx). The agreement before it holds again.
func (s *Session) Rollback() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.latest == nil || s.latest.answered && s.before == nil {
		return
	}
	undo := s.latest.inForce
	s.latest, s.before = s.before, nil
	if undo {
		s.latest.inForce = false
		s.enforce(s.latest)
	}
}

// Close ends the session and shuts its ports, which then rest for three seconds. It may be called
// more than once.
func (s *Session) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	s.engine.stopRecording(s.recording)
	s.stopPlay(A)
	s.stopPlay(B)
	s.endCoding()
	lines := s.lines
	s.mu.Unlock()
	s.engine.leave(s)
	for side := range s.wires {
		s.wires[side].close()
	}
	var pairs []*pair
	var legs []*leg
	for _, l := range lines {
		for _, g := range l.legs {
			if g != nil {
				pairs, legs = appendPairs(pairs, g), append(legs, g)
			}
		}
	}
	s.engine.depart(s.shard, legs)
	s.engine.closePairs(s.shard, pairs)
}

func appendPairs(pairs []*pair, g *leg) []*pair {
	for _, p := range g.pairs {
		if p != nil && !p.single {
			pairs = append(pairs, p)
		}
	}
	return pairs
}

// closePairs has the shard close sockets that it owns.
func (e *Engine) closePairs(s *shard, pairs []*pair) {
	if len(pairs) == 0 {
		return
	}
	ok := s.order(func(s *shard) {
		for _, p := range pairs {
			s.detach(p.rtp)
			s.detach(p.rtcp)
			p.pool.give(p.port, s.now)
		}
	})
	if !ok { // the shard has ended and closed them
		for _, p := range pairs {
			p.pool.give(p.port, e.now())
		}
	}
}

// line gives the m-line at a position.
func (s *Session) line(i int, kind string) *line {
	for len(s.lines) <= i {
		s.lines = append(s.lines, &line{})
	}
	if s.lines[i].kind != kind {
		s.lines[i].kind = strings.Clone(kind) // not a piece of the description
	}
	return s.lines[i]
}

// openPair binds a pair and gives it to the shard.
func (e *Engine) openPair(sh *shard, from *pool, g *leg, family int) (*pair, error) {
	if g.pairs[family] != nil {
		return g.pairs[family], nil
	}
	p, err := from.open(e.now)
	if err != nil {
		return nil, err
	}
	return p, e.attach(sh, g, family, p)
}

// attach gives a pair to the shard.
func (e *Engine) attach(sh *shard, g *leg, family int, p *pair) error {
	ok := sh.order(func(sh *shard) {
		sh.attach(p.rtp, g, rtp)
		sh.attach(p.rtcp, g, rtcp)
	})
	if !ok {
		p.close(e.now())
		return ErrClosed
	}
	g.pairs[family] = p
	return nil
}

// lastAddr is where a side last said that its media is, for the choice of family.
func (s *Session) lastAddr(side Side) netip.Addr {
	for _, x := range [...]*exchange{s.latest, s.before} {
		if x == nil || x.said[side] == nil {
			continue
		}
		for _, l := range x.said[side].lines {
			if l.addr[rtp].valid() {
				return l.addr[rtp].host()
			}
		}
	}
	return netip.Addr{}
}

// knownAddr is lastAddr when the side at dst is the very one that spoke last, not another fork: its
// media may use another family than its signalling.
func (s *Session) knownAddr(side Side, dst netip.Addr) netip.Addr {
	if x := s.latest; x != nil && x.said[side] != nil && x.said[side].from == dst.Unmap().WithZone("") {
		return s.lastAddr(side)
	}
	return netip.Addr{}
}

// enforce orders the shard to relay as an answered exchange says.
func (s *Session) enforce(x *exchange) {
	fresh := !x.inForce
	x.inForce = true
	s.exchanges++
	offer, answer := x.said[x.from], x.said[x.from.Other()]
	setups := make([]*setup, 0, 2*len(s.lines))
	var expected [2]bool
	for i, l := range s.lines {
		if l.legs[A] == nil || l.legs[B] == nil {
			continue
		}
		var lines [2]said
		if i < len(offer.lines) && i < len(answer.lines) {
			lines[x.from], lines[x.from.Other()] = offer.lines[i], answer.lines[i]
		}
		active := lines[A].active && lines[B].active
		if x.struck.opaque { // another fork may have been offered keys of ours
			lines[A].keys, lines[B].keys = nil, nil
		}
		way := x.passages(i, l.kind, &lines)
		vias := s.transcode(x, i, l, &lines, &way)
		sealed := active && x.covers(i)
		feeds := s.feedTerms(x, i, l, &lines, active && !sealed) // sealed feedback says nothing to us, nor can we
		for _, side := range [...]Side{A, B} {
			mine, other := &lines[side], &lines[side.Other()]
			open := active && mine.dir&sendonly != 0 && other.dir&recvonly != 0
			expected[side] = expected[side] || open
			if g := l.rings[side]; g != nil && active {
				g.settle(mine.keys, mine.secrecy)
			}
			setups = append(setups, &setup{
				listener: s.listener(l), side: side,
				keys: mine.keys, wired: s.wires[side].settled(i, mine),
				leg: l.legs[side], out: l.legs[side.Other()], rates: s.engine.clocks.share(way[side].rates), renumber: way[side].renumber, via: vias[side], cargo: mine.cargo(sealed),
				addr: mine.addr, from: x.said[side].from, mux: mine.mux, open: open, active: active,
				hears: active && mine.dir&recvonly != 0, events: way[side].events, block: s.blocks[side], treat: s.treat[side],
				rearm: active && l.place(side, mine.addr, x.said[side].from, fresh),
				feed:  feeds[side],
			})
		}
	}
	s.stopCoding()
	s.respect()
	now := s.engine.now()
	for side := range expected {
		s.watch[side].arm(expected[side], now)
	}
	s.relearn()
	s.shard.order(func(sh *shard) {
		for _, t := range setups {
			t.leg.withdraw(&sh.relay)
		}
		for _, t := range setups {
			t.leg.apply(t, sh.now)
			sh.single.expect(t, sh.now)
		}
	})
	s.carryOn()
	s.endHolds()
}

// offerKeys decides how an m-line is offered to the other side, and chooses from the keys that its offerer gave.
func (l *line) offerKeys(s *section, heard *said, from Side, view *facingSection, p SRTPPolicy, o *OfferOptions) (secrecy, error) {
	agreed, to := plain, from.Other()
	if g := l.rings[to]; g != nil && (to == A || o.Speaks == Usual) { // while phones ring, B is another one each time
		agreed = g.level
	}
	level := p.toward(heard.secrecy, agreed)
	view.proto = level.profile(s.proto)
	if level > plain {
		view.crypto = l.ring(to).offer(o.Suites...)
	}
	if heard.secrecy == plain || heard.theirs.manner.dtls() {
		return level, nil
	}
	var err error
	heard.keys, err = l.ring(from).accept(s)
	return level, err
}

// answerKeys reads the keys of an answer. An answer that lacks what was asked for is refused, never taken as plain; one that is
// encrypted though nobody offered keys is no answer to that m-line.
func (s *Session) answerKeys(x *exchange, deal *bargain, d *description, st *statement) ([]*agreement, error) {
	agreed := make([]*agreement, len(d.sections))
	for i := range d.sections {
		section := &d.sections[i]
		if section.port == 0 || !x.said[x.from].lines[i].active {
			continue
		}
		if deal.opaque {
			if st.lines[i].datagrams {
				continue
			}
			if err := st.lines[i].keepAnswer(section, &x.said[x.from].lines[i], deal.insist); err != nil {
				return nil, err
			}
			continue
		}
		if section.dtls() {
			continue // its keys come later
		}
		if s.lines[i].legs[x.from.Other()].noPorts() {
			return nil, reject(488, 302, "The answer is "+section.proto+" where keys by DTLS were asked for")
		}
		if deal.toward[i] == plain {
			st.lines[i].active = st.lines[i].active && !encryptedRTP(section.proto)
			continue
		}
		var err error
		if agreed[i], err = s.lines[i].ring(x.from.Other()).answered(section, deal.toward[i]); err != nil {
			return nil, err
		}
	}
	return agreed, nil
}

func (l *line) ring(side Side) *keyring {
	if l.rings[side] == nil {
		l.rings[side] = &keyring{}
	}
	return l.rings[side]
}

// place notes where a side is and says whether its latches start over: always in a new exchange, and
// when another fork's answer names another place.
func (l *line) place(side Side, addr [2]address, from netip.Addr, fresh bool) bool {
	next := placing{addr, packHost(from)}
	moved := l.placed[side] != next
	l.placed[side] = next
	return fresh || moved
}

// merge tabulates the payload types that either side named, by clock rate. Each side numbers its own (RFC 3264 §5.1), so a packet may
// carry the number of either. Comfort noise is always among those of audio: phones send it without asking (RFC 3389).
func merge(kind string, lists ...[]codec) *[128]uint32 {
	table := new([128]uint32)
	for _, list := range lists {
		for _, c := range list {
			if table[c.payload] == 0 {
				table[c.payload] = c.clock
			}
		}
	}
	if kind == "audio" && table[payloadCN] == 0 {
		table[payloadCN] = 8000
	}
	return table
}
