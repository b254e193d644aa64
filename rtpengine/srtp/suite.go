package srtp

// Suite is a crypto suite under its name in RFC 4568 §6.2 and RFC 7714 §14.1.
type Suite uint8

const (
	AES128GCM  Suite = iota // AEAD_AES_128_GCM
	AES256GCM               // AEAD_AES_256_GCM
	AES128CM80              // AES_CM_128_HMAC_SHA1_80
	AES128CM32              // AES_CM_128_HMAC_SHA1_32
	suites
)

// parameters are what the suites differ in, in bytes.
type parameters struct {
	name         string
	key, salt    int
	tag, tagRTCP int // RFC 4568 §6.2.2: the RTCP of the _32 suite keeps the long tag
	gcm          bool
}

var table = [suites]parameters{
	AES128GCM:  {"AEAD_AES_128_GCM", 16, 12, 16, 16, true},
	AES256GCM:  {"AEAD_AES_256_GCM", 32, 12, 16, 16, true},
	AES128CM80: {"AES_CM_128_HMAC_SHA1_80", 16, 14, 10, 10, false},
	AES128CM32: {"AES_CM_128_HMAC_SHA1_32", 16, 14, 4, 10, false},
}

func (s Suite) String() string {
	if s < suites {
		return table[s].name
	}
	return "unknown"
}

// ParseSuite finds a suite by its name.
func ParseSuite(name string) (Suite, bool) {
	for s := range table {
		if table[s].name == name {
			return Suite(s), true
		}
	}
	return 0, false
}

// KeyBytes is the length of master key and master salt together.
func (s Suite) KeyBytes() int { return table[s].key + table[s].salt }

// Overhead is how much longer a protected packet can be: the tag, and the index of SRTCP.
const Overhead = 16 + 4
