//go:build linux && !portable

package rtpengine

import "testing"

// What the kernel forwarded here it forwards there, and the counts go with the call.
func TestAKernelsCallGoesOnInAnotherKernel(t *testing.T) {
	e := needKernel(t, nil)
	s, a, b := kernelCall(t, e, loop4)
	converse(a, b, 10)
	before := served(t, s, A, TierKernel, "")
	s = takeOver(t, s, nil)
	t.Cleanup(s.Close)
	converse(a, b, 3)
	calm(s)
	converse(a, b, 10)
	for _, side := range []Side{A, B} {
		if st := served(t, s, side, TierKernel, ""); st.Packets != before.Packets+13 || st.Forwarded != before.Forwarded+13 || st.Lost != 0 {
			t.Errorf("side %s: %+v, before %+v", side, st, before)
		}
	}
}
