package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/dialplan"
	"tandem/events"
)

// File is one file of a dialplan.
type File struct {
	Name string `json:"name" minLength:"1" maxLength:"4096" doc:"Stands in diagnostics."`
	Text string `json:"text"`
}

// Diagnostic is one mistake or warning.
type Diagnostic struct {
	Severity string `json:"severity" enum:"error,warning"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty" doc:"From 1; 0 when the mistake has no place."`
	Col      int    `json:"col,omitempty" doc:"From 1, in characters."`
	Summary  string `json:"summary" doc:"What is wrong."`
	Detail   string `json:"detail,omitempty" doc:"What to do instead."`
	Excerpt  string `json:"excerpt,omitempty" doc:"The line, with the place marked below it."`
	Message  string `json:"message" doc:"All of it in one line: file:line:col: summary: detail."`
}

func diagnosticsOf(list []dialplan.Diagnostic) []Diagnostic {
	out := make([]Diagnostic, 0, len(list))
	for _, d := range list {
		out = append(out, Diagnostic{
			Severity: d.Severity.String(), File: d.File, Line: d.Line, Col: d.Col, Summary: d.Summary, Detail: d.Detail, Excerpt: d.Excerpt, Message: d.Error(),
		})
	}
	return out
}

// Version is one applied dialplan.
type Version struct {
	Number uint64    `json:"number" doc:"From 1, without gaps."`
	Hash   string    `json:"hash"`
	Author string    `json:"author,omitempty"`
	Note   string    `json:"note,omitempty"`
	Time   time.Time `json:"time"`
	Bytes  int       `json:"bytes"`
	Files  []File    `json:"files,omitempty"`
}

func versionOf(v dialplan.Version) Version {
	out := Version{Number: v.Number, Hash: v.Hash, Author: v.Author, Note: v.Note, Time: v.Time, Bytes: v.Bytes}
	for _, f := range v.Sources {
		out.Files = append(out.Files, File{Name: f.Name, Text: string(f.Text)})
	}
	return out
}

// PlanFiles is a dialplan to be checked.
type PlanFiles struct {
	Files []File `json:"files" maxItems:"1000" nullable:"false"`
}

func (p PlanFiles) sources() []dialplan.Source {
	out := make([]dialplan.Source, 0, len(p.Files))
	for _, f := range p.Files {
		out = append(out, dialplan.Source{Name: f.Name, Text: []byte(f.Text)})
	}
	return out
}

// PlanChange is a dialplan to be applied.
type PlanChange struct {
	PlanFiles
	IfVersion *int64 `json:"if_version,omitempty" minimum:"0" doc:"Refuse when another version is in force; 0 means there must be none yet."`
	Note      string `json:"note,omitempty" maxLength:"1000" doc:"Why, for the history."`
	Author    string `json:"author,omitempty" maxLength:"128" doc:"Who; with a token its name counts."`
}

// PlanCheck says what is wrong with a dialplan.
type PlanCheck struct {
	OK          bool         `json:"ok"`
	Hash        string       `json:"hash,omitempty"`
	Diagnostics []Diagnostic `json:"diagnostics" nullable:"false"`
}

// PlanApplied says what is in force now.
type PlanApplied struct {
	Version     Version      `json:"version"`
	Unchanged   bool         `json:"unchanged" doc:"The same text was in force already."`
	Diagnostics []Diagnostic `json:"diagnostics" nullable:"false" doc:"Warnings."`
}

func (s *Server) dialplanRoutes(api huma.API) {
	refusals := func(op *huma.Operation) {
		op.Description = "A dialplan with mistakes is refused with 422, diagnostics lists them all. When if_version is not the version in force, the answer " +
			"is 409; current and since say who applied what meanwhile."
	}
	route(api, http.MethodPost, "/dialplan/check", "check-dialplan", "Report every mistake in a dialplan, changing nothing", s.checkPlan, largeBody, fails(413))
	route(api, http.MethodPost, "/dialplan", "apply-dialplan", "Put a dialplan in force", s.applyPlan, largeBody, refusals, fails(409, 413))
	route(api, http.MethodPost, "/dialplan/explain", "explain-call", "Say where a call would go, and why", s.explainCall, fails(404))
	s.compareRoutes(api)
	s.editRoutes(api)
	route(api, http.MethodGet, "/dialplan", "get-dialplan", "Show the dialplan in force", s.getPlan, fails(404))
	route(api, http.MethodGet, "/dialplan/versions", "list-dialplans", "List the versions, newest first", s.listPlans)
	route(api, http.MethodGet, "/dialplan/versions/{number}", "get-dialplan-version", "Show a version", s.getPlanVersion, fails(404))
}

func (s *Server) checkPlan(_ context.Context, in *struct{ Body PlanFiles }) (*answer[PlanCheck], error) {
	plan, diags := s.compile(in.Body.sources())
	out := PlanCheck{OK: !dialplan.Failed(diags), Diagnostics: diagnosticsOf(diags)}
	if out.OK {
		out.Hash = plan.Hash()
	}
	return &answer[PlanCheck]{out}, nil
}

// compile is dialplan.Compile with what this node knows besides: a sound that it cannot play is a mistake. Nodes that get the plan by the
// log cannot refuse it any more; they say so when the sound is to be played.
func (s *Server) compile(sources []dialplan.Source) (*dialplan.Plan, []dialplan.Diagnostic) {
	plan, diags := dialplan.Compile(sources)
	if s.cfg.Media != nil {
		for _, sound := range plan.Sounds() {
			if err := s.cfg.Media.CheckSound(sound.Play); err != nil {
				diags = append(diags, sound.Missing(err))
			}
		}
	}
	return plan, diags
}

func (s *Server) applyPlan(ctx context.Context, in *struct{ Body PlanChange }) (*answer[PlanApplied], error) {
	expected := int64(dialplan.AnyVersion)
	if in.Body.IfVersion != nil {
		expected = *in.Body.IfVersion
	}
	return s.putInForce(ctx, in.Body.sources(), author(ctx, in.Body.Author), in.Body.Note, expected)
}

// putInForce checks, tests and applies a dialplan. expected is the version that it was made for, or dialplan.AnyVersion.
func (s *Server) putInForce(ctx context.Context, sources []dialplan.Source, who, note string, expected int64) (*answer[PlanApplied], error) {
	// Every node checks again when it applies; a plan with mistakes need not go into the log first.
	if _, diags := s.compile(sources); dialplan.Failed(diags) {
		return nil, refusedPlan(diags)
	}
	result, err := s.propose(ctx, "dialplan", s.cfg.Dialplan.ApplyCommand(sources, who, note, expected, time.Now()))
	if err != nil {
		return nil, err
	}
	r, ok := result.(*dialplan.Result)
	if !ok {
		return nil, newProblem(http.StatusInternalServerError, "the node does not understand its own answer; its log says more")
	}
	if r.Err != nil {
		return nil, s.planProblem(r.Err)
	}
	if !r.Unchanged {
		s.cfg.Events.Publish(events.Event{Kind: events.DialplanApplied, From: who, Reason: note, Detail: map[string]string{"version": fmt.Sprint(r.Version.Number)}})
		s.cfg.Log.Info("dialplan applied", "version", r.Version.Number, "by", who, "note", note)
	}
	return &answer[PlanApplied]{PlanApplied{Version: versionOf(r.Version), Unchanged: r.Unchanged, Diagnostics: diagnosticsOf(r.Diagnostics)}}, nil
}

func (s *Server) planProblem(err error) *Problem {
	var refused *dialplan.RefusedError
	var conflict *dialplan.ConflictError
	switch {
	case errors.As(err, &refused):
		return refusedPlan(refused.Diagnostics)
	case errors.As(err, &conflict):
		return s.conflict(conflict)
	}
	return newProblem(http.StatusUnprocessableEntity, err.Error())
}

func refusedPlan(diags []dialplan.Diagnostic) *Problem {
	n := 0
	for _, d := range diags {
		if d.Severity == dialplan.Error {
			n++
		}
	}
	p := newProblem(http.StatusUnprocessableEntity, fmt.Sprintf("the dialplan has %d mistake(s); nothing was changed", n))
	p.Diagnostics = diagnosticsOf(diags)
	return p
}

// conflict names who changed what since the version that the author began with.
func (s *Server) conflict(c *dialplan.ConflictError) *Problem {
	p := newProblem(http.StatusConflict, "")
	current := versionOf(c.Current)
	p.Current = &current
	detail := []string{c.Error()}
	for _, v := range s.cfg.Dialplan.History() {
		if int64(v.Number) > c.Expected && v.Number <= c.Current.Number {
			p.Since = append(p.Since, versionOf(v))
		}
	}
	if files := s.changedFiles(c.Expected, c.Current.Number); len(files) > 0 {
		detail = append(detail, "changed since version "+fmt.Sprint(c.Expected)+": "+strings.Join(files, ", "))
	}
	p.Detail = strings.Join(detail, "; ")
	return p
}

// changedFiles names the files in which two versions differ.
func (s *Server) changedFiles(from int64, to uint64) (names []string) {
	if from <= 0 || uint64(from) > to {
		return nil
	}
	a, errA := s.cfg.Dialplan.Show(uint64(from))
	b, errB := s.cfg.Dialplan.Show(to)
	if errA != nil || errB != nil {
		return nil
	}
	find := func(v dialplan.Version, name string) ([]byte, bool) {
		i := slices.IndexFunc(v.Sources, func(f dialplan.Source) bool { return f.Name == name })
		if i < 0 {
			return nil, false
		}
		return v.Sources[i].Text, true
	}
	for _, f := range b.Sources {
		switch old, ok := find(a, f.Name); {
		case !ok:
			names = append(names, f.Name+" (new)")
		case !bytes.Equal(old, f.Text):
			names = append(names, f.Name)
		}
	}
	for _, f := range a.Sources {
		if _, ok := find(b, f.Name); !ok {
			names = append(names, f.Name+" (gone)")
		}
	}
	return names
}

func (s *Server) getPlan(context.Context, *struct{}) (*answer[Version], error) { return s.showPlan(0) }

func (s *Server) getPlanVersion(_ context.Context, in *struct {
	Number uint64 `path:"number" minimum:"1"`
},
) (*answer[Version], error) {
	return s.showPlan(in.Number)
}

func (s *Server) showPlan(number uint64) (*answer[Version], error) {
	v, err := s.cfg.Dialplan.Show(number)
	switch {
	case err != nil && number == 0:
		return nil, newProblem(http.StatusNotFound, "no dialplan has been applied yet; `tandem dialplan apply FILE` does it")
	case err != nil:
		return nil, newProblem(http.StatusNotFound, fmt.Sprintf("there is no version %d of the dialplan, or it is no longer kept; `tandem dialplan history` lists them", number))
	}
	return &answer[Version]{versionOf(v)}, nil
}

func (s *Server) listPlans(context.Context, *struct{}) (*answer[List[Version]], error) {
	out := List[Version]{Items: []Version{}}
	for _, v := range s.cfg.Dialplan.History() {
		out.Items = append(out.Items, versionOf(v))
	}
	out.Total = len(out.Items)
	return &answer[List[Version]]{out}, nil
}
