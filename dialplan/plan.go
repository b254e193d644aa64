// Package dialplan answers one question: what should happen to this call?
//
// Operators write plans as HCL (*.dialplan.hcl): users, ring groups, echo tests, music, and tests of the plan itself.
// Compile parses and checks the text, says every mistake with file, line and column, runs the plan's own test blocks
// and makes an immutable Plan; nothing of HCL is kept, and HCL is never evaluated during a call. Plan.Begin sends a call on its way and
// Walk.Next lets it go on: they take a microsecond or less, read no clock, open nothing, and may be called from any goroutine. Plan.Route
// goes the same way and says why.
// Store keeps the versions of the plan as a machine that a replicated log drives.
//
// The package imports nothing else of Tandem.
package dialplan

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Source is one file of a plan. Name stands in diagnostics and traces.
type Source struct {
	Name string `json:"name"`
	Text []byte `json:"text"`
}

// Position is a place in a Source; the zero Position is nowhere in the plan.
type Position struct {
	File string
	Line int // from 1
	Col  int // from 1, in characters
}

func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

// Plan is a compiled dialplan of all tenants. It is immutable; a nil Plan is an empty one.
type Plan struct {
	hash     string
	warnings int
	tenants  []tenant // in the order of their names
	trunks   []*Trunk
	sounds   []Sound
	covered  *coverage // by the plan's own tests
	byName   map[string]int32
	byDomain map[string]int32 // lower case, without a final dot
}

// Tenant is what a plan says about one tenant.
type Tenant struct {
	Name      string
	Domains   []string // lower case
	TimeZone  string   // IANA name, "UTC" when the plan names none
	Country   string   // calling code without "+", "" when the plan names none
	HoldMusic string   // what those hear whom its phones hold; "" = what the phones play
	SRTP      string   // how the media of its users are encrypted; "" = as the node says
	Users     []User   // in the order of their names
	Services  []Service
	Nodes     int // users, ring groups, ... together
	Tests     int
	At        Position
}

// User is an account that the plan names.
type User struct {
	Name      string
	Extension string // "" = none
	Display   string
	Groups    []string
	Record    bool   // the calls from and to this user are recorded
	HoldMusic string // what those hear whom the phones of this user hold; "" = as the tenant says
	SRTP      string // how the media of this user are encrypted; "" = as the tenant says
	Caller    string // number that those see whom this user calls outside; "" = that of the trunk
	At        Position
}

// Service is a number that is nobody's: a ring group, the echo test. In the order of the numbers.
type Service struct {
	Number string
	Node   string // as in "echo.test"
}

// tenant is the compiled form: numbers are what can be dialled, entries where calls to them begin, vertices the nodes.
type tenant struct {
	public  Tenant
	numbers map[string]int32 // dialled -> index in entries
	entries []target
	found   []Trace          // of each entry: what the number is
	users   map[string]int32 // user name or extension -> index in public.Users
	reject  *Step            // for numbers that nobody has

	dialable []string // extensions of users and ring groups that a caller in a menu can dial, sorted
	country  country
	lines    map[string]*line // trunks by name, without "trunk."
	abroad   prefixes         // numbers with "+" -> index in matches
	local    prefixes         // numbers as they are dialled -> index in matches
	matches  []owned

	mailboxes []*Mailbox          // by name
	rungWith  map[string][]string // ring groups of users, by the names of both; nil without a StepPickup

	vertices  []vertex
	decisions []decision
	calendars []*calendar
}

// Hash identifies the text the plan was compiled from: SHA-256 in hex over names and texts.
func (p *Plan) Hash() string {
	if p == nil {
		return ""
	}
	return p.hash
}

// Tenants lists what the plan says about each tenant, in the order of their names. Treat it as read-only.
func (p *Plan) Tenants() []Tenant {
	if p == nil {
		return nil
	}
	all := make([]Tenant, len(p.tenants))
	for i := range p.tenants {
		all[i] = p.tenants[i].public
	}
	return all
}

// Sound is what a node of the plan plays.
type Sound struct {
	Play    string
	Node    string
	At      Position
	excerpt string
}

// Sounds lists what the plan plays, in the order of the tenants and their sources. Compile opens nothing and
// cannot know whether they are there: who can looks, and says so with Missing.
func (p *Plan) Sounds() []Sound {
	if p == nil {
		return nil
	}
	return p.sounds
}

// Missing is the diagnostic of a sound that cannot be played for some reason.
func (s Sound) Missing(why error) Diagnostic {
	return Diagnostic{
		Severity: Error, File: s.At.File, Line: s.At.Line, Col: s.At.Col, Summary: fmt.Sprintf("%s cannot play %q", s.Node, s.Play), Detail: why.Error(), Excerpt: s.excerpt,
	}
}

// TenantOf finds the tenant that a SIP domain belongs to. host may carry a port, brackets, a final dot and capitals.
// A lone tenant also answers for every IP address and for "localhost".
func (p *Plan) TenantOf(host string) (name string, ok bool) {
	if p == nil || len(p.tenants) == 0 {
		return "", false
	}
	if id, found := p.byDomain[host]; found { // almost every host is written as domains are kept
		return p.tenants[id].public.Name, true
	}
	return p.tenantOfOther(host)
}

// HasTenant tells whether the plan has a tenant of that name.
func (p *Plan) HasTenant(name string) bool { return p.tenant(name) != nil }

// tenantOfOther is TenantOf for an address, and for a host that is not in its plain form.
func (p *Plan) tenantOfOther(host string) (name string, ok bool) {
	lone := len(p.tenants) == 1
	if lone && isIPv4(host) {
		return p.tenants[0].public.Name, true
	}
	var buffer [256]byte
	plain, address := plainHost(host, buffer[:0])
	if id, found := p.byDomain[string(plain)]; found {
		return p.tenants[id].public.Name, true
	}
	if lone && (address || string(plain) == "localhost") {
		return p.tenants[0].public.Name, true
	}
	return "", false
}

// isIPv4 tells whether host is an IPv4 address and nothing else, without the cost of reading a name as one.
func isIPv4(host string) bool {
	if host == "" || host[0] < '0' || host[0] > '9' || strings.IndexByte(host, ':') >= 0 {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Is4()
}

// plainHost appends host to dst without port, brackets and final dot, names in lower case, addresses in canonical form;
// what is no host comes out empty. It does not allocate when dst is large enough.
func plainHost(host string, dst []byte) (plain []byte, address bool) {
	if strings.HasPrefix(host, "[") {
		end := strings.IndexByte(host, ']')
		if end < 0 {
			return dst, false
		}
		host = host[1:end]
	} else if i := strings.IndexByte(host, ':'); i >= 0 && strings.IndexByte(host[i+1:], ':') < 0 {
		host = host[:i]
	}
	host = strings.TrimSuffix(host, ".")
	if host == "" || len(host) > cap(dst) {
		return dst, false
	}
	if last := host[len(host)-1]; last >= '0' && last <= '9' || strings.IndexByte(host, ':') >= 0 {
		if addr, err := netip.ParseAddr(host); err == nil {
			return addr.Unmap().AppendTo(dst), true
		}
	}
	for i := 0; i < len(host); i++ {
		c := host[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst, false
}

// User finds a user that the plan names, by user name or extension.
func (p *Plan) User(tenantName, nameOrExtension string) (User, bool) {
	t := p.tenant(tenantName)
	if t == nil {
		return User{}, false
	}
	i, ok := t.users[nameOrExtension]
	if !ok {
		return User{}, false
	}
	return t.public.Users[i], true
}

// HoldMusic is what those hear whom a phone of the user holds; "" leaves it to the phone. It knows accounts that the plan does not name.
func (p *Plan) HoldMusic(tenant, user string) string {
	if u, ok := p.User(tenant, user); ok && u.HoldMusic != "" {
		return u.HoldMusic
	}
	if t := p.tenant(tenant); t != nil {
		return t.public.HoldMusic
	}
	return ""
}

// UserName is the user name of a user that the plan names, by user name or extension.
func (p *Plan) UserName(tenantName, nameOrExtension string) (string, bool) {
	t := p.tenant(tenantName)
	if t == nil {
		return "", false
	}
	i, ok := t.users[nameOrExtension]
	if !ok {
		return "", false
	}
	return t.public.Users[i].Name, true
}

func (p *Plan) tenant(name string) *tenant {
	if p == nil {
		return nil
	}
	i, ok := p.byName[name]
	if !ok {
		return nil
	}
	return &p.tenants[i]
}

const (
	userTimeout = 60 * time.Second // how long a user's phones ring
	ringTimeout = 30 * time.Second // a ring group that names no timeout
	playTimeout = time.Hour        // echo and music that name no timeout
	toneTimeout = 30 * time.Second // tones that name no timeout
	meetTimeout = 12 * time.Hour   // conferences that name no timeout
)
