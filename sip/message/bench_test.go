package message

import (
	"strings"
	"testing"
)

func BenchmarkParseAndValidate(b *testing.B) {
	var m Message
	b.SetBytes(int64(len(invite)))
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Parse(invite); err != nil {
			b.Fatal(err)
		}
		if err := m.Validate(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	var m Message
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Parse(invite); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkKeep says how many bytes an INVITE costs that somebody keeps: its text, its index, the Message.
func BenchmarkKeep(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		kept = new(Message)
		if err := kept.Parse(strings.Clone(invite)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPeek(b *testing.B) {
	p := []byte(invite)
	b.ReportAllocs()
	for b.Loop() {
		if k := Peek(p); k.CallID == nil {
			b.Fatal("no Call-ID")
		}
	}
}

// BenchmarkAppend writes an INVITE as a proxy sends it on.
func BenchmarkAppend(b *testing.B) {
	m, err := check(invite)
	if err != nil {
		b.Fatal(err)
	}
	top := []byte("Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bKabcdef.123;rport\r\nRecord-Route: <sip:192.0.2.10:5060;lr>\r\n")
	var e Edit
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		e.Reset()
		e.URI = "sip:1001@192.0.2.33:5060"
		e.Top = append(e.Top, top...)
		e.Received(m, "192.0.2.21", 5062)
		e.Set(m.Index(MaxForwards), "69")
		buf = m.Append(buf[:0], &e)
	}
}

func BenchmarkAppendResponse(b *testing.B) {
	m, err := check(invite)
	if err != nil {
		b.Fatal(err)
	}
	r := Response{Status: 100, IP: "192.0.2.21", Port: 5062}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = m.AppendResponse(buf[:0], &r)
	}
}
