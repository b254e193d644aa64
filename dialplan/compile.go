package dialplan

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"tandem/internal/hcltext"
)

// MaxBytes bounds a plan, all sources together.
const MaxBytes = 10 << 20

// maxSources bounds the files of a plan.
const maxSources = 10_000

// Compile parses and checks the sources, runs their test blocks and makes a plan of them. The diagnostics are all
// mistakes and warnings, in the order of the sources; the plan is nil when there is any error. Compile is pure: the same
// sources give the same plan and diagnostics on every machine.
func Compile(sources []Source) (*Plan, []Diagnostic) {
	g := language()
	d := newDiagnostics(sources)
	if !d.checkSizes(sources) {
		return nil, d.sorted()
	}
	files, whole := d.readAll(g, sources)
	tenants := d.draftAll(files, whole, tablesOf(sources))
	for _, t := range tenants {
		if whole { // else a name may be missing only because its file could not be read
			checker{d, t}.check()
		}
	}
	if d.failed() {
		return nil, d.sorted()
	}
	p := compile(tenants)
	p.hash = Hash(sources)
	p.sounds = d.soundsOf(tenants)
	p.covered = newCoverage()
	for _, t := range tenants {
		d.runTests(p, t)
	}
	if d.failed() {
		return nil, d.sorted()
	}
	p.warnings = len(d.list)
	return p, d.sorted()
}

func (d *diagnostics) soundsOf(tenants []*draft) (all []Sound) {
	for _, t := range tenants {
		for _, n := range append([]*node{&t.hold}, t.nodes...) {
			if n.wrong != "" {
				all = append(all, Sound{n.wrong, n.String(), position(n.wronging), hcltext.Excerpt(d.sources[n.wronging.Filename], n.wronging)})
			}
			if n.play != "" {
				all = append(all, Sound{n.play, n.String(), position(n.playing), hcltext.Excerpt(d.sources[n.playing.Filename], n.playing)})
			}
		}
	}
	return all
}

// Hash is the identity of a text, see Plan.Hash.
func Hash(sources []Source) string {
	h := sha256.New()
	var n [8]byte
	part := func(b []byte) {
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	for _, s := range sources {
		part([]byte(s.Name))
		part(s.Text)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (d *diagnostics) checkSizes(sources []Source) bool {
	total := 0
	seen := map[string]bool{}
	for _, s := range sources {
		total += len(s.Text)
		if seen[s.Name] {
			d.wrong(hcl.Range{Filename: s.Name}, "this file is given twice", "")
		}
		seen[s.Name] = true
	}
	if total > MaxBytes {
		d.wrong(hcl.Range{}, fmt.Sprintf("the dialplan is too large: %d bytes", total), fmt.Sprintf("%d bytes are the most, all files together", MaxBytes))
	}
	if len(sources) > maxSources {
		d.wrong(hcl.Range{}, fmt.Sprintf("the dialplan has too many files: %d", len(sources)), fmt.Sprintf("%d are the most", maxSources))
	}
	return !d.failed()
}

func (d *diagnostics) readAll(g *grammar, sources []Source) (files []file, whole bool) {
	files, whole = make([]file, len(sources)), true
	for i, s := range sources {
		if isTable(s.Name) {
			continue
		}
		blocks, ok := (&reader{diagnostics: d, grammar: g}).read(s)
		files[i] = file{s.Name, blocks}
		whole = whole && ok
	}
	return files, whole
}

func anyTenant(files []file) bool {
	for _, f := range files {
		for _, b := range f.blocks {
			if b.kind == "dialplan" {
				return true
			}
		}
	}
	return false
}

func (d *diagnostics) draftAll(files []file, whole bool, tables []string) []*draft {
	dr := &drafter{diagnostics: d, byDomain: map[string]place{}, byDID: map[string]place{}, byCountry: map[string]map[day]string{}, whole: whole, tables: tables, read: map[string]bool{}, rated: map[string]*rates{}, matched: map[string]place{}}
	if !anyTenant(files) {
		if d.failed() {
			return nil // most likely the dialplan block itself was refused
		}
		var rng hcl.Range
		for _, f := range files {
			if rng.Filename == "" {
				rng.Filename = f.name
			}
			if len(f.blocks) > 0 && rng.Start.Line == 0 {
				rng = f.blocks[0].rng
			}
		}
		d.wrong(rng, "there is no dialplan block", `begin a file with dialplan "name" { domains = ["..."] }`)
		return nil
	}
	dr.draft(files)
	for _, t := range dr.tenants {
		dr.boxes(t)
	}
	dr.share()
	dr.unread()
	for _, t := range dr.tenants {
		if _, set := t.settings["domains"]; !set && len(dr.tenants) > 1 {
			d.warn(t.rng, fmt.Sprintf("tenant %s has no domains", t.name), "no phone can reach it while there are several tenants: add domains = [...]")
		}
	}
	return dr.tenants
}

// compile makes the immutable form. The drafts are free of mistakes.
func compile(drafts []*draft) *Plan {
	sort.Slice(drafts, func(i, j int) bool { return drafts[i].name < drafts[j].name })
	p := &Plan{byName: map[string]int32{}, byDomain: map[string]int32{}, tenants: make([]tenant, len(drafts))}
	for i, d := range drafts {
		p.tenants[i] = compileTenant(d)
		p.byName[d.name] = int32(i)
		p.trunks = append(p.trunks, trunksOf(d)...)
		for _, domain := range d.domains {
			p.byDomain[domain] = int32(i)
		}
	}
	return p
}

func compileTenant(d *draft) tenant {
	t := tenant{
		public: Tenant{
			Name: d.name, Domains: d.domains, TimeZone: d.timeZone, Country: d.country, HoldMusic: d.hold.play, SRTP: d.hold.srtp,
			Nodes: len(d.nodes), Tests: len(d.tests), At: position(d.rng),
		},
		numbers: make(map[string]int32, len(d.byNumber)),
		users:   map[string]int32{},
		reject:  rejection("nobody and nothing has this number", position(d.rng)),
		country: countryOf(d.country),
		lines:   map[string]*line{},
	}
	t.compileUsers(d)
	t.mailboxes, t.rungWith = mailboxesOf(d), ringGroupsOf(d)
	for _, n := range d.nodes {
		if _, named := toneCountry(n.play); named == "" && strings.HasPrefix(n.play, "tone:") && d.country != "" {
			if country := toneCountries()[d.country]; country != "" {
				n.play += ":" + country
			}
		}
	}
	index := t.build(d)
	for _, n := range d.nodes {
		switch n.kind {
		case "user":
			t.add(n.name, index[n], Trace{At: position(n.rng), Node: n.String(), Text: "this is the name of " + n.String()})
		case "did":
			t.add(n.name, index[n], Trace{At: position(n.rng), Node: n.String(), Text: "this is " + n.String() + labelled(n.label)})
		}
		if n.isDialable() {
			t.dialable = append(t.dialable, n.extension.text)
		}
		if n.kind == "emergency" {
			for _, v := range n.out.numbers {
				t.add(v.text, index[n], Trace{At: position(v.rng), Node: n.String(), Text: v.text + " is a number of " + n.String()})
			}
		}
		for _, code := range d.pickupCodes(n) {
			t.add(code.number, index[n], Trace{At: position(n.extension.rng), Node: n.String(), Text: code.number + " picks up a call of " + code.user.String()})
		}
		for _, slot := range n.slots {
			t.add(slot, index[n], Trace{At: position(n.rng), Node: n.String(), Text: slot + " is a slot of " + n.String()})
		}
		if e := n.extension; e.shape != 0 && (n.kind != "user" || e.text != n.name) {
			t.add(e.text, index[n], Trace{At: position(e.rng), Node: n.String(), Text: fmt.Sprintf("%s is the extension of %s", e.text, n)})
			if n.kind != "user" {
				t.public.Services = append(t.public.Services, Service{e.text, n.String()})
			}
		}
	}
	sort.Strings(t.dialable)
	sort.Slice(t.public.Services, func(i, j int) bool { return t.public.Services[i].Number < t.public.Services[j].Number })
	return t
}

func trunksOf(d *draft) (all []*Trunk) {
	for _, n := range d.nodes {
		if n.trunk != nil && !n.lent {
			all = append(all, &n.trunk.Trunk)
		}
	}
	slices.SortFunc(all, func(a, b *Trunk) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func labelled(label string) string {
	if label == "" {
		return ""
	}
	return ", " + label
}

func (t *tenant) add(number string, to target, found Trace) {
	t.numbers[number] = int32(len(t.entries))
	t.entries, t.found = append(t.entries, to), append(t.found, found)
}

func (t *tenant) compileUsers(d *draft) {
	for _, n := range d.nodes {
		if n.kind == "user" {
			t.public.Users = append(t.public.Users, User{n.name, n.extension.text, n.display, n.groups, n.record, n.play, n.srtp, n.caller, position(n.rng)})
		}
	}
	users := t.public.Users
	sort.Slice(users, func(i, j int) bool { return users[i].Name < users[j].Name })
	for i, u := range users {
		t.users[u.Name] = int32(i)
		if u.Extension != "" {
			t.users[u.Extension] = int32(i)
		}
	}
}

// words says what the step does, for traces.
func (s Step) words() string {
	switch s.Kind {
	case StepRing:
		if len(s.Users) == 1 && s.Node == "user."+s.Users[0] {
			return fmt.Sprintf("ring %s for %s", s.Node, hcltext.Duration(s.Timeout))
		}
		return fmt.Sprintf("%s rings %s, for %s", s.Node, s.ringing(), hcltext.Duration(s.Timeout))
	case StepEcho:
		return fmt.Sprintf("%s answers and sends back what it hears, for at most %s", s.Node, hcltext.Duration(s.Timeout))
	case StepMusic:
		return fmt.Sprintf("%s plays %s, for at most %s", s.Node, s.Play, hcltext.Duration(s.Timeout))
	case StepMenu:
		return s.asks()
	case StepTrunk:
		return s.calling()
	case StepVoicemail:
		return s.taking()
	case StepQueue:
		return s.queueing()
	case StepAgent:
		return s.serving()
	case StepPark:
		return s.parking()
	case StepPage:
		return s.paging()
	case StepApp:
		return s.asking()
	case StepPickup:
		return s.picking()
	case StepConference:
		return s.Node + s.meeting() + fmt.Sprintf(", for at most %s", hcltext.Duration(s.Timeout))
	}
	answer := strings.TrimSpace(fmt.Sprintf("%d %s", s.Status, statusWords(s.Status)))
	if s.Node == "" {
		return "answer " + answer
	}
	return fmt.Sprintf("%s answers %s: %s", s.Node, answer, s.Reason)
}

// statusWords is the reason phrase of a refusal.
func statusWords(status int) string {
	return map[int]string{
		403: "Forbidden", 404: "Not Found", 410: "Gone", 480: "Temporarily Unavailable", 482: "Loop Detected", 484: "Address Incomplete", 486: "Busy Here",
		488: "Not Acceptable Here", 500: "Server Internal Error", 503: "Service Unavailable", 600: "Busy Everywhere", 603: "Decline",
	}[status]
}

// meeting says how a conference is held.
func (s Step) meeting() string {
	words := " joins all who call it"
	if s.PIN != "" {
		words = " asks for a PIN, then joins all who call it"
	}
	if s.MaxMembers > 0 {
		words += fmt.Sprintf(", %d at most", s.MaxMembers)
	}
	if s.Play != "" {
		words += ", plays " + s.Play + " to who is alone"
	}
	if s.Announce {
		words += ", tells by tones who comes and goes"
	}
	if s.Record {
		words += ", is recorded"
	}
	return words
}

// list shortens long lists of words.
func list(words []string) string {
	if len(words) > 6 {
		return fmt.Sprintf("%s and %d more", strings.Join(words[:5], ", "), len(words)-5)
	}
	return strings.Join(words, ", ")
}
