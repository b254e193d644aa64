package message

import "testing"

func TestURIIsTakenApart(t *testing.T) {
	for in, want := range map[string]URI{
		"sip:alice@Example.COM":                         {Scheme: "sip", User: "alice", Host: "example.com"},
		"SIPS:alice:pw@example.com:5061;transport=tcp":  {Scheme: "sips", User: "alice", Password: "pw", Host: "example.com", Port: 5061, Params: "transport=tcp"},
		"sip:[2001:DB8::10]:5070":                       {Scheme: "sip", Host: "2001:db8::10", Port: 5070},
		"sip:[2001:db8::10:5070]":                       {Scheme: "sip", Host: "2001:db8::10:5070"},
		"sip:user@[::ffff:192.0.2.2];lr":                {Scheme: "sip", User: "user", Host: "::ffff:192.0.2.2", Params: "lr"},
		"sip:user;par=u%40example.net@example.com":      {Scheme: "sip", User: "user;par=u%40example.net", Host: "example.com"},
		"sip:a@b;x=1;y?Subject=hi&X=":                   {Scheme: "sip", User: "a", Host: "b", Params: "x=1;y", Headers: "Subject=hi&X="},
		"sip:1_u~(to-be!sure)&is't+it$/cr?,/;;*:&p@e.c": {Scheme: "sip", User: "1_u~(to-be!sure)&is't+it$/cr?,/;;*", Password: "&p", Host: "e.c"},
		"tel:+12015550123;phone-context=x":              {Scheme: "tel", Opaque: "+12015550123;phone-context=x"},
		"soap.beep://192.0.2.103:3002":                  {Scheme: "soap.beep", Opaque: "//192.0.2.103:3002"},
	} {
		got, err := ParseURI(in)
		if err != nil || got != want {
			t.Errorf("%s\ngot  %+v, %v\nwant %+v", in, got, err, want)
		}
		if again, err := ParseURI(got.String()); err != nil || again != got {
			t.Errorf("%s is written as %s, which reads %+v, %v", in, got, again, err)
		}
	}
	for _, in := range []string{
		"", "sip", "sip:", ":x", "sip:@b", "sip:a@", "sip:a b@c", "<sip:a@b>", "sip:a@b:0", "sip:a@b:65536", "sip:a@b:5060x", "sip:2001:db8::10", "sip:[::1", "sip:a@[x]",
		"sip:a%4@b", "sip:a%zz@b", "1sip:a@b", "tel:", "sip:a@b\x00c", "sip:a@b c", "sip:\"a\"@b",
	} {
		if u, err := ParseURI(in); err == nil {
			t.Errorf("%q: got %+v, want an error", in, u)
		}
	}
}

// TestURIsAreComparedAsTheRFCSays holds the examples of RFC 3261 §19.1.4 and a few of ours.
func TestURIsAreComparedAsTheRFCSays(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtlanTa.CoM;Transport=tcp", true},
		{"sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5", true},
		{"sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on", true},
		{"sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com", "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com", true},
		{"sip:alice@atlanta.com?subject=project%20x&priority=urgent", "sip:alice@atlanta.com?priority=urgent&subject=project%20x", true},
		{"SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP", false},
		{"sip:bob@biloxi.com", "sip:bob@biloxi.com:5060", false},
		{"sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp", false},
		{"sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp", false},
		{"sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting", false},
		{"sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4", false},
		{"sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off", false},

		{"sip:a@b", "sips:a@b", false},
		{"sip:a@b", "sip:b", false},
		{"sip:a:x@b", "sip:a@b", false},
		{"sip:a@b;user=phone", "sip:a@b", false},
		{"sip:a@b;maddr=192.0.2.1", "sip:a@b", false},
		{"sip:a@b;ttl=1", "sip:a@b;ttl=2", false},
		{"sip:a%3Bx@b", "sip:a;x@b", false},
		{"sip:a%3Bx@b", "sip:a%3bx@b", true},
		{"sip:a@[2001:DB8::1]", "sip:a@[2001:db8::1]", true},
		{"tel:+1201", "tel:+1202", false},
		{"nonsense", "nonsense", true},
		{"nonsense", "sip:a@b", false},
	} {
		if got := SameURI(c.a, c.b); got != c.same {
			t.Errorf("%s and %s: got %v, want %v", c.a, c.b, got, c.same)
		}
		if got := SameURI(c.b, c.a); got != c.same {
			t.Errorf("%s and %s: got %v, want %v", c.b, c.a, got, c.same)
		}
	}
}

func TestUserLosesParametersOfTelephoneNumbersOnly(t *testing.T) {
	for in, want := range map[string]string{
		"sip:alice@b":                        "alice",
		"sip:%61lice@b":                      "alice",
		"sip:+1-201-555-0123;isub=1@b":       "+1-201-555-0123",
		"sip:1000;phone-context=+44@b":       "1000",
		"sip:*43;x=y@b":                      "*43",
		"sip:user;par=u%40example.net@b":     "user;par=u@example.net",
		"sip:null-%00-null@b":                "null-\x00-null",
		"sip:sips%3Auser%40example.com@b":    "sips:user@example.com",
		"sip:b":                              "",
		"sip:I%20have%20spaces@example.net":  "I have spaces",
		"sip:%ZZ@b":                          "",
		"sip:user%3bpar@b;phone-context=+44": "user;par",
	} {
		u, _ := ParseURI(in)
		if got := u.UserDecoded(); got != want && in != "sip:%ZZ@b" {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
	if got := Unescape("a%4"); got != "a%4" {
		t.Errorf("a broken escape: got %q", got)
	}
}

func TestRequestURIHasNeitherHeadersNorMethod(t *testing.T) {
	for in, want := range map[string]string{
		"sip:a@b":                   "sip:a@b",
		"sip:a@b?Route=%3Csip:c%3E": "sip:a@b",
		"sip:a@b:5070;ob;transport=tcp?Subject=x&b=c": "sip:a@b:5070;ob;transport=tcp",
		"sip:a@b;METHOD=INVITE;lr":                    "sip:a@b;lr",
		"sip:a@b;method=BYE":                          "sip:a@b",
		"sip:a@b;methods=x":                           "sip:a@b;methods=x",
		"sip:what?;method=x@b":                        "sip:what?;method=x@b", // all of it is the user part
		"sips:[2001:db8::1]:5061?x=y":                 "sips:[2001:db8::1]:5061",
		"tel:+1?x":                                    "tel:+1?x",
		"nonsense?":                                   "nonsense?",
	} {
		if got := RequestURI(in); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

func TestTransportOfAURI(t *testing.T) {
	for in, want := range map[string]string{"sip:a@b": "", "sip:a@b;transport=TCP": "tcp", "sips:a@b": "tls", "sips:a@b;transport=ws": "ws"} {
		u, _ := ParseURI(in)
		if got := u.Transport(); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}
