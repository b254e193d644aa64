package rtpengine

import (
	"testing"
	"time"
)

func feed(q *quality, seqs ...int) {
	for _, seq := range seqs {
		h := rtpHeader{seq: uint16(seq), stamp: uint32(seq) * 160, ssrc: 5}
		q.packet(&h, int64(seq)*int64(20*time.Millisecond), 8000)
	}
}

func TestLossIsCountedAsRFC3550Says(t *testing.T) {
	for _, c := range []struct {
		name string
		seqs []int
		want int64
	}{
		{"none", []int{1, 2, 3}, 0},
		{"two lost", []int{1, 2, 5, 6}, 2},
		{"late is not lost", []int{1, 3, 2, 4}, 0},
		{"a duplicate hides a loss", []int{1, 2, 2, 4}, 0},
		{"wrap", []int{65534, 65535, 65536, 65538}, 1},
		{"one wild number", []int{1, 2, 30000, 3}, -1},
		{"restart", []int{1, 2, 30000, 30001, 30002}, -1}, // the first packet of the restart is counted before it is known
	} {
		var q quality
		feed(&q, c.seqs...)
		if got := q.lost.Load(); got != c.want {
			t.Errorf("%s: lost %d, want %d", c.name, got, c.want)
		}
	}
}

func TestLossOfEarlierSourcesIsKept(t *testing.T) {
	var q quality
	feed(&q, 1, 4)
	h := rtpHeader{seq: 900, ssrc: 6}
	q.packet(&h, 0, 8000)
	if got := q.lost.Load(); got != 2 {
		t.Errorf("lost %d, want 2", got)
	}
}

func TestJitterFollowsArrivalTimes(t *testing.T) {
	var q quality
	for i := range 500 {
		wobble := time.Duration(i%2) * 10 * time.Millisecond // every gap is 10 ms off: D = 80 units
		h := rtpHeader{seq: uint16(i), stamp: uint32(i) * 160, ssrc: 5}
		q.packet(&h, int64(time.Duration(i)*20*time.Millisecond+wobble), 8000)
	}
	if got := (q.jitter16.Load() >> 4); got < 78 || got > 80 {
		t.Errorf("jitter %d, want about 80", got)
	}
	var steady quality
	feed(&steady, 1, 2, 3, 4, 5, 6, 7)
	if got := (steady.jitter16.Load() >> 4); got != 0 {
		t.Errorf("jitter of a steady stream %d", got)
	}
}

func TestReportBlockCoversItsInterval(t *testing.T) {
	var q quality
	feed(&q, 1, 2, 3, 4)
	q.block()
	feed(&q, 5, 7) // one of three lost
	fraction, lost, highest, _ := q.block()
	if fraction != 85 || lost != 1 || highest != 7 {
		t.Errorf("got %d/256, %d, %d", fraction, lost, highest)
	}
}
