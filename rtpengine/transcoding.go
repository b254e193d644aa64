package rtpengine

import (
	"cmp"
	"errors"
	"runtime"
	"slices"
	"strconv"
	"strings"

	audio "tandem/rtpengine/codec"
)

// Sides that share no codec are helped by transcoding, and only they: where nothing in an offer is what the other side surely takes, it goes
// on with the codecs behind its own that we could make of them, and as long as the answer takes up one that the offerer has, nothing is transcoded. When it does not, the offerer is answered
// with its own first codec that we can do. A direction in which somebody sends one of ours although another was agreed on is transcoded
// by itself.

// TranscodeConfig says how sides that share no codec are helped. The zero value is good.
type TranscodeConfig struct {
	Off      bool
	Always   bool   // add to every offer, also to one that any phone can answer
	MaxCalls int    // at once; default 200 a processor, see docs/media.md
	Workers  int    // goroutines that do it; default one a processor
	Opus     string // path of libopus; "" looks where the system has it, "none" does without

	// What else has a call take the same way, though its sides share a codec.
	PacketTimes bool // they ask for packets of different lengths (a=ptime), and each is to get what it asks for
	Keys        bool // only one of them takes telephone-event, and keys are to be converted to tones and back
}

func (c *TranscodeConfig) ensureDefaults() {
	c.Workers = cmp.Or(c.Workers, runtime.GOMAXPROCS(0))
	c.MaxCalls = cmp.Or(c.MaxCalls, 200*runtime.GOMAXPROCS(0))
}

func (c *TranscodeConfig) check() error {
	if c.MaxCalls < 0 || c.Workers < 0 || c.Workers > 256 {
		return errors.New("rtpengine: transcoding wants 1 to 256 workers and no negative limit")
	}
	return nil
}

// coding is what was decided for an m-line of an answered exchange. The zero value transcodes nothing.
type coding struct {
	lent []codec // what the answer took up of what we added to the offer, under the answerer's numbers
	own  codec   // what the offerer speaks and hears then
	both bool    // the offerer's codecs are all left out: everything it says is transcoded, too
	keys bool    // where only one side takes telephone-event, tones of the other are made events
}

// kind is the codec as the codec package knows it.
func (c codec) kind() audio.Kind {
	if c.named("opus") { // RFC 7587 §7: always 2; some forget it
		c.channels = 2
	}
	return audio.Named(c.name, int(c.clock), int(c.channels))
}

// asCodec is the codec as a policy names it.
func asCodec(k audio.Kind) codec {
	return codec{name: k.String(), clock: uint32(k.Clock()), channels: uint8(k.Channels())}
}

// lend adds to an offer what we could make of its codecs, and tells what that is. only names what may be added; nil: everything.
func (s *Session) lend(l *line, to Side, heard *said, view *facingSection, only *[]string) []codec {
	e := s.engine
	if e.cfg.Transcode.Off || heard.kind != "audio" || !s.coded && !e.coders.room() {
		return nil
	}
	var has [audio.Opus + 1]bool
	wide, some := false, false
	var used [128]bool
	for _, c := range heard.codecs {
		if k := c.kind(); k.Speech() {
			has[k] = true
			some = some || e.codecs.Encodes(k) && e.codecs.Decodes(k)
			wide = wide || k == audio.G722 || k == audio.Opus
		}
	}
	if !some {
		return nil
	}
	told := asTheyAre(heard.codecs)
	if view.formats != nil {
		told = view.formats.formats
	}
	for _, t := range told {
		used[t.to] = true
	}
	spare := e.spare(wide)
	if only == nil && !e.cfg.Transcode.Always {
		spare = s.needed(spare, l, to, heard, told)
	}
	var out []codec
	for _, k := range spare {
		if has[k] || only != nil && asCodec(k).rank(*only) < 0 || !e.codecs.Encodes(k) || !e.codecs.Decodes(k) {
			continue
		}
		c := asCodec(k)
		c.payload = 111 // the usual one, where nothing speaks against it
		if pt := k.Payload(); pt >= 0 {
			c.payload = uint8(pt)
		}
		if k == audio.Opus {
			c.fmtp = "useinbandfec=1"
		}
		if c.payload = l.numbers[to].lend(c, &used); c.payload != untold {
			used[c.payload] = true
			out = append(out, c)
		}
	}
	view.last = out
	return out
}

// needed are those of the spare codecs without which the other side might find nothing to take. Whom we have heard has said what he takes. Of
// others it is G.711, in one law or the other: the least that a phone has, and a browser (RFC 7874 §3). More would make every offer longer, often
// too long for UDP, and have calls transcoded for nothing, because many phones answer by their own preference.
func (s *Session) needed(spare []audio.Kind, l *line, to Side, heard *said, told []told) []audio.Kind {
	offers := func(want func(codec) bool) bool {
		return slices.ContainsFunc(heard.codecs, func(c codec) bool { return toOf(told, c.payload) != untold && want(c) })
	}
	takes := s.taken(l, to)
	known := slices.ContainsFunc(takes, func(c codec) bool { return c.kind().Speech() })
	switch {
	case known && offers(func(c codec) bool {
		return c.kind().Speech() && slices.ContainsFunc(takes, func(t codec) bool { return t.kind() == c.kind() })
	}):
		return nil
	case !known && offers(func(c codec) bool { return isG711(c.kind()) }):
		return slices.DeleteFunc(spare, func(k audio.Kind) bool { return !isG711(k) })
	}
	return spare
}

func isG711(k audio.Kind) bool { return k == audio.PCMA || k == audio.PCMU }

// taken are the codecs that a side has named for an m-line; none of a side that has not spoken.
func (s *Session) taken(l *line, side Side) []codec {
	i := slices.Index(s.lines, l)
	for _, x := range [...]*exchange{s.latest, s.before} {
		if x != nil && x.said[side] != nil && i < len(x.said[side].lines) {
			return x.said[side].lines[i].codecs
		}
	}
	return nil
}

// spare are the codecs to add, the best first: for who has the wide band that, for who has not what costs least. A policy is a policy.
func (e *Engine) spare(wide bool) []audio.Kind {
	order := []audio.Kind{audio.PCMA, audio.PCMU, audio.G722, audio.Opus}
	if wide {
		order = []audio.Kind{audio.G722, audio.Opus, audio.PCMA, audio.PCMU}
	}
	policy := &e.cfg.Codecs
	only := policy.of("audio")
	var out []audio.Kind
	for _, k := range order {
		c := asCodec(k)
		if c.rank(policy.Block) < 0 && (len(only) == 0 || c.rank(only) >= 0) {
			out = append(out, k)
		}
	}
	if len(only) > 0 {
		rank := func(k audio.Kind) int { return asCodec(k).rank(only) }
		slices.SortStableFunc(out, func(a, b audio.Kind) int { return cmp.Compare(rank(a), rank(b)) })
	}
	return out
}

// lend gives a codec of ours a number that the side understands, untold when there is none.
func (n *numbering) lend(c codec, used *[128]bool) uint8 {
	m := meanings([]codec{c})[0]
	for _, choice := range [...]func() uint8{
		func() uint8 { return n.same(c, m) },
		func() uint8 { return n.known(m, used) },
		func() uint8 { return n.fresh(c, m) },
		func() uint8 { return n.free(used) },
	} {
		if pt := choice(); pt != untold && !used[pt] {
			if !c.standard() || pt != c.payload {
				n.set(pt, m)
			}
			return pt
		}
	}
	return untold
}

// bridge decides whether an answered m-line is transcoded. told is how the answer's formats are told to the offerer. The text is why it
// cannot be.
func (s *Session) bridge(x *exchange, i int, answer *said, told []told, view *facingSection) (c coding, problem string) {
	if i >= len(x.lent) || len(x.lent[i]) == 0 {
		return c, ""
	}
	shared := codec{}
	for _, a := range answer.codecs {
		if pt := toOf(told, a.payload); pt != untold && !a.companion() && shared.clock == 0 {
			shared = a
			shared.payload = pt
		}
		if slices.ContainsFunc(x.lent[i], func(lent codec) bool { return lent.payload == a.payload && lent.kind() == a.kind() }) {
			c.lent = append(c.lent, a)
		}
	}
	if len(c.lent) == 0 {
		return c, ""
	}
	offer := x.said[x.from].lines[i].codecs
	if shared.clock != 0 {
		if !s.engine.codecs.Encodes(shared.kind()) {
			return coding{}, ""
		}
		c.own = shared
	} else {
		own := slices.IndexFunc(offer, func(o codec) bool { return s.engine.codecs.Encodes(o.kind()) && s.engine.codecs.Decodes(o.kind()) })
		c.own, c.both = offer[own], true // lend has seen that there is one
	}
	if !s.coded && !s.engine.coders.begin() {
		if c.both {
			return coding{}, "Too many calls are transcoded already"
		}
		return coding{}, ""
	}
	s.coded = true
	if c.both {
		view.first = withRedundancy(offer, c.own)
		if ev, ok := eventOf(offer, c.own.clock); ok && fromOf(told, ev.payload) == untold {
			view.last = []codec{ev}
		}
	}
	return c, ""
}

// eventOf is the telephone event that goes with a codec of a clock: of the same one (RFC 4733 §2.5.1.1), else any.
func eventOf(list []codec, clock uint32) (codec, bool) {
	at := slices.IndexFunc(list, func(c codec) bool { return c.named("telephone-event") && c.clock == clock })
	if at < 0 {
		at = slices.IndexFunc(list, func(c codec) bool { return c.named("telephone-event") })
	}
	if at < 0 {
		return codec{}, false
	}
	return list[at], true
}

// hears is what a side listens to that has been told a codec of ours, by all that it named.
func (c codec) hears(list []codec) hearing {
	h := hearing{kind: c.kind(), payload: c.payload, clock: c.clock, event: noPayload, noise: noPayload, fec: c.parameter("useinbandfec") == "1"}
	if ev, ok := eventOf(list, c.clock); ok {
		h.event, h.eventClock = ev.payload, ev.clock
	}
	if c.clock == 8000 && slices.ContainsFunc(list, func(c codec) bool { return c.payload == payloadCN && c.named("CN") }) {
		h.noise = payloadCN
	}
	return h
}

// add lets a side send a codec.
func (s *speaking) add(c codec) {
	if k := c.kind(); k != audio.None {
		s.kinds[c.payload], s.clock[c.payload] = k, c.clock
	}
}

// companions lets it send events and comfort noise.
func (s *speaking) companions(list []codec) {
	for _, c := range list {
		if c.named("telephone-event") {
			s.add(c)
		}
		if of := c.primary(list); c.named("red") && s.kinds[of.payload].Speech() && s.kinds[c.payload] == audio.None {
			s.kinds[c.payload], s.clock[c.payload] = redundantSpeech, c.clock
		}
	}
	if s.kinds[payloadCN] == audio.None {
		s.kinds[payloadCN], s.clock[payloadCN] = audio.Noise, 8000
	}
}

// transcode gives both directions of an m-line the transcoders that an exchange asks for, and way the payload types that they take; mu is held. A
// transcoder that is still right goes on, so that a refreshed session does not crackle.
func (s *Session) transcode(x *exchange, i int, l *line, lines *[2]said, way *[2]passage) (vias [2]*transcoder) {
	var c coding
	if i < len(x.coded) && lines[A].active && lines[B].active {
		c = x.coded[i]
	}
	offerer, answerer := x.from, x.from.Other()
	for _, side := range [...]Side{A, B} {
		var says speaking
		var to hearing
		switch {
		case len(c.lent) == 0, side == offerer && !c.both:
			l.setVia(side, nil)
			continue
		case side == offerer:
			says.add(c.own)
			for _, o := range alike(lines[offerer].codecs, c.lent) {
				says.add(o)
			}
			to = c.lent[0].hears(lines[answerer].codecs)
		default:
			for _, lent := range c.lent {
				says.add(lent)
			}
			to = c.own.hears(lines[offerer].codecs)
		}
		if says.whole = c.both; c.both {
			says.companions(lines[side].codecs)
			_, events := eventOf(lines[side].codecs, 0)
			says.toned = c.keys && !events && to.event != noPayload
		}
		fit(&says, &to, lines[side.Other()].ptime)
		if had := l.vias[side]; had == nil || had.kinds != says.kinds || had.clock != says.clock || had.whole != says.whole || had.toned != says.toned || had.to != to {
			t, err := s.engine.newTranscoder(s.shard, l.legs[side], &says, to)
			if err != nil { // memory is all that it needs
				s.engine.log.Error("no transcoder", "call", s.cfg.ID, "error", err)
			}
			l.setVia(side, t)
		}
		vias[side] = l.vias[side]
		rates := *way[side].rates
		for pt, clock := range says.clock {
			if clock != 0 {
				rates[pt] = clock
			}
		}
		way[side].rates = &rates
	}
	return vias
}

// setVia exchanges the transcoder of what a side says.
func (l *line) setVia(side Side, t *transcoder) {
	if had := l.vias[side]; had != nil {
		had.end()
	}
	l.vias[side] = t
}

// fit chooses the sampling rate between two sides, and the samples of a packet.
func fit(says *speaking, to *hearing, ptime int) {
	switch {
	case to.kind != audio.Opus:
		to.rate = to.kind.Rate()
	case says.wide():
		to.rate = 16000 // as much as telephones have; Opus works at it without resampling
	default:
		to.rate = 8000
	}
	if to.kind == audio.Opus && ptime == 30 {
		ptime = 20 // Opus has none of 30 ms
	}
	to.frame = to.rate * ptime / 1000
}

// endCoding ends all transcoders; mu is held.
func (s *Session) endCoding() {
	for _, l := range s.lines {
		l.setVia(A, nil)
		l.setVia(B, nil)
	}
	s.stopCoding()
}

// stopCoding gives back what the session has of the payload tier, when none of its lines is transcoded any more; mu is held.
func (s *Session) stopCoding() {
	for _, l := range s.lines {
		if l.vias[A] != nil || l.vias[B] != nil {
			return
		}
	}
	if s.coded {
		s.coded = false
		s.engine.coders.end()
	}
}

// packetTime is the length of the packets that the section's writer wants, in ms: a multiple of 10 from 10 to 60 (RFC 8866 §6.4); 20 where
// nothing is said that we can do.
func (s *section) packetTime() int {
	want, most := 20, 60
	for _, line := range s.lines {
		if v, ok := strings.CutPrefix(line, "a=ptime:"); ok {
			want = milliseconds(v, want)
		}
		if v, ok := strings.CutPrefix(line, "a=maxptime:"); ok {
			most = max(10, milliseconds(v, most))
		}
	}
	want = min(want, most) / 10 * 10
	if want < 10 || want > 60 || want == 50 {
		return 20
	}
	return want
}

func milliseconds(text string, otherwise int) int {
	if n, err := strconv.ParseFloat(strings.TrimSpace(text), 64); err == nil && n >= 1 && n <= 1000 {
		return int(n)
	}
	return otherwise
}

// addedWords are the numbers of codecs that are added to a section.
func addedWords(list []codec) string {
	words := make([]string, len(list))
	for i, c := range list {
		words[i] = strconv.Itoa(int(c.payload))
	}
	return strings.Join(words, " ")
}

// addedLines describe them.
func addedLines(list []codec) (lines []string) {
	for _, c := range list {
		number, mapping := strconv.Itoa(int(c.payload)), c.name+"/"+strconv.Itoa(int(c.clock))
		if c.channels > 1 {
			mapping += "/" + strconv.Itoa(int(c.channels))
		}
		lines = append(lines, "a=rtpmap:"+number+" "+mapping)
		if c.fmtp != "" {
			lines = append(lines, "a=fmtp:"+number+" "+c.fmtp)
		}
	}
	return lines
}
