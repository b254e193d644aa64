package message

// ID names a header that Tandem itself reads. Every other header is Other and only ever copied.
type ID uint8

// The headers with an ID. Via's is called ViaID because Via is the parsed value.
const (
	Other ID = iota
	ViaID
	From
	To
	CallID
	CSeq
	MaxForwards
	Contact
	Route
	RecordRoute
	ContentLength
	ContentType
	ContentEncoding
	ContentDisposition
	Authorization
	ProxyAuthorization
	WWWAuthenticate
	ProxyAuthenticate
	Expires
	MinExpires
	Require
	ProxyRequire
	Supported
	Unsupported
	Allow
	Accept
	Event
	SessionExpires
	MinSE
	Path
	MaxBreadth
	RetryAfter
	ReasonID
	Warning
	Timestamp
	UserAgent
	Server
	ReferTo
	Replaces
	RAck
	RSeq
	SubscriptionState
	Date
	Identity
	Privacy
	PAssertedIdentity
	PPreferredIdentity
	RemotePartyID
	TrustedOnly // P-headers that only elements which trust each other may write; several names
	numIDs
)

type headerName struct {
	name string
	id   ID
}

// headerNames by length of the name: a lookup compares against the few that could fit.
var headerNames = [...][]headerName{
	1: {
		{"v", ViaID},
		{"f", From},
		{"t", To},
		{"i", CallID},
		{"m", Contact},
		{"l", ContentLength},
		{"c", ContentType},
		{"e", ContentEncoding},
		{"k", Supported},
		{"o", Event},
		{"x", SessionExpires},
		{"r", ReferTo},
		{"y", Identity},
	},
	2:  {{"To", To}},
	3:  {{"Via", ViaID}},
	4:  {{"From", From}, {"CSeq", CSeq}, {"Path", Path}, {"RAck", RAck}, {"RSeq", RSeq}, {"Date", Date}},
	5:  {{"Route", Route}, {"Allow", Allow}, {"Event", Event}},
	6:  {{"Accept", Accept}, {"Reason", ReasonID}, {"Server", Server}, {"Min-SE", MinSE}},
	7:  {{"Call-ID", CallID}, {"Contact", Contact}, {"Expires", Expires}, {"Require", Require}, {"Warning", Warning}, {"Privacy", Privacy}},
	8:  {{"Refer-To", ReferTo}, {"Replaces", Replaces}, {"Identity", Identity}},
	9:  {{"Supported", Supported}, {"Timestamp", Timestamp}},
	10: {{"User-Agent", UserAgent}},
	11: {{"Min-Expires", MinExpires}, {"Unsupported", Unsupported}, {"Max-Breadth", MaxBreadth}, {"Retry-After", RetryAfter}},
	12: {{"Max-Forwards", MaxForwards}, {"Record-Route", RecordRoute}, {"Content-Type", ContentType}},
	13: {{"Authorization", Authorization}, {"Proxy-Require", ProxyRequire}, {"P-Served-User", TrustedOnly}, {"P-Profile-Key", TrustedOnly}},
	14: {{"Content-Length", ContentLength}},
	15: {{"Session-Expires", SessionExpires}, {"Remote-Party-ID", RemotePartyID}, {"P-User-Database", TrustedOnly}},
	16: {{"WWW-Authenticate", WWWAuthenticate}, {"Content-Encoding", ContentEncoding}},
	17: {{"P-Charging-Vector", TrustedOnly}, {"P-Called-Party-ID", TrustedOnly}},
	18: {{"Proxy-Authenticate", ProxyAuthenticate}, {"Subscription-State", SubscriptionState}, {"P-Asserted-Service", TrustedOnly}},
	19: {
		{"Proxy-Authorization", ProxyAuthorization},
		{"Content-Disposition", ContentDisposition},
		{"P-Asserted-Identity", PAssertedIdentity},
		{"P-Preferred-Service", TrustedOnly},
	},
	20: {{"P-Preferred-Identity", PPreferredIdentity}, {"P-Visited-Network-ID", TrustedOnly}},
	29: {{"P-Charging-Function-Addresses", TrustedOnly}},
}

// HeaderID finds the ID of a header name, long or compact (RFC 3261 §7.3.3), whatever its case.
func HeaderID(name string) ID {
	if len(name) >= len(headerNames) || name == "" {
		return Other
	}
	list := headerNames[len(name)]
	for i := range list {
		if h := &list[i]; lower(h.name[0]) == lower(name[0]) && equalFold(h.name, name) {
			return h.id
		}
	}
	return Other
}

// equalFold compares two ASCII strings of the same length without regard to case.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		if a[i] != b[i] && lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// single are the headers that may stand only once. Keeping the first or the last of two is how requests are smuggled past
// one element and understood differently by the next (RFC 3261 §7.3.1).
var single = [numIDs]bool{
	From: true, To: true, CallID: true, CSeq: true, MaxForwards: true, ContentLength: true, ContentType: true, Expires: true, Event: true,
	SessionExpires: true, ReferTo: true, Replaces: true, MaxBreadth: true, RAck: true, RSeq: true, Timestamp: true, Date: true,
}
