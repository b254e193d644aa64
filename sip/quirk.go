package sip

import "strings"

// md5Phones are User-Agent prefixes of phones that give up when a challenge names an algorithm they do not know, instead of
// taking the next one (RFC 8760 §2.4 asks them to). They are challenged with MD5 alone. Whoever can forge their name on the
// wire could strip the SHA-256 challenge as well.
var md5Phones = [...]string{
	"baresip v0.", "baresip v1.", // libre before 2.x: "Function not implemented", whatever the order
	"SIPp", // before 3.7: takes the first challenge only
}

func knowsOnlyMD5(userAgent string) bool {
	for _, p := range md5Phones {
		if len(userAgent) >= len(p) && strings.EqualFold(userAgent[:len(p)], p) {
			return true
		}
	}
	return false
}
