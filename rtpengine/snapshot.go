package rtpengine

import (
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"slices"
	"strconv"
	"unique"

	"tandem/rtpengine/srtp"
)

// Errors of Import.
var (
	ErrSnapshot        = errors.New("rtpengine: this is no whole snapshot of a session")
	ErrSnapshotVersion = errors.New("rtpengine: the snapshot was made by another version of Tandem")
)

// A snapshot on the wire:
//
//	| version 1 | what is in it | CRC-32C 4 |
//
// The sum finds what was cut off or damaged by accident. It keeps nobody out: who may send snapshots is the cluster's to know.
const (
	snapshotVersion = 1
	// maxSnapshot is far above what any call needs: descriptions may be long.
	maxSnapshot = 1 << 18
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// snapshot is a session at one moment, without what belongs to one engine: memory, sockets, the clock.
type snapshot struct {
	bound   [2]netip.Addr // where its ports are bound, by family; invalid where it has none
	ice     [2]uint16     // the port where its browsers are heard, likewise
	origins [2]origin
	blocks  [2]Block
	treat   [2]Treatment
	music   [2]string

	keys     []*srtp.Context // all that it has, by number
	states   [][]byte        // the same, exported
	lines    []lineState
	wires    [2]wiresState
	exchange exchange

	elsewhere bool // it is not for the addresses that it was made at; never in a snapshot on the wire
}

// lineState is a line.
type lineState struct {
	kind    string
	legs    [2]*legState
	rings   [2]*keyring
	numbers [2]numbering
	placed  [2]placing
}

// legState is a leg.
type legState struct {
	ports [2]uint16 // of its pairs, by family; 0: none
	latch [2]latchState
	to    [2]netip.AddrPort
	count totalState
}

// latchState is a latch: its peer, or whom it would take at once.
type latchState struct {
	locked bool
	peer   netip.AddrPort
}

// totalState are the counts of a leg up to the snapshot.
type totalState struct {
	packets, bytes, rtcp, forwarded uint64
	drops                           []dropState
	lost, reported, rtt             int64
	rate, codec, source, duplicates uint32
	losses                          [6]uint32
}

type dropState struct {
	why   Drop
	count uint64
}

// wiresState are the transports of a side.
type wiresState struct {
	lines      []wireState
	bundle     int // number of a transport, from 1; 0: none
	transports []transportState
}

type wireState struct {
	transport int
	mid       string
}

type transportState struct {
	own         bool
	generations []generation
	agreed      [2]*associationState
	pairs       []pairState
	chosen      int // from 1; 0: none
	lost        bool
	sources     []sourceState
}

type pairState struct {
	addr      netip.AddrPort
	theirs    string
	priority  uint32
	nominated bool
}

type sourceState struct {
	ssrc uint32
	line int
}

type associationState struct {
	active bool
	prints []fingerprint
	name   string
	by     uint64           // whose certificate it was made with
	keys   [2]*srtp.Context // nil: its handshake is not done
}

// seal gives a snapshot its form.
func (n *snapshot) seal() ([]byte, error) {
	p := &packing{b: append(make([]byte, 0, 512), snapshotVersion)}
	n.pass(p)
	if p.err != nil || len(p.b) > maxSnapshot-4 {
		return nil, fmt.Errorf("%w: its descriptions are too long", ErrNotMovable)
	}
	return binary.BigEndian.AppendUint32(p.b, crc32.Checksum(p.b, castagnoli)), nil
}

// unseal reads one.
func unseal(b []byte) (*snapshot, error) {
	end := len(b) - 4
	switch {
	case len(b) > maxSnapshot || end < 1:
		return nil, fmt.Errorf("%w: %d octets", ErrSnapshot, len(b))
	case binary.BigEndian.Uint32(b[end:]) != crc32.Checksum(b[:end], castagnoli):
		return nil, fmt.Errorf("%w: its sum is wrong", ErrSnapshot)
	case b[0] != snapshotVersion:
		return nil, fmt.Errorf("%w: form %d, and this one reads %d", ErrSnapshotVersion, b[0], snapshotVersion)
	}
	n, p := &snapshot{}, &packing{b: b[1:end], reading: true}
	n.pass(p)
	if p.err == nil && len(p.b) > 0 {
		p.fail("something stands behind its end")
	}
	if p.err == nil {
		n.check(p)
	}
	return n, p.err
}

// pass writes or reads all.
func (n *snapshot) pass(p *packing) {
	for f := range n.bound {
		p.host(&n.bound[f])
		number(p, &n.ice[f], 1<<16-1)
	}
	for side := range n.origins {
		o := &n.origins[side]
		p.text(&o.user, maxUser)
		number(p, &o.id, 1<<63-1)
		number(p, &o.version, 1<<63-1)
		number(p, &o.sum, 1<<64-1)
		number(p, &n.blocks[side], BlockMedia|BlockDTMF|SilenceMedia)
		p.flags(&n.treat[side].Asymmetric, &n.treat[side].Wait)
		p.text(&n.music[side], 1<<10)
	}
	n.passKeys(p)
	list(p, &n.lines, maxSections, func(l *lineState) { n.passLine(p, l) })
	for side := range n.wires {
		n.passWires(p, &n.wires[side])
	}
	n.passExchange(p, &n.exchange)
}

// maxKeys bounds the contexts of a session: on each of the m-lines that can be active, both sides have a key and some of before.
const maxKeys = 2 * maxSections * (maxHeard + 6)

func (n *snapshot) passKeys(p *packing) {
	list(p, &n.states, maxKeys, func(state *[]byte) {
		length := len(*state)
		number(p, &length, maxSnapshot)
		p.raw(state, length)
	})
	if !p.reading {
		return
	}
	for _, state := range n.states {
		c, err := srtp.Import(state)
		if err != nil {
			p.fail(err.Error())
			return
		}
		n.keys = append(n.keys, c)
	}
}

// key passes one by its number.
func (n *snapshot) key(p *packing, c **srtp.Context, role srtp.Role) {
	i := 0
	if *c != nil {
		i = slices.Index(n.keys, *c) + 1
	}
	if number(p, &i, len(n.keys)); !p.reading || i == 0 {
		return
	}
	if *c = n.keys[i-1]; (*c).Role() != role {
		p.fail("a key is for the other direction")
	}
}

func (n *snapshot) passLine(p *packing, l *lineState) {
	p.text(&l.kind, maxSDPBytes)
	for side := range l.legs {
		optional(p, &l.legs[side], func(g *legState) { g.pass(p) })
		optional(p, &l.rings[side], func(g *keyring) { n.passRing(p, g) })
		l.numbers[side].pass(p)
		at := &l.placed[side]
		p.address(&at.addr[rtp])
		p.address(&at.addr[rtcp])
		from := at.from.host()
		p.host(&from)
		at.from = packHost(from)
	}
}

func (g *legState) pass(p *packing) {
	for f := range g.ports {
		number(p, &g.ports[f], 1<<16-1)
	}
	for c := range g.latch {
		p.flags(&g.latch[c].locked)
		p.place(&g.latch[c].peer)
		p.place(&g.to[c])
	}
	g.count.pass(p)
}

func (t *totalState) pass(p *packing) {
	for _, v := range [...]*uint64{&t.packets, &t.bytes, &t.rtcp, &t.forwarded} {
		number(p, v, 1<<60)
	}
	list(p, &t.drops, 1<<8, func(d *dropState) {
		number(p, &d.why, 1<<8-1)
		number(p, &d.count, 1<<60)
	})
	for _, v := range [...]*int64{&t.lost, &t.reported, &t.rtt} {
		p.signed(v)
	}
	for _, v := range [...]*uint32{&t.rate, &t.codec, &t.source, &t.duplicates} {
		number(p, v, 1<<32-1)
	}
	some := t.losses != [6]uint32{}
	if p.flags(&some); some {
		for i := range t.losses {
			number(p, &t.losses[i], 1<<32-1)
		}
	}
}

func (n *numbering) pass(p *packing) {
	list(p, (*[]numbered)(n), 128, func(e *numbered) {
		text := ""
		if !p.reading {
			text = e.means.Value()
		}
		number(p, &e.payload, 127)
		if p.text(&text, maxSDPBytes); p.reading {
			e.means = unique.Make(text)
		}
	})
}

// passRing passes the keys of one side of an m-line. What a context was made of stands in the context.
func (n *snapshot) passRing(p *packing, g *keyring) {
	number(p, &g.level, strict)
	list(p, &g.offers, maxCrypto, func(k **ourKey) { n.passOurs(p, k) })
	list(p, &g.heard, maxHeard, func(h **heardKey) {
		if p.reading {
			*h = &heardKey{}
		}
		n.passTheirs(p, &(*h).key, &(*h).context)
	})
	optional(p, &g.now, func(a *agreement) { n.passAgreement(p, g, a) })
}

func (n *snapshot) passOurs(p *packing, k **ourKey) {
	if p.reading {
		*k = &ourKey{}
	}
	o := *k
	if n.key(p, &o.sender, srtp.Sender); o.sender == nil {
		number(p, &o.suite, srtp.AES128CM32)
		p.raw(&o.master, o.suite.KeyBytes())
		return
	}
	if p.reading {
		o.suite, o.master = o.sender.Suite(), o.sender.Master()
	}
}

func (n *snapshot) passTheirs(p *packing, key *cryptoLine, c **srtp.Context) {
	n.key(p, c, srtp.Receiver)
	switch {
	case !p.reading:
	case *c == nil:
		p.fail("a key is not there")
	default:
		key.suite, key.key = (*c).Suite(), string((*c).Master())
	}
}

func (n *snapshot) passAgreement(p *packing, g *keyring, a *agreement) {
	p.text(&a.theirs.tag, 16)
	n.passTheirs(p, &a.theirs, &a.in)
	at := slices.Index(g.offers, a.ours) + 1 // the same as was offered, or one of its own
	if number(p, &at, len(g.offers)); at == 0 {
		n.passOurs(p, &a.ours)
	} else if p.reading {
		a.ours = g.offers[at-1]
	}
	if !p.reading {
		return
	}
	if a.out = a.ours.sender; a.out == nil {
		p.fail("a key is not there")
	}
}

func (n *snapshot) passWires(p *packing, w *wiresState) {
	list(p, &w.transports, 2*maxSections, func(t *transportState) { n.passTransport(p, t) })
	list(p, &w.lines, maxSections, func(l *wireState) {
		number(p, &l.transport, len(w.transports))
		p.text(&l.mid, maxSDPBytes)
	})
	number(p, &w.bundle, len(w.transports))
}

func (n *snapshot) passTransport(p *packing, t *transportState) {
	p.flags(&t.own, &t.lost)
	list(p, &t.generations, 2, func(g *generation) {
		p.text(&g.ufrag, 256)
		p.text(&g.password, 256)
		p.text(&g.theirs, 256)
	})
	for c := range t.agreed {
		optional(p, &t.agreed[c], func(a *associationState) {
			p.flags(&a.active)
			passPrints(p, &a.prints)
			p.text(&a.name, maxSDPBytes)
			number(p, &a.by, 1<<64-1)
			n.key(p, &a.keys[0], srtp.Receiver)
			n.key(p, &a.keys[1], srtp.Sender)
		})
	}
	list(p, &t.pairs, maxPairs, func(i *pairState) {
		p.place(&i.addr)
		p.text(&i.theirs, 256)
		number(p, &i.priority, 1<<32-1)
		p.flags(&i.nominated)
	})
	number(p, &t.chosen, len(t.pairs))
	list(p, &t.sources, maxSources, func(s *sourceState) {
		number(p, &s.ssrc, 1<<32-1)
		number(p, &s.line, maxSections-1)
	})
}

func passPrints(p *packing, v *[]fingerprint) {
	list(p, v, maxPrints, func(f *fingerprint) {
		number(p, &f.hash, crypto.SHA512)
		if p.octets(&f.sum, 64); !f.hash.Available() || len(f.sum) != f.hash.Size() {
			p.fail("a fingerprint is none")
		}
	})
}

// passExchange passes what was agreed on.
func (n *snapshot) passExchange(p *packing, x *exchange) {
	number(p, &x.from, B)
	number(p, &x.width, maxSections)
	for _, side := range [...]Side{x.from, x.from.Other()} {
		if p.reading {
			x.said[side] = &statement{}
		}
		x.said[side].pass(p)
	}
	if p.reading {
		x.struck.toward, x.mux, x.shown = make([]secrecy, x.width), make([]bool, x.width), make([][]told, x.width)
		x.lent = make([][]codec, x.width)
		x.answered, x.inForce = true, true
	}
	number(p, &x.struck.policy, SRTPPassThrough)
	p.flags(&x.struck.opaque, &x.struck.insist)
	for i := range x.width {
		number(p, &x.struck.toward[i], strict)
		p.flags(&x.mux[i])
		passTold(p, &x.shown[i])
		passCodecs(p, &x.lent[i])
	}
	if p.reading {
		x.bargains = []bargain{x.struck}
	}
	list(p, &x.back, x.width, func(t *[]told) { passTold(p, t) })
	list(p, &x.coded, x.width, func(c *coding) {
		if passCodecs(p, &c.lent); len(c.lent) > 0 {
			c.own.pass(p)
			p.flags(&c.both, &c.keys)
		}
	})
	for side, st := range x.said {
		for i := range st.lines {
			n.passAgreed(p, i, Side(side), &st.lines[i].keys)
		}
	}
}

// passAgreed passes the keys of a side's statement, which are those in force as a rule.
func (n *snapshot) passAgreed(p *packing, i int, side Side, a **agreement) {
	ring := &keyring{}
	if i < len(n.lines) && n.lines[i].rings[side] != nil {
		ring = n.lines[i].rings[side]
	}
	same := *a != nil && *a == ring.now
	switch p.flags(&same); {
	case !same:
		optional(p, a, func(a *agreement) { n.passAgreement(p, ring, a) })
	case !p.reading:
	case ring.now == nil:
		p.fail("a key is not there")
	default:
		*a = ring.now
	}
}

// passTold passes a list that may be nil, which is another thing than empty.
func passTold(p *packing, v *[]told) {
	some := *v != nil
	if p.flags(&some); !some {
		return
	}
	list(p, v, 128, func(t *told) {
		number(p, &t.from, 127)
		number(p, &t.to, 127)
	})
	if p.reading && *v == nil {
		*v = []told{}
	}
}

func passCodecs(p *packing, v *[]codec) {
	list(p, v, 128, func(c *codec) { c.pass(p) })
}

// pass passes a codec: twice its number when it is what the number means by itself.
func (c *codec) pass(p *packing) {
	n := uint64(c.payload) << 1
	if *c != standardCodec(c.payload) {
		n |= 1
	}
	if number(p, &n, 255); p.reading {
		*c = standardCodec(uint8(n >> 1))
	}
	if n&1 == 0 {
		return
	}
	p.text(&c.name, maxSDPBytes)
	number(p, &c.clock, 1<<32-1)
	number(p, &c.channels, 255)
	if p.text(&c.fmtp, maxSDPBytes); c.clock == 0 {
		p.fail("a codec has no clock")
	}
}

func (st *statement) pass(p *packing) {
	p.host(&st.from)
	number(p, &st.family, v6)
	list(p, &st.lines, maxSections, func(l *said) { l.pass(p) })
}

func (l *said) pass(p *packing) {
	p.text(&l.kind, maxSDPBytes)
	p.text(&l.proto, maxSDPBytes)
	p.flags(&l.mux, &l.active, &l.rsize, &l.datagrams, &l.covered)
	number(p, &l.dir, sendrecv)
	number(p, &l.secrecy, strict)
	number(p, &l.ptime, 60)
	number(p, &l.feedback, 1<<8-1)
	number(p, &l.most, 1<<60)
	p.address(&l.addr[rtp])
	p.address(&l.addr[rtcp])
	passCodecs(p, &l.codecs)
	list(p, &l.extmap, maxSDPLines, func(v *string) { p.text(v, maxSDPBytes) })
	usual := l.usualLine()
	plain := l.mline == usual
	if p.flags(&plain); plain {
		l.mline = usual
	} else {
		p.text(&l.mline, maxSDPBytes)
	}
	l.theirs.pass(p)
}

// usualLine is the m-line of a section whose formats are all payload types.
func (l *said) usualLine() string {
	text := l.kind + " 0 " + l.proto
	for _, c := range l.codecs {
		text += " " + strconv.Itoa(int(c.payload))
	}
	return text
}

func (t *theirs) pass(p *packing) {
	if number(p, &t.manner, browser); t.manner == asRTP {
		return
	}
	if p.reading {
		t.terms = &terms{}
	}
	p.flags(&t.bundled, &t.active)
	p.text(&t.mid, maxSDPBytes)
	p.text(&t.ufrag, 256)
	passPrints(p, &t.prints)
	p.text(&t.setup, maxSDPBytes)
	p.text(&t.association, maxSDPBytes)
	number(p, &t.midExt, 255)
}

// check refuses what each piece allows and no session could be.
func (n *snapshot) check(p *packing) {
	x := &n.exchange
	offer, answer := x.said[x.from], x.said[x.from.Other()]
	if len(offer.lines) > x.width || len(answer.lines) != len(offer.lines) || len(x.back) != len(offer.lines) || len(x.coded) != len(offer.lines) {
		p.fail("the answer does not fit the offer")
		return
	}
	for i := range offer.lines {
		if !offer.lines[i].active || !answer.lines[i].active {
			continue
		}
		if i >= len(n.lines) {
			p.fail("an m-line is not there")
			return
		}
		for side := range x.said {
			if what := n.lacks(i, Side(side)); what != "" {
				p.fail(what)
			}
		}
	}
	for _, w := range n.wires {
		for _, t := range w.transports {
			if what := t.lacks(n); what != "" {
				p.fail(what)
			}
		}
		if w.bundle > 0 && w.transports[w.bundle-1].own {
			p.fail("a bundle has ports of its own")
		}
	}
	for family, addr := range n.bound {
		if addr.IsValid() {
			if familyOf(addr) != family {
				p.fail("an address is of the other IP version")
			}
			continue
		}
		if n.ice[family] != 0 || slices.ContainsFunc(n.lines, func(l lineState) bool {
			return slices.ContainsFunc(l.legs[:], func(g *legState) bool { return g != nil && g.ports[family] != 0 })
		}) {
			p.fail("a port has no address")
		}
	}
}

// lacks says what is missing for a side to take part in an active m-line.
func (n *snapshot) lacks(i int, side Side) string {
	l, g, w := &n.exchange.said[side].lines[i], n.lines[i].legs[side], &n.wires[side]
	if g == nil {
		return "an m-line has no leg"
	}
	m := l.theirs.manner
	if m != browser && g.ports == [2]uint16{} {
		return "a leg has no port"
	}
	if (l.ptime < 10 || l.ptime%10 != 0) && !l.datagrams {
		return "packets have no length"
	}
	if m == asRTP {
		return ""
	}
	if i >= len(w.lines) || w.lines[i].transport == 0 {
		return "an m-line has no transport"
	}
	if t := &w.transports[w.lines[i].transport-1]; t.own != (m != browser) || len(t.generations) == 0 && m != asDTLS {
		return "a transport is not what its m-line needs"
	}
	if m == browser && n.ice == [2]uint16{} {
		return "there is no port for browsers"
	}
	return ""
}

// lacks says what is wrong with a transport.
func (t *transportState) lacks(n *snapshot) string {
	for _, g := range t.generations {
		if g.ufrag == "" || g.password == "" {
			return "ICE credentials are not there"
		}
	}
	for _, s := range t.sources {
		if s.line >= len(n.lines) {
			return "a source is of no m-line"
		}
	}
	for _, i := range t.pairs {
		if !i.addr.IsValid() || t.own || n.ice[familyOf(i.addr.Addr())] == 0 || len(t.generations) == 0 {
			return "a pair is not at the port for browsers"
		}
	}
	for _, a := range t.agreed {
		if a != nil && (a.keys[0] == nil) != (a.keys[1] == nil) {
			return "a key is not there"
		}
	}
	return ""
}
