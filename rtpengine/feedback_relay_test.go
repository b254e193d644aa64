package rtpengine

import (
	"encoding/binary"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	pion "github.com/pion/rtcp"
)

// viewer is a phone with one m-line of video.
type viewer struct {
	*phone
	profile string
	lines   []string
}

func newViewer(t testing.TB, profile string, lines ...string) *viewer {
	return &viewer{newPhone(t, loop4), profile, lines}
}

func (v *viewer) sdp() []byte {
	return []byte(strings.NewReplacer("m=audio", "m=video", "RTP/AVP 0 8 101", v.profile+" 96", "a=rtpmap:101 telephone-event/8000", "a=rtpmap:96 H264/90000").Replace(
		string(v.phone.sdp(v.lines...))))
}

// looks connects two viewers and has both send a picture, so that each is known to the other. It gives what each was told.
func looks(t testing.TB, s *Session, a, b *viewer) (offer, answer []byte) {
	t.Helper()
	offer, err := s.Offer(A, a.sdp(), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	b.dial(offer)
	if answer, err = s.Answer(B, b.sdp(), loop4, loop4); err != nil {
		t.Fatal(err)
	}
	a.dial(answer)
	settle(s.shard)
	a.shows("a's face")
	b.hears("a's face")
	b.shows("b's face")
	a.hears("b's face")
	settle(s.shard)
	return offer, answer
}

func (v *viewer) shows(picture string) {
	v.t.Helper()
	v.seq++
	v.raw(v.rtp, v.to, packet(96, v.seq, uint32(v.seq)*3000, v.ssrc, picture))
}

// wants sends feedback in a compound with an empty report.
func (v *viewer) wants(list ...pion.Packet) {
	v.t.Helper()
	v.raw(v.rtcp, v.toRTCP, packetsOf(v.t, append([]pion.Packet{&pion.ReceiverReport{SSRC: v.ssrc}}, list...)...))
}

// isAsked reads the next compound and gives what is behind its report.
func (v *viewer) isAsked() []pion.Packet {
	v.t.Helper()
	list, err := pion.Unmarshal(v.next(v.rtcp))
	if err != nil {
		v.t.Fatal(err)
	}
	if _, ok := list[0].(*pion.ReceiverReport); !ok {
		v.t.Fatalf("a compound begins with %T", list[0])
	}
	return list[1:]
}

const (
	knowsPLI  = "a=rtcp-fb:96 nack pli"
	knowsFIR  = "a=rtcp-fb:* ccm fir"
	knowsNACK = "a=rtcp-fb:96 nack"
)

func sightOf(t testing.TB, c SessionConfig) *Session {
	t.Helper()
	s, err := startEngine(t, nil).NewSession(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFeedbackThatBothHaveAgreedToPassesAsItCame(t *testing.T) {
	s := sightOf(t, SessionConfig{})
	lines := []string{knowsPLI, knowsNACK, "a=rtcp-fb:96 goog-remb", "a=rtcp-fb:96 ccm tmmbr", "a=rtcp-fb:96 nack sli"}
	a, b := newViewer(t, "RTP/AVPF", lines...), newViewer(t, "RTP/AVPF", lines...)
	looks(t, s, a, b)
	sent := []pion.Packet{
		&pion.PictureLossIndication{SenderSSRC: a.ssrc, MediaSSRC: b.ssrc},
		&pion.TransportLayerNack{SenderSSRC: a.ssrc, MediaSSRC: b.ssrc, Nacks: []pion.NackPair{{PacketID: 5, LostPackets: 3}}},
		&pion.ReceiverEstimatedMaximumBitrate{SenderSSRC: a.ssrc, Bitrate: 3_000_000, SSRCs: []uint32{b.ssrc}},
		&pion.SliceLossIndication{SenderSSRC: a.ssrc, MediaSSRC: b.ssrc, SLI: []pion.SLIEntry{{First: 1, Number: 1, Picture: 1}}},
	}
	a.wants(sent...)
	if got, want := packetsOf(t, b.isAsked()...), packetsOf(t, sent...); string(got) != string(want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
	settle(s.shard)
	if st := s.engine.Stats().Feedback; st != (FeedbackStats{}) {
		t.Errorf("%+v", st)
	}
}

func TestAnAVPFPhoneAsksAPhoneWithoutFeedbackBySignalling(t *testing.T) {
	wanted := make(chan Side, 8)
	s := sightOf(t, SessionConfig{OnPicture: func(side Side) { wanted <- side }})
	a, b := newViewer(t, "RTP/AVPF", knowsPLI, knowsFIR, knowsNACK), newViewer(t, "RTP/AVP")
	_, answer := looks(t, s, a, b)
	if !hasLine(answer, "a=rtcp-fb:96 nack pli") || !hasLine(answer, "a=rtcp-fb:96 ccm fir") || hasLine(answer, "a=rtcp-fb:96 nack\r\n") {
		t.Errorf("the answer promises what cannot be done, or not what can:\n%s", answer)
	}
	lost := &pion.TransportLayerNack{SenderSSRC: a.ssrc, MediaSSRC: b.ssrc, Nacks: []pion.NackPair{{PacketID: 5}}}
	for range 3 {
		a.wants(&pion.PictureLossIndication{SenderSSRC: a.ssrc, MediaSSRC: b.ssrc}, lost)
		if got := b.isAsked(); len(got) != 0 {
			t.Errorf("a phone that speaks RTP/AVP is told %v", got)
		}
	}
	select {
	case side := <-wanted:
		if side != B {
			t.Errorf("a picture of %v is wanted", side)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("signalling hears of nothing")
	}
	settle(s.shard)
	if st := s.engine.Stats().Feedback; st.Signalled != 1 || st.Held != 2 || st.Unwanted != 3 || len(wanted) != 0 {
		t.Errorf("%+v, %d more told", st, len(wanted))
	}
	if err := s.RequestPicture(B); err != ErrNoFeedback {
		t.Errorf("got %v", err)
	}
}

func TestPLIAndFIRAreTranslated(t *testing.T) {
	s := sightOf(t, SessionConfig{})
	a, b := newViewer(t, "RTP/AVPF", knowsPLI), newViewer(t, "RTP/AVPF", knowsFIR)
	offer, answer := looks(t, s, a, b)
	if !hasLine(offer, "a=rtcp-fb:96 ccm fir") || !hasLine(answer, "a=rtcp-fb:96 nack pli") || hasLine(answer, "a=rtcp-fb:* ccm fir") {
		t.Errorf("offer:\n%s\nanswer:\n%s", offer, answer)
	}
	var numbers []uint8
	for range 2 {
		a.wants(&pion.PictureLossIndication{SenderSSRC: a.ssrc, MediaSSRC: b.ssrc})
		got, ok := b.isAsked()[0].(*pion.FullIntraRequest)
		if !ok || got.SenderSSRC != a.ssrc || got.MediaSSRC != 0 || len(got.FIR) != 1 || got.FIR[0].SSRC != b.ssrc {
			t.Fatalf("%+v", got)
		}
		numbers = append(numbers, got.FIR[0].SequenceNumber)
	}
	if numbers[0] != numbers[1] {
		t.Errorf("two in a second are two commands: %v", numbers)
	}
	b.wants(&pion.FullIntraRequest{SenderSSRC: b.ssrc, FIR: []pion.FIREntry{{SSRC: a.ssrc, SequenceNumber: 1}}})
	if got, ok := a.isAsked()[0].(*pion.PictureLossIndication); !ok || got.SenderSSRC != b.ssrc || got.MediaSSRC != a.ssrc {
		t.Fatalf("%+v", got)
	}
	b.wants(&pion.FullIntraRequest{SenderSSRC: b.ssrc, FIR: []pion.FIREntry{{SSRC: a.ssrc, SequenceNumber: 2}}})
	if got := a.isAsked(); len(got) != 0 {
		t.Errorf("a second wish within a second: %v", got)
	}
	settle(s.shard)
	if st := s.engine.Stats().Feedback; st.Translated != 3 || st.Held != 1 {
		t.Errorf("%+v", st)
	}
}

// baresip asks so where PLI was not agreed on.
func TestTheFormerWayToAskForAPictureIsUnderstood(t *testing.T) {
	for lines, want := range map[string]pion.Packet{
		knowsPLI: &pion.PictureLossIndication{}, knowsFIR: &pion.FullIntraRequest{},
	} {
		s := sightOf(t, SessionConfig{})
		a, b := newViewer(t, "RTP/AVP"), newViewer(t, "RTP/AVPF", lines)
		looks(t, s, b, a)
		a.raw(a.rtcp, a.toRTCP, binary.BigEndian.AppendUint32([]byte{0x80, rtcpFormerFIR, 0, 1}, a.ssrc))
		got := b.isAsked()[0]
		switch p := got.(type) {
		case *pion.PictureLossIndication:
			p.SenderSSRC, p.MediaSSRC = p.SenderSSRC-a.ssrc, p.MediaSSRC-b.ssrc
		case *pion.FullIntraRequest:
			p.SenderSSRC, p.FIR[0].SSRC, p.FIR[0].SequenceNumber = p.SenderSSRC-a.ssrc, p.FIR[0].SSRC-b.ssrc, 0
			want = &pion.FullIntraRequest{FIR: []pion.FIREntry{{}}}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", lines, got, want)
		}
	}
}

func TestPhonesThatNameNoFeedbackAreLeftToThemselves(t *testing.T) {
	s := sightOf(t, SessionConfig{OnPicture: func(side Side) { t.Errorf("signalling is asked for a picture of %v", side) }})
	a, b := newViewer(t, "RTP/AVP"), newViewer(t, "RTP/AVP")
	looks(t, s, a, b)
	a.wants(&pion.PictureLossIndication{SenderSSRC: a.ssrc, MediaSSRC: b.ssrc})
	if got := b.isAsked(); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

func TestARateIsLoweredToTheBandwidthThatItsSenderNamed(t *testing.T) {
	s := sightOf(t, SessionConfig{})
	lines := []string{"b=AS:512", "a=rtcp-fb:96 goog-remb", "a=rtcp-fb:96 ccm tmmbr"}
	a, b := newViewer(t, "RTP/AVPF", lines...), newViewer(t, "RTP/AVPF", append(lines, "b=TIAS:300000")...)
	offer, answer := looks(t, s, a, b)
	if !hasLine(offer, "b=AS:512") || !hasLine(answer, "b=AS:512") || !hasLine(answer, "b=TIAS:300000") {
		t.Errorf("offer:\n%s\nanswer:\n%s", offer, answer)
	}
	a.wants(&pion.ReceiverEstimatedMaximumBitrate{SenderSSRC: a.ssrc, Bitrate: 2_000_000, SSRCs: []uint32{b.ssrc}})
	if got := b.isAsked()[0].(*pion.ReceiverEstimatedMaximumBitrate); got.Bitrate != 512_000 {
		t.Errorf("%v bit/s", got.Bitrate)
	}
	b.wants(&pion.ReceiverEstimatedMaximumBitrate{SenderSSRC: b.ssrc, Bitrate: 2_000_000, SSRCs: []uint32{a.ssrc}})
	if got := a.isAsked()[0].(*pion.ReceiverEstimatedMaximumBitrate); got.Bitrate < 299_998 || got.Bitrate > 300_000 {
		t.Errorf("%v bit/s", got.Bitrate)
	}
	b.wants(&pion.ReceiverEstimatedMaximumBitrate{SenderSSRC: b.ssrc, Bitrate: 100_000, SSRCs: []uint32{a.ssrc}})
	if got := a.isAsked()[0].(*pion.ReceiverEstimatedMaximumBitrate); got.Bitrate != 100_000 {
		t.Errorf("%v bit/s", got.Bitrate)
	}
	settle(s.shard)
	if st := s.engine.Stats().Feedback; st.Lowered != 2 {
		t.Errorf("%+v", st)
	}
}

func TestAPictureIsRequestedInTheNameOfTheOtherSide(t *testing.T) {
	s := sightOf(t, SessionConfig{})
	if err := s.RequestPicture(A); err != ErrNoVideo {
		t.Errorf("got %v", err)
	}
	a, b := newViewer(t, "RTP/AVP"), newViewer(t, "RTP/AVP", knowsPLI)
	a.lines = []string{knowsPLI}
	looks(t, s, a, b)
	for range 2 {
		if err := s.RequestPicture(B); err != nil {
			t.Fatal(err)
		}
	}
	if got, ok := b.isAsked()[0].(*pion.PictureLossIndication); !ok || got.SenderSSRC != a.ssrc || got.MediaSSRC != b.ssrc {
		t.Errorf("%+v", got)
	}
	settle(s.shard)
	b.hasNothing(b.rtcp)
	if st := s.engine.Stats().Feedback; st.Asked != 1 || st.Held != 1 {
		t.Errorf("%+v", st)
	}
	s.Close()
	if err := s.RequestPicture(B); err != ErrClosed {
		t.Errorf("got %v", err)
	}
}

// The first picture is a full one, and lost when nobody can be sent it yet.
func TestWhoCouldNotBeReachedGetsAFullPicture(t *testing.T) {
	s := sightOf(t, SessionConfig{})
	a, b := newViewer(t, "RTP/AVPF", knowsPLI), newViewer(t, "RTP/AVPF", knowsPLI, "a=inactive")
	offer, err := s.Offer(A, a.sdp(), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	b.dial(offer)
	answer, err := s.Answer(B, b.sdp(), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	a.dial(answer)
	settle(s.shard)
	a.shows("a full picture")
	settle(s.shard)
	b.lines = []string{knowsPLI}
	if _, err = s.Answer(B, b.sdp(), loop4, loop4); err != nil {
		t.Fatal(err)
	}
	a.shows("what has moved")
	b.hears("what has moved")
	if got, ok := a.isAsked()[0].(*pion.PictureLossIndication); !ok || got.MediaSSRC != a.ssrc {
		t.Errorf("%+v", got)
	}
	a.shows("again")
	b.hears("again")
	settle(s.shard)
	a.hasNothing(a.rtcp)
}

// After a takeover nobody knows what was lost meanwhile.
func TestPicturesGoOnInAnotherEngine(t *testing.T) {
	s := sightOf(t, SessionConfig{})
	a, b := newViewer(t, "RTP/AVPF", knowsPLI, "b=AS:64", "a=rtcp-fb:96 goog-remb"), newViewer(t, "RTP/AVPF", knowsFIR, "a=rtcp-fb:96 goog-remb")
	looks(t, s, a, b)
	s = takeOver(t, s, nil)
	a.shows("what has moved")
	b.hears("what has moved")
	if got, ok := a.isAsked()[0].(*pion.PictureLossIndication); !ok || got.MediaSSRC != a.ssrc {
		t.Errorf("%+v", got)
	}
	a.wants(&pion.PictureLossIndication{SenderSSRC: a.ssrc, MediaSSRC: b.ssrc}, &pion.ReceiverEstimatedMaximumBitrate{SenderSSRC: a.ssrc, Bitrate: 1e6, SSRCs: []uint32{b.ssrc}})
	got := b.isAsked()
	if fir, ok := got[0].(*pion.FullIntraRequest); !ok || fir.FIR[0].SSRC != b.ssrc {
		t.Errorf("%+v", got)
	}
	if remb, ok := got[1].(*pion.ReceiverEstimatedMaximumBitrate); !ok || remb.Bitrate != 64_000 {
		t.Errorf("%+v", got)
	}
	if err := s.RequestPicture(B); err != nil {
		t.Error(err)
	}
}

// Retransmissions come under a source of their own (RFC 4588) and are no picture to ask for.
func TestRetransmissionsAreNotTakenForThePicture(t *testing.T) {
	s := sightOf(t, SessionConfig{})
	lines := []string{knowsPLI, "a=rtpmap:97 rtx/90000", "a=fmtp:97 apt=96"}
	a, b := newViewer(t, "RTP/AVPF 97", lines...), newViewer(t, "RTP/AVPF 97", lines...)
	looks(t, s, a, b)
	for i := range uint16(3) {
		b.shows("more")
		a.hears("more")
		b.raw(b.rtp, b.to, packet(97, 900+i, 0, b.ssrc+1, "again"))
		a.hears("again")
	}
	settle(s.shard)
	if err := s.RequestPicture(B); err != nil {
		t.Fatal(err)
	}
	if got := b.isAsked()[0].(*pion.PictureLossIndication); got.MediaSSRC != b.ssrc {
		t.Errorf("a picture of %x is wanted, not of %x", got.MediaSSRC, b.ssrc)
	}
	settle(s.shard)
	if st := s.Stats().Media[0].Sides[B]; st.Lost != 0 || st.SSRC != b.ssrc {
		t.Errorf("%d lost of %x", st.Lost, st.SSRC)
	}
}

// What a browser says of its whole transport is known by what it was agreed on for any of its m-lines.
func TestABrowserCallsAPhoneWithoutFeedback(t *testing.T) {
	wanted := make(chan Side, 8)
	s := sightOf(t, SessionConfig{OnPicture: func(side Side) { wanted <- side }})
	alice, desk := newWebPhone(t, loop4), newPhone(t, loop4)
	offer, err := s.OfferWith(A, alice.sdp("actpass"), loop4, loop4, OfferOptions{Speaks: Phone})
	if err != nil {
		t.Fatal(err)
	}
	desk.dial(offer)
	video, err := parseSDP(offer)
	if err != nil {
		t.Fatal(err)
	}
	toVideo := video.sections[1]
	eye := newPhone(t, loop4)
	at := eye.addr()
	answer, err := s.Answer(B, append(desk.sdp(), []byte("m=video "+strings.Split(at.String(), ":")[1]+" RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n")...), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	if !hasLine(answer, "a=rtcp-fb:96 nack pli") || hasLine(answer, "a=rtcp-fb:96 transport-cc") {
		t.Errorf("%s", answer)
	}
	alice.hear(answer)
	settle(s.shard)
	alice.connect(s)
	eye.to = netip.AddrPortFrom(toVideo.addr, toVideo.port)
	eye.raw(eye.rtp, eye.to, packet(96, 1, 1, eye.ssrc, "desk"))
	alice.hears("desk")
	wish := packetsOf(t, &pion.ReceiverReport{SSRC: 1}, &pion.FullIntraRequest{SenderSSRC: 1, FIR: []pion.FIREntry{{SSRC: eye.ssrc}}})
	alice.report(wish)
	select {
	case side := <-wanted:
		if side != B {
			t.Errorf("a picture of %v is wanted", side)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("signalling hears of nothing")
	}
	alice.say(96, 1002, "", "face")
	eye.hears("face")
	settle(s.shard)
	if err := s.RequestPicture(A); err != nil {
		t.Fatal(err)
	}
	got := alice.isAsked()
	if pli, ok := got[len(got)-1].(*pion.PictureLossIndication); !ok || pli.MediaSSRC != 1002 || pli.SenderSSRC != eye.ssrc {
		t.Errorf("%+v", got)
	}
}

// isAsked reads the next RTCP packet.
func (w *webPhone) isAsked() []pion.Packet {
	w.t.Helper()
	for {
		select {
		case b := <-w.media:
			if !looksRTCP(b) {
				continue
			}
			out, err := w.in.DecryptRTCP(nil, b, nil)
			if err != nil {
				w.t.Fatal(err)
			}
			list, err := pion.Unmarshal(out)
			if err != nil {
				w.t.Fatal(err)
			}
			return list
		case <-time.After(5 * time.Second):
			w.t.Fatal("nothing is asked")
		}
	}
}

// The decisions about feedback cost no memory.
func TestFeedbackAllocatesNothing(t *testing.T) {
	s := sightOf(t, SessionConfig{})
	a, b := newViewer(t, "RTP/AVPF", knowsPLI, "b=AS:1"), newViewer(t, "RTP/AVPF", knowsFIR)
	looks(t, s, a, b)
	compound := packetsOf(t, &pion.ReceiverReport{SSRC: a.ssrc}, &pion.PictureLossIndication{SenderSSRC: a.ssrc, MediaSSRC: b.ssrc},
		&pion.TransportLayerNack{SenderSSRC: a.ssrc, MediaSSRC: b.ssrc, Nacks: []pion.NackPair{{PacketID: 5}}})
	var each float64
	done := make(chan struct{})
	s.shard.order(func(sh *shard) {
		defer close(done)
		l := s.lines[0].legs[A]
		each = testing.AllocsPerRun(100, func() { sh.acceptRTCP(l, compound) })
	})
	<-done
	if each != 0 {
		t.Errorf("%v allocations", each)
	}
	if n := binary.BigEndian.Uint16(compound[2:]); n != 1 {
		t.Errorf("the compound was changed: %x", compound)
	}
}

// A browser rings beside a desk phone that was offered last, and without what browsers alone understand.
func TestTheForkThatAnswersDecidesAboutFeedback(t *testing.T) {
	s := sightOf(t, SessionConfig{})
	alice, bob := newWebPhone(t, loop4), newWebPhone(t, loop4)
	for _, how := range []Dialect{WebRTC, Phone} {
		offer, err := s.OfferWith(A, alice.sdp("actpass"), loop4, loop4, OfferOptions{Speaks: how})
		if err != nil {
			t.Fatal(err)
		}
		if how == WebRTC {
			bob.hear(offer)
		}
	}
	answer, err := s.Answer(B, bob.sdp("active"), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	alice.hear(answer)
	settle(s.shard)
	alice.connect(s)
	bob.connect(s)
	alice.say(96, 1002, "", "face")
	bob.hears("face")
	arrived := twccSample(3, 1, 2)
	bob.report(packetsOf(t, &pion.ReceiverReport{SSRC: 1}, arrived))
	got := alice.isAsked()
	if _, ok := got[len(got)-1].(*pion.TransportLayerCC); !ok {
		t.Errorf("alice does not learn how her packets arrive: %v", got)
	}
}
