//go:build interop

package interop

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// sipMessage is one message of a phone's own trace.
type sipMessage struct {
	over     string // UDP, TCP, TLS
	from, to string // ip:port
	text     string
}

// traced matches one message in the output of `baresip -s`: a coloured # line,
// the addresses, the message, the end of the colour.
var traced = regexp.MustCompile(`(?s)\x1b\[36;1m#\n(UDP|TCP|TLS|WS|WSS) (\S+) -> (\S+)\n(.*?)\x1b\[;m`)

// messages returns the messages of a phone's trace in the order of the wire.
func messages(output []byte) []sipMessage {
	var list []sipMessage
	for _, m := range traced.FindAllSubmatch(output, -1) {
		list = append(list, sipMessage{string(m[1]), string(m[2]), string(m[3]), strings.ReplaceAll(string(m[4]), "\r\n", "\n")})
	}
	return list
}

// start is the message's first line.
func (m sipMessage) start() string {
	line, _, _ := strings.Cut(m.text, "\n")
	return line
}

// size is the message's length on the wire, in bytes.
func (m sipMessage) size() int {
	return len(m.text) + strings.Count(m.text, "\n") // its CRs were taken out
}

// header is the first value of a header, by its long name.
func (m sipMessage) header(name string) string {
	head, _, _ := strings.Cut(m.text, "\n\n")
	for line := range strings.SplitSeq(head, "\n") {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(strings.TrimSpace(key), name) {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// body is what comes behind the headers.
func (m sipMessage) body() string {
	_, body, _ := strings.Cut(m.text, "\n\n")
	return body
}

// medium is where an SDP's m-line wants its packets.
type medium struct {
	kind, host string
	port       int
	direction  string // "" is sendrecv
}

var (
	connectionLine = regexp.MustCompile(`^c=IN IP[46] (\S+)`)
	mediaLine      = regexp.MustCompile(`^m=(\w+) (\d+)`)
	directionLine  = regexp.MustCompile(`^a=(sendrecv|sendonly|recvonly|inactive)`)
)

// media reads the m-lines of the message's SDP.
func (m sipMessage) media() []medium {
	var host string
	var list []medium
	for line := range strings.SplitSeq(m.body(), "\n") {
		if c := connectionLine.FindStringSubmatch(line); c != nil && len(list) == 0 {
			host = c[1]
		} else if c != nil {
			list[len(list)-1].host = c[1]
		} else if f := mediaLine.FindStringSubmatch(line); f != nil {
			port, _ := strconv.Atoi(f[2]) // the pattern has digits only
			list = append(list, medium{kind: f[1], host: host, port: port})
		} else if d := directionLine.FindStringSubmatch(line); d != nil && len(list) > 0 {
			list[len(list)-1].direction = d[1]
		}
	}
	return list
}

func TestMessagesAreReadFromABaresipTrace(t *testing.T) {
	output := "noise\n\x1b[36;1m#\nUDP 127.0.0.1:1 -> 127.0.0.1:2\nSIP/2.0 200 OK\r\nCSeq: 1 INVITE\r\n\r\n" +
		"v=0\r\nc=IN IP4 127.0.0.9\r\nm=audio 24000 RTP/AVP 0\r\na=sendonly\r\nm=video 24002 RTP/AVP 96\r\nc=IN IP4 127.0.0.8\r\n\x1b[;mnoise"
	list := messages([]byte(output))
	if len(list) != 1 || list[0].start() != "SIP/2.0 200 OK" || list[0].header("cseq") != "1 INVITE" || list[0].from != "127.0.0.1:1" {
		t.Fatalf("got %+v", list)
	}
	got := list[0].media()
	want := []medium{{"audio", "127.0.0.9", 24000, "sendonly"}, {"video", "127.0.0.8", 24002, ""}}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
