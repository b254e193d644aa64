package rtpengine

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestSqueezedFiguresAreExactWhileSmallAndCloseWhenLarge(t *testing.T) {
	for _, c := range []struct{ width, digits int }{{packetBits, packetDigits}, {lostBits, lostDigits}, {timeBits, timeDigits}} {
		most := release(1<<c.width-1, c.digits)
		last := uint32(0)
		for v := range uint32(math.MaxUint16 + 1) {
			code := squeeze(v, c.width, c.digits)
			got := release(code, c.digits)
			switch {
			case code >= 1<<c.width:
				t.Fatalf("%d takes more than %d bits", v, c.width)
			case v < 2<<c.digits && got != v:
				t.Errorf("%d becomes %d", v, got)
			case v > most && got != most:
				t.Fatalf("%d becomes %d, want the most that there is, %d", v, got, most)
			case v <= most && math.Abs(float64(got)-float64(v)) > float64(v)/float64(int(2)<<c.digits):
				t.Fatalf("%d becomes %d", v, got)
			case got < last:
				t.Fatalf("%d becomes %d, and what is less became %d", v, got, last)
			}
			last = got
		}
	}
}

// However long the call and whatever came, the stretches together hold all of its packets, losses and seconds, and the mean opinion.
func TestStretchesLoseNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &course{every: 1}
		var packets, lost, seconds, rated uint64
		var sum float64
		for range rapid.IntRange(1, 3000).Draw(t, "seconds") {
			s := stretch{seconds: 1, packets: uint32(rapid.IntRange(0, 60).Draw(t, "packets")), lost: uint32(rapid.IntRange(0, 9).Draw(t, "lost"))}
			if mos := rapid.IntRange(49, 250).Draw(t, "mos"); mos > 49 {
				s.rated, s.sum, s.worst = 1, uint32(mos), uint8(mos)
				rated++
				sum += float64(mos)
			}
			packets, lost, seconds = packets+uint64(s.packets), lost+uint64(s.lost), seconds+1
			c.seconds++
			c.extend(&s)
		}
		var gotPackets, gotLost, gotSeconds uint64
		var gotRated, gotSum float64
		for _, s := range c.shownWhole() {
			gotPackets, gotLost, gotSeconds = gotPackets+uint64(s.packets), gotLost+uint64(s.lost), gotSeconds+uint64(s.seconds)
			gotRated, gotSum = gotRated+float64(s.rated), gotSum+float64(s.sum)
		}
		if gotPackets != packets || gotLost != lost || gotSeconds != seconds || gotRated != float64(rated) {
			t.Fatalf("%d packets, %d lost, %d seconds, %v rated; want %d, %d, %d, %d", gotPackets, gotLost, gotSeconds, gotRated, packets, lost, seconds, rated)
		}
		if rated > 0 && math.Abs(gotSum-sum)/float64(rated) > 0.25 { // of 1/50 of an opinion
			t.Fatalf("mean opinion %v, want %v", gotSum/gotRated, sum/float64(rated))
		}
	})
}
