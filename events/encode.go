package events

import (
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// appendCDR writes a record as encoding/json does without HTML escapes; the tests compare them. A node that carries thousands of
// calls a second writes as many lines, and reflection would cost more than all else that happens to an event
// (BenchmarkSecond). It fails where encoding/json does: on a time that RFC 3339 cannot say; dst is then as it was.
func appendCDR(dst []byte, r *CDR) ([]byte, error) {
	b := appendText(append(dst, `{"call":`...), r.Call)
	b = appendField(b, `,"call_id":`, r.CallID)
	b = appendField(b, `,"tenant":`, r.Tenant)
	b = appendField(b, `,"from":`, r.From)
	b = appendField(b, `,"to":`, r.To)
	b = appendField(b, `,"answerer":`, r.Answerer)
	b = appendField(b, `,"peer":`, r.Peer)
	b = appendText(append(b, `,"result":`...), r.Result)
	if r.Status != 0 {
		b = strconv.AppendInt(append(b, `,"status":`...), int64(r.Status), 10)
	}
	b = appendField(b, `,"reason":`, r.Reason)
	b, err := appendTimes(b, r)
	if err != nil {
		return dst, err
	}
	b = strconv.AppendInt(append(b, `,"duration_ns":`...), int64(r.Duration), 10)
	b = appendField(b, `,"node":`, r.Node)
	for i, node := range r.Route {
		if i == 0 {
			b = append(b, `,"route":[`...)
		} else {
			b = append(b, ',')
		}
		b = appendText(b, node)
	}
	if len(r.Route) > 0 {
		b = append(b, ']')
	}
	for i, node := range sortedKeys(r.Answers) {
		if i == 0 {
			b = append(b, `,"answers":{`...)
		} else {
			b = append(b, ',')
		}
		b = appendText(append(appendText(b, node), ':'), r.Answers[node])
	}
	if len(r.Answers) > 0 {
		b = append(b, '}')
	}
	for i, file := range r.Recordings {
		if i == 0 {
			b = append(b, `,"recordings":[`...)
		} else {
			b = append(b, ',')
		}
		b = appendText(b, file)
	}
	if len(r.Recordings) > 0 {
		b = append(b, ']')
	}
	if r.Uncopied {
		b = append(b, `,"uncopied":true`...)
	}
	if m := r.Media; m != nil {
		b = appendQuality(append(b, `,"media":{"caller":`...), &m.Caller)
		b = appendQuality(append(b, `,"callee":`...), &m.Callee)
		b = append(b, '}')
	}
	return append(b, '}'), nil
}

// sortedKeys are those of a map that is empty for almost every call.
func sortedKeys(m map[string]string) []string {
	if len(m) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(m))
}

func appendTimes(b []byte, r *CDR) ([]byte, error) {
	for _, at := range [...]struct {
		name     string
		time     *time.Time
		optional bool
	}{{`,"started":"`, &r.Started, false}, {`,"ringing":"`, &r.Ringing, true}, {`,"answered":"`, &r.Answered, true}, {`,"ended":"`, &r.Ended, false}} {
		if at.optional && at.time.IsZero() {
			continue
		}
		var err error
		if b, err = at.time.AppendText(append(b, at.name...)); err != nil {
			return nil, err
		}
		b = append(b, '"')
	}
	return b, nil
}

func appendQuality(b []byte, q *Quality) []byte {
	b = strconv.AppendUint(append(b, `{"packets":`...), q.Packets, 10)
	b = strconv.AppendUint(append(b, `,"bytes":`...), q.Bytes, 10)
	b = strconv.AppendUint(append(b, `,"lost":`...), q.Lost, 10)
	b = strconv.AppendUint(append(b, `,"dropped":`...), q.Dropped, 10)
	b = strconv.AppendInt(append(b, `,"jitter_ns":`...), int64(q.Jitter), 10)
	b = appendField(b, `,"codec":`, q.Codec)
	if q.RTT != 0 {
		b = strconv.AppendInt(append(b, `,"rtt_ns":`...), int64(q.RTT), 10)
	}
	b = appendScore(b, `,"r_factor":`, q.R)
	return append(appendScore(b, `,"mos":`, q.MOS), '}')
}

// appendScore writes a rating, which lies between 0 and 100 with a few digits behind the point; nothing when it is not.
func appendScore(b []byte, name string, v float64) []byte {
	if !(v >= 1e-6 && v < 1e6) {
		return b
	}
	return strconv.AppendFloat(append(b, name...), v, 'f', -1, 64)
}

// appendField writes name, which comes with its comma and colon, and value; nothing when value is empty.
func appendField(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return appendText(append(b, name...), value)
}

// appendText writes a JSON string (RFC 8259 §7). Almost every text is copied whole.
func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		size := 1
		if c >= utf8.RuneSelf {
			var r rune
			r, size = utf8.DecodeRuneInString(s[i:])
			if !(r == utf8.RuneError && size == 1) && r != '\u2028' && r != '\u2029' {
				i += size
				continue
			}
		}
		b = appendEscape(append(b, s[from:i]...), s[i:i+size])
		i += size
		from = i
	}
	return append(append(b, s[from:]...), '"')
}

// appendEscape writes one character that cannot stand in a JSON string as it is, or a byte that is not UTF-8. U+2028 and
// U+2029 may, but not in JavaScript.
func appendEscape(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	c := s[0]
	if len(s) > 1 {
		return append(b, '\\', 'u', '2', '0', '2', digits[s[2]&15])
	}
	switch {
	case c >= utf8.RuneSelf:
		return append(b, `\ufffd`...)
	case c == '"', c == '\\':
		return append(b, '\\', c)
	}
	for i, short := range "\b\f\n\r\t" {
		if c == byte(short) {
			return append(b, '\\', "bfnrt"[i])
		}
	}
	return append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
}
