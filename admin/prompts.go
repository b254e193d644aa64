package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/cluster"
	"tandem/dialplan"
	"tandem/events"
	"tandem/pbx"
)

func (s *Server) promptRoutes(api huma.API) {
	route(api, http.MethodGet, "/prompts", "list-prompts", "List the prompts that were uploaded", s.listPrompts)
	route(api, http.MethodPut, "/prompts/{tenant}/{prompt}", "put-prompt", "Upload a prompt, as a WAV or Ogg/Opus file, to all nodes", s.putPrompt, largeBody, fails(413, 507))
	route(api, http.MethodGet, "/prompts/{tenant}/{prompt}/sound", "get-prompt-sound", "Get the sound of a prompt, as WAV", s.promptSound, fails(404))
	route(api, http.MethodDelete, "/prompts/{tenant}/{prompt}", "delete-prompt", "Remove a prompt that the dialplan in force does not play", s.deletePrompt, noContent, fails(404, 409))
}

// PromptName is the path of a prompt.
type PromptName struct {
	Tenant string `path:"tenant" maxLength:"63" doc:"Whose prompt it is; tandem for what the program says."`
	Prompt string `path:"prompt" maxLength:"64" doc:"Its name, without the ending of a file."`
}

func (n *PromptName) name() string { return n.Tenant + "/" + n.Prompt }

// PromptStored says what a prompt has become.
type PromptStored struct {
	Prompt    pbx.Prompt `json:"prompt"`
	Unchanged bool       `json:"unchanged" doc:"It was there already."`
}

func (s *Server) listPrompts(_ context.Context, in *struct {
	Page
	Tenant string `query:"tenant" doc:"Of this tenant only."`
},
) (*answer[List[pbx.Prompt]], error) {
	var list []pbx.Prompt
	if s.cfg.Prompts != nil {
		list = s.cfg.Prompts.List(in.Tenant)
	}
	return &answer[List[pbx.Prompt]]{cut(list, in.Page)}, nil
}

func (s *Server) putPrompt(ctx context.Context, in *struct {
	PromptName
	RawBody []byte `contentType:"application/octet-stream"`
},
) (*answer[PromptStored], error) {
	name := in.name()
	switch {
	case s.cfg.Prompts == nil || s.cfg.Media == nil:
		return nil, newProblem(http.StatusConflict, "this node has no media engine, which makes prompts of files; ask a node with the role media")
	case !dialplan.IsPromptName(name):
		return nil, newProblem(http.StatusUnprocessableEntity, fmt.Sprintf("%q is no name of a prompt: write TENANT/NAME of letters, digits or one of . _ + * # -, without the ending of a file", name))
	}
	made, err := s.cfg.Media.MakePrompt(in.RawBody, pbx.PromptBytes)
	if err != nil {
		return nil, newProblem(http.StatusUnprocessableEntity, name+": "+err.Error())
	}
	p := pbx.Prompt{Name: name, Length: made.Length, Rate: made.Rate, Author: author(ctx, ""), Time: time.Now()}
	var out *pbx.PromptOutcome
	for _, cmd := range s.cfg.Prompts.StoreCommands(p, made.WAV) {
		if out, err = s.promptCommand(ctx, cmd); err != nil {
			return nil, err
		}
	}
	if !out.Unchanged {
		s.tell(ctx, events.Event{Kind: "prompt.stored", Tenant: in.Tenant, To: name, Duration: made.Length})
	}
	return &answer[PromptStored]{PromptStored{Prompt: out.Prompt, Unchanged: out.Unchanged}}, nil
}

func (s *Server) promptCommand(ctx context.Context, cmd []byte) (*pbx.PromptOutcome, error) {
	wait, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	result, err := s.cfg.Cluster.ProposeSince(wait, pbx.PromptsSince, pbx.PromptsMachine, cmd)
	if errors.Is(err, cluster.ErrTooOld) {
		return nil, newProblem(http.StatusConflict, err.Error())
	}
	if err != nil {
		return nil, clusterProblem(err, s.cfg.Cluster.Status())
	}
	out, ok := result.(*pbx.PromptOutcome)
	if !ok {
		return nil, newProblem(http.StatusInternalServerError, "the node does not understand its own answer; its log says more")
	}
	return out, promptProblem(out.Err)
}

// promptProblem puts what the log refuses into HTTP's terms; nil for nil.
func promptProblem(err error) error {
	if err == nil {
		return nil
	}
	var used *pbx.PromptInUseError
	switch {
	case errors.As(err, &used):
		return newProblem(http.StatusConflict, err.Error()+"; nothing was removed: apply a dialplan that plays something else there first")
	case errors.Is(err, pbx.ErrNoPrompt):
		return newProblem(http.StatusNotFound, err.Error()+"; `tandem prompts list` shows those there are")
	case errors.Is(err, pbx.ErrPromptRoom):
		return newProblem(http.StatusInsufficientStorage, err.Error())
	case errors.Is(err, pbx.ErrPromptsBusy):
		p := newProblem(http.StatusServiceUnavailable, err.Error())
		p.RetryAfter = retryLater
		return p
	}
	return newProblem(http.StatusUnprocessableEntity, err.Error())
}

func (s *Server) promptSound(_ context.Context, in *PromptName) (*huma.StreamResponse, error) {
	var wav []byte
	ok := false
	if s.cfg.Prompts != nil {
		wav, _, ok = s.cfg.Prompts.Sound(in.name())
	}
	if !ok {
		return nil, promptProblem(fmt.Errorf("%s: %w", in.name(), pbx.ErrNoPrompt))
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		c.SetHeader("Content-Type", "audio/wav")
		_, _ = c.BodyWriter().Write(wav) // who asked may have gone
	}}, nil
}

func (s *Server) deletePrompt(ctx context.Context, in *PromptName) (*struct{}, error) {
	if s.cfg.Prompts == nil {
		return nil, promptProblem(pbx.ErrNoPrompt)
	}
	out, err := s.promptCommand(ctx, s.cfg.Prompts.RemoveCommand(in.name()))
	if err != nil {
		return nil, err
	}
	s.tell(ctx, events.Event{Kind: "prompt.removed", Tenant: in.Tenant, To: out.Prompt.Name})
	return nil, nil
}

func (m meter) prompts(st pbx.PromptStats) {
	m.gauge("tandem_prompts", "Prompts that were uploaded.", st.Prompts)
	m.gauge("tandem_prompts_bytes", "Octets of them, in the memory of every node.", st.Bytes)
	m.gauge("tandem_prompts_bytes_limit", "How many there may be; what is more is refused.", pbx.AllPromptBytes)
	m.gauge("tandem_prompts_uploading", "Uploads of which not all has come.", st.Uploads)
	m.counter("tandem_prompts_stored_total", "Prompts that were stored since this node began.", st.Stored)
	m.counter("tandem_prompts_removed_total", "Prompts that were removed.", st.Removed)
	m.counter("tandem_prompts_refused_total", "Uploads and removals that changed nothing, for want of room or because the dialplan plays them.", st.Refused)
}

func promptPath(name string) string {
	tenant, prompt, _ := strings.Cut(name, "/")
	return "/prompts/" + url.PathEscape(tenant) + "/" + url.PathEscape(prompt)
}

// Prompts lists the prompts of a tenant, or with "" those of all.
func (c *Client) Prompts(ctx context.Context, tenant string) (List[pbx.Prompt], error) {
	return all[pbx.Prompt](ctx, c, "/prompts", values("tenant", tenant), 0)
}

// PutPrompt uploads a file, WAV or Ogg/Opus, as the prompt of a name like acme/welcome.
func (c *Client) PutPrompt(ctx context.Context, name string, file []byte) (out PromptStored, err error) {
	r, err := c.request(ctx, http.MethodPut, promptPath(name), nil, bytes.NewReader(file))
	if err != nil {
		return out, err
	}
	r.Header.Set("Content-Type", "application/octet-stream")
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

// PromptSound writes the sound of a prompt to out.
func (c *Client) PromptSound(ctx context.Context, name string, out io.Writer) error {
	return c.download(ctx, promptPath(name)+"/sound", out)
}

// RemovePrompt removes a prompt on all nodes.
func (c *Client) RemovePrompt(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, promptPath(name), nil, nil, nil)
}
