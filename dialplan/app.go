package dialplan

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"tandem/internal/hcltext"
)

const (
	appTimeout   = time.Second
	appShortest  = 100 * time.Millisecond
	appLongest   = 10 * time.Second
	appRequests  = 50
	mostRequests = 1000
	mostAnswers  = 100 // of one app
	mostURL      = 1000
)

// An App is a server of the operator's that is asked where a call goes. It chooses among the answers that the plan names, so that every way is known
// before a call takes it.
type App struct {
	URL         string        // http or https
	Timeout     time.Duration // for all of it, a second try included
	Secret      string        // name of the secret that the server is shown, "" = none
	Sign        string        // name of the secret that requests are signed with, "" = they are not
	MaxRequests int           // at once, from one node
	Answers     []string      // in the order of the plan
}

// Faults of apps: why a call goes on by otherwise. They stand in tests, records and metrics, so no answer is called like one of them.
const (
	AppTimeout     = "timeout"     // no answer in time
	AppUnreachable = "unreachable" // no connection, or one that broke
	AppError       = "error"       // a status from 500 on
	AppRefused     = "refused"     // any other status but 200
	AppInvalid     = "invalid"     // an answer that cannot be read, or is too long
	AppUndeclared  = "undeclared"  // an answer that the plan does not name
	AppOpen        = "open"        // it has failed so often that it is left alone for a while
	AppBusy        = "busy"        // too many calls ask it
	AppNoSecret    = "no_secret"   // a secret that the plan names is not set
)

// AppFaults lists them.
func AppFaults() []string {
	return []string{AppTimeout, AppUnreachable, AppError, AppRefused, AppInvalid, AppUndeclared, AppOpen, AppBusy, AppNoSecret}
}

func appRule(otherwise *blockRule) *blockRule {
	return &blockRule{
		labels: 1, example: `app "crm" { ... }`, required: []string{"url"},
		attrs: map[string]attrRule{
			"extension": {shape: shapeText}, "url": {shape: shapeText}, "timeout": {shape: shapeDuration}, "secret": {shape: shapeText},
			"sign": {shape: shapeText}, "max_requests": {shape: shapeNumber},
		},
		blocks: map[string]*blockRule{
			"otherwise": otherwise,
			"answer": {
				labels: 1, example: `answer "gold" { go = ring.vip }`, required: []string{"go"}, attrs: map[string]attrRule{"go": {shape: shapeTarget}},
			},
		},
	}
}

// app takes a node that has a server choose where calls go.
func (d *drafter) app(n *node, b block) {
	n.app = &App{URL: b.attrs["url"].text, Timeout: d.patience(b), MaxRequests: appRequests}
	if v, set := b.attrs["max_requests"]; set {
		if v.number < 1 || v.number > mostRequests {
			d.wrong(v.rng, fmt.Sprintf("%d is out of range", v.number), fmt.Sprintf("max_requests takes 1 to %d", mostRequests))
		}
		n.app.MaxRequests = int(v.number)
	}
	n.app.Secret, n.app.Sign = d.secretName(b.attrs["secret"]), d.secretName(b.attrs["sign"])
	d.appURL(n, b.attrs["url"])
	d.appAnswers(n, b)
	d.otherwise(n, b)
	if !slices.ContainsFunc(n.ways, func(w *way) bool { return w.on == onOther }) && !b.broken {
		d.wrong(n.rng, n.ref.String()+" does not say where calls go when it cannot be asked", "a server may be down, or too slow: otherwise { go = ... }")
	}
}

// patience is the timeout of an app. It may be shorter than a second: the caller hears nothing meanwhile.
func (d *drafter) patience(b block) time.Duration {
	v, set := b.attrs["timeout"]
	if !set {
		return appTimeout
	}
	switch t, err := time.ParseDuration(v.text); {
	case err != nil:
		d.wrong(v.rng, fmt.Sprintf("%q is not a duration", v.text), `write a number and a unit, like "800ms" or "2s"`)
	case t < appShortest || t > appLongest:
		d.wrong(v.rng, fmt.Sprintf("%q is out of range", v.text), "timeout of an app takes 100ms to 10s: the caller hears nothing meanwhile")
	default:
		return t
	}
	return appTimeout
}

func (d *drafter) secretName(v value) string {
	if v.shape != 0 && !isNodeName(v.text) {
		d.wrong(v.rng, fmt.Sprintf("%q cannot be the name of a secret", v.text), "use 1 to 64 letters, digits or one of . _ + * # -")
	}
	return v.text
}

func (d *drafter) appURL(n *node, v value) {
	u, err := url.Parse(v.text)
	switch {
	case v.shape == 0:
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", len(v.text) > mostURL, u.Fragment != "":
		d.wrong(v.rng, fmt.Sprintf("%q is not the address of a web server", v.text), `write it like "https://crm.example/calls"`)
	case u.User != nil:
		d.wrong(v.rng, "an address with a password in it", `a plan holds no passwords: name a secret, secret = "crm", and set it with tandem trunks secret set crm`)
	case u.Scheme == "http" && n.app.Secret != "" && !isLoopback(u.Hostname()):
		d.warn(v.rng, fmt.Sprintf("the secret of %s crosses the network in clear", n.ref), "use https, or sign = ... instead of secret")
	}
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

func (d *drafter) appAnswers(n *node, b block) {
	first := map[string]value{}
	for _, inner := range b.blocks {
		if inner.kind != "answer" {
			continue
		}
		answer := value{text: inner.label, rng: inner.named}
		if !isNodeName(answer.text) {
			d.wrong(answer.rng, fmt.Sprintf("%q cannot be an answer", answer.text), "use 1 to 64 letters, digits or one of . _ + * # -")
			continue
		}
		if contains(AppFaults(), answer.text) {
			d.wrong(answer.rng, fmt.Sprintf("%q cannot be an answer: it is why there is none", answer.text), "choose another name")
			continue
		}
		if old, twice := first[answer.text]; twice {
			d.wrong(answer.rng, fmt.Sprintf("answer %q of %s is there twice", answer.text, n.ref), "the first is at "+at(old.rng))
			continue
		}
		first[answer.text] = answer
		n.app.Answers = append(n.app.Answers, answer.text)
		if goes := inner.attrs["go"]; goes.shape != 0 {
			n.ways = append(n.ways, &way{on: onAnswer, key: answer.text, to: goes})
		}
	}
	switch {
	case len(first) > mostAnswers:
		d.wrong(n.rng, fmt.Sprintf("%s has %d answers", n.ref, len(first)), fmt.Sprintf("%d are the most", mostAnswers))
	case !slices.ContainsFunc(b.blocks, func(inner block) bool { return inner.kind == "answer" }) && !b.broken:
		d.wrong(n.rng, fmt.Sprintf("%s has no answers to choose from", n.ref), `add answer "gold" { go = ... }`)
	}
}

// givenAnswer reads what a test has an app answer. Whether the app knows the answer is checked when all nodes are known.
func (d *drafter) givenAnswer(test *planTest, t *draft, f field) (ok bool) {
	if f.value.shape != shapeText {
		d.wrong(f.value.rng, "what an app answers is a text", `like { "app.crm" = "gold" }; it can also come to `+strings.Join(quoted(AppFaults()), ", "))
		return false
	}
	if _, twice := test.answers[f.name]; twice {
		d.wrong(f.rng, fmt.Sprintf("%s stands here twice", f.name), "remove one")
		return false
	}
	test.answers[f.name] = f.value.text
	test.answering = append(test.answering, f)
	t.mentions = append(t.mentions, value{shape: shapeReference, ref: ref{"app", strings.TrimPrefix(f.name, "app.")}, rng: f.rng})
	return true
}

// checkAnswers looks at what tests have apps answer.
func (c checker) checkAnswers() {
	for _, test := range c.tests {
		for _, f := range test.answering {
			n := c.byRef[ref{"app", strings.TrimPrefix(f.name, "app.")}]
			if n == nil || contains(n.app.Answers, f.value.text) || contains(AppFaults(), f.value.text) {
				continue
			}
			known := slices.Concat(n.app.Answers, AppFaults())
			c.wrong(f.value.rng, fmt.Sprintf("%s has no answer %q%s", n.ref, f.value.text, hcltext.DidYouMean(f.value.text, known)), "choose from "+strings.Join(known, ", "))
		}
	}
}

// Answered goes where an app has sent the call: by its answer, or by otherwise when that is a fault or no answer that the plan names. It tells
// whether there is a further step.
func (w *Walk) Answered(answer string) bool {
	if w.t == nil || w.own != nil || w.here < 0 {
		return false
	}
	v := &w.t.vertices[w.here]
	i := slices.IndexFunc(v.exits, func(e exit) bool { return e.on == onAnswer && e.key == answer })
	if i < 0 {
		if i = slices.IndexFunc(v.exits, func(e exit) bool { return e.on == onOther }); i < 0 {
			w.here = nowhere
			return false
		}
	}
	why := ""
	switch {
	case w.log == nil:
	case v.exits[i].on == onAnswer:
		why = fmt.Sprintf("when %s answers %s: ", v.name, answer)
	default:
		why = fmt.Sprintf("when %s does not help: ", v.name)
	}
	w.leave(v, &v.exits[i], why)
	return w.Step() != nil
}

// supposed is what an app answers in a route: what is given, else nothing in time, which the trail then says.
func (l *trail) supposed(s *Step, c *Call) (answer string) {
	answer, given := c.Answers[s.Node]
	said := &l.lines[len(l.lines)-1].Text
	switch {
	case !given:
		l.asks = append(l.asks, s.Node)
		answer = AppTimeout
		*said += "; assumed: it does not answer"
	case contains(s.App.Answers, answer):
		*said += "; given: it answers " + answer
	case contains(AppFaults(), answer):
		*said += "; given: it comes to " + answer
	default:
		*said += fmt.Sprintf("; given: it answers %s, which the plan does not name", answer)
	}
	return answer
}

// asking says what an app does.
func (s Step) asking() string {
	return fmt.Sprintf("%s asks %s, for at most %s", s.Node, s.App.URL, hcltext.Duration(s.App.Timeout))
}

// App finds the app of a node, "app.crm".
func (p *Plan) App(tenantName, node string) (*App, bool) {
	if t := p.tenant(tenantName); t != nil {
		for i := range t.vertices {
			if v := &t.vertices[i]; v.name == node && v.step.Kind == StepApp {
				return v.step.App, true
			}
		}
	}
	return nil, false
}
