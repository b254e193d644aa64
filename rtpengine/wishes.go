package rtpengine

import "tandem/rtpengine/srtp"

// OfferOptions are what signalling wishes for one offer, where it differs from Config. The zero value wishes nothing.
type OfferOptions struct {
	Speaks Dialect      // how the other side speaks, as far as signalling knows
	SRTP   *SRTPPolicy  // how the other side is offered media, instead of Config.SRTP; what it had agreed to before is never taken away
	Own    *SRTPPolicy  // what is asked of the side that offers, instead of Config.SRTP
	Suites []srtp.Suite // the only ones that the other side is offered; nil: all
	Mux    Mux          // whether the other side is offered RTCP on the port of RTP
	Strip  *CodecPolicy // which of the offered codecs count at all, before all else; nil: each
	Codecs *CodecPolicy // which of them the other side is told, beside Config.Codecs; the others may be transcoded
	Lend   *[]string    // the only codecs that may be added to be transcoded, by name; nil: as Config.Transcode says

	// Packets towards the other side, and back to this one, are made so long, 10 to 60 ms, whatever their senders make and their receivers ask for.
	// 0: as long as they come, unless they are transcoded anyway.
	PacketTime, PacketTimeBack int
	Keys                       bool // where only one side takes telephone-event keys are converted to tones, and back
}

// AnswerOptions are what signalling knows of who answers. The zero value says nothing.
type AnswerOptions struct {
	// SRTP is the policy under which this phone was given the offer, see OfferOptions. Phones of several users may ring, each offered what
	// its user's policy says: an answer is judged by what its writer was offered.
	SRTP *SRTPPolicy
}

// or is a policy that was wished, else the configured one.
func (p SRTPPolicy) or(wished *SRTPPolicy) SRTPPolicy {
	if wished != nil {
		return *wished
	}
	return p
}

// Mux is whether RTCP on the port of RTP is offered (RFC 5761). The offerer gets what it asked for in any case: the relay bridges.
type Mux uint8

const (
	MuxAsOffered Mux = iota // when the offerer asks for it
	MuxAlways
	MuxNever
)

func (m Mux) offered(asked bool) bool { return m == MuxAlways || m == MuxAsOffered && asked }

// Treatment is how a side is dealt with that is no ordinary phone. The zero value is an ordinary one.
type Treatment struct {
	// Asymmetric: it sends from other ports than it receives on. It is heard from any port of its hosts, and sent to where it says, never to
	// where its packets come from.
	Asymmetric bool
	// Wait: nothing is sent to it before it has been heard, even where its description names a plausible place. Its firewall may take offence.
	Wait bool
}

// Treat sets how a side is dealt with from the next answer on.
func (s *Session) Treat(side Side, t Treatment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.treat[side] = t
}

// Handshake is who is the client of a DTLS handshake. What the other side insists on comes first.
type Handshake uint8

const (
	HandshakeAsFits Handshake = iota // we do with ICE, they without; DESIGN.md says why
	HandshakeTheirs
	HandshakeOurs
)

// Shake sets who begins the handshakes with a side from its next offer on.
func (s *Session) Shake(side Side, h Handshake) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wires[side].handshake = h
}
