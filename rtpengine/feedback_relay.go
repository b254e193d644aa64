package rtpengine

import (
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"tandem/rtpengine/srtp"
)

// feeding is what a leg's shard knows of the feedback that its side takes. Legs of video have one, and those on which either side has named any.
type feeding struct {
	feedTerms
	askedAt int64  // when the side was last asked for a picture, engine ns; 0: never
	firs    uint8  // sequence number of the last FIR that was made for the side
	ssrc    uint32 // who asks, when the other side has no source
	missed  bool   // something of this side did not reach the other, which so needs a full picture
}

// feedTerms are what an offer/answer decided about a leg's feedback.
type feedTerms struct {
	takes    feedback
	free     bool     // neither side has named any: they understand each other without, or not
	whole    bool     // its packets begin with a report: it has not agreed to RFC 5506
	video    bool     // it sends pictures
	most     uint64   // bit/s that it wants to be sent; 0: it does not say
	repairs  payloads // of its packets that repeat or repair others, under a source of their own
	listener *SessionConfig
	side     Side
}

// feedbackCount is what became of feedback since the last wake-up. What passes as it came is not counted.
type feedbackCount struct {
	translated, signalled, asked, held, unwanted, broken, lowered uint64
}

// feedbackTotals are its sums, for everybody.
type feedbackTotals struct {
	translated, signalled, asked, held, unwanted, broken, lowered atomic.Uint64
}

func (t *feedbackTotals) add(c *feedbackCount) {
	if *c == (feedbackCount{}) {
		return
	}
	t.translated.Add(c.translated)
	t.signalled.Add(c.signalled)
	t.asked.Add(c.asked)
	t.held.Add(c.held)
	t.unwanted.Add(c.unwanted)
	t.broken.Add(c.broken)
	t.lowered.Add(c.lowered)
}

func (st *FeedbackStats) add(t *feedbackTotals) {
	st.Translated += t.translated.Load()
	st.Signalled += t.signalled.Load()
	st.Asked += t.asked.Load()
	st.Held += t.held.Load()
	st.Unwanted += t.unwanted.Load()
	st.Broken += t.broken.Load()
	st.Lowered += t.lowered.Load()
}

// FeedbackStats tell of the feedback that did not pass from end to end as it came.
type FeedbackStats struct {
	Translated uint64 // wishes for a picture told in the way that the sender of pictures has agreed to
	Signalled  uint64 // wishes that only signalling can tell it: OnPicture
	Asked      uint64 // wishes of the engine's own: RequestPicture, or a side was not reached before
	Held       uint64 // wishes within a second of another one
	Unwanted   uint64 // feedback to a side that has not agreed to it
	Broken     uint64 // feedback that could not be understood
	Lowered    uint64 // rates above what the description of their sender allows
}

const (
	// askEvery is how often a side is asked for a picture at most by us. What it says itself it takes may come more often from the other side.
	askEvery = time.Second
	// maxFeedback bounds a compound with feedback that is rewritten. What does not fit is left out.
	maxFeedback = 2048
)

// feedBy puts terms in force; nil: there is nothing to know.
func (l *leg) feedBy(t *feedTerms) {
	switch {
	case t == nil:
		l.feed = nil
		return
	case l.feed == nil:
		l.feed = &feeding{ssrc: rand.Uint32(), firs: uint8(rand.Uint32())}
	}
	l.feed.feedTerms = *t
}

// passRTCP sends the other side what a side's compound packet says that it has agreed to hear.
func (r *relay) passRTCP(l *leg, b []byte) {
	if l.feed == nil || l.out.feed == nil || l.out.feed.free || !carriesFeedback(b) {
		r.forward(l, rtcp, b)
		return
	}
	c := compound{r: r, to: l.out, out: r.feedback[:0]}
	for len(b) > 0 {
		n := 4 + 4*int(binary.BigEndian.Uint16(b[2:])) // parseRTCP has seen that it fits
		if isFeedback(b) {
			c.feedback(l, b[:n])
		} else {
			c.put(0, b[:n])
		}
		b = b[n:]
	}
	if len(c.out) > 0 {
		r.forward(l, rtcp, c.out)
	}
}

func carriesFeedback(b []byte) bool {
	for len(b) > 0 {
		if isFeedback(b) {
			return true
		}
		b = b[4+4*int(binary.BigEndian.Uint16(b[2:])):]
	}
	return false
}

// compound is a packet in the making, for a leg's side.
type compound struct {
	r   *relay
	to  *leg
	out []byte
}

// put appends a packet; before feedback it puts the report that a side wants which has not agreed to go without. The sender's name
// (SDES) cannot be made up, and nobody insists on it.
func (c *compound) put(sender uint32, b []byte) {
	if len(c.out) == 0 && isFeedback(b) && c.to.feed.whole {
		c.out = appendEmptyReport(c.out, sender)
	}
	if len(c.out)+len(b) > maxFeedback {
		c.r.count.feedback.broken++
		return
	}
	c.out = append(c.out, b...)
}

// feedback takes one feedback packet of l.
func (c *compound) feedback(l *leg, b []byte) {
	p, ok := parseFeedback(b)
	count, to := &c.r.count.feedback, c.to.feed
	switch {
	case !ok:
		count.broken++
	case to.takes&p.kind != 0:
		if p.kind&feedPictures != 0 {
			to.askedAt = c.r.now
		}
		count.lowered += p.lower(l.feed.most, b)
		c.put(p.sender, b)
	case p.kind&(feedPictures|feedFormer) == 0:
		count.unwanted++
	case to.takes&feedPictures == 0:
		c.r.signal(c.to)
	default:
		c.translate(&p)
	}
}

// translate tells a wish for a picture in the way that the side has agreed to.
func (c *compound) translate(p *feedbackPacket) {
	to, source := c.to.feed, p.subject()
	if p.kind == feedFormer { // of whatever there is
		source = c.to.quality.ssrc
	}
	var room [12 + firEntry]byte
	switch due := to.due(c.r.now); {
	case to.takes&feedPLI == 0: // within a second it is the same command again (RFC 5104 §4.3.1.2), which asks for nothing new
		c.put(p.sender, appendFIR(room[:0], p.sender, source, to.firs))
	case !due:
		c.r.count.feedback.held++
		return
	default:
		c.put(p.sender, appendPLI(room[:0], p.sender, source))
	}
	c.r.count.feedback.translated++
}

// lower brings the rates of a packet down to what its sender's description allows, and gives how many were higher; most is 0 where it says nothing.
func (p *feedbackPacket) lower(most uint64, b []byte) (n uint64) {
	switch {
	case most == 0:
	case p.kind == feedREMB:
		if limitREMB(p.fci, most) {
			n++
		}
	case p.kind == feedTMMBR && b[0]&0x1f == 3:
		for fci := p.fci; len(fci) > 0; fci = fci[tmmbrEntry:] {
			if limitTMMBR(fci, most) {
				n++
			}
		}
	}
	return n
}

// due tells whether the side may be asked for a picture now, and notes that it is.
func (f *feeding) due(now int64) bool {
	if f.askedAt != 0 && now-f.askedAt < int64(askEvery) {
		return false
	}
	f.askedAt = now
	f.firs++
	return true
}

// signal leaves a wish for a picture to signalling.
func (r *relay) signal(l *leg) {
	f := l.feed
	switch {
	case !f.video || f.listener == nil || f.listener.OnPicture == nil:
		r.count.feedback.unwanted++
	case !f.due(r.now):
		r.count.feedback.held++
	default:
		r.count.feedback.signalled++
		r.tell(notice{to: f.listener, picture: true, side: f.side})
	}
}

// askPicture asks a leg's side for a full picture, for the sake of the other one.
func (r *relay) askPicture(l *leg) {
	f := l.feed
	switch {
	case f == nil || !f.video || !l.ready:
		return
	case f.takes&feedPictures == 0:
		r.signal(l)
		return
	case !l.quality.started: // nothing has come that could be asked for
		return
	case !f.due(r.now):
		r.count.feedback.held++
		return
	}
	sender := f.ssrc
	if o := l.out; l.app != nil {
		sender = l.app.ssrc
	} else if o != nil && o.quality.started {
		sender = o.quality.ssrc
	}
	b := appendEmptyReport(r.feedback[:0], sender)
	if f.takes&feedPLI != 0 {
		b = appendPLI(b, sender, l.quality.ssrc)
	} else {
		b = appendFIR(b, sender, l.quality.ssrc, f.firs)
	}
	if l.send(rtcp, b) == sent {
		r.count.feedback.asked++
	}
}

// reached is told that a packet of a leg with feedback has been sent to the other side; after others that were not.
func (r *relay) reached(l *leg) {
	l.feed.missed = false
	r.askPicture(l)
}

// missed notes that the other side missed a packet.
func (l *leg) missed() {
	if l.feed != nil {
		l.feed.missed = true
	}
}

func appendEmptyReport(b []byte, sender uint32) []byte {
	return binary.BigEndian.AppendUint32(append(b, 2<<6, rtcpRR, 0, 1), sender)
}

func appendPLI(b []byte, sender, media uint32) []byte {
	b = append(b, 2<<6|1, rtcpPSFB, 0, 2)
	b = binary.BigEndian.AppendUint32(b, sender)
	return binary.BigEndian.AppendUint32(b, media)
}

// appendFIR appends a full intra request; the header names no source, its entry does.
func appendFIR(b []byte, sender, media uint32, number uint8) []byte {
	b = append(b, 2<<6|4, rtcpPSFB, 0, 4)
	b = binary.BigEndian.AppendUint32(b, sender)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint32(b, media)
	return append(b, number, 0, 0, 0)
}

// feedbackRoom is where a relay rewrites feedback.
type feedbackRoom [maxFeedback + srtp.Overhead]byte
