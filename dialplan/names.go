package dialplan

import (
	_ "embed"
	"sort"
	"strings"

	"tandem/internal/hcltext"
)

// isNodeName is the rule for users, extensions and nodes, the same as for accounts.
func isNodeName(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isLetterOrDigit(s[i]) && strings.IndexByte("._+*#-", s[i]) < 0 {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

func isLetterOrDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// isTenantName is stricter: the name is also the realm of digest authentication.
func isTenantName(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isLetterOrDigit(s[i]) && strings.IndexByte("-_.", s[i]) < 0 {
			return false
		}
	}
	return s != "" && len(s) <= 63
}

func isCountryCode(s string) bool {
	return len(s) >= 1 && len(s) <= 3 && s[0] != '0' && strings.Trim(s, "0123456789") == ""
}

// isHostName follows RFC 1123 §2.1, and wants a letter in the last label, so that "10.0.0.300" is no name.
func isHostName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := 0; i < len(label); i++ {
			if !isLetterOrDigit(label[i]) && label[i] != '-' && label[i] != '_' {
				return false
			}
		}
	}
	return strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

// zones are the names of the IANA time zones, one a line, sorted. A list of our own and not the system's, because all
// nodes must come to the same verdict about a plan.
//
//go:embed zones.txt
var zones string

func zoneNames() []string { return strings.Split(strings.TrimSpace(zones), "\n") }

func isZone(name string) bool {
	all := zoneNames()
	i := sort.SearchStrings(all, name)
	return i < len(all) && all[i] == name
}

func suggestZone(name string) string {
	all := zoneNames()
	if s := hcltext.DidYouMean(name, all); s != "" {
		return s
	}
	for _, zone := range all { // "london" -> "Europe/London"
		_, city, found := strings.Cut(zone, "/")
		if found && strings.EqualFold(city, strings.ReplaceAll(name, " ", "_")) {
			return ` (did you mean "` + zone + `"?)`
		}
	}
	return ""
}
