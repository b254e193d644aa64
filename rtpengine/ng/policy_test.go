package ng

import (
	"errors"
	"strings"
	"testing"

	"tandem/rtpengine"
)

// What the plan says of a user's encryption holds with an engine elsewhere too, or is refused with the reason.
func TestPoliciesOfUsersReachAnEngineElsewhere(t *testing.T) {
	policy := func(p rtpengine.SRTPPolicy) *rtpengine.SRTPPolicy { return &p }
	const key = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"
	inPark(t, []string{east}, func(p *park) {
		for _, c := range []struct {
			name   string
			offer  string
			wishes rtpengine.OfferOptions
			proto  string // of what the other side is offered, "" when it is refused
			keys   bool
		}{
			{"nothing is said", phoneSDP(4000), rtpengine.OfferOptions{}, " RTP/AVP ", false},
			{"required", phoneSDP(4000), rtpengine.OfferOptions{SRTP: policy(rtpengine.SRTPRequired)}, " RTP/SAVP ", true},
			{"preferred", phoneSDP(4000), rtpengine.OfferOptions{SRTP: policy(rtpengine.SRTPPreferred)}, " RTP/AVP ", true},
			{"off", phoneSDP(4000, key), rtpengine.OfferOptions{SRTP: policy(rtpengine.SRTPOff)}, " RTP/AVP ", false},
			{"the caller must encrypt", phoneSDP(4000), rtpengine.OfferOptions{Own: policy(rtpengine.SRTPRequired)}, "", false},
			{"the caller must encrypt and does", phoneSDP(4000, key), rtpengine.OfferOptions{Own: policy(rtpengine.SRTPRequired)}, " RTP/AVP ", true},
			{"end to end", phoneSDP(4000, key), rtpengine.OfferOptions{Own: policy(rtpengine.SRTPPassThrough)}, "", false},
		} {
			r := p.session()
			out, err := r.OfferWith(rtpengine.A, []byte(c.offer), loop, loop, c.wishes)
			var reject *rtpengine.RejectError
			switch {
			case c.proto == "":
				if !errors.As(err, &reject) || reject.Status != 488 || reject.Code != 302 {
					t.Errorf("%s: %v", c.name, err)
				}
			case err != nil:
				t.Errorf("%s: %v", c.name, err)
			case !strings.Contains(string(out), c.proto) || strings.Contains(string(out), "a=crypto:") != c.keys:
				t.Errorf("%s: offered\n%s", c.name, out)
			}
			r.Close()
		}
	})
}
