package rtpengine

import (
	"regexp"
	"strings"
	"testing"
)

// A phone that is called by another node of a cluster, or by the same after a start, finds who it knows.
func TestEnginesOfOneIdentityPresentIt(t *testing.T) {
	given, err := selfMade()
	if err != nil {
		t.Fatal(err)
	}
	presented := func(change func(*Config)) string {
		p, err := startEngine(t, change).NewEndpoint(SessionConfig{ID: "identity"})
		if err != nil {
			t.Fatal(err)
		}
		print := "a=fingerprint:sha-256 " + strings.TrimSuffix(strings.Repeat("AB:", 32), ":")
		offer := strings.Replace(string(newPhone(t, loop4).sdp(print, "a=setup:actpass")), "RTP/AVP", "UDP/TLS/RTP/SAVP", 1)
		answer, err := p.Answer([]byte(offer), loop4)
		if err != nil {
			t.Fatal(err)
		}
		return regexp.MustCompile(`a=fingerprint:(\S+ \S+)`).FindStringSubmatch(string(answer))[1]
	}
	with := func(c *Config) { c.Identity = &given }
	want, ok := parseFingerprint(presented(with))
	if !ok || !want.fits(given.Certificate[0]) {
		t.Errorf("the fingerprint %s is not that of the certificate given", want)
	}
	if again := presented(with); again != want.String() {
		t.Errorf("another engine of that identity presents %s, not %s", again, want)
	}
	if own := presented(nil); own == want.String() {
		t.Error("an engine without an identity presents that of another one")
	}
}
