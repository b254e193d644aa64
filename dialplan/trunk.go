package dialplan

import (
	"net/netip"
	"time"
)

// Trunk is a carrier, or another telephone system, as the plan describes it: what calls that leave the house go over. It is immutable and
// shared: read only.
type Trunk struct {
	Tenant   string   // whose trunk it is
	Name     string   // unique among the trunks of the tenant
	Shared   []string // other tenants that use it as if it were theirs, sorted
	Register string   // our address at the registrar, like "sip:acme@sbc.carrier-a.example"; "" = no registration
	Expires  time.Duration
	Hosts    []string // where calls go, tried in this order: "host", "host:port", "[IPv6]:port"; never empty: that of Register when the plan names none
	// Transport is "udp", "tcp" or "tls"; "" = as DNS says (RFC 3263).
	Transport string
	User      string        // our name in digest challenges; "" = there is none
	Secret    string        // name of the secret that is our password, never the password itself; "" with User ""
	Ping      time.Duration // how often OPTIONS ask whether it is alive; 0 = never
	Channels  int           // most calls at a time, in and out together; 0 = no limit. Emergency calls are exempt
	SRTP      string        // how its media are encrypted, a word as of users; "" = as the node says
	Codecs    []string      // names as in SDP, best first; nil = as the node says

	// Calls from the trunk are known by an address, or by digest credentials; those of others are refused.
	From     []netip.Prefix // besides the addresses of Hosts
	InUser   string         // "" = no credentials
	InSecret string         // name of the secret

	At Position
}

// Outcomes of a StepTrunk that are no SIP status of the other side, for Walk.Next and Call.Given. A SIP status is what the other side has
// answered.
const (
	NoReply = 1 // nothing but 100 came for Step.NoReply, or nothing at all: the try was cancelled
	Down    = 2 // the trunk is known to be dead, or cannot be reached: nothing was sent, or no connection was made
	Full    = 3 // all its channels are taken
	Limited = 4 // one of Step.Limits is reached: no trunk is tried any more
)

// StatusOf is the SIP status that a caller is told when a call ends with an outcome; a SIP status stays what it is.
func StatusOf(outcome int) int {
	switch outcome {
	case NoReply:
		return 408
	case Down, Full:
		return 503
	case Limited:
		return 403
	}
	return outcome
}

// Out is what a StepTrunk says of the call that is to be made.
type Out struct {
	Trunk     *Trunk
	Number    string        // what the trunk is to dial, written as the trunk wants it: the user part of the request URI
	E164      string        // the same number as "+" and digits; what was dialled when that is none, as an emergency number
	Caller    string        // number of the caller as the trunk wants it, for From; "" = anonymous, with Privacy: id (RFC 3323)
	Display   string        // name of the caller, for From; "" = none
	Asserted  string        // number for P-Asserted-Identity (RFC 3325); "" = none
	NoReply   time.Duration // how long to wait for anything but 100 before Next(NoReply); 0 = as long as SIP does
	Limits    []*Limit      // that count for the call
	Price     int64         // a minute costs so many millionths; 0 = not known
	Emergency *Emergency    // nil = none; else neither channels nor limits count
}

// Limit bounds what callers may do together, or each of them.
type Limit struct {
	Tenant, Name string
	Each         bool           // for each user by himself
	Calls        int            // at the same time; 0 = no limit, as below
	Minutes      int            // talked in a day of the tenant
	Money        int64          // spent in a day of the tenant, in millionths
	Zone         *time.Location // of the tenant, with its name: days begin at its midnight; never nil
	At           Position
}

// Emergency is what has to happen besides, when somebody calls for help.
type Emergency struct {
	Name     string
	Location string   // where the caller is, for people
	Notify   []string // who is told: mail addresses
}

// Trunks lists the trunks of all tenants, in the order of tenants and names.
func (p *Plan) Trunks() []*Trunk {
	if p == nil {
		return nil
	}
	return p.trunks
}
