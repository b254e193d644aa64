package ng

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Proxies say the same thing in several ways: a key of its own, a word in the list of flags, or one text with all flags as an operator wrote
// them (rtpp-flags). What follows brings them into one form, a dictionary whose keys have dashes.

// prefixed are the keys whose entries may stand among the flags too, like "SDES-no-AES_CM_128_HMAC_SHA1_32" or "replace-origin"; and by which
// key they are known.
var prefixed = [...]struct{ prefix, key string }{
	{"replace-", "replace"},
	{"rtcp-mux-", "rtcp-mux"},
	{"SDES-", "SDES"},
	{"OSRTP-", "OSRTP"},
	{"T38-", "T.38"},
	{"T.38-", "T.38"},
	{"endpoint-learning-", "endpoint-learning"},
	{"bundle-", "bundle"},
	{"sdp-attr-", "sdp-attr"},
	{"sdp-media-remove-", "sdp-media-remove"},
	{"codec-", "codec"},
	{"transcode-", "codec"},
	{"from-tags-", "from-tags"},
	{"ICE-lite-", "ICE-lite"},
	{"audio-player-", "audio-player"},
	{"media-echo-", "media-echo"},
	{"direction-", "direction"},
}

// spelled are the names with capitals by their small letters: rtpengine takes some of them both ways, and "dtls=off" must not go unheard.
var spelled = func() map[string]string {
	names := map[string]string{"t38": "T.38", "ice-reject": "reject-ICE", "ptime-reverse": "ptime-reverse", "reverse-ptime": "ptime-reverse"}
	for _, name := range [...]string{
		"ICE", "ICE-lite", "DTLS", "DTLS-reverse", "DTLS-fingerprint", "SDES", "OSRTP", "T.38", "TOS", "DTMF-security", "DTMF-log-dest", "SIP-message-type",
		"SIP-code", "SIP-source-address", "NAT-wait", "block-DTMF", "reject-ICE", "trickle-ICE", "WebRTC", "generate-RTCP", "full-rtcp-attribute", "no-rtcp-attribute",
		"bundle",
	} {
		names[strings.ToLower(name)] = name
	}
	return names
}()

// named is a flag or key in the form it has here.
func named(word string) string {
	word = dashed(word)
	if name, ok := spelled[strings.ToLower(word)]; ok {
		return name
	}
	return word
}

// transports are the protocols that a flag alone may name.
var transports = map[string]bool{
	"RTP/AVP": true, "RTP/AVPF": true, "RTP/SAVP": true, "RTP/SAVPF": true, "UDP/TLS/RTP/SAVP": true, "UDP/TLS/RTP/SAVPF": true,
}

// transport is the protocol that a flag makes of the one named so far: as a whole, or by one of its parts, as in "SRTP AVPF".
func transport(sofar, word string) (proto string, ok bool) {
	if transports[word] {
		return word, true
	}
	secret, dtls, feedback := strings.Contains(sofar, "/SAVP"), strings.HasPrefix(sofar, "UDP/TLS/"), strings.HasSuffix(sofar, "F")
	switch word {
	case "RTP":
		secret, dtls = false, false
	case "SRTP":
		secret = true
	case "DTLS":
		secret, dtls = true, true
	case "AVP":
		feedback = false
	case "AVPF":
		feedback = true
	default:
		return "", false
	}
	proto = "RTP/AVP"
	if secret {
		proto = "RTP/SAVP"
	}
	if dtls {
		proto = "UDP/TLS/" + proto
	}
	if feedback {
		proto += "F"
	}
	return proto, true
}

// webRTC is what the flag of this name stands for. How SDES is spoken of need not be said: there is none beside DTLS.
const webRTC = "UDP/TLS/RTP/SAVPF ICE=force rtcp-mux-offer rtcp-mux-require no-rtcp-attribute generate-mid"

// normal is a request in one form.
func normal(ask dict) (dict, error) {
	d := make(dict, len(ask)+8)
	for key, value := range ask {
		d[named(key)] = value
	}
	text := d.text("rtpp-flags")
	delete(d, "rtpp-flags")
	words, err := d.spread(text)
	if err != nil {
		return nil, fmt.Errorf("rtpp-flags: %w", err)
	}
	words = append(d.words("flags"), words...)
	if slices.ContainsFunc(words, func(word string) bool { return named(word) == "WebRTC" }) {
		more, _ := d.spread(webRTC) // it is well formed
		words = append(words, more...)
	}
	for _, key := range slices.Sorted(maps.Keys(d)) {
		d.refile(key)
	}
	flags := []any{}
	for _, word := range words {
		if !d.file(word) {
			flags = append(flags, named(word))
		}
	}
	if len(flags) > 0 || d["flags"] != nil {
		d["flags"] = flags
	}
	return d, nil
}

// refile puts what stands under a key like "codec-strip" or "transcode" to where flags like "codec-strip-PCMA" go.
func (d dict) refile(key string) {
	values := d.words(key)
	if len(values) == 0 {
		return
	}
	for _, p := range prefixed {
		rest, ok := cutFold(key+"-", p.prefix)
		if !ok || key == p.key || dashed(key) == dashed(p.key) {
			continue
		}
		if p.prefix == "transcode-" {
			rest = p.prefix
		}
		delete(d, key)
		for _, value := range values {
			d.append(p.key, rest+value)
		}
		return
	}
}

// file puts a flag that has a key of its own under that; false when it has none.
func (d dict) file(word string) bool {
	if proto, ok := transport(d.text("transport-protocol"), word); ok {
		d["transport-protocol"] = proto
		return true
	}
	name := dashed(word)
	for _, p := range prefixed {
		if rest, ok := cutFold(name, p.prefix); ok && rest != "" {
			rest = word[len(word)-len(rest):] // with its own underscores: names of crypto suites have them
			if p.prefix == "transcode-" {
				rest = p.prefix + rest
			}
			d.append(p.key, rest)
			return true
		}
	}
	return false
}

func cutFold(s, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// append adds a word to the list under a key. A dictionary there gets it as the flag that it is.
func (d dict) append(key, word string) {
	switch v := d[key].(type) {
	case dict:
		v.append("", word)
	case []any:
		d[key] = append(v, word)
	case string:
		d[key] = []any{v, word}
	default:
		d[key] = []any{word}
	}
}

// maxFlags bounds the text of rtpp-flags.
const maxFlags = 4096

// spread takes a text like "replace-origin transport-protocol=RTP/AVP codec=[strip=[PCMA G729]]" apart: what has a value becomes a key, the other
// words are returned.
func (d dict) spread(text string) (words []string, err error) {
	if len(text) > maxFlags {
		return nil, fmt.Errorf("longer than %d bytes", maxFlags)
	}
	p := flagText{rest: text}
	into, words, err := p.list(0)
	if err != nil {
		return nil, err
	}
	if p.rest != "" {
		return nil, errors.New("a bracket is closed that was not opened")
	}
	for key, value := range into {
		if key = named(key); d[key] == nil || key == "received-from" || key == "direction" {
			d[key] = value
		} else if word, ok := value.(string); ok {
			d.append(key, word)
		}
	}
	return words, nil
}

// flagText reads rtpp-flags from the front.
type flagText struct {
	rest  string
	items int
}

// list reads words up to the end or a closing bracket.
func (p *flagText) list(depth int) (keys dict, words []string, err error) {
	if depth > maxDepth {
		return nil, nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	keys = dict{}
	for {
		p.rest = strings.TrimLeft(p.rest, " \t\r\n")
		if p.rest == "" || p.rest[0] == ']' {
			return keys, words, nil
		}
		if p.items++; p.items > maxItems {
			return nil, nil, fmt.Errorf("more than %d items", maxItems)
		}
		word := p.word()
		if !strings.HasPrefix(p.rest, "=") {
			if word == "" {
				return nil, nil, errors.New("a bracket opens without a name")
			}
			words = append(words, word)
			continue
		}
		p.rest = p.rest[1:]
		if keys[word], err = p.value(depth); err != nil {
			return nil, nil, err
		}
	}
}

// word ends at a space, a bracket or, when it is a name, at an equals sign.
func (p *flagText) word() string {
	end := strings.IndexAny(p.rest, " \t\r\n[]=")
	if end < 0 {
		end = len(p.rest)
	}
	word := p.rest[:end]
	p.rest = p.rest[end:]
	return word
}

// value is a word, or what stands in brackets: a list, or a dictionary when something in it has a value.
func (p *flagText) value(depth int) (any, error) {
	if !strings.HasPrefix(p.rest, "[") {
		end := strings.IndexAny(p.rest, " \t\r\n]")
		if end < 0 {
			end = len(p.rest)
		}
		word := p.rest[:end]
		p.rest = p.rest[end:]
		return word, nil
	}
	p.rest = p.rest[1:]
	keys, words, err := p.list(depth + 1)
	if err != nil {
		return nil, err
	}
	if p.rest == "" {
		return nil, errors.New("a bracket is not closed")
	}
	p.rest = p.rest[1:]
	list := make([]any, 0, len(words))
	for _, word := range words {
		list = append(list, word)
	}
	if len(keys) == 0 {
		return list, nil
	}
	if len(list) > 0 {
		keys[""] = list
	}
	return keys, nil
}
