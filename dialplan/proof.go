package dialplan

import (
	"fmt"
	"strings"
	"time"

	"tandem/internal/hcltext"
)

// addTest reads a test block; its references are checked when it runs, all nodes are known then.
func (d *drafter) addTest(t *draft, b block) {
	if first, twice := t.testName[b.label]; twice {
		d.wrong(b.named, fmt.Sprintf("a test %q is already there", b.label), "the first is at "+at(first))
		return
	}
	t.testName[b.label] = b.named
	if b.broken {
		return
	}
	test := &planTest{name: b.label, rng: b.named, expect: b.attrs["expect"], dialled: b.attrs["dialled"], caller: b.attrs["caller"]}
	ok := d.readCall(test, b.attrs["call"])
	ok = d.readTime(test, t, b) && ok
	ok = d.readGiven(test, t, b.attrs["given"]) && ok
	for _, k := range b.attrs["keys"].items {
		test.keys = append(test.keys, k.text)
	}
	t.mentions = append(t.mentions, test.expect.items...)
	if ok {
		if test.from.shape != 0 {
			t.mentions = append(t.mentions, test.from)
		}
		if test.over.shape != 0 {
			t.mentions = append(t.mentions, test.over)
		}
		t.tests = append(t.tests, test)
	}
}

func (d *drafter) readCall(test *planTest, call value) bool {
	ok := true
	seen := map[string]bool{}
	for _, f := range call.fields {
		if seen[f.name] {
			d.wrong(f.rng, fmt.Sprintf("%s stands here twice", f.name), "")
			ok = false
		}
		seen[f.name] = true
		switch {
		case f.name == "from" && f.value.shape == shapeReference && f.value.ref.kind == "user":
			test.from = f.value
		case f.name == "from" && f.value.shape == shapeText && isE164(f.value.text):
			test.outside = f.value.text
		case f.name == "from":
			d.wrong(f.value.rng, "from takes a user, or a number outside", `like user.bob or "+442079460000"`)
			ok = false
		case f.name == "over" && f.value.shape == shapeReference && f.value.ref.kind == "trunk":
			test.over = f.value
		case f.name == "over":
			d.wrong(f.value.rng, "over takes the trunk that a call from outside comes in over", "like trunk.carrier_a")
			ok = false
		case f.name == "to" && f.value.shape == shapeText:
			test.to = f.value.text
		case f.name == "to":
			d.wrong(f.value.rng, "to takes what is dialled, a text in quotes", `like "201"`)
			ok = false
		default:
			d.wrong(f.rng, fmt.Sprintf("a call has no %q%s", f.name, hcltext.DidYouMean(f.name, []string{"from", "to", "over"})), `write { from = user.bob, to = "201" }`)
			ok = false
		}
	}
	for _, name := range []string{"from", "to"} {
		if !seen[name] {
			d.wrong(call.rng, "this call has no "+name, `write { from = user.bob, to = "201" }`)
			ok = false
		}
	}
	if test.over.shape != 0 && test.outside == "" && seen["from"] && ok {
		d.wrong(test.over.rng, "a call of a user comes in over no trunk", `write from = "+442079460000", a number outside, or remove over`)
		ok = false
	}
	return ok
}

func (d *drafter) readTime(test *planTest, t *draft, b block) bool {
	v, set := b.attrs["at"]
	if !set {
		return true
	}
	var err error
	if test.at, err = time.ParseInLocation("2006-01-02 15:04", v.text, t.zone); err != nil {
		d.wrong(v.rng, fmt.Sprintf("%q is not a time", v.text), `write date and time, like "2026-11-23 10:00"`)
	}
	return err == nil
}

func (d *drafter) readGiven(test *planTest, t *draft, given value) bool {
	ok := true
	test.given, test.answers = make(map[string]int, len(given.fields)), map[string]string{}
	for _, f := range given.fields {
		if strings.HasPrefix(f.name, "app.") {
			ok = d.givenAnswer(test, t, f) && ok
			continue
		}
		status := f.value.number
		if outcome, is := outcomes()[f.value.text]; is && f.value.shape == shapeText && strings.HasPrefix(f.name, "trunk.") {
			status = int64(outcome)
		} else if f.value.shape != shapeNumber || status < 200 || status > 699 {
			detail := `like { "ring.sales" = 408 }`
			if strings.HasPrefix(f.name, "trunk.") {
				detail = `like { "trunk.carrier_a" = 503 }; a trunk can also come to ` + strings.Join(quoted(names(outcomes())), ", ")
			}
			d.wrong(f.value.rng, "an answer is a final SIP status, 200 to 699", detail)
			ok = false
		}
		if _, twice := test.given[f.name]; twice {
			d.wrong(f.rng, fmt.Sprintf("%s stands here twice", f.name), "")
			ok = false
		}
		test.given[f.name] = int(status)
		kind, name, dotted := strings.Cut(f.name, ".")
		if !dotted || !contains(nodeKinds(), kind) {
			d.wrong(f.rng, fmt.Sprintf("%q is not the name of a node", f.name), `like { "ring.sales" = 408 }`)
			ok = false
			continue
		}
		t.mentions = append(t.mentions, value{shape: shapeReference, ref: ref{kind, name}, rng: f.rng})
	}
	return ok
}

// runTests sends each test's call through the finished plan.
func (d *diagnostics) runTests(p *Plan, t *draft) {
	for _, test := range t.tests {
		r := p.route(test.call(t), nil, p.covered)
		if r.timed && test.at.IsZero() {
			d.wrong(test.rng, fmt.Sprintf("what test %q expects depends on the time, and it says none", test.name), `add at = "2026-11-23 10:00"`)
			continue
		}
		if len(r.asks) > 0 {
			d.wrong(test.rng, fmt.Sprintf("what test %q expects depends on what %s answers, and it does not say that", test.name, r.asks[0]),
				fmt.Sprintf(`add given = { %q = "..." }, with an answer or one of %s`, r.asks[0], strings.Join(AppFaults(), ", ")))
			continue
		}
		got, want := test.path(r), test.expected()
		if got != want {
			if got == "" {
				got = "nothing"
			}
			if want == "" {
				want = "nothing"
			}
			d.wrong(test.expect.rng, fmt.Sprintf("test %q failed: the call goes to %s, expected %s", test.name, got, want), r.inOneLine())
		}
		if test.dialled.shape != 0 && r.Dialled != test.dialled.text {
			d.wrong(test.dialled.rng, fmt.Sprintf("test %q failed: dialled is %q, expected %q", test.name, r.Dialled, test.dialled.text), r.inOneLine())
		}
		if test.caller.shape != 0 && r.Caller != test.caller.text {
			d.wrong(test.caller.rng, fmt.Sprintf("test %q failed: the number that is shown is %q, expected %q", test.name, r.Caller, test.caller.text), r.inOneLine())
		}
	}
}

// call is the call of the test. One over a trunk that another tenant shares comes to that one first.
func (test *planTest) call(t *draft) Call {
	c := Call{
		Tenant: t.name, FromUser: test.from.ref.name, Outside: test.outside != "", Number: test.outside, To: test.to, At: test.at, Given: test.given, Keys: test.keys, Answers: test.answers,
		Trunk: test.over.ref.name,
	}
	if n := t.byRef[test.over.ref]; n != nil && n.lent {
		c.Tenant = n.trunk.Tenant
	}
	return c
}

// path is where the call went. A number of ours is where it began and no stop: a test may leave it out.
func (test *planTest) path(r Route) string {
	nodes := r.Nodes()
	if len(nodes) > 0 && strings.HasPrefix(nodes[0], "did.") && (len(test.expect.items) == 0 || test.expect.items[0].ref.kind != "did") {
		nodes = nodes[1:]
	}
	return strings.Join(nodes, ", ")
}

func (test *planTest) expected() string {
	var nodes []string
	for _, v := range test.expect.items {
		nodes = append(nodes, v.ref.String())
	}
	return strings.Join(nodes, ", ")
}

func quoted(words []string) []string {
	all := make([]string, len(words))
	for i, w := range words {
		all[i] = fmt.Sprintf("%q", w)
	}
	return all
}

func (r Route) inOneLine() string {
	var lines []string
	for _, t := range r.Trace {
		lines = append(lines, t.String())
	}
	return strings.Join(lines, "; ")
}
