package main

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tandem/admin"
	"tandem/events"
	"tandem/pbx"
	"tandem/sip"
)

var (
	nodeAddr  = netip.MustParseAddrPort("192.0.2.1:5060")
	aliceAddr = netip.MustParseAddrPort("192.0.2.10:5070")
	bobAddr   = netip.MustParseAddrPort("[2001:db8::11]:49152")
	start     = time.Date(2026, 11, 22, 3, 30, 0, 0, time.UTC)
)

// story makes messages from lines: after ms, who, < or >, start line, CSeq, and sdp when there is one. > is from the phone.
func story(lines ...string) (out []sip.Traced) {
	for _, line := range lines {
		f := strings.Split(line, "|")
		var ms int
		fmt.Sscan(f[0], &ms)
		m := sip.Traced{At: start.Add(time.Duration(ms) * time.Millisecond), Out: f[2] == "<", Net: "udp", Remote: aliceAddr, Local: nodeAddr}
		if f[1] == "bob" {
			m.Net, m.Remote = "tcp", bobAddr
		}
		m.Text = f[3] + "\r\nf: \"Alice\" <sip:alice@acme.example>;tag=1\r\nTo: <sip:201@acme.example>\r\nCSeq: " + f[4] + "\r\nCall-ID: x\r\n"
		if len(f) > 5 {
			m.Text += "Content-Type: application/sdp\r\n"
		}
		m.Text += "\r\n"
		out = append(out, m)
	}
	return out
}

func TestTheLadderOfACall(t *testing.T) {
	tr := admin.Trace{CallID: "x", Call: &pbx.View{ID: "k1-1", From: "alice", To: "201", State: pbx.Answered}, Messages: story(
		"0|alice|>|INVITE sip:201@acme.example SIP/2.0|1 INVITE|sdp",
		"0|alice|<|SIP/2.0 407 Proxy Authentication Required|1 INVITE",
		"1|alice|>|ACK sip:201@acme.example SIP/2.0|1 ACK",
		"2|alice|>|INVITE sip:201@acme.example SIP/2.0|2 INVITE|sdp",
		"2|alice|<|SIP/2.0 100 Trying|2 INVITE",
		"3|bob|<|INVITE sip:bob@[2001:db8::11]:49152 SIP/2.0|2 INVITE|sdp",
		"503|alice|>|INVITE sip:201@acme.example SIP/2.0|2 INVITE|sdp",
		"600|bob|>|SIP/2.0 180 Ringing|2 INVITE",
		"600|alice|<|SIP/2.0 180 Ringing|2 INVITE",
		"4200|bob|>|SIP/2.0 200 OK|2 INVITE|sdp",
		"4200|alice|<|SIP/2.0 200 OK|2 INVITE|sdp",
		"4210|alice|>|ACK sip:bob@192.0.2.1 SIP/2.0|2 ACK",
		"4210|bob|<|ACK sip:bob@192.0.2.1 SIP/2.0|2 ACK",
		"64210|bob|>|BYE sip:alice@192.0.2.10 SIP/2.0|1 BYE",
		"64211|alice|<|BYE sip:alice@192.0.2.10 SIP/2.0|1 BYE",
		"64230|alice|>|SIP/2.0 200 OK|1 BYE",
		"64230|bob|<|SIP/2.0 200 OK|1 BYE",
	)}
	golden(t, "ladder.golden", ladder(tr)+"\n")
}

func TestTheLadderOfACallThatIsOver(t *testing.T) {
	tr := admin.Trace{CallID: "x", CDR: &events.CDR{Call: "k1-2", From: "alice", To: "999", Result: "not_found"}, Messages: story(
		"0|alice|>|INVITE sip:999@acme.example SIP/2.0|1 INVITE|sdp",
		"12|alice|<|SIP/2.0 404 A reason phrase that somebody made much too long for its column\x1b[2J|1 INVITE",
	), Why: &admin.CallExplained{Version: 3, Lines: []admin.Reason{{Text: "nobody and nothing has this number", File: "acme.hcl", Line: 1, Col: 1}, {Text: "refuse the call with 404"}}}}
	got := ladder(tr)
	if strings.ContainsRune(got, '\x1b') {
		t.Error("a peer can write to the terminal")
	}
	golden(t, "ladder-over.golden", got+"\n")
}

func TestAnEmptyLadder(t *testing.T) {
	if got := ladder(admin.Trace{CallID: "x"}); !strings.Contains(got, "no messages") {
		t.Errorf("got %q", got)
	}
}

func FuzzLadder(f *testing.F) {
	f.Add("SIP/2.0 200 OK\r\nCSeq: 1 BYE\r\n\r\n", true)
	f.Add("INVITE sip:a@b SIP/2.0\r\nFrom: <sip:x@y>\r\nc: application/sdp\r\n\r\n", false)
	f.Fuzz(func(t *testing.T, text string, out bool) {
		m := sip.Traced{At: start, Out: out, Net: "udp", Remote: aliceAddr, Local: nodeAddr, Text: text}
		got := ladder(admin.Trace{CallID: "x", Messages: []sip.Traced{m, m}})
		if strings.ContainsRune(got, '\x1b') || strings.ContainsRune(got, '\r') {
			t.Errorf("%q", got)
		}
	})
}
