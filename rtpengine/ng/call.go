package ng

import (
	"math"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"tandem/rtpengine"
)

const (
	maxDialogues = 32 // of one call
	maxTags      = 32 // of one side: so many branches of a fork have answered; the first is forgotten
	// offerTime is how long an offer may wait for its answer. A phone rings for minutes at most (RFC 3261 §16.6 step 11).
	offerTime = 10 * time.Minute
)

// call is what shares a Call-ID.
type call struct {
	id         string
	created    time.Time
	dialogues  []*dialogue     // in the order in which they began
	block      rtpengine.Block // of both sides of all of them, besides their own
	unrecorded bool            // a proxy has said that it is not to be recorded
}

// dialogue is one session and who its sides are.
type dialogue struct {
	session  *rtpengine.Session
	branch   string             // via-branch of its first offer
	tags     [2][]string        // by side; the last is the one that spoke last
	sources  [2]netip.Addr      // where a side's signalling comes from: received-from
	places   [2]netip.Addr      // what a side's description names first
	labels   [2]string          // what the proxy calls a side
	blocks   [2]rtpengine.Block // what of a side is not heard
	offerer  rtpengine.Side     // of the latest offer
	created  time.Time          //
	latest   time.Time          // the last offer or answer
	endAt    time.Time          // delete-delay; zero = nobody has deleted it
	quiet    *[2]atomic.Int64   // by side: for how many ns it was silent when the engine said so, 0 = it speaks
	answered bool
	ptime    int // ms that the answer to the latest offer is to ask for, 0 = as it is
}

// begin makes a dialogue that no call has yet.
func (s *Server) begin(n names, now time.Time) (*dialogue, error) {
	d := &dialogue{branch: n.branch, created: now, quiet: new([2]atomic.Int64)}
	var err error
	d.session, err = s.cfg.Engine.NewSession(rtpengine.SessionConfig{
		ID: n.call, OnSilence: func(side rtpengine.Side, since time.Duration) { d.quiet[side].Store(int64(since)) },
	})
	return d, err
}

// enter puts a dialogue into its call; c is nil when it is the first.
func (s *Server) enter(id string, c *call, d *dialogue, now time.Time) {
	if c == nil {
		c = &call{id: id, created: now}
		s.calls[id] = c
		s.count.calls.Add(1)
	}
	c.dialogues = append(c.dialogues, d)
	c.enforceBlocks()
	s.count.sessions.Add(1)
}

// end closes dialogues of a call, and forgets the call with the last.
func (s *Server) end(c *call, chosen []*dialogue) {
	chosen = slices.Clone(chosen)
	for _, d := range chosen {
		d.session.Close()
	}
	s.count.sessions.Add(-int64(len(chosen)))
	c.dialogues = slices.DeleteFunc(c.dialogues, func(d *dialogue) bool { return slices.Contains(chosen, d) })
	if len(c.dialogues) == 0 {
		delete(s.calls, c.id)
		s.count.calls.Add(-1)
	}
}

// sweep ends what is over.
func (s *Server) sweep(now time.Time) {
	for _, c := range s.calls {
		var over []*dialogue
		for _, d := range c.dialogues {
			switch {
			case !d.endAt.IsZero() && !now.Before(d.endAt):
			case d.silent():
				s.count.silent.Add(1)
				s.log.Info("media session ended: no media comes any more", "call", c.id)
			case !d.answered && now.Sub(d.latest) >= offerTime, now.Sub(d.created) >= s.cfg.MaxCallTime:
				s.count.expired.Add(1)
				s.log.Info("media session ended: nobody has deleted it", "call", c.id, "answered", d.answered, "age", now.Sub(d.created).Round(time.Second))
			default:
				continue
			}
			over = append(over, d)
		}
		if over != nil {
			s.end(c, over)
		}
	}
}

// hear notes who a side is and where its signalling comes from. A dialogue that was to be deleted lives again: it is spoken of.
func (d *dialogue) hear(side rtpengine.Side, n names, o *options, now time.Time) {
	d.tag(side, n.from)
	if n.to != "" {
		d.tag(side.Other(), n.to)
	}
	if o.source.IsValid() {
		d.sources[side] = o.source
	}
	d.latest, d.endAt = now, time.Time{}
}

// describe notes what a side's description and the proxy say of it.
func (d *dialogue) describe(side rtpengine.Side, ask dict, sdp string) {
	d.places[side] = placeOf(sdp)
	for _, key := range [...]string{"label", "from-label", "set-label"} {
		if label := ask.text(key); label != "" && len(label) <= maxName {
			d.labels[side] = label
		}
	}
}

// tag makes a tag the side's latest.
func (d *dialogue) tag(side rtpengine.Side, tag string) {
	list := slices.DeleteFunc(d.tags[side], func(t string) bool { return t == tag })
	if len(list) == maxTags {
		list = slices.Delete(list, 0, 1)
	}
	d.tags[side] = append(list, tag)
}

func (d *dialogue) has(side rtpengine.Side, tag string) bool {
	return slices.Contains(d.tags[side], tag)
}

// between gives the side of from when the dialogue is the one of both tags.
func (d *dialogue) between(from, to string) (rtpengine.Side, bool) {
	switch {
	case d.has(rtpengine.A, from) && d.has(rtpengine.B, to):
		return rtpengine.A, true
	case d.has(rtpengine.B, from) && d.has(rtpengine.A, to):
		return rtpengine.B, true
	}
	return 0, false
}

// forOffer finds the dialogue that an offer belongs to, nil when it begins one:
//
//   - both tags are known: a new offer inside the dialogue, from either side;
//   - no to-tag: the INVITE itself, again or for another branch. Branches share a session unless via-branch tells them apart;
//   - a to-tag not seen yet: the dialogue has been confirmed without a description that passed here.
func (c *call) forOffer(n names) (*dialogue, rtpengine.Side) {
	for _, d := range c.dialogues {
		if side, ok := d.between(n.from, n.to); ok {
			return d, side
		}
	}
	for _, side := range [...]rtpengine.Side{rtpengine.A, rtpengine.B} {
		for _, d := range slices.Backward(c.dialogues) {
			if d.has(side, n.from) && (n.to != "" || n.branch == "" || n.branch == d.branch) {
				return d, side
			}
		}
	}
	return nil, rtpengine.A
}

// forAnswer finds the dialogue whose offer an answer is for: of these tags, else of this branch, else the offerer's last.
func (c *call) forAnswer(n names) (best *dialogue) {
	fit := 0
	for _, d := range c.dialogues {
		side, both := d.between(n.from, n.to)
		this := 0
		switch {
		case both && side == d.offerer:
			this = 3
		case d.has(d.offerer, n.from) && n.branch != "" && n.branch == d.branch:
			this = 2
		case d.has(d.offerer, n.from):
			this = 1
		}
		if this > 0 && this >= fit {
			best, fit = d, this
		}
	}
	return best
}

// forDelete finds what a delete means: a branch, a dialogue, all dialogues of a tag, or the call. With an answered dialogue go those that
// nobody has answered: the INVITE that they were branches of is over.
func (c *call) forDelete(n names) []*dialogue {
	if n.from == "" && n.to == "" && n.branch == "" {
		return c.dialogues
	}
	choose := func(fits func(*dialogue) bool) (chosen []*dialogue) {
		for _, d := range c.dialogues {
			if fits(d) {
				chosen = append(chosen, d)
			}
		}
		return chosen
	}
	tagged := func(d *dialogue) bool {
		_, both := d.between(n.from, n.to)
		waiting := !d.answered && (d.has(rtpengine.A, n.from) || d.has(rtpengine.A, n.to))
		return both || waiting || (n.to == "" || n.from == "") && (d.knows(n.from) || d.knows(n.to))
	}
	if n.branch != "" {
		branch := func(d *dialogue) bool {
			return d.branch == n.branch && (n.from == "" && n.to == "" || d.knows(n.from) || d.knows(n.to))
		}
		if chosen := choose(branch); chosen != nil { // a BYE has a branch of its own: then the tags count
			return chosen
		}
	}
	chosen := choose(tagged)
	if slices.ContainsFunc(chosen, func(d *dialogue) bool { return d.answered }) {
		return choose(func(d *dialogue) bool { return !d.answered || slices.Contains(chosen, d) })
	}
	return chosen
}

func (d *dialogue) knows(tag string) bool {
	return tag != "" && (d.has(rtpengine.A, tag) || d.has(rtpengine.B, tag))
}

// noise forgets that a side was silent: what was agreed is new.
func (d *dialogue) noise() {
	for side := range d.quiet {
		d.quiet[side].Store(0)
	}
}

// silent reports whether nothing has come from either side for as long as the engine waits, and one of them should send. The engine speaks of
// one side; somebody who only listens keeps his call alive as long as the other talks, as with rtpengine.
func (d *dialogue) silent() bool {
	if d.quiet[rtpengine.A].Load() == 0 && d.quiet[rtpengine.B].Load() == 0 {
		return false
	}
	since := sinceHeard(d.session.Stats())
	for side := range d.quiet {
		limit := d.quiet[side].Load()
		switch {
		case limit == 0:
		case since[side] < limit:
			d.quiet[side].CompareAndSwap(limit, 0) // it speaks again
		case since[side^1] >= limit:
			return true
		}
	}
	return false
}

// sinceHeard says for how many ns nothing has come from a side.
func sinceHeard(st rtpengine.SessionStats) [2]int64 {
	since := [2]int64{math.MaxInt64, math.MaxInt64}
	for _, m := range st.Media {
		for side, stream := range m.Sides {
			if heard := stream.Packets+stream.RTCP > 0; heard || stream.Quiet > 0 { // else the m-line was never agreed on
				since[side] = min(since[side], int64(stream.Quiet))
			}
		}
	}
	return since
}

// report is what query and delete tell: in rtpengine's words, from which Kamailio fills its statistics.
func (c *call) report(chosen []*dialogue) dict {
	var packets, bytes, rtcp, dropped int64
	tags, sources := dict{}, dict{}
	latest := c.created
	for _, d := range chosen {
		if d.latest.After(latest) {
			latest = d.latest
		}
		lines := d.session.Quality()
		for side := range d.tags {
			medias := []any{}
			for i, m := range lines {
				stream := m.Sides[side]
				if opinion := opinions(m.Course[side], d.created); opinion != nil {
					sources[strconv.FormatUint(uint64(stream.SSRC), 10)] = opinion
				}
				var drops int64
				for _, n := range stream.Drops {
					drops += int64(n)
				}
				packets, bytes = packets+int64(stream.Packets), bytes+int64(stream.Bytes)
				rtcp, dropped = rtcp+int64(stream.RTCP), dropped+drops
				medias = append(medias, dict{
					"index": int64(i + 1), "type": m.Kind, "streams": []any{dict{
						"local port": int64(stream.Port), "endpoint": endpoint(stream.Peer), "SSRC": int64(stream.SSRC), "flags": []any{"RTP"},
						"stats": dict{"packets": int64(stream.Packets), "bytes": int64(stream.Bytes), "errors": drops},
					}},
				})
			}
			for _, tag := range d.tags[side] {
				entry := dict{"tag": tag, "created": d.created.Unix(), "medias": medias}
				if d.labels[side] != "" {
					entry["label"] = d.labels[side]
				}
				if others := d.tags[side^1]; len(others) > 0 {
					entry["in dialogue with"] = others[len(others)-1]
				}
				tags[tag] = entry
			}
		}
	}
	return dict{
		"result": "ok", "created": c.created.Unix(), "last signal": latest.Unix(), "tags": tags, "SSRC": sources,
		"totals": dict{
			"RTP":  dict{"packets": packets, "bytes": bytes, "errors": dropped},
			"RTCP": dict{"packets": rtcp, "bytes": int64(0), "errors": int64(0)},
		},
	}
}

// opinions are how one source has sounded, as proxies want it for their records: MOS in tenths, loss in percent, jitter in ms, round trips in µs. Nil
// when nobody can say.
func opinions(course *rtpengine.Course, began time.Time) dict {
	if course == nil {
		return nil
	}
	entry := func(mos float64, at time.Time, t *rtpengine.Stretch, samples int) dict {
		lost := int64(0)
		if all := t.Packets + t.Lost; all > 0 {
			lost = int64((t.Lost*100 + all/2) / all)
		}
		trip := t.RTT.Microseconds()
		return dict{
			"MOS": int64(math.Round(mos * 10)), "reported at": at.Unix(), "packet loss": lost, "jitter": t.Jitter.Milliseconds(),
			"round-trip time": trip, "round-trip time leg": trip, "samples": int64(samples),
		}
	}
	var whole rtpengine.Stretch
	var lowest, highest dict
	var sum, rated, worst, best float64
	at := began
	for _, t := range course.Whole {
		at = at.Add(t.Length)
		whole.Packets, whole.Lost, whole.Jitter, whole.RTT = whole.Packets+t.Packets, whole.Lost+t.Lost, max(whole.Jitter, t.Jitter), max(whole.RTT, t.RTT)
		if t.MOS == 0 {
			continue
		}
		sum, rated = sum+t.MOS*t.Length.Seconds(), rated+t.Length.Seconds()
		if t.Worst > 0 && (lowest == nil || t.Worst < worst) {
			lowest, worst = entry(t.Worst, at, &t, 1), t.Worst
		}
		if t.MOS > best {
			highest, best = entry(t.MOS, at, &t, 1), t.MOS
		}
	}
	if rated == 0 || lowest == nil {
		return nil
	}
	return dict{"average MOS": entry(sum/rated, at, &whole, len(course.Whole)), "lowest MOS": lowest, "highest MOS": highest}
}

func endpoint(peer netip.AddrPort) dict {
	if !peer.IsValid() {
		return dict{}
	}
	family := "IPv4"
	if peer.Addr().Is6() {
		family = "IPv6"
	}
	return dict{"family": family, "address": peer.Addr().String(), "port": int64(peer.Port())}
}
