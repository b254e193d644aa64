package pbx

import (
	"testing"
	"time"

	"tandem/events"
	"tandem/rtpengine"
)

func TestQualityOfACallIsShownAndAlarmsAreEvents(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		o.phone("bob", atOnce)
		call := alice.Call("bob", description("alice"))
		call.MustAnswer()
		o.awaitKind(events.CallAnswered)
		m, err := o.pbx.Media(call.CallID)
		if err != nil || len(m.Directions) != 2 || m.Directions[0].From != "caller" || m.Directions[1].From != "callee" || m.Directions[0].Kind != "audio" {
			t.Errorf("%+v, %v", m, err)
		}
		if _, err := o.pbx.Media("nothing"); err != ErrNoCall {
			t.Errorf("got %v", err)
		}
		o.pbx.find(call.CallID).sounds(rtpengine.QualityAlarm{Side: rtpengine.B, MOS: 2.345, For: 5 * time.Second})
		o.awaitKind(events.CallQualityLow)
		told := o.events.Recent(1, func(e events.Event) bool { return e.Kind == events.CallQualityLow })[0]
		expect(t, "from", told.Detail["from"]+" "+told.Detail["mos"], "callee 2.35")
		o.pbx.find(call.CallID).sounds(rtpengine.QualityAlarm{Side: rtpengine.B, MOS: 4.4, For: 5 * time.Second, Over: true})
		o.awaitKind(events.CallQualityRestored)
		call.Bye()
	})
}

func TestQualityIsSummedForTheRecord(t *testing.T) {
	line := rtpengine.LineQuality{MediaStats: rtpengine.MediaStats{Kind: "audio"}}
	line.Sides[rtpengine.A] = rtpengine.StreamStats{
		Packets: 100, Lost: 3, Codec: "PCMU", Score: rtpengine.Score{R: 80, MOS: 4}, Bursts: rtpengine.Bursts{Count: 2, BurstDensity: 40},
		Extended: &rtpengine.VoIPMetrics{Discarded: 1.5},
	}
	line.Course[rtpengine.A] = &rtpengine.Course{Whole: []rtpengine.Stretch{{Worst: 4.2}, {Worst: 0}, {Worst: 1.5}}}
	q := quality([]rtpengine.LineQuality{line}).Caller
	if q.Packets != 100 || q.Lost != 3 || q.MOS != 4 || q.MOSWorst != 1.5 || q.Bursts != 2 || q.BurstDensity != 40 || q.Discarded != 1.5 {
		t.Errorf("%+v", q)
	}
	d := direction("audio", "caller", &line.Sides[rtpengine.A], line.Course[rtpengine.A])
	if d.MOSWorst != 1.5 || len(d.Course) != 3 || d.Heard == nil {
		t.Errorf("%+v", d)
	}
}
