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
	PServedUser
	PProfileKey
	PUserDatabase
	PChargingVector
	PChargingFunctionAddresses
	PCalledPartyID
	PVisitedNetworkID
	PAssertedService
	PPreferredService
	numIDs
)

// A set of known headers, one bit each.
type idSet uint64

const _ = idSet(1) << (numIDs - 1) // does not compile when the IDs outgrow the set

func (s idSet) has(id ID) bool { return s&(1<<id) != 0 }

// single are the headers that may stand only once. Keeping the first or the last of two is how requests are smuggled past
// one element and understood differently by the next (RFC 3261 §7.3.1).
const single idSet = 1<<From | 1<<To | 1<<CallID | 1<<CSeq | 1<<MaxForwards | 1<<ContentLength | 1<<ContentType | 1<<Expires |
	1<<Event | 1<<SessionExpires | 1<<ReferTo | 1<<Replaces | 1<<MaxBreadth | 1<<RAck | 1<<RSeq | 1<<Timestamp | 1<<Date

var headerNames = [numIDs]string{
	ViaID: "Via", From: "From", To: "To", CallID: "Call-ID", CSeq: "CSeq", MaxForwards: "Max-Forwards", Contact: "Contact",
	Route: "Route", RecordRoute: "Record-Route", ContentLength: "Content-Length", ContentType: "Content-Type",
	ContentEncoding: "Content-Encoding", ContentDisposition: "Content-Disposition", Authorization: "Authorization",
	ProxyAuthorization: "Proxy-Authorization", WWWAuthenticate: "WWW-Authenticate", ProxyAuthenticate: "Proxy-Authenticate",
	Expires: "Expires", MinExpires: "Min-Expires", Require: "Require", ProxyRequire: "Proxy-Require", Supported: "Supported",
	Unsupported: "Unsupported", Allow: "Allow", Accept: "Accept", Event: "Event", SessionExpires: "Session-Expires",
	MinSE: "Min-SE", Path: "Path", MaxBreadth: "Max-Breadth", RetryAfter: "Retry-After", ReasonID: "Reason", Warning: "Warning",
	Timestamp: "Timestamp", UserAgent: "User-Agent", Server: "Server", ReferTo: "Refer-To", Replaces: "Replaces", RAck: "RAck",
	RSeq: "RSeq", SubscriptionState: "Subscription-State", Date: "Date", Identity: "Identity",
	Privacy: "Privacy", PAssertedIdentity: "P-Asserted-Identity", PPreferredIdentity: "P-Preferred-Identity",
	RemotePartyID: "Remote-Party-ID", PServedUser: "P-Served-User", PProfileKey: "P-Profile-Key", PUserDatabase: "P-User-Database",
	PChargingVector: "P-Charging-Vector", PChargingFunctionAddresses: "P-Charging-Function-Addresses",
	PCalledPartyID: "P-Called-Party-ID", PVisitedNetworkID: "P-Visited-Network-ID", PAssertedService: "P-Asserted-Service",
	PPreferredService: "P-Preferred-Service",
}

// compactNames by their letter (RFC 3261 §7.3.3).
var compactNames = [256]ID{
	'v': ViaID, 'f': From, 't': To, 'i': CallID, 'm': Contact, 'l': ContentLength, 'c': ContentType, 'e': ContentEncoding,
	'k': Supported, 'o': Event, 'x': SessionExpires, 'r': ReferTo, 'y': Identity,
	'V': ViaID, 'F': From, 'T': To, 'I': CallID, 'M': Contact, 'L': ContentLength, 'C': ContentType, 'E': ContentEncoding,
	'K': Supported, 'O': Event, 'X': SessionExpires, 'R': ReferTo, 'Y': Identity,
}

// bySlot has the one known header whose name can have a slot, so that a lookup compares names once.
var bySlot = func() (t [256]ID) {
	for id := ViaID; id < numIDs; id++ {
		t[slot(headerNames[id])] = id
	}
	return t
}()

// slot tells the known names apart by length, first, middle and last letter. The factors were found by trying:
// TestCompactNameIsTheSameHeader fails when two names share a slot.
func slot(name string) byte {
	const ignoreCase = 0x20
	n := len(name)
	return byte(n) + 5*(name[0]|ignoreCase) + 3*(name[n/2]|ignoreCase) + 137*(name[n-1]|ignoreCase)
}

// HeaderID finds the ID of a header name, long or compact, whatever its case.
func HeaderID(name string) ID {
	switch len(name) {
	case 0:
		return Other
	case 1:
		return compactNames[name[0]]
	}
	id := bySlot[slot(name)]
	if known := headerNames[id]; known != name && !equalFold(known, name) {
		return Other
	}
	return id
}

// String is the long name of a header.
func (id ID) String() string {
	if id == Other || id >= numIDs {
		return "header"
	}
	return headerNames[id]
}
