package rtpengine

import (
	"strconv"
	"strings"
)

// What feedback a side may be sent is what it has agreed to in a=rtcp-fb (RFC 4585 §4), whatever the profile of its m-line is called: many
// phones name feedback with RTP/AVP. Sides need not agree to the same way of asking for a picture: PLI and FIR are translated into each
// other, and what the media cannot say to a phone signalling may (SessionConfig.OnPicture). So an offer names both ways where it names one, or where
// its reader is known to understand them, and an answer names those that were offered.

// feedback is what the section names.
func (s *section) feedback() (names feedback) {
	for _, line := range s.lines {
		if value, ok := strings.CutPrefix(line, "a=rtcp-fb:"); ok {
			names |= feedbackOf(value)
		}
	}
	return names
}

// offerFeedback completes the feedback of an m-line of an offer.
func (s *Session) offerFeedback(view *facingSection, offer *section, heard *said, to Side) {
	if heard.kind == "video" && (heard.feedback&feedPictures != 0 || view.toward == browser || s.feeds(to)) {
		view.feedback = offer.lacking(feedPictures, heard.codecs, view.formats)
	}
}

// answerFeedback completes that of an answer's m-line.
func (view *facingSection) answerFeedback(s *section, heard *said) {
	if want := view.answers.feedback & feedPictures; heard.kind == "video" && want != 0 {
		view.feedback = s.lacking(want, heard.codecs, view.formats)
	}
}

// lacking are lines for those of some kinds of feedback that the section does not name, under its reader's numbers.
func (s *section) lacking(kinds feedback, codecs []codec, told *retelling) (lines []string) {
	for _, c := range codecs {
		number := c.payload
		if told != nil {
			number = told.to[c.payload]
		}
		if number == untold || c.companion() {
			continue
		}
		for _, k := range [...]struct {
			kind feedback
			name string
		}{{feedPLI, " nack pli"}, {feedFIR, " ccm fir"}} {
			if kinds&k.kind != 0 && !s.names(k.kind, c.payload) {
				lines = append(lines, "a=rtcp-fb:"+strconv.Itoa(int(number))+k.name)
			}
		}
	}
	return lines
}

// names reports whether a kind of feedback is named for a format.
func (s *section) names(kind feedback, payload uint8) bool {
	for _, line := range s.lines {
		value, ok := strings.CutPrefix(line, "a=rtcp-fb:")
		if !ok || feedbackOf(value) != kind {
			continue
		}
		if format := strings.Fields(value)[0]; format == "*" || format == strconv.Itoa(int(payload)) {
			return true
		}
	}
	return false
}

// mayFeed reports whether a line of feedback was offered (RFC 4585 §4.2: an answer must not add any).
func (l *said) mayFeed(line string) bool {
	kind := feedbackOf(line[len("a=rtcp-fb:"):])
	return kind == 0 || l.feedback&kind != 0
}

// agreedFeedback is what a side of an m-line may be sent: what both sides have named, and the ways to ask for a picture that it has named itself.
func agreedFeedback(side Side, lines *[2]said) feedback {
	return lines[side].feedback & (lines[side.Other()].feedback | feedPictures)
}

// bandwidth is the most that the section's writer wants to be sent, in bit/s (RFC 8866 §5.8, RFC 3890); 0 where it does not say.
func (d *description) bandwidth(s *section) uint64 {
	if most := bandwidth(s.lines); most != 0 {
		return most
	}
	return bandwidth(d.lines)
}

func bandwidth(lines []string) (most uint64) {
	for _, line := range lines {
		if line[0] != 'b' {
			continue
		}
		kind, value, _ := strings.Cut(line[2:], ":")
		n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 40)
		switch {
		case err != nil:
		case kind == "TIAS": // RFC 3890 §6.2: more exact than what else there may be
			return n
		case kind == "AS" || kind == "CT" && most == 0:
			most = n * 1000
		}
	}
	return most
}
