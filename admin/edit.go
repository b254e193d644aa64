package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"tandem/dialplan"
)

// editTries is how often an edit is made anew when others change the plan meanwhile.
const editTries = 5

// PlanEdit is one change of the text of the dialplan in force: one of set, put and remove.
type PlanEdit struct {
	Set    string            `json:"set,omitempty" maxLength:"1024" doc:"The block whose values are set, like user.alice or did[\"+442079460000\"]."`
	Values map[string]string `json:"values,omitempty" doc:"Of set: attributes, also of blocks inside (forward.busy, key.1), as a dialplan writes them; quotes and brackets may be left out where a text or a list is wanted. An empty one takes the attribute away."`
	Put    string            `json:"put,omitempty" doc:"Blocks as a dialplan writes them, each in place of the one of its kind and name, or new."`
	File   string            `json:"file,omitempty" maxLength:"4096" doc:"Of put: the name that stands in diagnostics."`
	Remove string            `json:"remove,omitempty" maxLength:"1024" doc:"The block that is taken away with the comments above it."`
}

// PlanEdits are changes that are made together or not at all.
type PlanEdits struct {
	Tenant    string     `json:"tenant,omitempty" doc:"May be left out when there is one."`
	Edits     []PlanEdit `json:"edits" minItems:"1" maxItems:"1000" nullable:"false"`
	IfVersion *int64     `json:"if_version,omitempty" minimum:"0" doc:"Refuse when another version is in force."`
	Note      string     `json:"note,omitempty" maxLength:"1000" doc:"Why, for the history."`
	Author    string     `json:"author,omitempty" maxLength:"128" doc:"Who; with a token its name counts."`
}

func (s *Server) editRoutes(api huma.API) {
	route(api, http.MethodPost, "/dialplan/edit", "edit-dialplan", "Change blocks of the dialplan in force, keeping all other text and its comments", s.editPlan, largeBody, func(op *huma.Operation) {
		op.Description = "The dialplan in force is changed, checked, tested and put in force as with apply-dialplan. Without if_version, it is changed anew when somebody else was faster."
	}, fails(404, 409, 413))
	route(api, http.MethodGet, "/dialplan/json", "get-dialplan-json", "Show the dialplan in force of a tenant as JSON", s.getPlanJSON, fails(404))
	route(api, http.MethodPut, "/dialplan/json", "put-dialplan-json", "Make the dialplan of a tenant what a JSON document says, keeping the text of blocks that say the same", s.putPlanJSON, largeBody, rawJSON, fails(409, 413))
}

func (s *Server) getPlanJSON(_ context.Context, in *struct {
	Tenant string `query:"tenant" doc:"May be left out when there is one."`
},
) (*huma.StreamResponse, error) {
	v, err := s.cfg.Dialplan.Show(0)
	if err != nil {
		return nil, noPlan()
	}
	text, diags := dialplan.JSON(v.Sources, in.Tenant)
	if text == nil {
		return nil, refusedPlan(diags)
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		c.SetHeader("Content-Type", "application/json")
		_, _ = c.BodyWriter().Write(text) // who asked may have gone
	}}, nil
}

func (s *Server) putPlanJSON(ctx context.Context, in *struct {
	IfVersion int64  `query:"if_version" default:"-1" minimum:"-1" doc:"Refuse when another version is in force; 0 means there must be none yet, -1 that any may be."`
	Note      string `query:"note" maxLength:"1000" doc:"Why, for the history."`
	Author    string `query:"author" maxLength:"128" doc:"Who; with a token its name counts."`
	File      string `query:"file" maxLength:"4096" default:"json" doc:"The name that stands in diagnostics; their lines and columns are those of the document."`
	RawBody   []byte `contentType:"application/json"`
},
) (*answer[PlanApplied], error) {
	doc, who := dialplan.Source{Name: in.File, Text: in.RawBody}, author(ctx, in.Author)
	change := func(sources []dialplan.Source) ([]dialplan.Source, []dialplan.Diagnostic) {
		made, diags := dialplan.ChangeJSON(sources, doc)
		if made == nil {
			return nil, diags
		}
		_, diags = s.compile(made.Sources)
		return made.Sources, made.Locate(diags)
	}
	if v, err := s.cfg.Dialplan.Show(0); err == nil || in.IfVersion > 0 {
		var expected *int64
		if in.IfVersion >= 0 {
			expected = &in.IfVersion
		}
		if err != nil {
			return nil, s.conflict(&dialplan.ConflictError{Expected: in.IfVersion, Current: v})
		}
		return s.changePlan(ctx, expected, in.Note, who, change)
	}
	sources, diags := change(nil)
	if dialplan.Failed(diags) {
		return nil, refusedPlan(diags)
	}
	return s.putInForce(ctx, sources, who, in.Note, 0)
}

func noPlan() *Problem {
	return newProblem(http.StatusNotFound, "no dialplan has been applied yet; `tandem dialplan apply FILE` does it")
}

func (s *Server) editPlan(ctx context.Context, in *struct{ Body PlanEdits }) (*answer[PlanApplied], error) {
	edits, err := in.Body.edits()
	if err != nil {
		return nil, err
	}
	return s.changePlan(ctx, in.Body.IfVersion, in.Body.Note, author(ctx, in.Body.Author), func(sources []dialplan.Source) ([]dialplan.Source, []dialplan.Diagnostic) {
		return dialplan.Change(sources, in.Body.Tenant, edits)
	})
}

func (b *PlanEdits) edits() (out []dialplan.Edit, err error) {
	for i, e := range b.Edits {
		said := 0
		for _, text := range []string{e.Set, e.Put, e.Remove} {
			if strings.TrimSpace(text) != "" {
				said++
			}
		}
		if said != 1 {
			return nil, newProblem(http.StatusUnprocessableEntity, fmt.Sprintf("edit %d says %d of set, put and remove; one is needed", i+1, said))
		}
		name := e.File
		if name == "" {
			name = fmt.Sprintf("edit %d", i+1)
		}
		out = append(out, dialplan.Edit{Set: e.Set, Values: e.Values, Put: dialplan.Source{Name: name, Text: []byte(e.Put)}, Remove: e.Remove})
	}
	return out, nil
}

// changePlan puts in force what change makes of the sources in force. expected is the version that they must be; nil: whatever is in force, and when somebody else is
// faster once more.
func (s *Server) changePlan(ctx context.Context, expected *int64, note, who string, change func([]dialplan.Source) ([]dialplan.Source, []dialplan.Diagnostic)) (*answer[PlanApplied], error) {
	for try := 1; ; try++ {
		v, err := s.cfg.Dialplan.Show(0)
		if err != nil {
			return nil, noPlan()
		}
		if expected != nil && *expected != int64(v.Number) {
			bare := v
			bare.Sources = nil
			return nil, s.conflict(&dialplan.ConflictError{Expected: *expected, Current: bare})
		}
		sources, diags := change(v.Sources)
		if dialplan.Failed(diags) {
			return nil, refusedPlan(diags)
		}
		done, err := s.putInForce(ctx, sources, who, note, int64(v.Number))
		if p, is := err.(*Problem); is && p.Status == http.StatusConflict && expected == nil && try < editTries {
			continue
		}
		return done, err
	}
}

// PlanJSON gives the dialplan in force of a tenant as JSON; "" is the only one there is.
func (c *Client) PlanJSON(ctx context.Context, tenant string) (json.RawMessage, error) {
	return get[json.RawMessage](ctx, c, "/dialplan/json", values("tenant", tenant))
}

// PutPlanJSON makes the dialplan of a tenant what a JSON document says. change has no files.
func (c *Client) PutPlanJSON(ctx context.Context, file string, document []byte, change PlanChange) (out PlanApplied, err error) {
	query := values("file", file, "note", change.Note, "author", change.Author)
	if change.IfVersion != nil {
		query.Set("if_version", strconv.FormatInt(*change.IfVersion, 10))
	}
	r, err := c.request(ctx, http.MethodPut, "/dialplan/json", query, bytes.NewReader(document)) // as it is: mistakes have a place in it
	if err != nil {
		return out, err
	}
	resp, err := c.send(r)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&out); err != nil {
		return out, fmt.Errorf("the answer of %s cannot be read: %w", c.target, err)
	}
	return out, nil
}

// EditPlan changes blocks of the dialplan in force.
func (c *Client) EditPlan(ctx context.Context, edits PlanEdits) (out PlanApplied, err error) {
	err = c.do(ctx, http.MethodPost, "/dialplan/edit", nil, edits, &out)
	return out, err
}

// rawJSON leaves a document to its own reader, which says of every mistake where it is.
func rawJSON(op *huma.Operation) { op.SkipValidateBody = true }
