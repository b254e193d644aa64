package rtpengine

import (
	"math"
	"testing"
	"time"

	audio "tandem/rtpengine/codec"
)

// Without loss and delay the rating is 93.2 or 129 less what the tables say, and the opinion that of G.107 Annex B, or of G.107.1 Annex A for the wide
// band.
func TestEachCodecIsRatedByWhatIsPublishedOfIt(t *testing.T) {
	for _, c := range []struct {
		is     codec
		r, mos float64 // 0: not rated
	}{
		{codec{name: "PCMU"}, 93.2, 4.41},
		{codec{name: "g729"}, 82.2, 4.11},
		{codec{name: "GSM"}, 73.2, 3.75},
		{codec{name: "G723"}, 78.2, 3.96},
		{codec{name: "G726-32"}, 86.2, 4.24},
		{codec{name: "G722"}, 116, 4.34},
		{codec{name: "opus", fmtp: "useinbandfec=1"}, 109, 4.18},
		{codec{name: "AMR-WB", fmtp: "octet-align=1; mode-set=8"}, 121, 4.42},
		{codec{name: "AMR-WB", fmtp: "mode-set=0"}, 88, 3.51},
		{codec{name: "AMR-WB", fmtp: "mode-set=0,2"}, 0, 0}, // its rate may change at any moment
		{codec{name: "AMR-WB"}, 0, 0},
		{codec{name: "AMR", fmtp: "mode-set=7"}, 88.2, 4.3},
		{codec{name: "AMR"}, 0, 0},
		{codec{name: "G7221", fmtp: "bitrate=32000"}, 116, 4.34},
		{codec{name: "iLBC", fmtp: "mode=20"}, 0, 0},
		{codec{name: "H264"}, 0, 0},
		{codec{}, 0, 0},
	} {
		from := StreamStats{Packets: 50}
		got := from.score(&StreamStats{}, c.is.impairment())
		if math.Abs(got.R-c.r) > 0.05 || math.Abs(got.MOS-c.mos) > 0.011 {
			t.Errorf("%s %s: %+v, want R %.1f, MOS %.2f", c.is.name, c.is.fmtp, got, c.r, c.mos)
		}
	}
}

// G.107.1 (7-15) with the values of G.113 for AMR-WB: 12.65 kbit/s under 2 % loss.
func TestLossImpairsTheWideBandAsTheFormulaSays(t *testing.T) {
	by := codec{name: "AMR-WB", fmtp: "mode-set=2"}.impairment()
	if got := by.rate(2, 0); math.Abs(got.R-(129-13-82*2/6.3)) > 0.1 || got.MOS < 3.57 || got.MOS > 3.6 {
		t.Errorf("%+v", got)
	}
	if got := by.rate(100, time.Second); got.R < 0 || got.MOS != 1 {
		t.Errorf("all is lost: %+v", got)
	}
}

// What is transcoded was impaired twice, and is as narrow as the narrower of the two.
func TestTwoCodecsImpairMoreThanOne(t *testing.T) {
	g722, opus, g711, ilbc := codec{name: "G722"}.impairment(), codec{name: "opus"}.impairment(), g711Concealed(), impairment{}
	for _, c := range []struct {
		first, second impairment
		r             float64
	}{
		{g722, opus, 129 - 33}, {opus, g711, 93.2}, {g711, g722, 93.2}, {codec{name: "G729"}.impairment(), g711, 82.2}, {ilbc, g711, 0}, {g711, ilbc, 0},
	} {
		if got := c.first.then(c.second); got.known() != (c.r > 0) || got.known() && math.Abs(got.rate(0, 0).R-c.r) > 0.05 {
			t.Errorf("%+v then %+v is %+v", c.first, c.second, got)
		}
	}
	if got := opus.then(g711).bpl; got != opus.bpl {
		t.Errorf("loss strikes the first, which stands it by %v, not %v", opus.bpl, got)
	}
}

// Each phone numbers Opus in its own way; a key that is pressed and comfort noise are no codec.
func TestCallsAreRatedByTheCodecThatIsSpoken(t *testing.T) {
	e := startEngine(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := quietSession(t, e)
	defer s.Close()
	settleOn(t, s, a, b,
		a.formats("96 63 0 101", "a=rtpmap:96 opus/48000/2", "a=rtpmap:63 red/48000/2", "a=fmtp:63 96/96", "a=rtpmap:101 telephone-event/48000"),
		b.formats("111 97 9 100", "a=rtpmap:111 opus/48000/2", "a=rtpmap:97 red/48000/2", "a=fmtp:97 111/111", "a=rtpmap:100 telephone-event/48000"))
	settle(s.shard)
	rated := func(when string, side Side, codec string, r float64) {
		t.Helper()
		got := calm(s).Stats().Media[0].Sides[side]
		if got.Codec != codec || math.Abs(got.Score.R-r) > 2 {
			t.Errorf("%s: %q, %+v, want %s at %.0f", when, got.Codec, got.Score, codec, r)
		}
	}
	a.sends(b, 96, "speech")
	rated("as A numbers it", A, "opus", 109)
	b.sends(a, 111, "speech")
	rated("as B numbers it", B, "opus", 109)
	b.sends(a, 96, "speech")
	rated("as B was told", B, "opus", 109)
	a.sends(b, 101, "\x01\x8a\x03\x20")
	a.sends(b, payloadCN, "\x40")
	rated("a key and a pause", A, "opus", 109)
	a.sends(b, 63, "\x60speech")
	rated("with redundancy", A, "opus", 109)
	a.sends(b, 0, "speech")
	rated("another codec", A, "PCMU", 93.2)
}

func TestATranscodedCallIsRatedAsItIsHeard(t *testing.T) {
	e := startEngine(t, transcoding)
	a, b := newSpeaker(t, audio.G722, 9), newSpeaker(t, audio.PCMA, 8)
	s := quietSession(t, e)
	defer s.Close()
	settleOn(t, s, a.phone, b.phone, a.formats("9"), b.formats("8"))
	a.hum(500)
	b.listen(8)
	b.hum(500)
	a.listen(9)
	st := calm(s).Stats().Media[0].Sides
	if st[A].Codec != "G722" || st[B].Codec != "PCMA" || math.Abs(st[A].Score.R-93.2) > 1 || math.Abs(st[B].Score.R-93.2) > 1 {
		t.Errorf("%s %+v, %s %+v", st[A].Codec, st[A].Score, st[B].Codec, st[B].Score)
	}
}
