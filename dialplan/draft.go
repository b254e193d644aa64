package dialplan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"tandem/internal/hcltext"
)

const (
	maxMembers = 100 // users of one ring group
	maxHops    = 32  // nodes that one call can go through
	mostInRoom = 1000
)

// draft is a tenant while its plan is put together.
type draft struct {
	name      string
	rng       hcl.Range
	settings  map[string]value // attributes of the dialplan blocks
	timeZone  string
	country   string
	hold      node // what is played to whom its users hold, and srtp of its users; no node that can be called
	domains   []string
	nodes     []*node
	byRef     map[ref]*node
	byNumber  map[string]*node
	zone      *time.Location // of timeZone
	calendar  map[string]*calendarDraft
	calendars []*calendarDraft // as they stand in the sources
	tests     []*planTest
	testName  map[string]hcl.Range
	mentions  []value // nodes that tests and rules name
	limits    []*limitDraft
	nevers    []*neverDraft
	matches   []match  // of all outbound nodes
	abroad    prefixes // of those with "+": index in matches
	local     prefixes // of the others
}

// node is something a call can go to.
type node struct {
	ref
	rng       hcl.Range
	extension value    // shape 0 = none
	slots     []string // park: as they are dialled
	back      bool     // park
	talk      bool     // page
	picks     []string // pickup: groups whose users pick up all calls
	pickers   value    // of picks
	display   string
	groups    []string
	members   []value
	strategy  Strategy
	timeout   time.Duration
	record    bool // user, ring, conference
	room      int  // conference: most members, 0 = as many as the node allows
	announce  bool // conference
	play      string
	playing   hcl.Range // of play
	srtp      string    // user; of the tenant in draft.hold
	ways      []*way
	dnd       bool            // user
	label     string          // did
	delays    []time.Duration // ring: of members, in their order
	skipBusy  bool            // ring
	retries   int             // menu, and the two below
	wrong     string          // menu; of a conference it is the prompt for its PIN
	wronging  hcl.Range       // of wrong
	pin       string          // conference
	dial      bool
	status    int         // reject
	reason    string      // reject
	caller    string      // user
	queue     *Queue      // queue
	does      AgentAction // agent
	serves    []string    // agent: names of queues, none for all
	app       *App        // app
	trunk     *trunkDraft
	lent      bool // the trunk of another tenant
	out       *outboundDraft
	voicemail value     // user
	box       *boxDraft // voicemail
}

// planTest is a test block.
type planTest struct {
	name      string
	rng       hcl.Range
	from      value
	outside   string // number of a caller outside, "" = from
	over      value  // the trunk that he comes in over, shape 0 = none
	to        string
	at        time.Time
	given     map[string]int
	answers   map[string]string // of apps, and where the plan says so
	answering []field
	keys      []string
	expect    value
	dialled   value // shape 0 = not asked
	caller    value // the same
}

// drafter sorts the blocks of all sources into tenants.
type drafter struct {
	*diagnostics
	tenants  []*draft
	whole    bool // every source could be parsed
	byDomain map[string]place
	byDID    map[string]place

	byCountry map[string]map[day]string // holidays, each country's once

	tables  []string // sources that are tables, sorted
	read    map[string]bool
	rated   map[string]*rates // tables of prices
	matched map[string]place  // tables of prefixes, and which node reads them
}

type place struct {
	tenant string
	rng    hcl.Range
}

func (p place) String() string { return at(p.rng) }

func at(rng hcl.Range) string { return position(rng).String() }

func position(rng hcl.Range) Position {
	return Position{File: rng.Filename, Line: rng.Start.Line, Col: rng.Start.Column}
}

// file is one source as blocks.
type file struct {
	name   string
	blocks []block
}

func (d *drafter) draft(files []file) {
	owners := make([]*draft, len(files))
	for i, f := range files {
		owners[i] = d.owner(f)
	}
	for i, f := range files {
		if owners[i] == nil && !d.adopt(f, &owners[i]) {
			continue
		}
		for _, b := range f.blocks {
			d.addBlock(owners[i], b)
		}
	}
}

// owner finds the tenant of a file by its dialplan block.
func (d *drafter) owner(f file) (owner *draft) {
	for _, b := range f.blocks {
		if b.kind != "dialplan" {
			continue
		}
		if owner != nil {
			d.wrong(b.rng, "a file has one dialplan block", fmt.Sprintf("the first is in line %d; put another tenant into a file of its own", owner.rng.Start.Line))
			continue
		}
		if owner = d.tenant(b.label); owner == nil {
			owner = &draft{
				name: b.label, rng: b.rng, settings: map[string]value{}, timeZone: "UTC",
				byRef: map[ref]*node{}, byNumber: map[string]*node{}, testName: map[string]hcl.Range{}, zone: time.UTC, calendar: map[string]*calendarDraft{},
			}
			if !isTenantName(b.label) {
				d.wrong(b.named, fmt.Sprintf("%q cannot be the name of a tenant", b.label), `use 1 to 63 letters, digits, "-", "_" or "."`)
			}
			d.tenants = append(d.tenants, owner)
		}
		d.addSettings(owner, b)
	}
	return owner
}

// adopt gives a file without dialplan block to the only tenant there is.
func (d *drafter) adopt(f file, owner **draft) bool {
	if len(d.tenants) == 1 && d.whole {
		*owner = d.tenants[0]
		return true
	}
	if len(f.blocks) > 0 && d.whole {
		d.wrong(f.blocks[0].rng, "this file does not say which tenant it belongs to", `begin it with dialplan "name" {}`)
	}
	return false
}

func (d *drafter) tenant(name string) *draft {
	for _, t := range d.tenants {
		if t.name == name {
			return t
		}
	}
	return nil
}

func (d *drafter) addSettings(t *draft, b block) {
	for _, name := range names(b.attrs) {
		v := b.attrs[name]
		if first, twice := t.settings[name]; twice {
			d.wrong(v.rng, fmt.Sprintf("%s of %s is set twice", name, t.name), "the first is at "+at(first.rng))
			continue
		}
		t.settings[name] = v
		switch name {
		case "format":
			if v.number != 1 {
				d.wrong(v.rng, fmt.Sprintf("format %d is not known", v.number), "this version reads format = 1")
			}
		case "domains":
			d.addDomains(t, v)
		case "timezone":
			t.timeZone, t.zone = v.text, d.zone(v)
		case "hold_music":
			t.hold.ref = ref{"dialplan", t.name}
			d.sound(&t.hold, v)
		case "srtp":
			t.hold.ref = ref{"dialplan", t.name}
			d.srtp(&t.hold, v)
		case "country":
			if t.country = v.text; !isCountryCode(v.text) {
				d.wrong(v.rng, fmt.Sprintf("%q is not a calling code", v.text), `write 1 to 3 digits without "+", like "44"`)
			}
		}
	}
}

func (d *drafter) addDomains(t *draft, list value) {
	for _, v := range list.items {
		domain := strings.ToLower(strings.TrimSuffix(v.text, "."))
		if addr, err := netip.ParseAddr(strings.Trim(domain, "[]")); err == nil {
			domain = addr.Unmap().String()
		} else if !isHostName(domain) {
			d.wrong(v.rng, fmt.Sprintf("%q is not a domain", v.text), `write it without "sip:" and port, like "acme.example"`)
			continue
		}
		if first, twice := d.byDomain[domain]; twice {
			d.wrong(v.rng, fmt.Sprintf("domain %q is already taken by tenant %s", domain, first.tenant), "it stands at "+first.String())
			continue
		}
		d.byDomain[domain] = place{t.name, v.rng}
		t.domains = append(t.domains, domain)
	}
}

func (d *drafter) addBlock(t *draft, b block) {
	switch b.kind {
	case "dialplan":
	case "test":
		d.addTest(t, b)
	case "calendar":
		d.addCalendar(t, b)
	case "limits":
		d.limits(t, b)
	case "never":
		d.never(t, b)
	default:
		d.addNode(t, b)
	}
}

func (d *drafter) addNode(t *draft, b block) {
	n := &node{ref: ref{b.kind, b.label}, rng: b.named, extension: b.attrs["extension"], display: b.attrs["display"].text, record: b.attrs["record"].flag}
	if b.kind == "did" && !d.isDID(t, b) {
		return
	}
	if !isNodeName(b.label) {
		d.wrong(b.named, fmt.Sprintf("%q cannot be the name of a node", b.label), "use 1 to 64 letters, digits or one of . _ + * # -")
		return
	}
	if first := t.byRef[n.ref]; first != nil {
		d.wrong(b.named, fmt.Sprintf("%s is already there", n.ref), "the first is at "+at(first.rng)+"; give this one another name")
		return
	}
	t.nodes = append(t.nodes, n)
	t.byRef[n.ref] = n
	switch b.kind {
	case "user":
		n.timeout = d.duration(b, userTimeout, 10*time.Minute)
		n.groups = d.groups(b.attrs["groups"])
		n.dnd = b.attrs["dnd"].flag
		n.caller = d.callerNumber(b)
		d.forwards(n, b)
		n.voicemail = b.attrs["voicemail"]
		if v, set := b.attrs["hold_music"]; set {
			d.sound(n, v)
		}
		if v, set := b.attrs["srtp"]; set {
			d.srtp(n, v)
		}
	case "ring":
		d.ring(n, b)
	case "echo":
		n.timeout = d.duration(b, playTimeout, 24*time.Hour)
	case "music":
		d.music(n, b)
	case "conference":
		d.conference(n, b)
	case "did":
		d.did(t, n, b)
	case "feature":
		n.add(onGo, b.attrs["go"])
	case "reject":
		d.reject(n, b)
	case "menu":
		d.menu(n, b)
	case "voicemail":
		d.voicemail(n, b)
	case "queue":
		d.queue(n, b)
	case "agent":
		d.agent(t, n, b)
	case "park":
		d.park(t, n, b)
	case "page":
		d.page(n, b)
	case "app":
		d.app(n, b)
	case "pickup":
		d.pickup(n, b)
	case "trunk":
		d.trunk(t, n, b)
	case "outbound":
		d.outbound(t, n, b)
	case "number":
		d.number(t, n, b)
	case "emergency":
		d.emergency(n, b)
		for _, v := range n.out.numbers {
			d.claim(t, n, v.text, v.rng)
		}
	}
	d.addNumbers(t, n)
}

func (d *drafter) groups(list value) (groups []string) {
	seen := map[string]bool{}
	for _, v := range list.items {
		if !isNodeName(v.text) {
			d.wrong(v.rng, fmt.Sprintf("%q cannot be the name of a group", v.text), "use 1 to 64 letters, digits or one of . _ + * # -")
		}
		if seen[v.text] {
			d.warn(v.rng, fmt.Sprintf("group %q is listed twice", v.text), "")
			continue
		}
		seen[v.text] = true
		groups = append(groups, v.text)
	}
	return groups
}

func (d *drafter) ring(n *node, b block) {
	n.timeout = d.duration(b, ringTimeout, 10*time.Minute)
	members := b.attrs["members"]
	if members.shape != 0 && len(members.items) == 0 {
		d.wrong(members.rng, fmt.Sprintf("%s has nobody to ring", n.ref), "list at least one user, like [user.alice]")
	}
	if len(members.items) > maxMembers {
		d.wrong(members.rng, fmt.Sprintf("%s has %d members", n.ref, len(members.items)), fmt.Sprintf("%d are the most", maxMembers))
	}
	seen := map[ref]bool{}
	for _, m := range members.items {
		if seen[m.ref] {
			d.wrong(m.rng, fmt.Sprintf("%s is listed twice in %s", m.ref, n.ref), "remove one")
			continue
		}
		seen[m.ref] = true
		if m.ref.kind != "user" {
			d.wrong(m.rng, fmt.Sprintf("%s is not a user", m.ref), "the members of a ring group are users; name another group in its otherwise block")
			continue
		}
		n.members = append(n.members, m)
	}
	if v, set := b.attrs["strategy"]; set {
		switch v.text {
		case "all":
		case "in_order":
			n.strategy = InOrder
		case "random":
			n.strategy = Random
		case "longest_idle":
			n.strategy = LongestIdle
		default:
			d.wrong(v.rng, fmt.Sprintf("there is no strategy %q%s", v.text, hcltext.DidYouMean(v.text, strategies())), "choose from "+strings.Join(strategies(), ", "))
		}
	}
	n.skipBusy = b.attrs["skip_busy"].flag
	d.delays(n, b.attrs["delays"])
	d.otherwise(n, b)
}

// delays takes how much later than the others some members of a ring group ring.
func (d *drafter) delays(n *node, list value) {
	if len(list.fields) == 0 {
		return
	}
	if n.strategy != All {
		d.wrong(list.rng, fmt.Sprintf("%s rings one after the other: its members have no delays", n.ref), `remove the line, or choose strategy = "all"`)
		return
	}
	n.delays = make([]time.Duration, len(n.members))
	for _, f := range list.fields {
		i := slices.IndexFunc(n.members, func(m value) bool { return m.ref.String() == f.name })
		if i < 0 {
			var members []string
			for _, m := range n.members {
				members = append(members, m.ref.String())
			}
			d.wrong(f.rng, fmt.Sprintf("%q is no member of %s%s", f.name, n.ref, hcltext.DidYouMean(f.name, members)), "")
			continue
		}
		t, err := time.ParseDuration(f.value.text)
		switch {
		case f.value.shape != shapeText || err != nil:
			d.wrong(f.value.rng, "a delay is a duration in quotes", `like { "user.bob" = "10s" }`)
		case t < 0 || t >= n.timeout:
			d.wrong(f.value.rng, fmt.Sprintf("%s would never ring: %s rings for %s", f.name, n.ref, hcltext.Duration(n.timeout)), "write a shorter delay")
		default:
			n.delays[i] = t
		}
	}
}

func (d *drafter) otherwise(n *node, b block) {
	first := true
	for _, inner := range b.blocks {
		if inner.kind != "otherwise" {
			continue
		}
		if !first {
			d.wrong(inner.rng, fmt.Sprintf("%s has two otherwise blocks", n.ref), "keep one")
			return
		}
		first = false
		n.add(onOther, inner.attrs["go"])
	}
}

func plays() []string {
	return []string{"music", "tone:beep", "tone:busy", "tone:congestion", "tone:dial", "tone:info", "tone:ring"}
}

// toneCountries are those whose tones there are, by their calling codes; each can stand behind a tone, as in "tone:busy:de". A tone without
// one is that of the tenant's country, or British.
func toneCountries() map[string]string {
	return map[string]string{
		"1": "us", "31": "nl", "33": "fr", "34": "es", "39": "it", "41": "ch", "43": "at", "44": "uk", "49": "de", "61": "au", "81": "jp",
	}
}

// toneCountry takes the country off a name, when there are tones of it.
func toneCountry(play string) (plain, country string) {
	if at := strings.LastIndexByte(play, ':'); at > len("tone:") && strings.HasPrefix(play, "tone:") {
		for _, known := range toneCountries() {
			if play[at+1:] == known {
				return play[:at], known
			}
		}
	}
	return play, ""
}

func (d *drafter) music(n *node, b block) {
	n.play, n.playing = "music", n.rng
	if v, set := b.attrs["play"]; set {
		d.sound(n, v)
	}
	usual := playTimeout
	if strings.HasPrefix(n.play, "tone:") {
		usual = toneTimeout
	}
	n.timeout = d.duration(b, usual, 24*time.Hour)
}

// sound takes what a node plays.
func (d *drafter) sound(n *node, v value) {
	n.play, n.playing = v.text, v.rng
	plain, _ := toneCountry(v.text)
	switch {
	case strings.Contains(v.text, "/"):
		if !isRecording(v.text) {
			d.wrong(v.rng, fmt.Sprintf("%q cannot be the name of a recording", v.text),
				`write the path of a file, like "/srv/sounds/closed.wav", or a prompt as "folder/name" of letters, digits or one of . _ + * # -`)
		}
	case !contains(plays(), plain):
		d.wrong(v.rng, fmt.Sprintf("there is nothing called %q to play%s", v.text, hcltext.DidYouMean(v.text, plays())),
			"choose from "+strings.Join(plays(), ", ")+`, a tone of a country like "tone:busy:de", a prompt like "acme/welcome", or the path of a WAV or Opus file`)
	}
}

// conference takes a room where all who call it hear each other.
func (d *drafter) conference(n *node, b block) {
	n.timeout = d.duration(b, meetTimeout, 24*time.Hour)
	n.play, n.playing = "music", n.rng
	if v, set := b.attrs["music"]; set {
		n.play, n.playing = "", v.rng
		if v.text != "" {
			d.sound(n, v)
		}
	}
	if v, set := b.attrs["max_members"]; set {
		if v.number < 2 || v.number > mostInRoom {
			d.wrong(v.rng, fmt.Sprintf("%d is out of range", v.number), fmt.Sprintf("max_members takes 2 to %d", mostInRoom))
		}
		n.room = int(v.number)
	}
	n.announce = true
	if v, set := b.attrs["announce"]; set {
		n.announce = v.flag
	}
	d.gate(n, b)
	d.otherwise(n, b)
}

// isRecording is the rule for paths of files and names of prompts. Whether there is such a file is for the node to say.
func isRecording(s string) bool {
	path, absolute := strings.CutPrefix(s, "/")
	if absolute {
		ok := path != "" && len(s) <= 1024 && (strings.HasSuffix(path, ".wav") || strings.HasSuffix(path, ".opus") || strings.HasSuffix(path, ".ogg")) && !strings.Contains("/"+path+"/", "/../")
		for i := range len(s) {
			ok = ok && s[i] >= ' ' && s[i] != 0x7f
		}
		return ok
	}
	for part := range strings.SplitSeq(s, "/") {
		if !isNodeName(part) || strings.HasPrefix(part, ".") {
			return false
		}
	}
	return len(s) <= 256
}

func (d *drafter) duration(b block, usual, longest time.Duration) time.Duration {
	return d.span(b, "timeout", usual, longest)
}

// oneOf is a kind of block with its article: "an outbound", "a user".
func oneOf(kind string) string {
	if strings.ContainsAny(kind[:1], "aeio") {
		return "an " + kind
	}
	return "a " + kind
}

func (d *drafter) span(b block, name string, usual, longest time.Duration) time.Duration {
	return d.spanFrom(b, name, usual, time.Second, longest)
}

func (d *drafter) spanFrom(b block, name string, usual, shortest, longest time.Duration) time.Duration {
	v, set := b.attrs[name]
	if !set {
		return usual
	}
	t, err := time.ParseDuration(v.text)
	switch {
	case err != nil:
		d.wrong(v.rng, fmt.Sprintf("%q is not a duration", v.text), `write a number and a unit, like "20s" or "2m"`)
	case t != 0 && t < time.Second || t < shortest || t > longest:
		d.wrong(v.rng, fmt.Sprintf("%q is out of range", v.text), fmt.Sprintf("%s of %s takes %s to %s", name, oneOf(b.kind), hcltext.Duration(shortest), hcltext.Duration(longest)))
	default:
		return t
	}
	return usual
}

// addNumbers claims what reaches the node by dialling: the name of a user, and the extension.
func (d *drafter) addNumbers(t *draft, n *node) {
	if n.kind == "user" || n.kind == "did" {
		d.claim(t, n, n.name, n.rng)
	}
	if n.extension.shape == 0 {
		return
	}
	number := n.extension.text
	if !isNodeName(number) {
		d.wrong(n.extension.rng, fmt.Sprintf("%q cannot be dialled", number), "use 1 to 64 digits, letters or one of . _ + * # -")
		return
	}
	d.claim(t, n, number, n.extension.rng)
}

func (d *drafter) claim(t *draft, n *node, number string, rng hcl.Range) {
	first := t.byNumber[number]
	if first == nil {
		t.byNumber[number] = n
		return
	}
	if first == n && n.kind != "emergency" {
		return
	}
	where, what := first.extension.rng, "the extension of"
	switch {
	case first.kind == "emergency":
		where, what = first.rng, "a number of"
	case contains(first.slots, number):
		where, what = first.rng, "a slot of"
	case first.extension.text != number:
		where, what = first.rng, "the name of"
	}
	d.wrong(rng, fmt.Sprintf("%q is already %s %s", number, what, first.ref), "it stands at "+at(where)+"; choose another")
}
