package sip_test

// tortureCase is a line of docs/conformance.md. The wish is the RFC's, in our words.
type tortureCase struct {
	name      string
	odd       string   // what is odd about the message
	wish      string   // what the RFC wishes
	want      string   // the reaction, see tortureRig.reaction
	note      string   // why the reaction is within what the RFC allows, where that is not plain
	deviation string   // why it is not
	says      []string // what the final response must say
}

const (
	tortureUnasked = "read, dropped: no request of ours waits for it"
	tortureNoCall  = "481 Call/Transaction Does Not Exist: no such dialog here"
)

var tortureCases = []tortureCase{
	// RFC 4475 §3.1.1, valid
	{
		name: "rfc4475/wsinv", odd: "white space, folds and escapes wherever they may stand; compact and mixed-case names; a To tag", wish: "§3.1.1.1: understood", want: tortureNoCall,
		note: "understood (sip/message tests read every value); its To tag names a dialog that was never here, §12.2.2",
	},
	{name: "rfc4475/intmeth", odd: "every character that may stand in a method, URI, name, tag and Call-ID; an escaped NUL", wish: "§3.1.1.2: understood; a proxy passes the unknown method on", want: "relayed"},
	{name: "rfc4475/esc01", odd: "escapes in the Request-URI, From, To and Contact", wish: "§3.1.1.3: understood", want: "relayed"},
	{name: "rfc4475/escnull", odd: "%00 in user parts", wish: "§3.1.1.4: two contacts registered", want: "200 OK", says: []string{"<sip:%00@host5.example.com>", "<sip:%00%00@host5.example.com>"}},
	{name: "rfc4475/esc02", odd: "percent signs where they are no escapes: method RE%47IST%45R, header C%6Fntact", wish: "§3.1.1.5: an unknown method, not a REGISTER", want: "501 Not Implemented"},
	{name: "rfc4475/lwsdisp", odd: "no space between display name and '<'", wish: "§3.1.1.6: understood", want: "relayed"},
	{name: "rfc4475/longreq", odd: "very long values and names", wish: "§3.1.1.7: understood", want: "relayed"},
	{name: "rfc4475/dblreq", odd: "a REGISTER with an INVITE behind its end in one datagram", wish: "§3.1.1.8: the REGISTER is answered, the rest ignored", want: "200 OK", says: []string{"REGISTER", "sip:j.user@host.example.com"}},
	{name: "rfc4475/semiuri", odd: "a semicolon and an escaped @ in the user part", wish: "§3.1.1.9: part of the user", want: "relayed"},
	{name: "rfc4475/transports", odd: "Via with SCTP and unknown transports", wish: "§3.1.1.10: understood", want: "relayed"},
	{name: "rfc4475/mpart01", odd: "a multipart body with binary parts", wish: "§3.1.1.11: body untouched", want: "relayed"},
	{name: "rfc4475/unreason", odd: "a reason phrase in Cyrillic", wish: "§3.1.1.12: understood", want: tortureUnasked},
	{name: "rfc4475/noreason", odd: "an empty reason phrase", wish: "§3.1.1.13: understood", want: tortureUnasked},

	// §3.1.2, invalid
	{name: "rfc4475/badinv01", odd: "semicolons and commas without anything between them in Via and Contact", wish: "§3.1.2.1: 400", want: "400 Bad Request: Via: a semicolon without a parameter"},
	{name: "rfc4475/clerr", odd: "Content-Length 9999 in a datagram that ends before", wish: "§3.1.2.2: 400", want: "400 Bad Request: Content-Length says 9999, the message has 154 bytes behind the headers"},
	{name: "rfc4475/ncl", odd: "Content-Length -999", wish: "§3.1.2.3: 400", want: "400 Bad Request: Content-Length is not a number"},
	{name: "rfc4475/scalar02", odd: "CSeq, Expires and Max-Forwards too large", wish: "§3.1.2.4: 400", want: "400 Bad Request: CSeq is not a 32-bit number and a method"},
	{name: "rfc4475/scalarlg", odd: "a response with CSeq and Retry-After too large", wish: "§3.1.2.5: discarded", want: "malformed, dropped"},
	{name: "rfc4475/quotbal", odd: "a quote that is not closed in To", wish: "§3.1.2.6: 400", want: "400 Bad Request: To: a quote is not closed"},
	{name: "rfc4475/ltgtruri", odd: "angle brackets around the Request-URI", wish: "§3.1.2.7: 400", want: "400 Bad Request: Request-URI: no URI scheme"},
	{name: "rfc4475/lwsruri", odd: "a space within the Request-URI", wish: "§3.1.2.8: 400", want: "400 Bad Request: white space in the request line"},
	{name: "rfc4475/lwsstart", odd: "two spaces between the parts of the request line", wish: "§3.1.2.9: 400, or liberal", want: "400 Bad Request: white space in the request line"},
	{name: "rfc4475/trws", odd: "spaces behind the request line", wish: "§3.1.2.10: 400, or liberal", want: "400 Bad Request: white space in the request line"},
	{name: "rfc4475/escruri", odd: "a Route header escaped into the Request-URI", wish: "§3.1.2.11: 400, or the header ignored", want: "400 Bad Request: Request-URI: a Request-URI cannot bring headers"},
	{name: "rfc4475/baddate", odd: "Date in EST", wish: "§3.1.2.12: 400, or ignored", want: "relayed", note: "Date means nothing to a proxy"},
	{name: "rfc4475/regbadct", odd: "Contact with URI headers and no angle brackets", wish: "§3.1.2.13: 400", want: "400 Bad Request: Contact: a URI with '?' needs angle brackets"},
	{name: "rfc4475/badaspec", odd: "spaces within angle brackets", wish: "§3.1.2.14: 400, or liberal", want: "400 Bad Request: To: no URI scheme"},
	{name: "rfc4475/baddn", odd: "a comma in a display name without quotes", wish: "§3.1.2.15: 400, or liberal", want: "400 Bad Request: From: a display name that is not tokens needs quotes"},
	{name: "rfc4475/badvers", odd: "SIP/7.0", wish: "§3.1.2.16: 505", want: "505 Version Not Supported: version SIP/7.0 is not supported"},
	{name: "rfc4475/mismatch01", odd: "OPTIONS with a CSeq of INVITE", wish: "§3.1.2.17: 400", want: `400 Bad Request: CSeq names the method "INVITE", the request line "OPTIONS"`},
	{name: "rfc4475/mismatch02", odd: "an unknown method with a CSeq of INVITE", wish: "§3.1.2.18: 400 or 501", want: `400 Bad Request: CSeq names the method "INVITE", the request line "NEWMETHOD"`},
	{name: "rfc4475/bigcode", odd: "status 4294967301", wish: "§3.1.2.19: discarded", want: "malformed, dropped"},

	// §3.2, §3.3, §3.4
	{name: "rfc4475/badbranch", odd: "a branch that is the magic cookie and nothing more", wish: "§3.2.1: matched as RFC 2543 does", want: "relayed"},
	{name: "rfc4475/insuf", odd: "no Call-ID, From or To", wish: "§3.3.1: ideally 400", want: "400 Bad Request: no From"},
	{name: "rfc4475/unkscm", odd: "a Request-URI of an unknown scheme", wish: "§3.3.2: 416", want: "416 Unsupported URI Scheme: only sip, sips and tel are known here"},
	{name: "rfc4475/novelsc", odd: "a Request-URI of a known scheme that is not for SIP", wish: "§3.3.3: 416", want: "416 Unsupported URI Scheme: only sip, sips and tel are known here"},
	{name: "rfc4475/unksm2", odd: "REGISTER with other schemes in To, From and Contact", wish: "§3.3.4: refused by a registrar, To is no address-of-record", want: "404 Not Found: no such domain here"},
	{name: "rfc4475/bext01", odd: "unknown options in Require and Proxy-Require", wish: "§3.3.5: a proxy answers 420 naming those of Proxy-Require", want: "420 Bad Extension: noProxiesSupportThis, norDoAnyProxiesSupportThis"},
	{name: "rfc4475/invut", odd: "an unknown Content-Type", wish: "§3.3.6: 415 by the callee, a proxy passes it on", want: "relayed"},
	{name: "rfc4475/regaut01", odd: "credentials of an unknown scheme", wish: "§3.3.7: 401", want: "401 Unauthorized", says: []string{"WWW-Authenticate: Digest "}},
	{name: "rfc4475/multi01", odd: "CSeq, Call-ID, To, From and Max-Forwards twice", wish: "§3.3.8: 400", want: "400 Bad Request: more than one CSeq"},
	{name: "rfc4475/mcl01", odd: "two Content-Length that differ", wish: "§3.3.9: 400", want: "400 Bad Request: more than one Content-Length"},
	{name: "rfc4475/bcast", odd: "a response with 255.255.255.255 in its second Via", wish: "§3.3.10: discarded, never sent on", want: tortureUnasked},
	{name: "rfc4475/zeromf", odd: "Max-Forwards 0", wish: "§3.3.11: 483, or OPTIONS answered as the last element", want: "200 OK", says: []string{"Allow: INVITE"}},
	{name: "rfc4475/cparam01", odd: "an unknown parameter of Contact, without angle brackets", wish: "§3.3.12: registered, the parameter is the header's", want: "200 OK", says: []string{"<sip:+19725552222@gw1.example.net>"}},
	{name: "rfc4475/cparam02", odd: "an unknown parameter of the Contact URI", wish: "§3.3.13: registered, the parameter is the URI's", want: "200 OK", says: []string{"<sip:+19725552222@gw1.example.net;unknownparam>"}},
	{name: "rfc4475/regescrt", odd: "a Route header escaped into a Contact URI", wish: "§3.3.14: registered, and fetched again with the header", want: "200 OK", says: []string{"<sip:user@example.com?Route=%3Csip:sip.example.com%3E>"}},
	{name: "rfc4475/sdp01", odd: "Accept names an unknown body type", wish: "§3.3.15: 406 by the callee, a proxy passes it on", want: "relayed"},
	{name: "rfc4475/inv2543", odd: "RFC 2543: no branch, no Max-Forwards, no tag, no Content-Length", wish: "§3.4.1: understood", want: "relayed"},

	// RFC 5118
	{name: "rfc5118/ipv6-good", odd: "an IPv6 address as Request-URI", wish: "§4.1: accepted", want: "200 OK", says: []string{"<sip:caller@[2001:db8::1]>"}},
	{name: "rfc5118/ipv6-bad", odd: "no brackets around it", wish: "§4.2: 400", want: "400 Bad Request: Request-URI: port is not a number from 1 to 65535"},
	{name: "rfc5118/port-ambiguous", odd: "a port meant, but written inside the brackets", wish: "§4.3: accepted, it is an address", want: "200 OK"},
	{name: "rfc5118/port-unambiguous", odd: "a port behind the brackets", wish: "§4.4: accepted", want: "200 OK"},
	{
		name: "rfc5118/via-received-param-with-delim", odd: "received in brackets", wish: "§4.5: accepted", want: tortureNoCall,
		note: "understood; a BYE without its dialog", says: []string{"received="},
	},
	{name: "rfc5118/via-received-param-no-delim", odd: "received without brackets", wish: "§4.5: accepted", want: "200 OK", says: []string{"received="}},
	{name: "rfc5118/ipv6-in-sdp", odd: "IPv6 addresses in the session description", wish: "§4.6: accepted", want: "relayed"},
	{
		name: "rfc5118/mult-ip-in-header", odd: "IPv4 and IPv6 in several Via", wish: "§4.7: accepted", want: tortureNoCall,
		note: "understood; a BYE without its dialog", says: []string{"[2001:db8::9:255];branch=z9hG4bK451jj;received=192.0.2.200"},
	},
	{name: "rfc5118/mult-ip-in-sdp", odd: "an IPv4 and an IPv6 media line", wish: "§4.8: accepted", want: "relayed"},
	{name: "rfc5118/ipv4-mapped-ipv6", odd: "IPv4-mapped addresses in Via, Contact and the session description", wish: "§4.9: accepted", want: "relayed"},
	{name: "rfc5118/ipv6-bug-abnf-3-colons", odd: "three colons, which the old grammar led to", wish: "§4.10: refused, or read liberally", want: "relayed"},
	{name: "rfc5118/ipv6-correct-abnf-2-colons", odd: "the same address written right", wish: "§4.10: accepted", want: "relayed"},
}
