package rtpengine

import (
	"encoding/binary"
	"strings"
)

// feedback is a set of the messages by which who receives media tells its sender what to do (RFC 4585, RFC 5104).
type feedback uint8

const (
	feedPLI    feedback = 1 << iota // a picture was lost, a full one is wanted: RFC 4585 §6.3.1
	feedFIR                         // a full picture is wanted: RFC 5104 §4.3.1
	feedNACK                        // packets were lost: RFC 4585 §6.2.1
	feedTMMBR                       // the most that may be sent, and its confirmation: RFC 5104 §4.2
	feedREMB                        // likewise: draft-alvestrand-rmcat-remb-03
	feedTWCC                        // when which packets came: draft-holmer-rmcat-transport-wide-cc-extensions-01
	feedOther                       // what is not looked into
	feedFormer                      // a full picture is wanted, by who knows RFC 2032 §5.2.1 alone: nobody agrees to it in a description

	feedPictures = feedPLI | feedFIR
	feedPath     = feedREMB | feedTWCC // of all m-lines that share a transport, whichever it is said of
)

// feedbackOf is what a value of a=rtcp-fb promises: "96 nack pli". 0: no message, as "trr-int".
func feedbackOf(value string) feedback {
	words := strings.Fields(value)
	words = append(words, "", "", "") // the format, then up to two that matter
	switch words[1] + " " + words[2] {
	case "nack ":
		return feedNACK
	case "nack pli":
		return feedPLI
	case "ccm fir":
		return feedFIR
	case "ccm tmmbr":
		return feedTMMBR
	case "goog-remb ":
		return feedREMB
	case "transport-cc ":
		return feedTWCC
	}
	switch words[1] {
	case "ack", "nack", "ccm":
		return feedOther
	}
	return 0
}

// feedbackPacket is one feedback packet of a compound (RFC 4585 §6.1):
//
//	|V=2|P|  FMT  |    205/206    |            length             |
//	|                    SSRC of packet sender                    |
//	|                    SSRC of media source                     |
//	:              feedback control information (FCI)             :
type feedbackPacket struct {
	kind          feedback
	sender, media uint32
	fci           []byte // without padding
}

func isFeedback(b []byte) bool { return b[1] == rtcpRTPFB || b[1] == rtcpPSFB || b[1] == rtcpFormerFIR }

// parseFeedback reads a feedback packet that parseRTCP has framed. ok is false when its content is broken.
func parseFeedback(b []byte) (p feedbackPacket, ok bool) {
	if b[1] == rtcpFormerFIR && len(b) == 8 {
		return feedbackPacket{kind: feedFormer, sender: binary.BigEndian.Uint32(b[4:])}, true
	}
	if len(b) < 12 || b[1] == rtcpFormerFIR {
		return p, false
	}
	p.sender, p.media, p.fci = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:]), b[12:]
	if b[0]&0x20 != 0 {
		pad := int(b[len(b)-1])
		if pad == 0 || pad > len(p.fci) {
			return p, false
		}
		p.fci = p.fci[:len(p.fci)-pad]
	}
	n := len(p.fci)
	switch format := b[0] & 0x1f; {
	case b[1] == rtcpPSFB && format == 1:
		p.kind, ok = feedPLI, n == 0
	case b[1] == rtcpPSFB && format == 4:
		p.kind, ok = feedFIR, n > 0 && n%firEntry == 0
	case b[1] == rtcpPSFB && format == 15 && n >= 4 && string(p.fci[:4]) == "REMB":
		p.kind, ok = feedREMB, n >= 8 && n == 8+4*int(p.fci[4])
	case b[1] == rtcpRTPFB && format == 1:
		p.kind, ok = feedNACK, n > 0 && n%4 == 0
	case b[1] == rtcpRTPFB && (format == 3 || format == 4):
		p.kind, ok = feedTMMBR, n%tmmbrEntry == 0 && (n > 0 || format == 4) // a confirmation may be of no limit, RFC 5104 §4.2.2.1
	case b[1] == rtcpRTPFB && format == 15:
		p.kind, ok = feedTWCC, arrivals(p.fci)
	default:
		p.kind, ok = feedOther, true
	}
	return p, ok
}

const (
	firEntry   = 8 // SSRC 4 | sequence number 1 | 0 3
	tmmbrEntry = 8 // SSRC 4 | exponent 6 bits | mantissa 17 | overhead 9
)

// subject is the source of media that the packet speaks of: for some kinds it stands behind the header (RFC 5104 §4.2.1.2, §4.3.1.2). 0: none.
func (p *feedbackPacket) subject() uint32 {
	switch {
	case p.media != 0:
		return p.media
	case p.kind == feedFIR || p.kind == feedTMMBR && len(p.fci) > 0:
		return binary.BigEndian.Uint32(p.fci)
	case p.kind == feedREMB && len(p.fci) >= 12:
		return binary.BigEndian.Uint32(p.fci[8:])
	}
	return 0
}

// arrivals checks the FCI of transport-wide feedback: as many statuses as it says, and an arrival for each packet that came.
//
//	| base sequence number 2 | status count 2 | reference time 3 | feedback count 1 | chunks of 2 ... | arrivals of 1 or 2 ... | 0 up to a word
func arrivals(b []byte) bool {
	if len(b) < 10 {
		return false
	}
	left, need := int(binary.BigEndian.Uint16(b[2:])), 0
	for b = b[8:]; left > 0; b = b[2:] {
		if len(b) < 2 {
			return false
		}
		chunk := binary.BigEndian.Uint16(b)
		switch {
		case chunk&0x8000 == 0: // a run: 0 | status 2 bits | length 13
			n := min(int(chunk&0x1fff), left)
			if n == 0 {
				return false
			}
			need += n * arrivalSize(chunk>>13)
			left -= n
		case chunk&0x4000 == 0: // 14 statuses of one bit
			for i := range min(14, left) {
				need += arrivalSize(chunk >> (13 - i) & 1)
			}
			left -= min(14, left)
		default: // 7 of two
			for i := range min(7, left) {
				need += arrivalSize(chunk >> (12 - 2*i) & 3)
			}
			left -= min(7, left)
		}
	}
	return need <= len(b)
}

// arrivalSize is how many octets tell when a packet of a status came: 0 it did not, 1 soon after the one before, 2 later or earlier.
func arrivalSize(status uint16) int {
	if status == 3 { // reserved
		return 0
	}
	return int(status)
}

// limitREMB lowers the rate of a valid REMB to at most bit/s, and tells whether it was higher.
//
//	| "REMB" | sources 1 | exponent 6 bits, mantissa 18 | SSRC ...
func limitREMB(fci []byte, most uint64) bool {
	exponent, mantissa := fci[5]>>2, uint64(fci[5]&3)<<16|uint64(binary.BigEndian.Uint16(fci[6:]))
	if !exceeds(mantissa, exponent, most) {
		return false
	}
	exponent, mantissa = scaled(most, 18)
	fci[5] = exponent<<2 | byte(mantissa>>16)
	binary.BigEndian.PutUint16(fci[6:], uint16(mantissa))
	return true
}

// limitTMMBR does the same for one entry of a TMMBR or TMMBN (RFC 5104 §4.2.1.1).
func limitTMMBR(entry []byte, most uint64) bool {
	word := binary.BigEndian.Uint32(entry[4:])
	if !exceeds(uint64(word>>9&0x1ffff), uint8(word>>26), most) {
		return false
	}
	exponent, mantissa := scaled(most, 17)
	binary.BigEndian.PutUint32(entry[4:], uint32(exponent)<<26|uint32(mantissa)<<9|word&0x1ff)
	return true
}

func exceeds(mantissa uint64, exponent uint8, most uint64) bool {
	return mantissa != 0 && (exponent > 40 || mantissa<<exponent > most)
}

// scaled is the greatest mantissa of so many bits, times a power of two, that is not more than rate.
func scaled(rate uint64, bits uint) (exponent uint8, mantissa uint64) {
	for rate >= 1<<bits {
		rate >>= 1
		exponent++
	}
	return exponent, rate
}
