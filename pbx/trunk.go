package pbx

import (
	"cmp"
	"strings"
	"time"

	"tandem/dialplan"
	"tandem/events"
	"tandem/rtpengine"
	"tandem/sip"
	"tandem/sip/message"
)

// Calls to and from trunks are relayed like any other, behind a veil (sip.Veil): the other side sees a call of this node's own.

// A line is what a call takes of a trunk: one of its channels, and a share of the limits of who calls.
type line struct {
	trunk  *dialplan.Trunk
	exempt bool // an emergency call: it is counted and never refused
	limits []*dialplan.Limit
	price  int64     // of a minute
	spoken time.Time // when it was answered
	user   string    // who calls
	places []claim   // that it has taken
}

// overTrunk calls a number over a trunk. outcome is 0, or says why nothing is under way.
func (c *Call) overTrunk(step dialplan.Step) (outcome int) {
	return c.leave(step, func(ways sip.TrunkWays) { c.relayOver(step, ways) })
}

func (c *Call) relayOver(step dialplan.Step, ways sip.TrunkWays) {
	r := c.trunkRelay(step, ways)
	if c.pbx.cfg.Media != nil || c.pbx.cfg.Relay != nil {
		c.mu.Lock()
		c.media = newRelayMedia(c)
		c.media.out = step.Out.Trunk
		r.Media = c.media
		c.mu.Unlock()
	}
	c.in.Start(r, c.carried)
}

// leave takes a channel of a trunk that is up, and goes on with the ways over it. outcome is 0, or says why not.
func (c *Call) leave(step dialplan.Step, goOn func(sip.TrunkWays)) (outcome int) {
	out := step.Out
	ways := c.pbx.sig.TrunkWays(out.Trunk.Tenant, out.Trunk.Name, out.Number)
	if len(ways.Groups) == 0 {
		return dialplan.Down
	}
	l := &line{trunk: out.Trunk, exempt: out.Emergency != nil, limits: out.Limits, price: out.Price, user: c.from}
	outcome, waits := c.seize(l, &c.line, func(outcome int) {
		if outcome != 0 {
			c.next(outcome)
			return
		}
		c.callForHelp(out)
		goOn(ways)
	})
	if outcome != 0 || waits {
		return outcome
	}
	c.callForHelp(out)
	goOn(ways)
	return 0
}

// callForHelp tells the world, once, when somebody does.
func (c *Call) callForHelp(out *dialplan.Out) {
	if e := out.Emergency; e != nil && !c.helped {
		c.helped = true
		c.publish(events.Event{Kind: events.CallEmergency, From: c.from, To: c.to, Reason: e.Location, Detail: map[string]string{"node": e.Name, "notify": strings.Join(e.Notify, ", ")}})
	}
}

// trunkRelay is the call as the trunk is to see it.
func (c *Call) trunkRelay(step dialplan.Step, ways sip.TrunkWays) sip.Relay {
	out := step.Out
	v := &sip.Veil{To: "<" + message.URI{Scheme: "sip", User: message.Escape(out.Number), Host: ways.Host}.String() + ">"}
	v.From = named(out.Display, out.Caller, ways.Domain)
	if out.Caller == "" {
		v.From, v.Privacy = anonymous, "id"
	}
	if out.Asserted != "" {
		v.Identity = named("", out.Asserted, ways.Domain)
	}
	return sip.Relay{Groups: ways.Groups, Events: c, Quiet: out.NoReply, Timeout: step.Timeout, Hold: c.pbx.holds(), Veil: v}
}

// anonymous is From of a caller who does not want to be known (RFC 3323 §4.1.1.3).
const anonymous = `"Anonymous" <sip:anonymous@anonymous.invalid>`

func named(display, number, host string) string {
	uri := "<" + message.URI{Scheme: "sip", User: message.Escape(number), Host: host}.String() + ">"
	if display == "" {
		return uri
	}
	return message.Quote(display) + " " + uri
}

// carried is told what a trunk has made of a call.
func (c *Call) carried(r sip.Result) {
	defer c.recovered()
	if r.Answered {
		return
	}
	c.hangUpLine()
	c.rung(r)
}

// outcomeOf is what a relay that nobody has answered comes to in the plan.
func outcomeOf(r sip.Result, trunk bool) int {
	switch {
	case trunk && r.Quiet:
		return dialplan.NoReply
	case trunk && r.Unreached:
		return dialplan.Down
	case r.TimedOut:
		return 408
	case r.Status == 0:
		return 480
	}
	return r.Status
}

// whyNotCarried says what the last trunk of a call came to, "" when somebody has answered with a SIP status.
func (c *Call) whyNotCarried(outcome int) string {
	c.mu.Lock()
	node := c.node
	c.mu.Unlock()
	switch outcome {
	case dialplan.NoReply:
		return node + " does not reply"
	case dialplan.Down:
		return node + " is down"
	case dialplan.Full:
		return "all channels of " + node + " are taken"
	case dialplan.Limited:
		return "a limit of the dialplan is reached"
	}
	return c.refused
}

// hangUpLine gives the channel back of the trunk that was called.
func (c *Call) hangUpLine() {
	c.mu.Lock()
	l := c.line
	c.line = nil
	c.mu.Unlock()
	if l != nil {
		c.pbx.lines.release(l, time.Now())
	}
}

// hangUpLines is the end of a call: the channel that it came by is given back, too.
func (c *Call) hangUpLines() {
	c.hangUpLine()
	c.mu.Lock()
	l := c.came
	c.came = nil
	c.mu.Unlock()
	if l != nil {
		c.pbx.lines.release(l, time.Now())
	}
}

// dropLines gives the channels back of a call that another node goes on with, and counts there: what it has used up here since then is nothing.
func (c *Call) dropLines() {
	c.mu.Lock()
	if c.line != nil {
		c.pbx.lines.drop(c.line)
	}
	c.mu.Unlock()
	c.hangUpLines()
}

// speaks notes that the call over a trunk was answered: it costs from now on.
func (c *Call) speaks(now time.Time) {
	c.mu.Lock()
	l := c.line
	if l != nil {
		l.spoken = now
	}
	c.mu.Unlock()
	if l != nil {
		c.pbx.lines.speaks(l, now)
	}
}

// fromTrunk is a call from outside as it begins: who calls and what he wants.
func (c *Call) fromTrunk() (status int, why string) {
	c.trunk = c.pbx.trunk(c.tenant, c.in.Trunk)
	if c.trunk == nil { // the plan has changed under it
		return 403, "the trunk is not in the plan any more"
	}
	c.from, c.display, c.private = caller(c.in.Msg)
	return 0, ""
}

// trunk finds a trunk of the plan in force.
func (p *PBX) trunk(tenant, name string) *dialplan.Trunk {
	for _, t := range p.cfg.Plan().Trunks() {
		if t.Tenant == tenant && t.Name == name {
			return t
		}
	}
	return nil
}

// caller is who a trunk says is calling: P-Asserted-Identity, which a carrier vouches for (RFC 3325), else From. private: he does not want it
// to be known.
func caller(m *message.Message) (number, display string, private bool) {
	from, _ := message.ParseAddress(m.Get(message.From))
	uri, _ := message.ParseURI(from.URI)
	number, display = userOf(uri), strings.Trim(from.Display, `" `)
	private = uri.Host == "anonymous.invalid" || strings.EqualFold(number, "anonymous")
	m.Values(message.Privacy, func(v string) bool {
		for word := range strings.SplitSeq(v, ";") {
			word = strings.ToLower(strings.TrimSpace(word))
			private = private || word == "id" || word == "user" || word == "header"
		}
		return true
	})
	m.Values(message.PAssertedIdentity, func(v string) bool {
		a, _ := message.ParseAddress(v)
		if u, err := message.ParseURI(a.URI); err == nil && userOf(u) != "" {
			number = userOf(u)
			return false
		}
		return true
	})
	if private {
		display = ""
	}
	return strings.Clone(number), strings.Clone(display), private
}

func userOf(u message.URI) string {
	if u.Scheme == "tel" {
		return telNumber(u.Opaque)
	}
	user, _, _ := strings.Cut(u.UserDecoded(), ";")
	return user
}

// veil is what the phones of a call from a trunk are told of its caller; nil when the call is from a user.
func (c *Call) veil() *sip.Veil {
	if c.trunk == nil {
		return nil
	}
	host := c.domain
	v := &sip.Veil{From: named(c.display, c.shown, host), To: named("", c.to, host)}
	if c.private || c.shown == "" {
		v.From, v.Privacy = anonymous, "id"
	} else {
		v.Identity = named("", c.shown, host)
	}
	return v
}

// domainOf is the host that a tenant's users have in their addresses.
func (p *PBX) domainOf(tenant, or string) string {
	for _, t := range p.cfg.Plan().Tenants() {
		if t.Name == tenant && len(t.Domains) > 0 {
			return t.Domains[0]
		}
	}
	return or
}

// trunkPolicy is how the media of a trunk are encrypted.
func (p *PBX) trunkPolicy(t *dialplan.Trunk) (terms uint8) {
	policy, planned := rtpengine.ParseSRTPPolicy(t.SRTP)
	switch {
	case planned:
	case p.cfg.Relay != nil || p.cfg.Media == nil:
		return 0
	default:
		policy = p.cfg.Media.SRTP()
	}
	return uint8(policy) + 1
}

// arrived notes, once the plan has looked at a call from a trunk, whose call it is and how its caller is shown.
func (c *Call) arrived() {
	if c.trunk == nil {
		return
	}
	if tenant := c.walk.Tenant(); tenant != "" {
		c.tenant = tenant
	}
	c.shown, c.domain = cmp.Or(c.walk.Caller(), c.from), c.pbx.domainOf(c.tenant, c.in.URI.Host)
}

// SIPTrunks are the trunks of a plan as signalling has to know them. secret gives the secret of a tenant by its name, "" when it is not set.
func SIPTrunks(plan *dialplan.Plan, secret func(tenant, name string) string) []sip.Trunk {
	var out []sip.Trunk
	for _, t := range plan.Trunks() {
		s := sip.Trunk{
			Tenant: t.Tenant, Name: t.Name, Register: t.Register, Expires: t.Expires, Hosts: t.Hosts, Transport: t.Transport, Ping: t.Ping, From: t.From, InUser: t.InUser,
		}
		if t.User != "" {
			if password := secret(t.Tenant, t.Secret); password != "" {
				s.Login = &sip.Login{User: t.User, Password: password}
			}
		}
		if t.InUser != "" {
			if s.InPassword = secret(t.Tenant, t.InSecret); s.InPassword == "" {
				s.InUser = "" // nobody knows what is not set
			}
		}
		out = append(out, s)
	}
	return out
}

// Channels are those of a trunk that calls through this node take, and how many there may be, 0 for no limit. Any goroutine.
func (p *PBX) Channels(tenant, trunk string) (taken, most int) {
	if t := p.trunk(tenant, trunk); t != nil {
		most = t.Channels
	}
	return p.lines.channels(tenant, trunk), most
}

// codecs are those that the trunk on one side is offered, nil for phones and for trunks of which the plan does not say.
func (m *relayMedia) codecs(ofCaller bool) *rtpengine.CodecPolicy {
	t := m.out
	if ofCaller {
		t = m.call.trunk
	}
	if t == nil || len(t.Codecs) == 0 {
		return nil
	}
	return &rtpengine.CodecPolicy{Only: t.Codecs}
}
