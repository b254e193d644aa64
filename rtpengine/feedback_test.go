package rtpengine

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	pion "github.com/pion/rtcp"
)

// packetsOf are pion's, as octets.
func packetsOf(t testing.TB, list ...pion.Packet) []byte {
	t.Helper()
	b, err := pion.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var feedbackSamples = map[string]struct {
	packet  pion.Packet
	kind    feedback
	subject uint32
}{
	"picture loss":    {&pion.PictureLossIndication{SenderSSRC: 1, MediaSSRC: 2}, feedPLI, 2},
	"full intra":      {&pion.FullIntraRequest{SenderSSRC: 1, FIR: []pion.FIREntry{{SSRC: 3, SequenceNumber: 9}, {SSRC: 4, SequenceNumber: 1}}}, feedFIR, 3},
	"lost packets":    {&pion.TransportLayerNack{SenderSSRC: 1, MediaSSRC: 2, Nacks: []pion.NackPair{{PacketID: 5, LostPackets: 0x8001}}}, feedNACK, 2},
	"a rate":          {&pion.ReceiverEstimatedMaximumBitrate{SenderSSRC: 1, Bitrate: 2_500_000, SSRCs: []uint32{7, 8}}, feedREMB, 7},
	"arrival times":   {twccSample(1, 0, 3), feedTWCC, 2},
	"what is strange": {&pion.SliceLossIndication{SenderSSRC: 1, MediaSSRC: 2, SLI: []pion.SLIEntry{{First: 1, Number: 2, Picture: 3}}}, feedOther, 2},
}

// twccSample tells of a run of packets that came, of some that did not, and of a vector of both sizes.
func twccSample(came, lost, mixed uint16) *pion.TransportLayerCC {
	p := &pion.TransportLayerCC{SenderSSRC: 1, MediaSSRC: 2, BaseSequenceNumber: 65534, ReferenceTime: 77, FbPktCount: 3, PacketStatusCount: came + lost + mixed}
	if came > 0 {
		p.PacketChunks = append(p.PacketChunks, &pion.RunLengthChunk{Type: pion.TypeTCCRunLengthChunk, PacketStatusSymbol: pion.TypeTCCPacketReceivedSmallDelta, RunLength: came})
	}
	if lost > 0 {
		p.PacketChunks = append(p.PacketChunks, &pion.RunLengthChunk{Type: pion.TypeTCCRunLengthChunk, RunLength: lost})
	}
	for range came {
		p.RecvDeltas = append(p.RecvDeltas, &pion.RecvDelta{Type: pion.TypeTCCPacketReceivedSmallDelta, Delta: 1000})
	}
	if mixed > 0 {
		v := &pion.StatusVectorChunk{Type: pion.TypeTCCStatusVectorChunk, SymbolSize: pion.TypeTCCSymbolSizeTwoBit}
		for i := range uint16(7) {
			symbol := uint16(0)
			if i < mixed {
				symbol = pion.TypeTCCPacketReceivedLargeDelta
				p.RecvDeltas = append(p.RecvDeltas, &pion.RecvDelta{Type: symbol, Delta: -1000})
			}
			v.SymbolList = append(v.SymbolList, symbol)
		}
		p.PacketChunks = append(p.PacketChunks, v)
	}
	length := 20 + 2*len(p.PacketChunks) + int(came) + 2*int(mixed)
	p.Header = pion.Header{Padding: length%4 != 0, Count: pion.FormatTCC, Type: pion.TypeTransportSpecificFeedback, Length: uint16((length+3)/4 - 1)}
	return p
}

func TestFeedbackIsReadAsAnotherImplementationWritesIt(t *testing.T) {
	for name, c := range feedbackSamples {
		b := packetsOf(t, c.packet)
		p, ok := parseFeedback(b)
		if !ok || p.kind != c.kind || p.sender != 1 || p.subject() != c.subject {
			t.Errorf("%s: %+v, %v, about %d", name, p, ok, p.subject())
		}
		for cut := 4; cut < len(b); cut += 4 { // shorter, and saying so
			short := bytes.Clone(b[:cut])
			binary.BigEndian.PutUint16(short[2:], uint16(cut/4-1))
			if p, ok := parseFeedback(short); ok && cut < 12 {
				t.Errorf("%s, %d octets of it: %+v", name, cut, p)
			}
		}
	}
	for _, n := range [][3]uint16{{1, 0, 0}, {3, 0, 0}, {0, 20, 0}, {500, 8000, 7}, {4, 1, 5}} {
		if p, ok := parseFeedback(packetsOf(t, twccSample(n[0], n[1], n[2]))); !ok || p.kind != feedTWCC {
			t.Errorf("%v: %+v, %v", n, p, ok)
		}
	}
}

func TestARateIsLoweredToWhatItsReaderCanTell(t *testing.T) {
	for _, rate := range []uint64{1, 64_000, 262_143, 512_000, 1<<40 + 12345} {
		remb := packetsOf(t, &pion.ReceiverEstimatedMaximumBitrate{Bitrate: 1e15, SSRCs: []uint32{7}})
		p, _ := parseFeedback(remb)
		if !limitREMB(p.fci, rate) || limitREMB(p.fci, rate) {
			t.Errorf("%d: lowered never, or twice", rate)
		}
		var read pion.ReceiverEstimatedMaximumBitrate
		if err := read.Unmarshal(remb); err != nil || uint64(read.Bitrate) > rate || uint64(read.Bitrate) < rate-rate>>17 {
			t.Errorf("%d became %v, %v", rate, read.Bitrate, err)
		}
		entry := []byte{0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff}
		if !limitTMMBR(entry, rate) || limitTMMBR(entry, rate) {
			t.Errorf("%d: lowered never, or twice", rate)
		}
		word := binary.BigEndian.Uint32(entry[4:])
		if got := uint64(word>>9&0x1ffff) << (word >> 26); got > rate || got < rate-rate>>16 || word&0x1ff != 0x1ff {
			t.Errorf("%d became %d, overhead %x", rate, got, word&0x1ff)
		}
	}
}

func TestFeedbackIsNamedInManyWays(t *testing.T) {
	for value, want := range map[string]feedback{
		"96 nack": feedNACK, "* nack pli": feedPLI, "96  ccm  fir": feedFIR, "96 ccm tmmbr smaxpr=120": feedTMMBR, "96 goog-remb": feedREMB,
		"111 transport-cc": feedTWCC, "96 nack sli": feedOther, "96 ack rpsi": feedOther, "* trr-int 100": 0, "": 0, "96": 0,
	} {
		if got := feedbackOf(value); got != want {
			t.Errorf("%q: %b, want %b", value, got, want)
		}
	}
}

// FuzzFeedback reads what another implementation reads, and never beyond the packet; what it rewrites is still a packet.
func FuzzFeedback(f *testing.F) {
	for _, c := range feedbackSamples {
		f.Add(packetsOf(f, c.packet), uint64(1_000_000))
	}
	f.Add(packetsOf(f, twccSample(500, 8000, 7)), uint64(1))
	f.Fuzz(func(t *testing.T, b []byte, most uint64) {
		if _, ok := parseRTCP(b); !ok {
			return
		}
		b = b[:4+4*int(binary.BigEndian.Uint16(b[2:]))]
		if !isFeedback(b) {
			return
		}
		p, ok := parseFeedback(b)
		if read, err := pion.Unmarshal(b); err == nil && !ok && len(read) == 1 && b[0]&0x20 == 0 && !loose(read[0]) {
			t.Fatalf("%x is %+v to others", b, read[0])
		}
		if !ok {
			return
		}
		if p.kind == feedOther || most == 0 || most > 1<<40 {
			return
		}
		size := len(b)
		p.lower(most, b)
		if again, ok := parseFeedback(b); !ok || again.kind != p.kind || len(b) != size || again.lower(most, b) != 0 {
			t.Fatalf("%+v became %+v", p, again)
		}
	})
}

// loose names what pion takes though it is not whole: a picture loss with something behind it, loss of nothing, and transport-wide feedback with
// packets that it says nothing of.
func loose(p pion.Packet) bool {
	switch p := p.(type) {
	case *pion.PictureLossIndication, *pion.TransportLayerCC, *pion.CCFeedbackReport:
		return true
	case *pion.TransportLayerNack:
		return len(p.Nacks) == 0
	case *pion.FullIntraRequest:
		return len(p.FIR) == 0
	case *pion.ReceiverEstimatedMaximumBitrate:
		return len(p.SSRCs) == 0 || slices.Contains(p.SSRCs, 0)
	case *pion.RawPacket:
		return true
	}
	return false
}
