package message

import "strings"

// crlf writes a message with plain line ends.
func crlf(s string) string { return strings.ReplaceAll(strings.TrimPrefix(s, "\n"), "\n", "\r\n") }

// invite is a phone's INVITE as it arrives: 13 header lines and a session description.
var invite = crlf(`
INVITE sip:1001@192.0.2.10:5060 SIP/2.0
Via: SIP/2.0/UDP 192.0.2.21:5062;rport;branch=z9hG4bKPjd1b4e1a30c2d4b0ea1b2
Max-Forwards: 70
From: "Alice" <sip:1000@192.0.2.10>;tag=3e5a1f0bd24a4bd7
To: <sip:1001@192.0.2.10>
Contact: <sip:1000@192.0.2.21:5062;ob>
Call-ID: 6f1c1f64e3a147b6a2b5cb2cbb0ff6a3
CSeq: 27563 INVITE
Allow: PRACK, INVITE, ACK, BYE, CANCEL, UPDATE, INFO, SUBSCRIBE, NOTIFY, REFER, MESSAGE, OPTIONS
Supported: replaces, 100rel, timer, norefersub
Session-Expires: 1800
User-Agent: PJSUA v2.14 Linux-6.1/x86_64
Content-Type: application/sdp
Content-Length: 154

v=0
o=- 3909000000 3909000000 IN IP4 192.0.2.21
s=pjmedia
c=IN IP4 192.0.2.21
t=0 0
m=audio 4000 RTP/AVP 0 8 101
a=rtpmap:101 telephone-event/8000
`)

// request makes a small valid request with lines put in before its end.
func request(lines ...string) string {
	return crlf(`
OPTIONS sip:bob@example.com SIP/2.0
Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1
From: <sip:alice@example.com>;tag=1
To: <sip:bob@example.com>
Call-ID: 1@192.0.2.1
CSeq: 1 OPTIONS
`) + strings.Join(lines, "\r\n") + map[bool]string{true: "\r\n"}[len(lines) > 0] + "\r\n"
}

// check parses and validates.
func check(text string) (*Message, error) {
	m := new(Message)
	err := m.Parse(text)
	if err == nil {
		err = m.Validate()
	}
	return m, err
}

// replaceLine gives a request another header line of the same name.
func replaceLine(text, name, line string) string {
	lines := strings.Split(text, "\r\n")
	for i, l := range lines {
		if strings.HasPrefix(l, name+":") {
			lines[i] = line
		}
	}
	return strings.Join(lines, "\r\n")
}
