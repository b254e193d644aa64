package message

import (
	"math/rand/v2"
	"strings"
	"testing"

	wire "github.com/emiago/sipgo/sip"
)

// TestParserAgreesWithSipgo reads messages with sipgo's parser as well. Only what both take is compared, and only names
// that sipgo maps: what it gets wrong is in TestMalformedMessageIsRefused.
func TestParserAgreesWithSipgo(t *testing.T) {
	seed := rand.Uint64()
	r := spelling{Rand: rand.New(rand.NewPCG(seed, 0)), plain: true}
	parser := wire.NewParser()
	texts := []string{invite, request("l: 0"), strings.Replace(request("l: 0"), "OPTIONS sip:bob@example.com SIP/2.0", "SIP/2.0 180 Ringing", 1)}
	for range 500 {
		texts = append(texts, r.message())
	}
	compared := 0
	for _, text := range texts {
		theirs, err := parser.ParseSIP([]byte(text))
		if err != nil {
			continue
		}
		compared++
		compareWithSipgo(t, mustCheck(t, text), theirs)
	}
	if compared < len(texts)/4 {
		t.Errorf("seed %d: sipgo took only %d of %d messages", seed, compared, len(texts))
	}
}

func compareWithSipgo(t *testing.T, m *Message, theirs wire.Message) {
	t.Helper()
	equal := func(what string, got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("%s: got %v, sipgo says %v in %q", what, got, want, m.Raw())
		}
	}
	var headers interface {
		From() *wire.FromHeader
		To() *wire.ToHeader
		CallID() *wire.CallIDHeader
		CSeq() *wire.CSeqHeader
		Via() *wire.ViaHeader
		Body() []byte
	}
	switch x := theirs.(type) {
	case *wire.Request:
		headers = x
		equal("method", m.Method, string(x.Method))
		u, _ := ParseURI(m.URI)
		equal("host", u.Host, strings.Trim(x.Recipient.Host, "[]"))
		equal("port", u.Port, x.Recipient.Port)
		equal("user", u.User, x.Recipient.User)
	case *wire.Response:
		headers = x
		equal("status", m.Status, x.StatusCode)
		equal("reason", m.Reason, x.Reason)
	}
	tag, _ := headers.From().Params.Get("tag")
	equal("From tag", m.FromTag(), tag)
	from, _ := ParseAddress(m.Get(From))
	fromURI, _ := ParseURI(from.URI)
	equal("From host", fromURI.Host, strings.Trim(headers.From().Address.Host, "[]"))
	equal("From user", fromURI.User, headers.From().Address.User)
	equal("Call-ID", m.CallID(), headers.CallID().Value())
	number, method, _ := m.CSeq()
	equal("CSeq", number, headers.CSeq().SeqNo)
	equal("CSeq method", method, string(headers.CSeq().MethodName))
	equal("body", m.Body(), string(headers.Body()))
	via, _ := m.TopVia()
	equal("Via transport", via.Transport, headers.Via().Transport)
	equal("Via host", via.Host, strings.Trim(headers.Via().Host, "[]"))
	equal("Via port", via.Port, headers.Via().Port)
}
