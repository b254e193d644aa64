package dialplan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tandem/internal/hcltext"
)

const (
	mostVia         = 16 // trunks of one node
	outboundTimeout = 3 * time.Minute
	usualNoReply    = 6 * time.Second
	mostGroups      = 100
)

// outboundDraft is what an outbound, number or emergency block says about calls that leave the house.
type outboundDraft struct {
	patterns  []pattern
	allow     []string
	allowing  value
	via       []value
	cheapest  bool
	next      []int
	noReply   time.Duration
	caller    string
	callerID  callerID
	hasPolicy bool
	dial      string // number: what is dialled
	dialling  value
	emergency *Emergency
	numbers   []value // of emergency
}

// outbound takes who may call what over which trunks.
func (d *drafter) outbound(t *draft, n *node, b block) {
	n.out = &outboundDraft{caller: d.callerNumber(b), callerID: d.callerID(b), hasPolicy: b.attrs["caller_id"].shape != 0, allowing: b.attrs["allow"]}
	n.timeout = d.duration(b, outboundTimeout, 10*time.Minute)
	o := n.out
	d.match(t, n, b.attrs["match"])
	o.allow = d.groups(o.allowing)
	if len(o.allow) > mostGroups {
		d.wrong(o.allowing.rng, fmt.Sprintf("there are %d groups", len(o.allow)), fmt.Sprintf("%d are the most", mostGroups))
	}
	if o.allowing.shape != 0 && len(o.patterns) == 0 && b.attrs["match"].shape == 0 {
		d.wrong(o.allowing.rng, fmt.Sprintf("nobody dials %s: it has no match", n.ref), "who sends calls here by go has decided on that already; remove the line")
	}
	d.causes(n, b)
	via, leads := b.attrs["via"], b.attrs["go"]
	switch {
	case via.shape != 0 && leads.shape != 0:
		d.wrong(leads.rng, fmt.Sprintf("%s has both via and go", n.ref), "calls leave over trunks, or go to a node of the plan: keep one")
	case via.shape != 0:
		d.via(n, via)
		d.otherwise(n, b)
	case leads.shape != 0:
		n.add(onGo, leads)
		for _, name := range []string{"next", "caller", "caller_id"} {
			if v, set := b.attrs[name]; set {
				d.wrong(v.rng, fmt.Sprintf("%s is about trunks, and %s has none", name, n.ref), "remove the line")
			}
		}
		if slices.ContainsFunc(b.blocks, func(inner block) bool { return inner.kind == "otherwise" }) {
			d.wrong(n.rng, fmt.Sprintf("%s has both go and otherwise", n.ref), "a call that is sent on does not come back: remove otherwise")
		}
	case !b.broken:
		d.wrong(n.rng, fmt.Sprintf("%s leads nowhere", n.ref), "add via = [...], trunks, or go = ..., a node")
	}
}

// match takes the numbers that an outbound node is for, those of tables included.
func (d *drafter) match(t *draft, n *node, list value) {
	for _, v := range list.items {
		if !isTable(v.text) {
			if p, ok := d.pattern(t, v.text, v.rng); ok {
				n.out.patterns = append(n.out.patterns, p)
			}
			continue
		}
		source := d.table(v)
		if source == "" {
			continue
		}
		if first, twice := d.matched[source]; twice {
			d.wrong(v.rng, fmt.Sprintf("the prefixes of %q are already those of another node", v.text), "it is named at "+first.String()+"; a prefix has one owner")
			continue
		}
		d.matched[source], d.read[source] = place{t.name, v.rng}, true
		for _, row := range d.rows(source) {
			if p, ok := d.pattern(t, row.prefix, row.rng); ok {
				n.out.patterns = append(n.out.patterns, p)
			}
		}
	}
	if list.shape != 0 && len(list.items) == 0 {
		d.wrong(list.rng, fmt.Sprintf("%s matches nothing", n.ref), `say which numbers it is for, like ["+447*"]`)
	}
}

// via takes the trunks in their order.
func (d *drafter) via(n *node, list value) {
	n.out.cheapest = list.shape == shapeVia
	switch {
	case len(list.items) == 0:
		d.wrong(list.rng, fmt.Sprintf("%s has no trunks", n.ref), "list at least one, like [trunk.carrier_a]")
	case len(list.items) > mostVia:
		d.wrong(list.rng, fmt.Sprintf("%s has %d trunks", n.ref, len(list.items)), fmt.Sprintf("%d are the most", mostVia))
	}
	seen := map[ref]bool{}
	for _, v := range list.items {
		switch {
		case v.ref.kind != "trunk":
			d.wrong(v.rng, fmt.Sprintf("%s is not a trunk", v.ref), "calls leave over trunks; name other nodes in the otherwise block")
			continue
		case seen[v.ref]:
			d.wrong(v.rng, fmt.Sprintf("%s is listed twice in %s", v.ref, n.ref), "remove one")
			continue
		}
		seen[v.ref] = true
		n.out.via = append(n.out.via, v)
		n.ways = append(n.ways, &way{on: onVia, to: v})
	}
}

// causes takes for what answers of a trunk the next one is tried.
func (d *drafter) causes(n *node, b block) {
	o := n.out
	v, set := b.attrs["next"]
	if !set {
		o.next, o.noReply = []int{408, 500, 502, 503, 504}, usualNoReply
		return
	}
	waits := false
	for _, item := range v.items {
		switch {
		case item.shape == shapeNumber && (item.number < 400 || item.number > 699):
			d.wrong(item.rng, fmt.Sprintf("%d is not a status that a call fails with", item.number), "choose from 400 to 699; 503 is a carrier that cannot, 486 a number that is busy")
		case item.shape == shapeNumber && slices.Contains(o.next, int(item.number)):
			d.wrong(item.rng, fmt.Sprintf("%d stands here twice", item.number), "remove one")
		case item.shape == shapeNumber:
			o.next = append(o.next, int(item.number))
		case item.shape == shapeText && !waits:
			waits = true
			o.noReply = d.noReply(item)
		default:
			d.wrong(item.rng, "this is not a cause to try the next trunk", `write SIP statuses, and once how long to wait for a reply: [503, "no_reply 4s"]`)
		}
	}
}

func (d *drafter) noReply(v value) time.Duration {
	text, ok := strings.CutPrefix(v.text, "no_reply ")
	t, err := time.ParseDuration(text)
	if !ok || err != nil || t < time.Second || t > 32*time.Second {
		d.wrong(v.rng, fmt.Sprintf("%q is not a cause to try the next trunk", v.text), `write "no_reply 4s": no answer of any kind in 1s to 32s`)
	}
	return t
}

// number takes a number outside that calls can be sent to.
func (d *drafter) number(t *draft, n *node, b block) {
	v := b.attrs["dial"]
	n.out = &outboundDraft{dialling: v}
	if number := countryOf(t.country).e164(nil, v.text); isE164(v.text) {
		n.out.dial = v.text
	} else if v.shape != 0 {
		detail := "write it as +44..., with the calling code of the country"
		if len(number) > 0 {
			detail = fmt.Sprintf("write %q", number)
		}
		d.wrong(v.rng, fmt.Sprintf("%q is not a number of the world's telephone network", v.text), detail)
	}
	d.otherwise(n, b)
}

// emergency takes the numbers that help is called by.
func (d *drafter) emergency(n *node, b block) {
	n.timeout = outboundTimeout
	n.out = &outboundDraft{emergency: &Emergency{Name: n.name, Location: b.attrs["location"].text}, caller: d.callerNumber(b), noReply: usualNoReply}
	o := n.out
	for _, v := range b.attrs["numbers"].items {
		if v.text == "" || strings.Trim(v.text, "0123456789") != "" || len(v.text) > 10 {
			d.wrong(v.rng, fmt.Sprintf("%q is not the number of an emergency service", v.text), `write its digits, like "112"`)
			continue
		}
		o.numbers = append(o.numbers, v)
	}
	for _, v := range b.attrs["notify"].items {
		name, domain, ok := strings.Cut(v.text, "@")
		if !ok || name == "" || !isHostName(domain) || strings.ContainsAny(name, " <>,;\"\r\n") || len(v.text) > 254 {
			d.wrong(v.rng, fmt.Sprintf("%q is not a mail address", v.text), `write it like "security@acme.example"`)
			continue
		}
		o.emergency.Notify = append(o.emergency.Notify, v.text)
	}
	if list := b.attrs["numbers"]; list.shape != 0 && len(list.items) == 0 {
		d.wrong(list.rng, fmt.Sprintf("%s has no numbers", n.ref), `write at least one, like ["112"]`)
	}
	if list := b.attrs["via"]; list.shape != 0 {
		d.via(n, list)
	}
	if o.emergency.Location == "" && !b.broken {
		d.warn(n.rng, fmt.Sprintf("%s says nothing about where its callers are", n.ref), `add location = "...": who is asked for help has to know where to go`)
	}
}

// checkOutbound looks at the calls that leave the house: what is matched twice, what trunks are missing, what nobody carries.
func (c checker) checkOutbound() {
	c.gatherPatterns()
	for _, n := range c.nodes {
		switch n.kind {
		case "outbound":
			if n.out.cheapest {
				c.needRates(n)
			}
		case "number":
			c.findRoute(n)
		case "emergency":
			c.checkEmergency(n)
		}
		for _, w := range n.ways {
			c.checkEnds(n, w)
		}
		if n.trunk != nil && !n.lent {
			for _, w := range n.trunk.arrives {
				c.checkEnds(n, w)
			}
		}
	}
}

// gatherPatterns puts the prefixes of all outbound nodes together; each has one owner.
func (c checker) gatherPatterns() {
	var abroad, local []prefix
	first := map[string]int{}
	for _, n := range c.nodes {
		if n.kind != "outbound" {
			continue
		}
		for _, p := range n.out.patterns {
			key := p.key()
			if i, twice := first[key]; twice {
				owner := c.matches[i]
				what := owner.node.String()
				if owner.node == n {
					what = "the same node"
				}
				c.wrong(p.rng, fmt.Sprintf("%q is matched twice: it is already that of %s", p.text, what), "it stands at "+at(owner.rng)+"; a prefix has one owner")
				continue
			}
			entry := prefix{p.digits, p.exact, int32(len(c.matches))}
			first[key] = len(c.matches)
			c.draft.matches = append(c.matches, match{p, n})
			if p.plus {
				abroad = append(abroad, entry)
				continue
			}
			local = append(local, entry)
			if taken := c.byNumber[p.digits]; taken != nil && p.exact {
				c.wrong(p.rng, fmt.Sprintf("%q is already a number of %s", p.text, taken.ref), "it stands at "+at(taken.rng)+"; calls would never come here")
			}
		}
	}
	c.draft.abroad, c.draft.local = newPrefixes(abroad), newPrefixes(local)
}

// match is a pattern and the outbound node whose it is.
type match struct {
	pattern
	node *node
}

func (p pattern) key() string {
	key := p.digits
	if p.plus {
		key = "+" + key
	}
	if !p.exact {
		key += "*"
	}
	return key
}

// via lists the trunks of a node.
func (n *node) via() []value {
	if n.out == nil {
		return nil
	}
	return n.out.via
}

func (c checker) needRates(n *node) {
	for _, v := range n.out.via {
		if to := c.byRef[v.ref]; to != nil && to.trunk != nil && to.trunk.rates == nil {
			c.wrong(v.rng, fmt.Sprintf("%s has no rates, so nobody knows when it is the cheapest", to.ref), `add rates = { "+44" = "0.01" } to it, or a table`)
		}
	}
}

// checkEnds refuses ways to nodes that calls come to by dialling only.
func (c checker) checkEnds(n *node, w *way) {
	for _, l := range w.leaves {
		switch to := l.node; {
		case to.kind == "emergency":
			c.wrong(l.rng, fmt.Sprintf("%s is for callers who dial its numbers", to.ref), "send calls somewhere else")
		case to.kind == "outbound" && len(to.out.patterns) > 0 && n.kind != "outbound" && n.kind != "number":
			c.wrong(l.rng, fmt.Sprintf("%s does not know whom to call: it is for numbers that are dialled", to.ref), `name the number: number "..." { dial = "+44..." }, and send calls there`)
		case to.trunk != nil && len(to.trunk.Hosts) == 0:
			c.wrong(l.rng, fmt.Sprintf("no call can leave over %s: it says only where calls come from", to.ref), `add hosts = ["..."] to it`)
		}
	}
}

// findRoute leads a number to the outbound node that carries it.
func (c checker) findRoute(n *node) {
	if n.out.dial == "" {
		return
	}
	i := c.abroad.longest([]byte(n.out.dial[1:]))
	if i < 0 {
		c.wrong(n.out.dialling.rng, fmt.Sprintf("no outbound node carries calls to %s", n.out.dial), fmt.Sprintf(`add it to one: match = ["%s*"]`, n.out.dial[:min(4, len(n.out.dial))]))
		return
	}
	best := c.matches[i].node
	n.ways = append(n.ways, &way{on: onGo, to: value{shape: shapeReference, ref: best.ref, rng: n.out.dialling.rng}, leaves: []*leaf{{rng: n.out.dialling.rng, node: best}}})
}

// checkEmergency wants each number to be tested: nobody tries it out on the living.
func (c checker) checkEmergency(n *node) {
	for _, v := range n.out.numbers {
		if !slices.ContainsFunc(c.tests, func(test *planTest) bool { return test.to == v.text && test.outside == "" }) {
			c.wrong(v.rng, fmt.Sprintf("no test dials %s", v.text),
				fmt.Sprintf(`an emergency number is tested in the plan, or never: test "help" { call = { from = ..., to = %q }, expect = [%s, %s] }`, v.text, n.ref, firstOf(n.out.via)))
		}
	}
}

func firstOf(via []value) string {
	if len(via) == 0 {
		return "trunk.carrier_a"
	}
	return via[0].ref.String()
}

// warnOfNoHelp warns of a tenant that calls out and cannot call for help.
func (c checker) warnOfNoHelp() {
	helps := slices.ContainsFunc(c.nodes, func(n *node) bool { return n.kind == "emergency" })
	i := slices.IndexFunc(c.nodes, func(n *node) bool { return n.kind == "outbound" && len(n.out.patterns) > 0 && len(n.out.via) > 0 })
	if i >= 0 && !helps {
		c.warn(c.nodes[i].rng, fmt.Sprintf("%s calls out and has no emergency numbers", c.name), `add emergency "..." { numbers = ["112"] ... }`)
	}
}

// words says how a trunk is called, for traces.
func (s Step) calling() string {
	o := s.Out
	words := s.Node + " calls " + o.E164
	if o.Number != o.E164 {
		words += " as " + o.Number
	}
	switch {
	case o.Emergency != nil && o.Emergency.Location != "":
		words += ", an emergency at " + o.Emergency.Location
	case o.Emergency != nil:
		words += ", an emergency"
	}
	switch {
	case o.Caller != "":
		words += ", showing " + o.Caller
	case o.Asserted != "":
		words += ", showing no number but telling the carrier " + o.Asserted
	default:
		words += ", showing no number"
	}
	if o.Price > 0 {
		words += ", for " + amount(o.Price) + " a minute"
	}
	for _, l := range o.Limits {
		words += ", " + l.within()
	}
	return words + ", for at most " + hcltext.Duration(s.Timeout)
}
