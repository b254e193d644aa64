package rtpengine

import (
	"bytes"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	audio "tandem/rtpengine/codec"
)

// Endpoint is a leg that Tandem answers itself: the echo test, music, tones. Choose Echo or Play
// before Answer or Offer, because the answer depends on it: echo takes any codec and video, playing
// takes G.711, else G.722 or Opus. Both may be called again in the middle of the call. All methods may be called from any
// goroutine.
type Endpoint struct {
	engine *Engine
	cfg    SessionConfig
	shard  *shard

	mu      sync.Mutex
	closed  bool
	echo    bool
	sound   *keptSound // what plays, nil when nothing does
	saying  int64      // when that is over, engine ns; 0 = it never is
	member  *Member    // of a room, nil outside
	legs    []*leg     // by position of the m-line, nil where rejected
	kinds   []string
	rings   []*keyring
	tongues []tongue  // what we speak, by m-line
	codecs  [][]codec // that the phone takes, by m-line
	family  int       // of our Offer
	srtp    SRTPPolicy
	offered secrecy
	origin  origin
	watch   watch
	wires   wires

	reported int64 // when the shard was last asked for reports, engine ns
	courses  courses

	recording *Recording // the latest
	levels    []uint8    // id of the header extension that tells the level, by m-line; 0 none
}

// NewEndpoint makes an endpoint without media: silent until Echo or Play, deaf until Answer.
func (e *Engine) NewEndpoint(c SessionConfig) (*Endpoint, error) {
	p := &Endpoint{engine: e, cfg: c, shard: e.choose(), origin: newOrigin()}
	p.Policy(e.cfg.SRTP)
	p.wires = wires{engine: e, shard: p.shard, call: c.ID}
	if err := e.join(p); err != nil {
		return nil, err
	}
	return p, nil
}

// Policy says how the phone is dealt with as to encryption, instead of Config.SRTP. There is no other phone to pass keys to.
func (p *Endpoint) Policy(srtp SRTPPolicy) {
	if srtp == SRTPPassThrough {
		srtp = SRTPMirror
	}
	p.mu.Lock()
	p.srtp = srtp
	p.mu.Unlock()
}

// Answer takes the phone's offer, or its next one in a re-INVITE, puts it in force and returns our
// answer. src is where its signalling came from. Errors are those of Session.Offer.
func (p *Endpoint) Answer(offer []byte, src netip.Addr) ([]byte, error) {
	d, err := p.engine.parse(offer)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	if err := p.engine.acceptable(d, p.srtp); err != nil {
		return nil, err
	}
	st, err := p.engine.hear(d, src, p.srtp)
	if err != nil {
		return nil, err
	}
	chosen, err := p.choose(d, st)
	if err != nil {
		return nil, err
	}
	address := p.engine.local(st.family, firstAddr(st, src))
	p.wires.offered(st)
	view := facing{addr: address, sections: make([]facingSection, len(d.sections))}
	var body bytes.Buffer
	for i := range d.sections {
		if err := p.answerSection(&body, &d.sections[i], &st.lines[i], i, chosen[i], st.family, st.from, &view); err != nil {
			return nil, err
		}
	}
	p.enforce(st)
	p.wires.facing(&view)
	return p.describe(address, view.preamble, body.Bytes()), nil
}

func firstAddr(st *statement, src netip.Addr) netip.Addr {
	for _, l := range st.lines {
		if l.addr[rtp].valid() {
			return l.addr[rtp].host()
		}
	}
	return src
}

// choose picks the formats to accept of each section and clears active where there are none.
func (p *Endpoint) choose(d *description, st *statement) ([][]string, error) {
	chosen := make([][]string, len(d.sections))
	some, asked := false, false
	for i := range d.sections {
		l := &st.lines[i]
		if !l.active {
			continue
		}
		asked = true
		switch {
		case l.datagrams: // nothing here can send a fax
		case p.echo && d.sections[i].kind != "text":
			chosen[i] = echoable(&d.sections[i])
		case d.sections[i].kind == "audio":
			chosen[i] = p.engine.playable(&d.sections[i])
		}
		l.active = len(chosen[i]) > 0
		some = some || l.active
	}
	if asked && !some {
		p.engine.rejected.Add(1)
		return nil, reject(488, 305, "Audio in "+p.engine.spokenHere()+" is needed here")
	}
	return chosen, nil
}

// echoable keeps what an echo under one source of ours is true of: not what repairs or repeats another format.
func echoable(s *section) []string {
	out := make([]string, 0, len(s.formats))
	codecs := s.codecs()
	for _, format := range s.formats {
		pt, _ := payloadType(format)
		if !slices.ContainsFunc(codecs, func(c codec) bool { return c.payload == pt && (c.repairs() || c.named("rtx") || c.named("red")) }) {
			out = append(out, format)
		}
	}
	return out
}

// playable keeps one codec that we can speak and telephone-event (RFC 4733 §2.5: it may accompany any audio), which has the codec's clock
// where the phone has several.
func (e *Engine) playable(s *section) []string {
	list := s.codecs()
	speaks := e.tongueOf(list)
	if speaks.kind == audio.None {
		return nil
	}
	out := []string{strconv.Itoa(int(speaks.payload))}
	if ev, ok := eventOf(list, uint32(speaks.kind.Clock())); ok {
		out = append(out, strconv.Itoa(int(ev.payload)))
	}
	return out
}

// spokenHere names the codecs that can be played and mixed.
func (e *Engine) spokenHere() string {
	if e.codecs.Encodes(audio.Opus) {
		return "PCMU, PCMA, G722 or opus"
	}
	return "PCMU, PCMA or G722"
}

func (p *Endpoint) answerSection(out *bytes.Buffer, s *section, l *said, i int, formats []string, family int, from netip.Addr, view *facing) error {
	for len(p.legs) <= i {
		p.legs, p.kinds, p.tongues, p.rings = append(p.legs, nil), append(p.kinds, ""), append(p.tongues, tongue{}), append(p.rings, &keyring{})
		p.levels = append(p.levels, 0)
	}
	p.kinds[i] = strings.Clone(s.kind)
	if !l.active {
		put(out, "m=", s.kind, " 0 ", s.proto, " ", strings.Join(s.formats, " "))
		return nil
	}
	port, ports, err := p.reach(i, l.theirs.manner, family, &expected{l.addr, from, true})
	if err != nil {
		return err
	}
	if l.secrecy > plain && !l.theirs.manner.dtls() {
		if l.keys, err = p.rings[i].accept(s); err != nil {
			return err
		}
	}
	p.tongues[i] = p.engine.tongueOf(slices.DeleteFunc(s.codecs(), func(c codec) bool { return !slices.Contains(formats, strconv.Itoa(int(c.payload))) }))
	put(out, "m=", s.kind, " ", strconv.Itoa(int(port)), " ", s.proto, " ", strings.Join(formats, " "))
	for _, line := range s.lines {
		if echoedLine(line, formats) {
			put(out, line)
		}
	}
	if p.levels[i] = s.levelID(); p.levels[i] != 0 {
		put(out, "a=extmap:", strconv.Itoa(int(p.levels[i])), "/recvonly ", levelURI)
	}
	dir := s.dir
	if s.noReceive {
		dir &^= recvonly
	}
	put(out, "a=", dir.reverse().String())
	if s.mux {
		put(out, "a=rtcp-mux")
	}
	if l.keys != nil {
		put(out, l.keys.ours.line(l.keys.theirs.tag))
	}
	section := &view.sections[i]
	section.port, section.mux = port, s.mux
	if port == p.engine.cfg.SinglePort && !s.mux { // RFC 3605: not the port above it
		put(out, "a=rtcp:", strconv.Itoa(int(port)))
	}
	p.wires.place(section, i, l.theirs.manner, l.theirs.part(), ports, view.addr)
	for _, line := range section.wiring {
		put(out, line)
	}
	return nil
}

// echoedLine reports whether an offered line is true of our answer too: what it says of accepted
// formats, and the wish for full pictures, which an echo can honour.
func echoedLine(line string, formats []string) bool {
	for _, prefix := range [...]string{"a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"} {
		value, ok := strings.CutPrefix(line, prefix)
		if !ok {
			continue
		}
		format, rest, _ := strings.Cut(value, " ")
		if prefix == "a=rtcp-fb:" {
			if rest != "nack pli" && rest != "ccm fir" {
				return false
			}
			if format == "*" {
				return true
			}
		}
		for _, f := range formats {
			if f == format {
				return true
			}
		}
	}
	return false
}

// describe puts the session part before the m-lines.
func (p *Endpoint) describe(address netip.Addr, preamble []string, body []byte) []byte {
	at := family(address) + " " + address.String()
	p.origin.bump(append(bytes.Clone(body), at+strings.Join(preamble, "\n")...))
	var out bytes.Buffer
	put(&out, "v=0")
	put(&out, "o=tandem ", strconv.FormatUint(p.origin.id, 10), " ", strconv.FormatUint(p.origin.version, 10), " IN ", at)
	put(&out, "s=-")
	put(&out, "c=IN ", at)
	put(&out, "t=0 0")
	for _, line := range preamble {
		put(&out, line)
	}
	out.Write(body)
	return out.Bytes()
}

// Offer makes our own offer of audio, for an INVITE that carried none, see Engine.offered; Accept takes its answer.
func (p *Endpoint) Offer(dst netip.Addr) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	family, err := p.engine.familyFor(dst)
	if err != nil {
		return nil, err
	}
	if len(p.legs) == 0 {
		p.legs, p.kinds, p.tongues, p.rings = []*leg{nil}, []string{"audio"}, []tongue{{}}, []*keyring{{}}
		p.levels = []uint8{0}
	}
	port, _, err := p.reach(0, asRTP, family, &expected{from: dst})
	if err != nil {
		return nil, err
	}
	p.family = family
	p.offered = p.srtp.toward(plain, p.rings[0].level)
	var body bytes.Buffer
	formats := p.engine.offered()
	put(&body, "m=audio ", strconv.Itoa(int(port)), " ", p.offered.profile(""), " ", addedWords(formats))
	for _, line := range addedLines(formats) {
		put(&body, line)
	}
	put(&body, "a=ptime:20")
	if port == p.engine.cfg.SinglePort {
		put(&body, "a=rtcp:", strconv.Itoa(int(port)))
	}
	put(&body, "a=sendrecv")
	if p.offered > plain {
		for _, line := range p.rings[0].offer() {
			put(&body, line)
		}
	}
	return p.describe(p.engine.local(family, dst), nil, body.Bytes()), nil
}

// Accept puts the phone's answer to our Offer in force.
func (p *Endpoint) Accept(answer []byte, src netip.Addr) error {
	d, err := p.engine.parse(answer)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return ErrClosed
	case len(p.legs) == 0 || p.legs[0] == nil:
		return ErrNoOffer
	}
	st, err := p.engine.hear(d, src, p.srtp)
	if err != nil {
		return err
	}
	if len(st.lines) == 0 || d.sections[0].port == 0 {
		return reject(488, 305, "The answer takes no audio")
	}
	if err := p.acceptKeys(&d.sections[0], &st.lines[0]); err != nil {
		return err
	}
	if code, text := d.sections[0].refused(p.srtp); code != 0 {
		return reject(488, code, text)
	}
	if p.tongues[0] = p.engine.tongueOf(d.sections[0].codecs()); p.tongues[0].kind == audio.None {
		return reject(488, 305, "The answer takes no audio in "+p.engine.spokenHere())
	}
	st.lines[0].mux = false // we did not offer it
	p.enforce(st)
	return nil
}

// acceptKeys reads the keys of the answer to our offer.
func (p *Endpoint) acceptKeys(s *section, l *said) (err error) {
	if p.offered == plain {
		if encryptedRTP(s.proto) {
			return reject(488, 302, "The answer is encrypted, the offer was not")
		}
		l.secrecy = plain
		return nil
	}
	l.secrecy = p.offered
	l.keys, err = p.rings[0].answered(s, p.offered)
	return err
}

// enforce orders the shard to serve what the phone said.
func (p *Endpoint) enforce(st *statement) {
	var setups []*setup
	expected := false
	p.codecs = make([][]codec, len(p.legs))
	for i, g := range p.legs {
		if g == nil {
			continue
		}
		var l said
		if i < len(st.lines) {
			l = st.lines[i]
		}
		open := l.active && l.dir&recvonly != 0
		expected = expected || l.active && l.dir&sendonly != 0
		if l.active {
			p.rings[i].settle(l.keys, l.secrecy)
		}
		p.codecs[i] = l.codecs
		setups = append(setups, &setup{
			listener: p.listener(i), events: eventsOf(l.codecs),
			leg: g, keys: l.keys, wired: p.wires.settled(i, &l), rates: p.engine.clocks.share(merge(p.kinds[i], l.codecs)), addr: l.addr, from: st.from,
			mux: l.mux, open: open, hears: open, active: l.active, rearm: l.active,
			feed: p.feedTerms(i, &l),
		})
	}
	p.watch.arm(expected, p.engine.now())
	p.relearn()
	p.shard.order(func(sh *shard) {
		for _, t := range setups {
			t.leg.apply(t, sh.now)
			sh.single.expect(t, sh.now)
		}
	})
	p.perform()
}

// Echo sends everything that was accepted back to the phone, under a source of our own.
func (p *Endpoint) Echo() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.stopPlaying()
	p.leaveRoom()
	p.echo = true
	p.perform()
}

// Play sends a sound, over and over; sounds.go says how they are named. It may read a file.
func (p *Endpoint) Play(name string) error {
	snd, err := p.take(name)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		p.engine.sounds.release(snd)
		return ErrClosed
	}
	p.engine.startPlaying() // before the old sound stops, so that the pacer need not wake up again
	p.stopPlaying()
	p.leaveRoom()
	p.echo, p.sound, p.saying = false, snd, 0
	p.perform()
	return nil
}

// take gets a sound and has it encoded as the phone hears it: perform then need not.
func (p *Endpoint) take(name string) (*keptSound, error) {
	snd, err := p.engine.sounds.take(name)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	speaks := slices.Clone(p.tongues)
	p.mu.Unlock()
	for _, t := range speaks {
		if t.kind == audio.None {
			continue
		}
		if _, err := p.engine.sounds.loop(snd, t.kind); err != nil {
			p.engine.sounds.release(snd)
			return nil, err
		}
	}
	return snd, nil
}

// stopPlaying gives the sound back; mu is held. Packets already handed to the shard keep its memory alive.
func (p *Endpoint) stopPlaying() {
	if p.sound != nil {
		p.engine.stopPlaying()
		p.engine.sounds.release(p.sound)
		p.sound = nil
	}
}

// report has the shard send the reports that are due though nothing comes or goes; mu is held.
func (p *Endpoint) report(now int64) {
	if now-p.reported < int64(reportEvery/4) || p.closed {
		return
	}
	p.reported = now
	legs := append([]*leg(nil), p.legs...)
	p.shard.order(func(sh *shard) {
		for _, g := range legs {
			if g != nil {
				g.app.reports(&sh.relay, g)
			}
		}
	})
}

// perform orders the shard to do on every leg what Echo or Play last asked for.
func (p *Endpoint) perform() {
	legs, speaks := append([]*leg(nil), p.legs...), slices.Clone(p.tongues)
	echo, snd, levels := p.echo, p.sound, append([]uint8(nil), p.levels...)
	left := 0
	if p.saying != 0 && snd != nil {
		if left = int((p.saying - p.engine.now() + int64(frameTime) - 1) / int64(frameTime)); left <= 0 {
			snd = nil
		}
	}
	var at *seat
	place := -1
	if p.member != nil {
		if place = p.audio(); place >= 0 {
			at = p.member.seat
			p.member.agree(speaks[place])
		}
	}
	loops := p.loops(snd)
	p.shard.order(func(sh *shard) {
		for i, g := range legs {
			if g != nil && i != place {
				sh.unseat(g)
			}
			switch {
			case g == nil:
			case i == place:
				sh.delist(g)
				sh.seatLeg(g, at, speaks[i], levels[i])
			case loops[i] != nil:
				if !g.app.plays(loops[i]) || left > 0 {
					sh.enlist(g, loops[i], speaks[i].payload)
					if left > 0 {
						g.app.at, g.app.left, g.app.over = max(0, loops[i].packets()-left), left, nil
					}
				}
			default:
				sh.delist(g)
				g.app.echo = echo
			}
		}
	})
}

// loops are a sound as each m-line hears it, nil where it hears none; mu is held.
func (p *Endpoint) loops(snd *keptSound) []*loop {
	out := make([]*loop, len(p.tongues))
	for i, t := range p.tongues {
		if snd == nil || t.kind == audio.None {
			continue
		}
		var err error
		if out[i], err = p.engine.sounds.loop(snd, t.kind); err != nil {
			p.engine.log.Warn("a sound cannot be played any more", "call", p.cfg.ID, "sound", snd.name, "codec", t.kind.String(), "error", err)
		}
	}
	return out
}

// audio is the position of the audio that we speak in, -1 when there is none; mu is held.
func (p *Endpoint) audio() int {
	for i, g := range p.legs {
		if g != nil && p.kinds[i] == "audio" && p.tongues[i].kind != audio.None {
			return i
		}
	}
	return -1
}

// leaveRoom ends the membership; mu is held.
func (p *Endpoint) leaveRoom() {
	if p.member != nil {
		p.member.room.dismiss(p.member)
		p.member = nil
	}
}

// plays reports whether this very sound is playing.
func (a *app) plays(sound *loop) bool { return a.listed && a.sound == sound }

// silent is housekeeping's question.
func (p *Endpoint) silent(now int64) {
	var last int64
	p.mu.Lock()
	for _, g := range p.legs {
		if g != nil {
			last = max(last, g.tally.lastSeen.Load())
		}
	}
	p.report(now)
	alarms := p.sample(now)
	d, news := p.watch.check(last, now, p.engine.patience())
	news = news && !p.closed
	p.mu.Unlock()
	if news {
		p.engine.tellSilence(&p.cfg, A, d)
	}
	p.engine.tellQuality(&p.cfg, alarms)
}

// Stats give the phone as side A; Forwarded counts what we sent it.
func (p *Endpoint) Stats() SessionStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := SessionStats{ID: p.cfg.ID}
	now := p.engine.now()
	for i, g := range p.legs {
		m := MediaStats{Kind: p.kinds[i]}
		if g != nil {
			m.Sides[A] = g.stats(now)
			c := p.lastCodec(i)
			m.Sides[A].Codec = c.telling()
			if m.Kind == "audio" {
				m.Sides[A].Score = m.Sides[A].score(&StreamStats{}, c.impairment().unconcealed())
			}
		}
		st.Media = append(st.Media, m)
	}
	return st
}

// Close ends the endpoint and shuts its ports. It may be called more than once.
func (p *Endpoint) Close() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	p.engine.stopRecording(p.recording)
	p.stopPlaying()
	p.leaveRoom()
	legs := p.legs
	p.mu.Unlock()
	p.engine.leave(p)
	p.wires.close()
	var pairs []*pair
	for _, g := range legs {
		if g != nil {
			pairs = appendPairs(pairs, g)
		}
	}
	p.shard.order(func(sh *shard) {
		for _, g := range legs {
			if g != nil {
				g.app.farewell(&sh.relay, g)
				sh.stopDialling(g)
				sh.delist(g)
				sh.unseat(g)
			}
		}
	})
	p.engine.depart(p.shard, legs)
	p.engine.closePairs(p.shard, pairs)
}
