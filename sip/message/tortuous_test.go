package message

import (
	"fmt"
	"strings"
	"testing"
)

// tortuous has the oddities of RFC 4475 §3.1.1.1 and §3.1.1.2 in one valid message of ours.
var tortuous = crlf(`
Odd-Method.!%*_+'~ sip:1_user~(to-be!sure)&is/,;;*:&pass=w!d@example.com;unknown SIP/2.0
TO :
 sip:bob@example.com ;   tag    = 42n
from   : "J \\\""       <sip:alice@example.com>
  ;
  tag = 98a
MaX-fOrWaRdS: 0068
I: tortuous.%ZK-!.*_+'@word~)(><:\/"][?}{
l   : 5
cseq: 0009
  Odd-Method.!%*_+'~
Via  : SIP  /   2.0
 /UDP
    192.0.2.2;branch=390s
s :
NewHeader:   new value
 continued value
Unusual: ;;,,;;,;
Route:
 <sip:services.example.com;lr;unknownwith=value;unknown-no-value>
v:  SIP  / 2.0  / TCP     spindle.example.com   ;
  branch  =   z9hG4bK9ikj8  ,
 SIP  /    2.0   / UDP  192.168.255.111   ; branch=
 z9hG4bK30239
m:"Quoted \"\"" <sip:alice@example.com> ; newparam =
      newvalue ;
  secondparam ; q = 0.33

`) + "\r\nabc"

func TestTortuousMessageIsUnderstood(t *testing.T) {
	m, err := check(tortuous)
	if err != nil {
		t.Fatal(err)
	}
	number, method, _ := m.CSeq()
	from, _ := ParseAddress(m.Get(From))
	contact, _ := ParseAddress(m.Get(Contact))
	route, _ := ParseAddress(m.Get(Route))
	q, _ := contact.Param("q")
	second, hasSecond := contact.Param("secondparam")
	newParam, _ := contact.Param("newparam")
	uri, _ := ParseURI(m.URI)
	var vias []string
	m.Values(ViaID, func(v string) bool {
		via, err := ParseVia(v)
		vias = append(vias, fmt.Sprint(via.Transport, " ", via.Host, " ", via.Branch, " ", err))
		return true
	})
	fresh, _ := m.Lookup("newheader")
	for _, c := range []struct{ what, got, want string }{
		{"method", m.Method, "Odd-Method.!%*_+'~"},
		{"user", uri.User, "1_user~(to-be!sure)&is/,;;*"},
		{"password", uri.Password, "&pass=w!d"},
		{"To tag", m.ToTag(), "42n"},
		{"From tag", m.FromTag(), "98a"},
		{"From name", unquote(from.Display), `J \"`},
		{"Call-ID", m.CallID(), `tortuous.%ZK-!.*_+'@word~)(><:\/"][?}{`},
		{"CSeq", fmt.Sprintln(number, method), "9 Odd-Method.!%*_+'~\n"},
		{"Max-Forwards", m.Get(MaxForwards), "0068"},
		{"Via", strings.Join(vias, "|"), "UDP 192.0.2.2 390s <nil>|TCP spindle.example.com z9hG4bK9ikj8 <nil>|UDP 192.168.255.111 z9hG4bK30239 <nil>"},
		{"Route", route.URI, "sip:services.example.com;lr;unknownwith=value;unknown-no-value"},
		{"Contact", fmt.Sprint(contact.URI, " ", q, " ", newParam, " ", second, hasSecond), "sip:alice@example.com 0.33 newvalue true"},
		{"new header", strings.Join(strings.Fields(fresh), " "), "new value continued value"},
		{"body", m.Body(), "\r\nabc"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, c.got, c.want)
		}
	}
	if again := mustCheck(t, appended(m, new(Edit))); difference(m, again) != "" {
		t.Error(difference(m, again))
	}
}
