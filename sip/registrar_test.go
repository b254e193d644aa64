package sip

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tandem/sip/message"
	"tandem/sip/transport"
)

// regHouse is a registrar with its table, its log and the phones' network.
type regHouse struct {
	t    testing.TB
	loc  *Location
	log  *locLog
	reg  *Registrar
	now  time.Time
	flow transport.Flow
}

func regNew(t testing.TB, change func(*RegistrarConfig)) *regHouse {
	t.Helper()
	h := &regHouse{t: t, loc: NewLocation(), now: locTime, flow: locFlow(5060)}
	h.log = &locLog{loc: h.loc}
	cfg := RegistrarConfig{Location: h.loc, Log: h.log, Node: "n1", MaxBindings: 3}
	if change != nil {
		change(&cfg)
	}
	var err error
	if h.reg, err = NewRegistrar(cfg); err != nil {
		t.Fatal(err)
	}
	return h
}

func regMessage(t testing.TB, cseq uint32, lines ...string) *message.Message {
	t.Helper()
	uri := "sip:acme.example"
	if len(lines) > 0 && strings.HasPrefix(lines[0], "sips:") {
		uri, lines = lines[0], lines[1:]
	}
	callID := "Call-ID: id1"
	text := "REGISTER " + uri + " SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:alice@acme.example>;tag=1\r\nTo: <sip:alice@acme.example>\r\n"
	for _, l := range lines {
		if strings.HasPrefix(l, "Call-ID:") {
			callID = l
			continue
		}
		text += l + "\r\n"
	}
	text += fmt.Sprintf("%s\r\nCSeq: %d REGISTER\r\nContent-Length: 0\r\n\r\n", callID, cseq)
	m := new(message.Message)
	if err := m.Parse(text); err != nil {
		t.Fatal(err)
	}
	if err := m.Validate(); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return m
}

// send registers alice and returns the answer, with Status 0 when there is none yet.
func (h *regHouse) send(cseq uint32, lines ...string) RegisterReply {
	h.t.Helper()
	var got RegisterReply
	h.reg.Register(h.request(cseq, lines...), h.once(&got))
	return got
}

func (h *regHouse) request(cseq uint32, lines ...string) RegisterRequest {
	h.t.Helper()
	flow := h.flow
	if len(lines) > 0 && strings.HasPrefix(lines[0], "sips:") {
		flow.Net = transport.TLS
	}
	return RegisterRequest{Msg: regMessage(h.t, cseq, lines...), Flow: flow, Tenant: "acme", User: "alice", Now: h.now}
}

func (h *regHouse) once(got *RegisterReply) func(RegisterReply) {
	return func(r RegisterReply) {
		h.t.Helper()
		if got.Status != 0 {
			h.t.Errorf("a second reply: %+v", r)
		}
		*got = r
	}
}

// want checks the status and that the answer has exactly these Contact lines.
func (h *regHouse) want(got RegisterReply, status int, contacts ...string) {
	h.t.Helper()
	if got.Status != status {
		h.t.Fatalf("status %d, want %d: %s", got.Status, status, got.Extra)
	}
	var lines []string
	for _, l := range strings.Split(string(got.Extra), "\r\n") {
		if v, ok := strings.CutPrefix(l, "Contact: "); ok {
			lines = append(lines, v)
		}
	}
	if g, w := strings.Join(lines, "\n"), strings.Join(contacts, "\n"); g != w {
		h.t.Fatalf("contacts\n%s\nwant\n%s", g, w)
	}
}

func (h *regHouse) after(d time.Duration) { h.now = h.now.Add(d) }

func TestRegisteringRefreshingFetchingAndLeaving(t *testing.T) {
	h := regNew(t, nil)
	h.want(h.send(1, "Contact: <sip:a@192.0.2.1>", "Expires: 600"), 200, "<sip:a@192.0.2.1>;expires=600")
	if got := h.loc.Lookup("acme", "alice", h.now); len(got) != 1 || got[0].Flow != h.flow || got[0].Node != "n1" || !got[0].Expires.Equal(h.now.Add(10*time.Minute)) {
		t.Errorf("got %+v", got)
	}
	h.after(100 * time.Second)
	h.want(h.send(2), 200, "<sip:a@192.0.2.1>;expires=500")
	h.want(h.send(3, "Contact: <sip:a@192.0.2.1>", "Expires: 600"), 200, "<sip:a@192.0.2.1>;expires=600")
	if h.log.cmds != 1 {
		t.Errorf("%d commands for a registration and a refresh, want 1", h.log.cmds)
	}
	h.want(h.send(4, "Contact: <sip:a@192.0.2.1>;expires=0"), 200)
	h.want(h.send(5), 200)
	st := h.reg.Stats()
	if want := (RegistrarStats{Requests: 5, Fetched: 2, Refreshed: 1, Committed: 2}); st != want {
		t.Errorf("got %+v, want %+v", st, want)
	}
}

func TestAnswerSaysDateAndWhatIsSupported(t *testing.T) {
	got := string(regNew(t, nil).send(1, "Contact: <sip:a@b>").Extra)
	for _, want := range []string{"Date: Sun, 22 Nov 2026 12:00:00 GMT\r\n", "Supported: path, outbound, gruu\r\n", "Contact: <sip:a@b>;expires=3600\r\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	if strings.Contains(got, "Require") || !strings.HasSuffix(got, "\r\n") {
		t.Errorf("got %q", got)
	}
}

func TestRegisterFormsOfRFC3261Section10(t *testing.T) {
	tests := []struct {
		name     string
		lines    []string
		status   int
		contacts []string
		extra    string // the answer contains it
	}{
		{"default expiry", []string{"Contact: <sip:a@b>"}, 200, []string{"<sip:a@b>;expires=3600"}, ""},
		{"addr-spec, parameters belong to the header", []string{"Contact: sip:a@b;expires=120"}, 200, []string{"<sip:a@b>;expires=120"}, ""},
		{"parameter before header", []string{"Contact: <sip:a@b>;expires=120, <sip:c@d>", "Expires: 300"}, 200, []string{"<sip:a@b>;expires=120", "<sip:c@d>;expires=300"}, ""},
		{"compact name, several lines", []string{"m: <sip:a@b>", "m: \"A, B\" <sip:c@d>"}, 200, []string{"<sip:a@b>;expires=3600", "<sip:c@d>;expires=3600"}, ""},
		{"q", []string{"Contact: <sip:a@b>;q=0.5, <sip:c@d>;q=1.000, <sip:e@f>;q=0"}, 200, []string{"<sip:a@b>;expires=3600;q=0.500", "<sip:c@d>;expires=3600", "<sip:e@f>;expires=3600;q=0.000"}, ""},
		{"too long is cut", []string{"Contact: <sip:a@b>;expires=86400"}, 200, []string{"<sip:a@b>;expires=3600"}, ""},
		{"absurdly long is cut", []string{"Contact: <sip:a@b>;expires=99999999999999"}, 200, []string{"<sip:a@b>;expires=3600"}, ""},
		{"no number counts as absent", []string{"Contact: <sip:a@b>;expires=soon", "Expires: 90"}, 200, []string{"<sip:a@b>;expires=90"}, ""},
		{"shortest", []string{"Contact: <sip:a@b>;expires=60"}, 200, []string{"<sip:a@b>;expires=60"}, ""},
		{"too short", []string{"Contact: <sip:a@b>;expires=59"}, 423, nil, "Min-Expires: 60\r\n"},
		{"one of two too short", []string{"Contact: <sip:a@b>", "Contact: <sip:c@d>;expires=1"}, 423, nil, "Min-Expires: 60\r\n"},
		{"removing what is not there", []string{"Contact: <sip:a@b>;expires=0"}, 200, nil, ""},
		{"star", []string{"Contact: *", "Expires: 0"}, 200, nil, ""},
		{"star without Expires", []string{"Contact: *"}, 400, nil, "Warning: 399 tandem \"Contact: * goes alone and with Expires: 0\"\r\n"},
		{"star with Expires 5", []string{"Contact: *", "Expires: 5"}, 400, nil, ""},
		{"star and another", []string{"Contact: *, <sip:a@b>", "Expires: 0"}, 400, nil, ""},
		{"two stars", []string{"Contact: *", "Contact: *", "Expires: 0"}, 400, nil, ""},
		{"the same twice, the last counts", []string{"Contact: <sip:a@b>;q=0.1, <sip:a@b>;q=0.2"}, 200, []string{"<sip:a@b>;expires=3600;q=0.200"}, ""},
		{"the same in other words", []string{"Contact: <sip:a@b>;expires=0, <sip:a@B;x=1>"}, 200, []string{"<sip:a@B;x=1>;expires=3600"}, ""},
		{"q above 1", []string{"Contact: <sip:a@b>;q=1.1"}, 400, nil, ""},
		{"q with four decimals", []string{"Contact: <sip:a@b>;q=0.1234"}, 400, nil, ""},
		{"q no number", []string{"Contact: <sip:a@b>;q=high"}, 400, nil, ""},
		{"tel", []string{"Contact: <tel:+4412345>"}, 400, nil, ""},
		{"mailto", []string{"Contact: <mailto:a@b>"}, 400, nil, ""},
		{"headers in the URI", []string{"Contact: <sip:a@b?Subject=x>"}, 200, []string{"<sip:a@b?Subject=x>;expires=3600"}, ""},
		{"contact too long", []string{"Contact: <sip:" + strings.Repeat("a", 1024) + "@b>"}, 400, nil, ""},
		{"33 contacts", []string{"Contact: " + strings.Repeat("<sip:a@b>, ", 32) + "<sip:a@b>"}, 400, nil, ""},
		{"four bindings where three may be", []string{"Contact: <sip:a@b>, <sip:b@b>, <sip:c@b>, <sip:d@b>"}, 403, nil, "Warning: "},
		{"sips over sip", []string{"Contact: <sips:a@b>"}, 400, nil, ""},
		{"sips over sips", []string{"sips:acme.example", "Contact: <sips:a@b>"}, 200, []string{"<sips:a@b>;expires=3600"}, ""},
		{"sips through a sip path", []string{"sips:acme.example", "Path: <sip:p;lr>", "Contact: <sips:a@b>"}, 400, nil, ""},
		{"path", []string{"Path: <sip:p1;lr>, <sip:p2;lr>", "Path: <sip:p3;lr>", "Supported: path", "Contact: <sip:a@b>"}, 200, []string{"<sip:a@b>;expires=3600"}, "Path: <sip:p1;lr>\r\nPath: <sip:p2;lr>\r\nPath: <sip:p3;lr>\r\n"},
		{"path that is none", []string{"Path: <tel:1>", "Contact: <sip:a@b>"}, 400, nil, ""},
		{"path without a scheme", []string{"Path: <nothing>", "Contact: <sip:a@b>"}, 400, nil, ""},
		{"path too long", []string{"Path: <sip:" + strings.Repeat("p", 2048) + ";lr>", "Contact: <sip:a@b>"}, 400, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := regNew(t, nil)
			got := h.send(1, tt.lines...)
			h.want(got, tt.status, tt.contacts...)
			if !strings.Contains(string(got.Extra), tt.extra) {
				t.Errorf("no %q in %q", tt.extra, got.Extra)
			}
			if n := len(h.loc.Lookup("acme", "alice", h.now)); n != len(tt.contacts) {
				t.Errorf("%d bindings, want %d: a request is carried out as a whole or not at all", n, len(tt.contacts))
			}
		})
	}
}

func TestPathIsKeptWithTheBinding(t *testing.T) {
	h := regNew(t, nil)
	h.send(1, "Path: <sip:p1;lr>, <sip:p2;lr>", "Contact: <sip:a@b>")
	if got := h.loc.Lookup("acme", "alice", h.now)[0].Path; fmt.Sprint(got) != "[<sip:p1;lr> <sip:p2;lr>]" {
		t.Errorf("got %v", got)
	}
}

func TestStarRemovesEverythingUnlessALaterRequestWasThere(t *testing.T) {
	h := regNew(t, nil)
	h.send(5, "Contact: <sip:a@b>, <sip:c@d>")
	h.send(9, "Call-ID: other", "Contact: <sip:e@f>")
	h.want(h.send(5, "Contact: *", "Expires: 0"), 500)
	h.want(h.send(4, "Contact: *", "Expires: 0"), 500)
	if n := len(h.loc.Lookup("acme", "alice", h.now)); n != 3 {
		t.Fatalf("%d bindings left, want 3", n)
	}
	h.want(h.send(6, "Contact: *", "Expires: 0"), 200)
	if n := len(h.loc.Lookup("acme", "alice", h.now)); n != 0 {
		t.Errorf("%d bindings left", n)
	}
}

func TestRequestsOutOfOrderChangeNothing(t *testing.T) {
	h := regNew(t, nil)
	h.send(7, "Contact: <sip:a@b>;expires=300")
	for name, lines := range map[string][]string{
		"refresh":     {"Contact: <sip:a@b>;expires=600"},
		"removal":     {"Contact: <sip:a@b>;expires=0"},
		"with others": {"Contact: <sip:c@d>, <sip:a@b>;expires=600"},
	} {
		if got := h.send(6, lines...); got.Status != 500 {
			t.Errorf("%s: got %d", name, got.Status)
		}
	}
	h.want(h.send(8), 200, "<sip:a@b>;expires=300")
	h.want(h.send(1, "Call-ID: rebooted", "Contact: <sip:a@b>;expires=600"), 200, "<sip:a@b>;expires=600")
	h.want(h.send(7, "Contact: <sip:a@b>;expires=0"), 200) // another Call-ID has no order
}

func TestOrderHoldsOverRefreshesThatTheLogNeverSaw(t *testing.T) {
	h := regNew(t, nil)
	h.send(1, "Contact: <sip:a@b>;expires=300")
	h.send(2, "Contact: <sip:a@b>;expires=300")
	h.send(3, "Contact: <sip:a@b>;expires=300")
	if h.log.cmds != 1 {
		t.Fatalf("%d commands", h.log.cmds)
	}
	h.want(h.send(2, "Contact: <sip:a@b>;expires=0"), 500)
	h.want(h.send(3, "Contact: *", "Expires: 0"), 500)
	h.want(h.send(4, "Contact: <sip:a@b>;expires=0"), 200)
}

func TestURIsAreComparedAsTheRFCSays(t *testing.T) {
	h := regNew(t, nil)
	h.send(1, "Contact: <sip:%61lice@Host.example;Foo=1>")
	h.want(h.send(2, "Contact: <sip:alice@host.EXAMPLE>"), 200, "<sip:alice@host.EXAMPLE>;expires=3600")
	h.want(h.send(3, "Contact: <sip:alice@host.example;transport=tcp>"), 200, "<sip:alice@host.EXAMPLE>;expires=3600", "<sip:alice@host.example;transport=tcp>;expires=3600")
}

func TestRetransmissionGetsTheSameAnswerWithoutACommit(t *testing.T) {
	for name, lines := range map[string][]string{
		"one contact":      {"Contact: <sip:a@b>;expires=300"},
		"two contacts":     {"Contact: <sip:a@b>;expires=300, <sip:c@d>;expires=400"},
		"add and remove":   {"Contact: <sip:a@b>;expires=300, <sip:old@d>;expires=0"},
		"remove":           {"Contact: <sip:old@d>;expires=0"},
		"star":             {"Contact: *", "Expires: 0"},
		"outbound, a path": {"Path: <sip:p;lr>", "Supported: outbound, path", "Contact: <sip:a@b>;reg-id=1;+sip.instance=\"<urn:x>\""},
	} {
		t.Run(name, func(t *testing.T) {
			h := regNew(t, nil)
			h.send(1, "Contact: <sip:old@d>")
			first := h.send(2, lines...)
			for range 3 {
				again := h.send(2, lines...)
				if first.Status != 200 || string(first.Extra) != string(again.Extra) || again.Status != 200 {
					t.Errorf("first %+v\nagain %+v", first, again)
				}
			}
			if h.log.cmds != 2 {
				t.Errorf("%d commands, want 2", h.log.cmds)
			}
		})
	}
}

func TestRetransmissionOfWhatIsUnderWayIsAnsweredOnce(t *testing.T) {
	h := regNew(t, nil)
	h.log.hold = true
	var first, again RegisterReply
	h.reg.Register(h.request(1, "Contact: <sip:a@b>"), h.once(&first))
	h.reg.Register(h.request(1, "Contact: <sip:a@b>"), h.once(&again))
	if first.Status != 0 || h.log.cmds != 1 {
		t.Fatalf("answered before the commit: %+v, %d commands", first, h.log.cmds)
	}
	h.log.flush()
	h.want(first, 200, "<sip:a@b>;expires=3600")
	if !first.Later || again.Status != 0 || h.reg.Stats().Absorbed != 1 || h.reg.Stats().InFlight != 0 {
		t.Errorf("first %+v again %+v stats %+v", first, again, h.reg.Stats())
	}
}

func TestRefreshDoesNotOvertakeWhatIsUnderWay(t *testing.T) {
	h := regNew(t, nil)
	h.send(1, "Contact: <sip:a@b>")
	h.log.hold = true
	var gone, back RegisterReply
	h.reg.Register(h.request(2, "Contact: <sip:a@b>;expires=0"), h.once(&gone))
	h.reg.Register(h.request(3, "Contact: <sip:a@b>"), h.once(&back))
	if back.Status != 0 {
		t.Fatal("answered from a binding that is about to go")
	}
	h.log.flush()
	h.want(gone, 200)
	h.want(back, 200, "<sip:a@b>;expires=3600")
}

func TestRemovalIsNotAnsweredBeforeTheRegistrationUnderWay(t *testing.T) {
	h := regNew(t, nil)
	h.log.hold = true
	var in, out RegisterReply
	h.reg.Register(h.request(1, "Contact: <sip:a@b>"), h.once(&in))
	h.reg.Register(h.request(2, "Contact: *", "Expires: 0"), h.once(&out))
	h.log.flush()
	h.want(in, 200, "<sip:a@b>;expires=3600")
	h.want(out, 200)
}

func TestNothingIsPromisedThatTheLogDidNotTake(t *testing.T) {
	h := regNew(t, func(c *RegistrarConfig) { c.MaxInFlight = 1 })
	h.log.full = errors.New("busy")
	got := h.send(1, "Contact: <sip:a@b>")
	h.want(got, 503)
	if !strings.Contains(string(got.Extra), "Retry-After: 5\r\n") || got.Later {
		t.Errorf("got %+v", got)
	}
	h.log.full, h.log.lost = nil, errors.New("leadership lost")
	h.want(h.send(2, "Contact: <sip:a@b>"), 503)
	h.log.lost, h.log.hold = nil, true
	var first RegisterReply
	h.reg.Register(h.request(3, "Contact: <sip:a@b>"), h.once(&first))
	h.want(h.send(4, "Contact: <sip:c@d>"), 503)
	h.log.flush()
	h.want(first, 200, "<sip:a@b>;expires=3600")
	if st := h.reg.Stats(); st.Busy != 2 || st.Failed != 1 || st.InFlight != 0 {
		t.Errorf("got %+v", st)
	}
	h.log.hold = false
	h.want(h.send(5, "Contact: <sip:c@d>"), 200, "<sip:a@b>;expires=3600", "<sip:c@d>;expires=3600")
}

func TestLimitThatIsReachedWhileUnderWayIsSaid(t *testing.T) {
	h := regNew(t, func(c *RegistrarConfig) { c.MaxBindings = 1 })
	h.log.hold = true
	var first, second RegisterReply
	h.reg.Register(h.request(1, "Contact: <sip:a@b>"), h.once(&first))
	h.reg.Register(h.request(1, "Call-ID: other", "Contact: <sip:c@d>"), h.once(&second))
	h.log.flush()
	h.want(first, 200, "<sip:a@b>;expires=3600")
	h.want(second, 403)
	if !second.Later {
		t.Error("an answer from the log that does not say so")
	}
}

func TestShortRegistrationsReachTheLogOnceAnHour(t *testing.T) {
	h := regNew(t, nil)
	seq := uint32(0)
	for range 24 * 60 { // a day of refreshes every minute
		seq++
		h.want(h.send(seq, "Contact: <sip:a@b>;expires=90"), 200, "<sip:a@b>;expires=90")
		if got := h.loc.Lookup("acme", "alice", h.now); got[0].Lease.Before(got[0].Expires) {
			t.Fatalf("the phone was told more than is committed: %+v", got[0])
		}
		h.after(time.Minute)
	}
	if h.log.cmds > 25 {
		t.Errorf("%d commands for %d refreshes", h.log.cmds, seq)
	}
	h.after(90 * time.Second)
	h.want(h.send(seq+1), 200)
}

func TestBindingSurvivesAKillUntilItsLease(t *testing.T) {
	h := regNew(t, nil)
	h.send(1, "Contact: <sip:a@b>;expires=120")
	h.after(time.Minute)
	h.send(2, "Contact: <sip:a@b>;expires=120")
	h.loc = locRestored(t, h.loc)
	h.log = &locLog{loc: h.loc}
	h.reg, _ = NewRegistrar(RegistrarConfig{Location: h.loc, Log: h.log, Node: "n1"})
	h.after(2*time.Minute - time.Second)
	if n := len(h.loc.Lookup("acme", "alice", h.now)); n != 1 {
		t.Fatal("what was promised with 200 OK is lost")
	}
	h.want(h.send(3, "Contact: <sip:a@b>;expires=120"), 200, "<sip:a@b>;expires=120")
	if h.log.cmds != 0 {
		t.Error("a refresh inside the lease went through the log")
	}
	h.after(2 * time.Minute)
	if n := len(h.loc.Lookup("acme", "alice", h.now)); n != 0 {
		t.Error("valid for longer than the phone was told")
	}
}

func TestNewAddressOfAPhoneBehindNATIsUsedAtOnce(t *testing.T) {
	h := regNew(t, nil)
	h.send(1, "Contact: <sip:a@10.0.0.1>")
	h.flow = locFlow(6000)
	h.send(2, "Contact: <sip:a@10.0.0.1>")
	if got := h.loc.Lookup("acme", "alice", h.now); len(got) != 1 || got[0].Flow != h.flow {
		t.Errorf("got %+v", got)
	}
	if h.log.cmds != 2 {
		t.Errorf("%d commands, want 2: another node must hear of the new flow", h.log.cmds)
	}
}

func TestOutboundFlowsReplaceEachOtherByInstanceAndRegID(t *testing.T) {
	h := regNew(t, func(c *RegistrarConfig) { c.FlowTimer = 2 * time.Minute })
	h.flow.Net = transport.TCP
	contact := func(uri, instance string, reg int) string {
		return fmt.Sprintf("Contact: <sip:%s>;+sip.instance=\"<urn:uuid:%s>\";reg-id=%d", uri, instance, reg)
	}
	line := func(uri, instance string, reg int) string {
		return fmt.Sprintf("<sip:%s>;expires=3600;+sip.instance=\"<urn:uuid:%s>\";reg-id=%d", uri, instance, reg)
	}
	const supported = "Supported: path, outbound"
	got := h.send(1, supported, contact("a@h1;ob", "1", 1))
	h.want(got, 200, line("a@h1;ob", "1", 1))
	if s := string(got.Extra); !strings.Contains(s, "Require: outbound\r\n") || !strings.Contains(s, "Flow-Timer: 120\r\n") {
		t.Errorf("got %q", s)
	}
	h.want(h.send(1, "Call-ID: id2", supported, contact("a@h2;ob", "1", 2)), 200, line("a@h1;ob", "1", 1), line("a@h2;ob", "1", 2))
	h.want(h.send(1, "Call-ID: id3", supported, contact("a@h3;ob", "1", 1)), 200, line("a@h3;ob", "1", 1), line("a@h2;ob", "1", 2))
	h.want(h.send(1, "Call-ID: id4", supported, contact("a@h3;ob", "2", 1)), 200, line("a@h3;ob", "1", 1), line("a@h2;ob", "1", 2), line("a@h3;ob", "2", 1))
	h.want(h.send(2, "Call-ID: id4", supported, contact("a@h3;ob", "2", 1)+";expires=0"), 200, line("a@h3;ob", "1", 1), line("a@h2;ob", "1", 2))
	h.want(h.send(3, supported, contact("a@h1", "1", 3)+", <sip:b@h>;+sip.instance=\"<urn:uuid:1>\";reg-id=4"), 400)
	h.want(h.send(4, supported, contact("a@h1", "1", 0)), 400)
	h.want(h.send(5, contact("c@h4", "3", 1)), 200, line("a@h3;ob", "1", 1), line("a@h2;ob", "1", 2), "<sip:c@h4>;expires=3600;+sip.instance=\"<urn:uuid:3>\"")
}

func TestOutboundNeedsAFirstHopThatKnowsIt(t *testing.T) {
	const contact = "Contact: <sip:a@h;ob>;+sip.instance=\"<urn:x>\";reg-id=1"
	h := regNew(t, nil)
	h.want(h.send(1, "Via: SIP/2.0/UDP h;branch=z9hG4bK2", "Supported: path, outbound", contact), 439)
	h.want(h.send(2, "Via: SIP/2.0/UDP h;branch=z9hG4bK2", "Supported: path, outbound", "Path: <sip:core;lr>, <sip:edge;lr>", contact), 439)
	if got := h.send(3, "Via: SIP/2.0/UDP h;branch=z9hG4bK2", "Supported: path, outbound", "Path: <sip:core;lr>, <sip:edge;lr;ob>", contact); got.Status != 200 {
		t.Errorf("got %d", got.Status)
	}
}

func TestPhonesWithTheSamePrivateAddressAreTwo(t *testing.T) {
	h := regNew(t, nil)
	h.send(1, "Call-ID: a", `Contact: <sip:alice@192.168.1.10>;+sip.instance="<urn:a>"`)
	h.send(1, "Call-ID: b", `Contact: <sip:alice@192.168.1.10>;+sip.instance="<urn:b>"`)
	if n := len(h.loc.Lookup("acme", "alice", h.now)); n != 2 {
		t.Errorf("%d bindings, want 2", n)
	}
}

func TestPhoneThatComesBackWithANewContactMakesRoomForItself(t *testing.T) {
	h := regNew(t, nil) // three bindings at most
	h.send(1, "Call-ID: desk", "Contact: <sip:desk@h>")
	for i := range 10 { // restarts without un-registering
		got := h.send(1, fmt.Sprintf("Call-ID: soft%d", i), fmt.Sprintf(`Contact: <sip:soft%d@h>;+sip.instance="<urn:soft>"`, i))
		if got.Status != 200 {
			t.Fatalf("restart %d: got %d", i, got.Status)
		}
		h.after(time.Second)
	}
	if got := h.loc.Lookup("acme", "alice", h.now); locContacts(got) != "sip:soft9@h sip:soft8@h sip:desk@h" {
		t.Errorf("got %s", locContacts(got))
	}
	h.want(h.send(1, "Call-ID: other", "Contact: <sip:other@h>"), 403)
}

func TestExpiredBindingsMakeRoom(t *testing.T) {
	h := regNew(t, func(c *RegistrarConfig) { c.MaxBindings = 1 })
	h.send(1, "Contact: <sip:a@b>;expires=60")
	h.want(h.send(1, "Call-ID: other", "Contact: <sip:c@d>"), 403)
	h.after(time.Minute)
	h.want(h.send(1, "Call-ID: other", "Contact: <sip:c@d>"), 200, "<sip:c@d>;expires=3600")
	if st := h.loc.Stats(); st.Expired != 1 || st.Bindings != 1 {
		t.Errorf("got %+v", st)
	}
}

func TestRunSweepsUntilItIsToldToStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := regNew(t, nil)
		h.now = time.Now()
		h.send(1, "Contact: <sip:a@b>;expires=60")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- h.reg.Run(ctx) }()
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if h.loc.Stats().Bindings != 1 {
			t.Error("swept too early")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if h.loc.Stats().Bindings != 0 {
			t.Error("not swept")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestRegistrarConfigIsChecked(t *testing.T) {
	l := NewLocation()
	good := RegistrarConfig{Location: l, Log: &locLog{loc: l}}
	for name, change := range map[string]func(*RegistrarConfig){
		"no log":          func(c *RegistrarConfig) { c.Log = nil },
		"no location":     func(c *RegistrarConfig) { c.Location = nil },
		"max below min":   func(c *RegistrarConfig) { c.MinExpires, c.MaxExpires = time.Hour, time.Minute },
		"default too big": func(c *RegistrarConfig) { c.DefaultExpires = 2 * time.Hour },
		"bindings":        func(c *RegistrarConfig) { c.MaxBindings = -1 },
		"lease":           func(c *RegistrarConfig) { c.MaxLease = time.Minute },
	} {
		cfg := good
		change(&cfg)
		if _, err := NewRegistrar(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := NewRegistrar(good); err != nil {
		t.Error(err)
	}
}

// BenchmarkRefresh is the whole way of a re-REGISTER on a cached nonce: parse, validate, verify, register, 200.
func BenchmarkRefresh(b *testing.B) {
	for _, alg := range []string{"MD5", "SHA-256"} {
		b.Run(alg, func(b *testing.B) { benchmarkRefresh(b, alg) })
	}
}

func benchmarkRefresh(b *testing.B, alg string) {
	h := regNew(b, nil)
	d := digestNew(b, DigestConfig{Secrets: digestFixedSecrets()})
	p := digestAlice(digestNonce(b, d, h.now))
	p.algorithm = alg
	const n = 512
	var texts [n]string
	for i := range texts {
		p.nc = uint32(i + 1)
		p.cnonce = fmt.Sprintf("%016x", i)
		texts[i] = "REGISTER sip:acme.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.168.1.10:5060;branch=z9hG4bK" + fmt.Sprint(i) + ";rport\r\nMax-Forwards: 70\r\n" +
			"From: \"Alice\" <sip:alice@acme.example>;tag=a1b2c3d4\r\nTo: \"Alice\" <sip:alice@acme.example>\r\nCall-ID: 0_1234567890@192.168.1.10\r\n" +
			fmt.Sprintf("CSeq: %d REGISTER\r\n", i+1) + "Contact: <sip:alice@192.168.1.10:5060>;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000000000001>\"\r\n" +
			"Authorization: " + p.value() + "\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS\r\nUser-Agent: Yealink SIP-T46S 66.86.0.15\r\nExpires: 3600\r\n" +
			"Allow-Events: talk,hold,conference\r\nContent-Length: 0\r\n\r\n"
	}
	m := new(message.Message)
	var out []byte
	status := 0
	var res message.Response
	reply := func(r RegisterReply) {
		status = r.Status
		res = message.Response{Status: r.Status, ToTag: "t", IP: "192.0.2.1", Port: 5060, Extra: r.Extra}
		out = m.AppendResponse(out[:0], &res)
	}
	h.now = h.now.Truncate(time.Second)
	round := func(i int) {
		if err := m.Parse(texts[i]); err != nil {
			b.Fatal(err)
		}
		if err := m.Validate(); err != nil {
			b.Fatal(err)
		}
		r := d.Verify(m, "acme", false, digestSrc, h.now)
		if !r.OK {
			b.Fatal(r)
		}
		h.reg.Register(RegisterRequest{Msg: m, Flow: h.flow, Tenant: "acme", User: r.User, Now: h.now}, reply)
		if status != 200 {
			b.Fatal(status, string(out))
		}
	}
	round(0)
	b.ReportAllocs()
	for i := 1; b.Loop(); i++ {
		if i == n { // start over with nothing known of the nonce and the CSeq
			b.StopTimer()
			d = digestNew(b, DigestConfig{Secrets: digestFixedSecrets()})
			h.loc.Apply(h.loc.RemoveCommand("acme", "alice", ""))
			round(0)
			i = 1
			b.StartTimer()
		}
		round(i)
	}
	if h.log.cmds > 1+b.N/n+1 {
		b.Errorf("%d commands for %d refreshes", h.log.cmds, b.N)
	}
}

func FuzzRegister(f *testing.F) {
	f.Add("Contact: <sip:a@b>;q=0.5;expires=70, \"x\" <sip:c@d>;+sip.instance=\"<urn:1>\";reg-id=1\r\nSupported: outbound, gruu", "600")
	f.Add("Contact: *", "0")
	f.Add("Path: <sip:p;lr;ob>\r\nContact: <sips:a@b>;expires=0", "")
	temporary := regexp.MustCompile(`;temp-gruu="[^"]*"`) // a new one each time
	f.Fuzz(func(t *testing.T, lines, expires string) {
		text := "REGISTER sip:acme.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:alice@acme.example>;tag=1\r\nTo: <sip:alice@acme.example>\r\n" +
			"Call-ID: 1\r\nCSeq: 2 REGISTER\r\n" + lines + "\r\nExpires: " + expires + "\r\n\r\n"
		var m message.Message
		if m.Parse(text) != nil || m.Validate() != nil {
			return
		}
		h := regNew(t, nil)
		var got RegisterReply
		req := RegisterRequest{Msg: &m, Flow: h.flow, Tenant: "acme", User: "alice", Now: h.now}
		h.reg.Register(req, h.once(&got))
		bound := h.loc.Lookup("acme", "alice", h.now)
		switch got.Status {
		case 200:
			var again RegisterReply
			h.reg.Register(req, h.once(&again))
			if again.Status != 200 || temporary.ReplaceAllString(string(again.Extra), "") != temporary.ReplaceAllString(string(got.Extra), "") {
				t.Errorf("%q\nfirst %q\nagain %d %q", text, got.Extra, again.Status, again.Extra)
			}
		case 400, 403, 423, 439:
			if len(bound) > 0 {
				t.Errorf("%q gets %d and %v", text, got.Status, bound)
			}
		default:
			t.Errorf("%q gets %d", text, got.Status)
		}
		var answer message.Message
		if err := answer.Parse("SIP/2.0 200 OK\r\n" + string(got.Extra) + "\r\n"); err != nil {
			t.Errorf("%q gets %q: %v", text, got.Extra, err)
		}
		if n := answer.Count(message.Contact); n != len(bound) {
			t.Errorf("%q: %d contacts in %q, %d bindings", text, n, got.Extra, len(bound))
		}
	})
}
