package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/dialplan"
	"tandem/events"
)

// CallQuestion is a call that nobody makes.
type CallQuestion struct {
	Tenant  string             `json:"tenant,omitempty" doc:"May be left out when there is one."`
	From    string             `json:"from" minLength:"1" maxLength:"256" doc:"A user by name or extension, or a number outside like +442079460000."`
	To      string             `json:"to" minLength:"1" maxLength:"256" doc:"What is dialled."`
	At      string             `json:"at,omitempty" maxLength:"64" doc:"When: 2026-11-23 10:00 in the tenant's time zone; now when it is missing."`
	Given   map[string]Outcome `json:"given,omitempty" doc:"What nodes come to. Without it, every step is taken for one that nobody answers."`
	Answers map[string]string  `json:"answers,omitempty" doc:"What apps answer, like {\"app.crm\": \"gold\"}, or why they do not: timeout, error ... One that is not here is taken not to answer."`
	Keys    []string           `json:"keys,omitempty" maxItems:"100" doc:"What the caller presses in menus."`
}

// CallExplained is where a call would go, and why.
type CallExplained struct {
	Version uint64    `json:"version" doc:"Of the dialplan that was asked."`
	At      time.Time `json:"at"`
	Nodes   []string  `json:"nodes" nullable:"false" doc:"The nodes it goes through."`
	Lines   []Reason  `json:"lines" nullable:"false" doc:"Why, in the order in which it was decided."`
}

// Reason is one line of an explanation.
type Reason struct {
	Text string `json:"text"`
	Node string `json:"node,omitempty"`
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	Col  int    `json:"col,omitempty"`

	Given *Outcome `json:"given,omitempty" doc:"What the node came to as the question, or the record of the call, says; text says it too."`
}

func reasonsOf(r dialplan.Route) []Reason {
	lines := []Reason{}
	for _, t := range r.Trace {
		line := Reason{Text: t.Text, Node: t.Node, File: t.At.File, Line: t.At.Line, Col: t.At.Col}
		if t.Given != 0 {
			given := Outcome(t.Given)
			line.Given = &given
		}
		lines = append(lines, line)
	}
	return lines
}

// Outcome is what a node comes to: a final SIP status, or a word for what only trunks come to.
type Outcome int

// MarshalJSON writes the number or the word.
func (o Outcome) MarshalJSON() ([]byte, error) {
	word := dialplan.OutcomeWord(int(o))
	if n, err := strconv.Atoi(word); err == nil {
		return json.Marshal(n)
	}
	return json.Marshal(word)
}

// UnmarshalJSON reads either.
func (o *Outcome) UnmarshalJSON(b []byte) error {
	n, ok := dialplan.ParseOutcome(strings.Trim(string(b), `"`))
	if *o = Outcome(n); !ok {
		return fmt.Errorf("%s is no outcome: write a final SIP status, or of a trunk no_reply, down, full or limited", b)
	}
	return nil
}

// Schema describes it in the OpenAPI document (huma.SchemaProvider).
func (Outcome) Schema(huma.Registry) *huma.Schema {
	least, most := 200.0, 699.0
	return &huma.Schema{Description: "A final SIP status; of a trunk also a word.", OneOf: []*huma.Schema{
		{Type: huma.TypeInteger, Minimum: &least, Maximum: &most},
		{Type: huma.TypeString, Enum: []any{"no_reply", "down", "full", "limited"}},
	}}
}

// explainCall goes a call's way through the plan in force, with the code that calls go by.
func (s *Server) explainCall(_ context.Context, in *struct{ Body CallQuestion }) (*answer[CallExplained], error) {
	plan, version := s.cfg.Dialplan.Current()
	q := in.Body
	tenant, err := tenantAsked(plan, q.Tenant)
	if err != nil {
		return nil, err
	}
	at, err := timeAsked(tenant, q.At)
	if err != nil {
		return nil, err
	}
	call := dialplan.Call{Tenant: tenant.Name, To: q.To, At: at, Answers: q.Answers, Keys: q.Keys}
	if q.Given != nil {
		call.Given = map[string]int{}
	}
	for node, outcome := range q.Given {
		if outcome < 200 && !strings.HasPrefix(node, "trunk.") {
			return nil, newProblem(http.StatusUnprocessableEntity, fmt.Sprintf("given: %s comes to a SIP status, like 408; no_reply, down, full and limited are for trunks", node))
		}
		call.Given[node] = int(outcome)
	}
	if user, ok := s.cfg.Auth.User(tenant.Name, q.From); ok {
		call.FromUser = user
	} else if user, ok := plan.UserName(tenant.Name, q.From); ok {
		call.FromUser = user
	} else if strings.HasPrefix(q.From, "+") {
		call.Outside, call.Number = true, q.From
	} else {
		return nil, newProblem(http.StatusUnprocessableEntity, fmt.Sprintf("tenant %s has no user %q; a caller outside is a number with +", tenant.Name, q.From))
	}
	r := plan.Route(call, s.cfg.Auth)
	out := CallExplained{Version: version.Number, At: at, Nodes: nodesOf(r), Lines: reasonsOf(r)}
	return &answer[CallExplained]{out}, nil
}

// explainPast says why a finished call went where it went: by the version of the dialplan in force when it began, and what its steps came to. Nil when that version is
// no longer kept.
func (s *Server) explainPast(r *events.CDR) *CallExplained {
	plan, version := s.cfg.Dialplan.Current()
	if version.Time.After(r.Started) {
		plan = nil
		for _, v := range s.cfg.Dialplan.History() {
			if !v.Time.After(r.Started) {
				plan, _ = s.planOf(v.Number) // an error leaves no plan
				version = v
				break
			}
		}
	}
	if plan == nil {
		return nil
	}
	call := s.pastCall(plan, r)
	call.Given = plan.Given(call, s.cfg.Auth, r.Route, cmp.Or(r.Status, http.StatusOK))
	route := plan.Route(call, s.cfg.Auth)
	return &CallExplained{Version: version.Number, At: r.Started, Nodes: nodesOf(route), Lines: reasonsOf(route)}
}

func tenantAsked(plan *dialplan.Plan, name string) (dialplan.Tenant, error) {
	all := plan.Tenants()
	var names []string
	for _, t := range all {
		if t.Name == name || name == "" && len(all) == 1 {
			return t, nil
		}
		names = append(names, t.Name)
	}
	switch {
	case len(all) == 0:
		return dialplan.Tenant{}, newProblem(http.StatusNotFound, "no dialplan has been applied yet; `tandem dialplan apply FILE` does it")
	case name == "":
		return dialplan.Tenant{}, newProblem(http.StatusUnprocessableEntity, "say which tenant is meant: "+strings.Join(names, ", "))
	}
	return dialplan.Tenant{}, newProblem(http.StatusUnprocessableEntity, fmt.Sprintf("there is no tenant %q; there are %s", name, strings.Join(names, ", ")))
}

func timeAsked(t dialplan.Tenant, text string) (time.Time, error) {
	zone, err := time.LoadLocation(t.TimeZone)
	if err != nil {
		zone = time.UTC
	}
	if text == "" {
		return time.Now().In(zone), nil
	}
	at, err := time.ParseInLocation("2006-01-02 15:04", text, zone)
	if err != nil {
		return at, newProblem(http.StatusUnprocessableEntity, fmt.Sprintf("%q is not a time: write it like \"2026-11-23 10:00\"", text))
	}
	return at, nil
}
