package codec

import (
	"math/rand/v2"
	"testing"
)

func TestALostPacketIsCoveredByThePeriodBeforeIt(t *testing.T) {
	for _, rate := range []int{8000, 16000, 48000} {
		frame := rate / 50
		pcm := tone(rate, 150, 8000, 0, rate)
		c := newConcealer(rate)
		heard := make([]int16, 0, rate)
		for i := 0; i+frame <= len(pcm); i += frame {
			out := append([]int16(nil), pcm[i:i+frame]...)
			if i/frame == 20 {
				c.Conceal(out)
			} else {
				c.heard(out)
			}
			heard = append(heard, out...)
		}
		from := 20 * frame
		if got := snr(pcm[from:from+frame/2], heard[from:from+frame/2]); got < 12 {
			t.Errorf("%d Hz: %.1f dB in the first half of the loss", rate, got)
		}
		// Nowhere a click: no step is steeper than the tone's own and a half.
		steepest := 0
		for i := 1; i < len(pcm); i++ {
			steepest = max(steepest, abs(int(pcm[i])-int(pcm[i-1])))
		}
		for i := from - 1; i < from+2*frame; i++ {
			if step := abs(int(heard[i]) - int(heard[i-1])); step > steepest*5/2 {
				t.Errorf("%d Hz: a step of %d at %d, the tone's are up to %d", rate, step, i-from, steepest)
			}
		}
	}
}

func abs(v int) int { return max(v, -v) }

func TestConcealmentBeatsSilence(t *testing.T) {
	// A period is found to a whole sample, so the finer the sampling the better it fits.
	gain := map[Kind]float64{PCMU: 0.5, G722: 2} // dB
	for k := range gain {
		l := Open("none")
		rate := k.Rate()
		frame := rate / 50
		pcm := voice(rate, 3*rate)
		sent := packets(t, mustEncoder(t, l, k, rate), pcm)
		listen := func(percent int, conceal bool) []int16 {
			r := rand.New(rand.NewPCG(3, 4))
			d := mustDecoder(t, l, k, rate)
			var out []int16
			for _, p := range sent {
				buf := make([]int16, frame)
				switch {
				case r.IntN(100) >= percent:
					_, _ = d.Decode(buf, p)
				case conceal:
					d.Conceal(buf)
				}
				out = append(out, buf...)
			}
			return out
		}
		whole := listen(0, false)
		for _, percent := range []int{5, 10} {
			concealed, silent := snr(whole, listen(percent, true)), snr(whole, listen(percent, false))
			t.Logf("%v, %d %% lost: %.1f dB concealed, %.1f dB silent", k, percent, concealed, silent)
			if concealed < silent+gain[k] {
				t.Errorf("%v, %d %% lost: %.1f dB concealed, %.1f dB silent", k, percent, concealed, silent)
			}
		}
	}
}

func TestALongLossFadesToSilence(t *testing.T) {
	c := newConcealer(8000)
	c.heard(tone(8000, 300, 8000, 0, 800))
	out := make([]int16, 1600)
	for i := range 10 { // asked for in pieces of any length
		c.Conceal(out[i*160 : i*160+160])
	}
	quieter := func(a, b []int16) bool {
		most := func(s []int16) (m int) {
			for _, v := range s {
				m = max(m, abs(int(v)))
			}
			return m
		}
		return most(b) < most(a)
	}
	if !quieter(out[:80], out[160:240]) || !quieter(out[160:240], out[320:400]) {
		t.Error("it does not fade")
	}
	for i, v := range out[480:] {
		if v != 0 {
			t.Fatalf("%d at %d ms", v, 60+i/8)
		}
	}
	after := tone(8000, 300, 8000, 0, 160)
	c.heard(after)
	if after[0] > 400 || after[159] == 0 {
		t.Errorf("the next packet begins with %d", after[0])
	}
}

func TestNothingIsConcealedFromNothing(t *testing.T) {
	c := newConcealer(8000)
	out := []int16{1, 2, 3}
	c.Conceal(out)
	c.Conceal(nil)
	if out[0] != 0 || out[2] != 0 {
		t.Errorf("got %v", out)
	}
}
