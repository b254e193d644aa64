package rtpengine

import (
	"encoding/base64"
	"strings"
	"testing"

	"tandem/rtpengine/srtp"
)

var key30 = base64.StdEncoding.EncodeToString(make([]byte, 30))

func TestCryptoLinesAreReadOrExplained(t *testing.T) {
	key28 := base64.StdEncoding.EncodeToString(make([]byte, 28))
	for value, want := range map[string]string{
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30:                             "",
		"1 AES_CM_128_HMAC_SHA1_32 inline:" + key30 + "|2^20":                   "",
		"999999999 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "|65536":          "",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + " KDR=0 WSH=128 -NEW=yes": "",
		"2 AEAD_AES_128_GCM inline:" + key28:                                    "",
		"2 AEAD_AES_128_GCM inline:" + strings.TrimRight(key28, "="):            "",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "|2^20|1:4":               "MKI",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "|1:4":                    "MKI",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "|2^49":                   "lifetime",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "|0":                      "lifetime",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + ";inline:" + key30:        "one inline key",
		"1 AES_CM_128_HMAC_SHA1_80 uri:" + key30:                                "one inline key",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key28:                             "30 bytes",
		"1 AES_CM_128_HMAC_SHA1_80 inline:***":                                  "30 bytes",
		"1 F8_128_HMAC_SHA1_80 inline:" + key30:                                 "not known",
		"x AES_CM_128_HMAC_SHA1_80 inline:" + key30:                             "tag",
		"1234567890 AES_CM_128_HMAC_SHA1_80 inline:" + key30:                    "tag",
		"1 AES_CM_128_HMAC_SHA1_80":                                             "needs",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + " UNENCRYPTED_SRTP":       "UNENCRYPTED_SRTP",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + " UNENCRYPTED_SRTCP":      "UNENCRYPTED_SRTCP",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + " UNAUTHENTICATED_SRTP":   "UNAUTHENTICATED_SRTP",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + " KDR=4":                  "KDR=4",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + " FEC_ORDER=FEC_SRTP":     "FEC_ORDER",
	} {
		c, problem := parseCrypto(value)
		if want == "" && (problem != "" || len(c.key) != c.suite.KeyBytes()) || want != "" && !strings.Contains(problem, want) {
			t.Errorf("%s: %q, want %q", value, problem, want)
		}
	}
}

func TestPolicySaysWhatASideIsOffered(t *testing.T) {
	for _, c := range []struct {
		policy        SRTPPolicy
		heard, agreed secrecy
		want          secrecy
	}{
		{SRTPMirror, plain, plain, plain},
		{SRTPMirror, opportunistic, plain, opportunistic},
		{SRTPMirror, strict, plain, strict},
		{SRTPMirror, plain, strict, strict}, // a re-INVITE of the other side takes nothing away
		{SRTPOff, strict, plain, plain},
		{SRTPOff, plain, strict, strict},
		{SRTPPreferred, plain, plain, opportunistic},
		{SRTPPreferred, plain, strict, strict},
		{SRTPRequired, plain, plain, strict},
	} {
		if got := c.policy.toward(c.heard, c.agreed); got != c.want {
			t.Errorf("%s, heard %d, agreed %d: got %d, want %d", policyNames[c.policy], c.heard, c.agreed, got, c.want)
		}
	}
	for i, name := range policyNames {
		if p, ok := ParseSRTPPolicy(name); !ok || int(p) != i {
			t.Errorf("%s is %d", name, p)
		}
	}
	if _, ok := ParseSRTPPolicy("sometimes"); ok {
		t.Error("sometimes is a policy")
	}
	if _, err := New(Config{Bind: startEngine(t, nil).cfg.Bind, SRTP: 9}); err == nil {
		t.Error("a policy that does not exist")
	}
}

// What is taken must be a key of its suite's length, and written by us it must be read by us.
func FuzzCrypto(f *testing.F) {
	f.Add("1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "|2^20|1:4 KDR=0")
	f.Add("1 AEAD_AES_256_GCM inline:|")
	f.Fuzz(func(t *testing.T, value string) {
		c, problem := parseCrypto(value)
		if problem != "" {
			return
		}
		k := &ourKey{suite: c.suite, master: []byte(c.key)}
		again, problem := parseCrypto(strings.TrimPrefix(k.line(c.tag), "a=crypto:"))
		if problem != "" || again != c {
			t.Fatalf("%q became %+v: %s", value, again, problem)
		}
		if _, err := srtp.New(c.suite, []byte(c.key), srtp.Receiver); err != nil {
			t.Fatal(err)
		}
	})
}
