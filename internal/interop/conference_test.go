//go:build interop

package interop

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// loud is the amplitude of one frequency in the last window of a sound, 0 while that is too short.
func loud(heard sound, hz float64) float64 {
	if len(heard.samples) < window {
		return 0
	}
	var re, im float64
	for i, v := range heard.samples[len(heard.samples)-window:] {
		hann := 1 - math.Cos(2*math.Pi*float64(i)/window)
		re += float64(v) * hann * math.Cos(2*math.Pi*hz*float64(i)/float64(heard.rate))
		im += float64(v) * hann * math.Sin(2*math.Pi*hz*float64(i)/float64(heard.rate))
	}
	return 2 * math.Hypot(re, im) / window
}

// hearsOnly waits until a phone hears these tones and none of the others.
func hearsOnly(t testing.TB, p *phone, tones []float64, others ...float64) {
	t.Helper()
	eventually(t, soon, fmt.Sprintf("%s to hear %v Hz and not %v Hz", p.user, tones, others), func() bool {
		heard, good := p.recorded(), true
		for _, hz := range tones {
			good = good && loud(heard, hz) > 3000
		}
		for _, hz := range others {
			good = good && loud(heard, hz) < 200
		}
		return good
	})
}

func TestThreePhonesInAConferenceHearTheOthersAndNotThemselves(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	alice := startPhone(t, n, phoneConfig{user: "1000", tone: 440}).registered(t)
	bob := startPhone(t, n, phoneConfig{user: "1001", tone: 1000}).registered(t)
	carol := startPhone(t, n, phoneConfig{user: "1002", tone: 1700, transport: "tcp"}).registered(t)
	all := []*phone{alice, bob, carol}
	for _, p := range all {
		p.dial(t, "8000")
		p.talks(t, 1)
	}
	hearsOnly(t, alice, []float64{1000, 1700}, 440)
	hearsOnly(t, bob, []float64{440, 1700}, 1000)
	hearsOnly(t, carol, []float64{440, 1000}, 1700)

	out, err := n.cli(t, "conference", "list")
	if err != nil || strings.Count(out, "everybody@demo") != 3 || strings.Count(out, "talks") != 3 {
		t.Errorf("conference list: %v\n%s", err, out)
	}
	call := carol.all("CALL_ESTABLISHED")[0].ID
	if out, err := n.cli(t, "conference", "mute", call); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	hearsOnly(t, alice, []float64{1000}, 440, 1700)
	hearsOnly(t, carol, []float64{440, 1000}, 1700)
	if out, err := n.cli(t, "conference", "kick", call); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	carol.ends(t, 1)
	bob.hangUp(t)
	alice.talks(t, 1)
	eventually(t, soon, "alice, who is alone, to hear music", func() bool {
		heard := alice.recorded()
		s, ok := analyse(heard)
		return ok && s.level > 200 && loud(heard, 1000) < 200 && loud(heard, 440) < 2000
	})
	alice.hangUp(t)
	n.carries(t, 0)
}
