package pbx

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tandem/dialplan"
	"tandem/internal/fakephone"
)

// gruuOf registers a phone with an instance and gives its public and its temporary GRUU.
func (o *office) gruuOf(p *fakephone.Phone, urn string) (pub, temp string) {
	o.t.Helper()
	ok := p.Register(fmt.Sprintf(`Contact: <%s>;+sip.instance="<%s>"`, p.Contact(), urn), "Supported: gruu")
	for _, v := range ok.Headers("Contact") {
		if strings.Contains(v, "<"+urn+">") {
			_, pub, _ = strings.Cut(v, `pub-gruu="`)
			pub, _, _ = strings.Cut(pub, `"`)
			_, temp, _ = strings.Cut(v, `temp-gruu="`)
			temp, _, _ = strings.Cut(temp, `"`)
		}
	}
	if pub == "" || temp == "" {
		o.t.Fatalf("no GRUUs in %v", ok)
	}
	return pub, temp
}

func TestGRUUIsForOnePhoneAndNobodyElse(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		alice, desk, mobile := o.phone("alice", rings), o.phone("bob", answers(time.Second)), o.phone("bob", rings)
		pub, temp := o.gruuOf(desk, "urn:uuid:desk")
		for _, uri := range []string{pub, temp} {
			call := alice.Call(uri, description("alice"))
			call.MustAnswer()
			call.Bye()
			expect(t, "MESSAGE to "+uri, alice.Do("MESSAGE", uri, nil, "").Status(), 200)
		}
		expect(t, "calls of the desk phone", len(desk.Calls()), 2)
		expect(t, "messages of the desk phone", len(desk.Requests("MESSAGE")), 2)
		expect(t, "requests of the mobile", len(mobile.Requests("INVITE"))+len(mobile.Requests("MESSAGE")), 0)

		const absent, unknown = "sip:bob@acme.example;gr=urn:uuid:else", "sip:zoe@acme.example;gr=urn:uuid:1"
		expect(t, "call to a phone that is not there", alice.Call(absent, description("alice")).Final().Status(), 480)
		expect(t, "MESSAGE to it", alice.Do("MESSAGE", absent, nil, "").Status(), 480)
		expect(t, "call to nobody's GRUU", alice.Call(unknown, description("alice")).Final().Status(), 404)
		expect(t, "MESSAGE to it", alice.Do("MESSAGE", unknown, nil, "").Status(), 404)
		expect(t, "call to the phone that calls", desk.Call(pub, description("bob")).Final().Status(), 480)
	})
}

// The rest of the user's route is for calls to the user: a call to a phone ends with that phone.
func TestGRUUIsNotPassedOnToOthers(t *testing.T) {
	c := Call{gruu: true, to: "bob"}
	for want, steps := range map[bool][]dialplan.Step{
		true:  {{Kind: dialplan.StepRing, Users: []string{"bob"}}, {Kind: dialplan.StepRing, Users: []string{"dave", "bob"}}, {Kind: dialplan.StepReject}},
		false: {{Kind: dialplan.StepRing, Users: []string{"dave"}}, {Kind: dialplan.StepEcho}, {Kind: dialplan.StepMusic}},
	} {
		for _, step := range steps {
			expect(t, fmt.Sprint(step.Kind, step.Users), c.concerns(step), want)
			expect(t, "of a call to the user", (&Call{to: "bob"}).concerns(step), true)
		}
	}
}
