package configs

import (
	"fmt"
	"strconv"
	"strings"

	"tandem/internal/hcltext"
)

// readEnvironment lays TANDEM_SECTION_KEY over the file: texts as they are, lists with commas between the items
// ("" = empty list). Unknown names of a known section are mistakes; other TANDEM_ variables belong to somebody else.
func (l *loader) readEnvironment(env []string) {
	for _, line := range env {
		name, text, _ := strings.Cut(line, "=")
		rest, ours := strings.CutPrefix(name, "TANDEM_")
		if !ours {
			continue
		}
		sectionName, keyName, _ := strings.Cut(strings.ToLower(rest), "_")
		s := l.section(sectionName)
		if s == nil || madeByKubernetes(rest) {
			continue
		}
		at := place{file: "environment variable " + name}
		k := s.key(keyName)
		if k == nil {
			suggestion := hcltext.DidYouMean(keyName, s.keyNames())
			l.diags = append(l.diags, at.diagnostic(nil, fmt.Sprintf("%s has no key %q%s", s.name, keyName, suggestion), s.known(suggestion)))
			continue
		}
		l.override(s, k, at, text)
		if name == "TANDEM_CLUSTER_TOKEN" {
			l.tokenEmpty = strings.TrimSpace(text) == ""
		}
	}
}

func (l *loader) override(s *section, k *key, at place, text string) {
	v, ok := fromText(k.kind, text)
	if !ok {
		l.diags = append(l.diags, at.diagnostic(nil, fmt.Sprintf("%q is not %s", text, k.kind), ""))
		return
	}
	full := s.name + "." + k.name
	l.places[full] = at
	for i := range v.list {
		l.places[itemName(full, i)] = at
	}
	for _, f := range k.set(v) {
		l.diags = append(l.diags, at.diagnostic(nil, f.summary, f.detail))
	}
}

func fromText(k kind, text string) (v value, ok bool) {
	var err error
	switch k {
	case kindText:
		v.text = text
	case kindNumber:
		v.number, err = strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	case kindFlag:
		v.flag, err = strconv.ParseBool(strings.TrimSpace(text))
	case kindList, kindTextOrList:
		for _, item := range strings.Split(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				v.list = append(v.list, item)
			}
		}
	}
	return v, err == nil
}

// madeByKubernetes knows the variables that Kubernetes sets for a service called tandem-sip or the like, for example
// TANDEM_SIP_SERVICE_HOST, TANDEM_SIP_PORT and TANDEM_SIP_PORT_5060_UDP_ADDR.
func madeByKubernetes(rest string) bool {
	for _, mark := range []string{"_SERVICE_HOST", "_SERVICE_PORT", "_PORT_"} {
		if strings.Contains(rest, mark) {
			return true
		}
	}
	return strings.HasSuffix(rest, "_PORT")
}
