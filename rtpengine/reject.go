package rtpengine

import "strconv"

// RejectError says that a description cannot be served, in the words of the SIP answer.
type RejectError struct {
	Status int    // 488, or 400 for what is no description at all
	Code   int    // warn-code of RFC 3261 §20.43
	Text   string // what is wrong, and in which line; it may hold anything that a stranger wrote
	// Warning is the value of a Warning header (RFC 3261 §20.43): code, agent and quoted text.
	Warning string
}

func (e *RejectError) Error() string {
	return "rtpengine: refused with " + strconv.Itoa(e.Status) + ": " + e.Warning
}

func reject(status, code int, text string) *RejectError {
	return &RejectError{Status: status, Code: code, Text: text, Warning: strconv.Itoa(code) + " tandem " + quoteText(text)}
}

// quoteText makes an RFC 3261 quoted-string; what stands in text came from a stranger.
func quoteText(text string) string {
	out := make([]byte, 0, len(text)+2)
	out = append(out, '"')
	for i := 0; i < len(text) && i < 200; i++ {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		case c < ' ' || c > '~':
			out = append(out, '?')
		default:
			out = append(out, c)
		}
	}
	return string(append(out, '"'))
}
