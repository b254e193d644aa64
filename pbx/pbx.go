// Package pbx is the only place where a call is thought about.
//
// A call begins in ServeInvite, on its signalling shard: the dialplan says which steps to try, call.go tries them one
// after the other, until somebody answers or nothing is left. Nothing waits meanwhile: the shard calls back. Once phones talk to each
// other the call is a record that the shard keeps; pbx hears of it again when it ends. Calls that Tandem itself answers
// (echo, music, tones, conferences) are legs with an endpoint of the media engine, see answer.go.
package pbx

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tandem/dialplan"
	"tandem/events"
	"tandem/pbx/app"
	"tandem/pbx/mailbox"
	"tandem/rtpengine"
	"tandem/sip"
	"tandem/sip/message"
)

// Signalling is what pbx needs of the SIP side; *sip.Server satisfies it.
type Signalling interface {
	Targets(tenant, user string, now time.Time) [][]sip.Target
	// GRUU finds the one phone of a user that a GRUU stands for: status 0, 404 or 480; user is "" when uri is no GRUU.
	GRUU(tenant string, uri message.URI, now time.Time) (t sip.Target, user string, status int)
	// MayLag tells whether other nodes may know more than this one; then CatchUp waits until it knows what they had agreed on, not for long and
	// not on a shard. An error says that this cannot be had.
	MayLag() bool
	CatchUp() error
	// TrunkWays are the ways that a call to a number may take over a trunk; no Groups when it is down.
	TrunkWays(tenant, trunk, number string) sip.TrunkWays
	// Import goes on with the dialog of a call that another process has given away.
	Import(ctx context.Context, a sip.Arrival) (*sip.Dialog, error)
	// Revive begins a call anew that rang at a dead node: ServeInvite gets it, with Again set to name.
	Revive(ctx context.Context, snapshot []byte, name string) error
}

// Config is what a PBX needs. Plan, Directory and Events are required.
type Config struct {
	Plan         func() *dialplan.Plan // the plan in force; never nil
	Directory    sip.Directory
	Media        *rtpengine.Engine // nil plays and echoes nothing, and leaves session descriptions alone unless there is Relay
	Relay        Relay             // nil relays by Media
	Messages     *mailbox.Store    // of mailboxes; nil: no node of the plan takes any
	Events       *events.Log
	MaxCalls     int           // at once; beyond it 503. Default 20,000
	CallsPerUser int           // at once; beyond it 486. Default 50
	MaxBranches  int           // phones one step rings at once. Default 50
	Copies       Copies        // keeps calls on other nodes, too; nil when there are none
	CopyWait     time.Duration // of a caller for the copy of his call; default 50 ms
	Node         string        // name of this node, for those who ask where a call runs
	Agents       *Agents       // what agents have said; nil: they cannot say anything
	Apps         *app.Client   // asks the servers that the plan names; nil asks nobody
	// Agree has a command of theirs agreed on; what it gives is that of Agents.Apply. It waits.
	Agree    func(ctx context.Context, machine string, command []byte) (result any, err error)
	Fellows  Fellows     // the other nodes; nil when there are none
	Quota    Quota       // what limits and trunks allow is divided among nodes; nil: all of it is this node's
	Entitled func() bool // that no other node may go on with the calls of this one; until then it ends none by itself. nil: always
	Log      *slog.Logger
}

// A PBX routes calls and keeps track of them.
type PBX struct {
	cfg    Config
	limits atomic.Pointer[Limits]
	sig    Signalling
	epoch  string // prefix of call ids, different after each start
	last   atomic.Uint64
	copier *copier // nil without Config.Copies
	lines  *lines
	pins   pins
	lamps  lamps

	mu          sync.Mutex
	calls       map[string]*Call
	byUser      map[string]int         // calls begun by a user, "tenant\x00user"
	taken       map[string]*taken      // by who has answered calls, "tenant\x00user"
	conferences map[string]*conference // "tenant\x00node"
	switchboard *switchboard           // it guards itself, as do the tallies
	tallies     queueTallies
	slots       map[string]*parked  // "tenant\x00slot"
	referrals   map[string]referral // by who was sent, "tenant\x00user"
	peak        int                 // most calls since the tables were made

	started, answered, failed, limited, silent, infoDigits, infoConverted, arrived, revived, readdresses, unaddressed atomic.Uint64
	picturesWanted, picturesAsked, picturesRefused                                                                    atomic.Uint64
	pinsRefused, wrongPINs                                                                                            atomic.Uint64
	pickedUp, pickupsRefused, pickupsInVain                                                                           atomic.Uint64
	parkedCalls, fetched, returned, pages, paged                                                                      atomic.Uint64
}

// New validates cfg.
func New(cfg Config) (*PBX, error) {
	if cfg.Plan == nil || cfg.Directory == nil || cfg.Events == nil {
		return nil, errors.New("pbx: Plan, Directory and Events are required")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	p := &PBX{cfg: cfg, epoch: newEpoch(time.Now()), calls: make(map[string]*Call), byUser: make(map[string]int), taken: make(map[string]*taken), conferences: make(map[string]*conference), slots: make(map[string]*parked), referrals: make(map[string]referral)}
	if cfg.Copies != nil {
		p.copier = &copier{pbx: p, copies: cfg.Copies, wait: cmp.Or(cfg.CopyWait, 50*time.Millisecond), wake: make(chan struct{}, 1)}
	}
	p.switchboard = newSwitchboard(cmp.Or(cfg.Agents, NewAgents()), p.engaged)
	p.tallies.byQueue, p.tallies.waiting = make(map[agentName]*QueueStats), make(map[*waiting]agentName)
	p.lines = newLines(cfg.Quota)
	p.SetLimits(Limits{cfg.MaxCalls, cfg.CallsPerUser, cfg.MaxBranches})
	return p, nil
}

// Limits are the settings that can be exchanged while a PBX runs; 0 is the default of Config.
type Limits struct{ MaxCalls, CallsPerUser, MaxBranches int }

// SetLimits exchanges the limits. Calls that are there stay, even when there are more of them now than may be. Any goroutine.
func (p *PBX) SetLimits(l Limits) {
	l.MaxCalls = cmp.Or(l.MaxCalls, 20_000)
	l.CallsPerUser = cmp.Or(l.CallsPerUser, 50)
	l.MaxBranches = cmp.Or(l.MaxBranches, 50)
	p.limits.Store(&l)
}

// Attach gives the PBX its signalling side, before that runs.
func (p *PBX) Attach(s Signalling) { p.sig = s }

// Stats are counters since the start and gauges of now.
type Stats struct {
	Started, Answered, Failed uint64
	Limited                   uint64 // refused by a limit
	Silent                    uint64 // ended because no media came any more
	WrongPINs                 uint64 // PINs of conferences that were wrong, or not pressed in time
	InfoDigits                uint64 // digits that came in an INFO to a call answered here
	Arrived                   uint64 // taken over from another process
	Revived                   uint64 // rang at a dead node, and were begun anew here
	Readdressed               uint64 // of them, those whose phones were told of another address for their media
	Unaddressed               uint64 // those that ended because a phone could not be told
	InfoConverted             uint64 // INFOs of relayed calls that the other phone did not know, done in the media
	PicturesWanted            uint64 // INFOs that want a full picture, done in the media
	PicturesAsked             uint64 // INFOs to phones that have agreed to no other way of being asked for one
	PicturesRefused           uint64 // refused by them
	PINsRefused               uint64 // of mailboxes, and mailboxes that there are not
	TrunkFull                 uint64 // calls that found their trunk full
	TrunkLimited              uint64 // calls beyond the limits of who calls
	ParkedCalls               uint64 // calls that were parked
	Fetched, Returned         uint64 // of these, those that somebody has fetched, and those that nobody wanted in time
	Lamps                     int    // phones that are told of messages
	LampsRefused, LampsLost   uint64 // subscriptions that were refused, and those that ended because a phone took no NOTIFY
	PickedUp                  uint64 // calls that rang at one and were answered by another
	PickupsRefused            uint64 // by the plan's rule
	PickupsInVain             uint64 // when nothing rang, or no more
	Pages, Paged              uint64 // callers who have spoken to phones that answered by themselves, and those phones
	Parked                    int    // of now
	Calls                     int
}

// Stats may be called from any goroutine.
func (p *PBX) Stats() Stats {
	p.mu.Lock()
	n, parked := len(p.calls), len(p.slots)
	p.mu.Unlock()
	full, over := p.lines.refused()
	p.lamps.mu.Lock()
	lit, unlit, lost := p.lamps.count, p.lamps.refused, p.lamps.lost
	p.lamps.mu.Unlock()
	return Stats{
		Lamps: lit, LampsRefused: unlit, LampsLost: lost,
		PINsRefused: p.pinsRefused.Load(), WrongPINs: p.wrongPINs.Load(),
		TrunkFull: full, TrunkLimited: over,
		PickedUp: p.pickedUp.Load(), PickupsRefused: p.pickupsRefused.Load(), PickupsInVain: p.pickupsInVain.Load(),
		Parked: parked, ParkedCalls: p.parkedCalls.Load(), Fetched: p.fetched.Load(), Returned: p.returned.Load(), Pages: p.pages.Load(), Paged: p.paged.Load(),
		Started: p.started.Load(), Answered: p.answered.Load(), Failed: p.failed.Load(), Limited: p.limited.Load(), Silent: p.silent.Load(), Calls: n,
		Arrived: p.arrived.Load(), Revived: p.revived.Load(), Readdressed: p.readdresses.Load(), Unaddressed: p.unaddressed.Load(), InfoDigits: p.infoDigits.Load(), InfoConverted: p.infoConverted.Load(),
		PicturesWanted: p.picturesWanted.Load(), PicturesAsked: p.picturesAsked.Load(), PicturesRefused: p.picturesRefused.Load(),
	}
}

// ServeInvite carries one call until it is answered or refused (sip.Handler).
func (p *PBX) ServeInvite(in *sip.Inbound) {
	to, status, why := p.dialled(in)
	at := p.placeOf(in)
	if at.number != "" {
		to, status = dialled{name: at.number}, 0
	}
	if status != 0 {
		in.Refuse(status, why)
		return
	}
	c := newCall(p, in, to)
	c.replaces, c.picks = at.parked, at.rings
	if in.Trunk == "" {
		p.begin(c)
		return
	}
	if status, why := c.fromTrunk(); status != 0 {
		p.limited.Add(1)
		in.Refuse(status, why)
		return
	}
	seized := func(outcome int) {
		if outcome != 0 {
			p.limited.Add(1)
			in.Refuse(503, "all channels of the trunk are taken")
			return
		}
		p.begin(c)
	}
	if outcome, waits := c.seize(&line{trunk: c.trunk}, &c.came, seized); !waits {
		seized(outcome)
	}
}

// begin has a call that may be one go its way.
func (p *PBX) begin(c *Call) {
	in := c.in
	if status, why := p.add(c); status != 0 {
		c.hangUpLines()
		p.limited.Add(1)
		in.Refuse(status, why)
		return
	}
	p.started.Add(1)
	defer c.recovered()
	c.run()
}

// dialled is what a request asks for: a number or name, or by a GRUU one phone of a user.
type dialled struct {
	name  string
	phone []sip.Target // of the GRUU, none when it is not registered
	gruu  bool
}

const noPhone = "the user has no phone registered"

// dialled is whom a request is for, or how it is refused.
func (p *PBX) dialled(in *sip.Inbound) (to dialled, status int, why string) {
	if in.URI.Scheme == "tel" {
		return dialled{name: telNumber(in.URI.Opaque)}, 0, ""
	}
	if in.Trunk != "" {
		if to.name = userOf(in.URI); to.name == "" {
			return to, 484, "nobody is dialled"
		}
		return to, 0, ""
	}
	tenant, ok := p.cfg.Directory.TenantOf(in.URI.Host)
	switch {
	case !ok:
		return to, 403, "calls to other domains are not routed here"
	case tenant != in.Tenant:
		return to, 403, "calls to another tenant are not routed here"
	case in.URI.User == "":
		return to, 484, "nobody is dialled"
	}
	phone, user, status := p.sig.GRUU(tenant, in.URI, in.At)
	switch {
	case user == "" && status != 0:
		return to, status, "no such GRUU"
	case user == "":
		return dialled{name: in.URI.UserDecoded()}, 0, ""
	case status == 0:
		to.phone = []sip.Target{phone}
	}
	to.name, to.gruu = user, true
	return to, 0, ""
}

// ServeRequest relays a request that is not a call to the phones of a user (sip.Handler).
func (p *PBX) ServeRequest(in *sip.Inbound) {
	if p.subscribes(in) {
		return
	}
	groups, status, why := p.addressed(in)
	if status == 0 {
		p.relayRequest(in, groups)
		return
	}
	if !p.lookAgain(in, status, func(lags bool) {
		switch groups, status, why := p.addressed(in); {
		case status == 0:
			p.relayRequest(in, groups)
		case lags && status == 404:
			refuseUnsure(in)
		default:
			in.Refuse(status, why)
		}
	}) {
		in.Refuse(status, why)
	}
}

// addressed are the phones that a request which is no call is for, or how it is refused.
func (p *PBX) addressed(in *sip.Inbound) (groups [][]sip.Target, status int, why string) {
	to, status, why := p.dialled(in)
	if status != 0 {
		return nil, status, why
	}
	groups = [][]sip.Target{to.phone}
	if !to.gruu {
		user, ok := p.cfg.Directory.User(in.Tenant, to.name)
		if !ok {
			return nil, 404, "no such user"
		}
		groups = p.sig.Targets(in.Tenant, user, in.At)
	}
	if len(groups) == 0 || len(groups[0]) == 0 {
		return nil, 480, noPhone
	}
	return groups, 0, ""
}

func (p *PBX) relayRequest(in *sip.Inbound, groups [][]sip.Target) {
	in.Start(sip.Relay{Groups: groups}, func(r sip.Result) {
		if !r.Answered {
			in.RefuseBest(cmp.Or(r.Status, 480), "")
		}
	})
}

// add takes a call into the table, or says how it is refused.
func (p *PBX) add(c *Call) (status int, why string) {
	key, lim := c.tenant+"\x00"+c.from, p.limits.Load()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case len(p.calls) >= lim.MaxCalls:
		return 503, "too many calls"
	case c.trunk == nil && p.byUser[key] >= lim.CallsPerUser:
		return 486, "too many calls of this user"
	}
	p.calls[c.id] = c
	if c.trunk != nil { // its channels are its limit
		return 0, ""
	}
	p.byUser[key]++
	return 0, ""
}

// shrinkAbove is how many calls make the tables worth their replacement once they are empty.
const shrinkAbove = 256

func (p *PBX) remove(c *Call) {
	key := c.tenant + "\x00" + c.from
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.calls[c.id]; !ok {
		return
	}
	delete(p.calls, c.id)
	p.peak = max(p.peak, len(p.calls)+1)
	if len(p.calls) == 0 && p.peak >= shrinkAbove { // a map never gets smaller by itself
		p.peak, p.calls, p.byUser = 0, make(map[string]*Call), make(map[string]int)
		return
	}
	if c.trunk != nil {
		return
	}
	if p.byUser[key]--; p.byUser[key] <= 0 {
		delete(p.byUser, key)
	}
}

// Calls lists the calls of now, oldest first.
func (p *PBX) Calls() []View {
	p.mu.Lock()
	list := make([]*Call, 0, len(p.calls))
	for _, c := range p.calls {
		list = append(list, c)
	}
	p.mu.Unlock()
	views := make([]View, 0, len(list))
	for _, c := range list {
		views = append(views, c.view())
	}
	slices.SortFunc(views, func(a, b View) int { return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID)) })
	return views
}

// Call finds one call of now by its id or by its Call-ID.
func (p *PBX) Call(id string) (View, bool) {
	if c := p.find(id); c != nil {
		return c.view(), true
	}
	return View{}, false
}

func (p *PBX) find(id string) *Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c, ok := p.calls[id]; ok {
		return c
	}
	for _, c := range p.calls {
		if c.callID == id {
			return c
		}
	}
	return nil
}

// Hangup ends a call; false when there is none with that id.
func (p *PBX) Hangup(id, reason string) bool {
	c := p.find(id)
	if c == nil {
		return false
	}
	c.hangup(reason)
	return true
}

// Drain ends no call; it returns when the last one is over or ctx ends.
func (p *PBX) Drain(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for p.Stats().Calls > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}
