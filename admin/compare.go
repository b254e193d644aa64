package admin

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/dialplan"
	"tandem/events"
)

// PlanComparison names two dialplans: one that is there, and one that is proposed.
type PlanComparison struct {
	Before  uint64 `json:"before,omitempty" doc:"A version; the one in force when it is missing."`
	Version uint64 `json:"version,omitempty" doc:"The other one, when it has been in force already."`
	Files   []File `json:"files,omitempty" maxItems:"1000" doc:"The other one, when it is new."`
}

// PlanDifferences says in which way calls would go differently.
type PlanDifferences struct {
	Before      uint64           `json:"before"`
	After       uint64           `json:"after,omitempty" doc:"0: the files of the question."`
	Differences []PlanDifference `json:"differences" nullable:"false" doc:"None when calls go as before, whatever the texts look like."`
	Diagnostics []Diagnostic     `json:"diagnostics" nullable:"false" doc:"Warnings."`
}

// PlanDifference is one of them.
type PlanDifference struct {
	Tenant  string   `json:"tenant"`
	Text    string   `json:"text" doc:"What is otherwise, in words."`
	Numbers []string `json:"numbers,omitempty" doc:"The dialled numbers whose calls meet it."`
	File    string   `json:"file,omitempty"`
	Line    int      `json:"line,omitempty"`
	Col     int      `json:"col,omitempty"`
}

// PlanReplay asks what would have become of the calls of some days.
type PlanReplay struct {
	PlanComparison
	Days float64 `json:"days" minimum:"0" maximum:"366" doc:"How far back the call records are read."`
}

// PlanReplayed says which calls would have gone elsewhere.
type PlanReplayed struct {
	Before      uint64        `json:"before"`
	After       uint64        `json:"after,omitempty"`
	Since       time.Time     `json:"since"`
	Calls       int           `json:"calls" doc:"The calls that were sent through both dialplans."`
	Elsewhere   int           `json:"elsewhere" doc:"Those that would go another way."`
	Damaged     int           `json:"damaged,omitempty" doc:"Lines of the records that could not be read."`
	Moved       []CallsMoved  `json:"moved" nullable:"false" doc:"Them, by what was dialled and the ways; the most frequent first."`
	More        int           `json:"more,omitempty" doc:"Calls that would go elsewhere and for which there was no room in moved."`
	Diagnostics []Diagnostic  `json:"diagnostics" nullable:"false" doc:"Warnings."`
	Took        time.Duration `json:"took_ns"`
}

// CallsMoved are calls to one number that would go another way.
type CallsMoved struct {
	Tenant string     `json:"tenant"`
	To     string     `json:"to"`
	Was    []string   `json:"was" nullable:"false" doc:"The nodes by the dialplan of before."`
	Is     []string   `json:"is" nullable:"false" doc:"The nodes by the other one."`
	Calls  int        `json:"calls"`
	Last   events.CDR `json:"last" doc:"The latest of them."`
}

// maxMoved bounds the kinds of calls in an answer.
const maxMoved = 1000

func (s *Server) compareRoutes(api huma.API) {
	route(api, http.MethodPost, "/dialplan/diff", "diff-dialplans", "Say in which way calls would go differently by another dialplan", s.diffPlans, largeBody, fails(404, 413))
	route(api, http.MethodPost, "/dialplan/replay", "replay-calls", "Say which calls of the last days would have gone elsewhere by another dialplan", s.replayCalls, largeBody, fails(404, 413))
}

func (s *Server) diffPlans(_ context.Context, in *struct{ Body PlanComparison }) (*answer[PlanDifferences], error) {
	before, after, diags, err := s.plansAsked(&in.Body)
	if err != nil {
		return nil, err
	}
	out := PlanDifferences{Before: in.Body.Before, After: in.Body.Version, Differences: []PlanDifference{}, Diagnostics: diagnosticsOf(diags)}
	for _, d := range dialplan.Diff(before, after, time.Now()) {
		out.Differences = append(out.Differences, PlanDifference{Tenant: d.Tenant, Text: d.Text, Numbers: d.Numbers, File: d.At.File, Line: d.At.Line, Col: d.At.Col})
	}
	return &answer[PlanDifferences]{out}, nil
}

// plansAsked compiles the two plans of a question, and puts the number of the one in force into it.
func (s *Server) plansAsked(q *PlanComparison) (before, after *dialplan.Plan, diags []dialplan.Diagnostic, err error) {
	if (q.Version == 0) == (q.Files == nil) {
		return nil, nil, nil, newProblem(http.StatusUnprocessableEntity, "say which dialplan is meant: files, or the number of a version")
	}
	if q.Before == 0 {
		var v dialplan.Version
		before, v = s.cfg.Dialplan.Current()
		q.Before = v.Number
	} else if before, err = s.planOf(q.Before); err != nil {
		return nil, nil, nil, err
	}
	if q.Version > 0 {
		after, err = s.planOf(q.Version)
		return before, after, nil, err
	}
	after, diags = s.compile(PlanFiles{q.Files}.sources())
	if dialplan.Failed(diags) {
		return nil, nil, nil, refusedPlan(diags)
	}
	return before, after, diags, nil
}

func (s *Server) planOf(number uint64) (*dialplan.Plan, error) {
	v, err := s.showPlan(number)
	if err != nil {
		return nil, err
	}
	p, diags := dialplan.Compile(PlanFiles{v.Body.Files}.sources())
	if dialplan.Failed(diags) {
		return nil, refusedPlan(diags)
	}
	return p, nil
}

// replayCalls sends the calls of the records through both plans, with what their steps came to then.
func (s *Server) replayCalls(ctx context.Context, in *struct{ Body PlanReplay }) (*answer[PlanReplayed], error) {
	before, after, diags, err := s.plansAsked(&in.Body.PlanComparison)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	out := PlanReplayed{
		Before: in.Body.Before, After: in.Body.Version, Diagnostics: diagnosticsOf(diags), Moved: []CallsMoved{},
		Since: began.Add(-time.Duration(in.Body.Days * float64(24*time.Hour))),
	}
	kinds := map[string]int{}
	out.Damaged, err = s.cfg.Events.History(ctx, out.Since, func(r *events.CDR) bool {
		call := s.pastCall(before, r)
		call.Given = before.Given(call, s.cfg.Auth, r.Route, cmp.Or(r.Status, http.StatusOK))
		was, is := before.Route(call, s.cfg.Auth), after.Route(call, s.cfg.Auth)
		if out.Calls++; dialplan.SameWay(was, is) {
			return true
		}
		out.Elsewhere++
		key := fmt.Sprint(r.Tenant, "\x00", r.To, "\x00", was.Nodes(), "\x00", is.Nodes())
		at, known := kinds[key]
		switch {
		case !known && len(out.Moved) == maxMoved:
			out.More++
			return true
		case !known:
			at = len(out.Moved)
			kinds[key] = at
			out.Moved = append(out.Moved, CallsMoved{Tenant: r.Tenant, To: r.To, Was: nodesOf(was), Is: nodesOf(is)})
		}
		out.Moved[at].Calls++
		out.Moved[at].Last = *r
		return true
	})
	if err != nil {
		return nil, newProblem(http.StatusInternalServerError, "the call records cannot be read: "+err.Error())
	}
	slices.SortStableFunc(out.Moved, func(a, b CallsMoved) int { return cmp.Or(-cmp.Compare(a.Calls, b.Calls), cmp.Compare(a.To, b.To)) })
	out.Took = time.Since(began)
	return &answer[PlanReplayed]{out}, nil
}

func nodesOf(r dialplan.Route) []string { return append([]string{}, r.Nodes()...) }

// pastCall is the question that a finished call was to the plan.
func (s *Server) pastCall(p *dialplan.Plan, r *events.CDR) dialplan.Call {
	c := dialplan.Call{Tenant: r.Tenant, To: r.To, At: r.Started, Answers: r.Answers}
	if user, ok := s.cfg.Auth.User(r.Tenant, r.From); ok {
		c.FromUser = user
	} else if user, ok := p.UserName(r.Tenant, r.From); ok {
		c.FromUser = user
	} else {
		c.Outside = strings.HasPrefix(r.From, "+")
	}
	return c
}
