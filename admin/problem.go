package admin

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"tandem/auth"
	"tandem/cluster"
	"tandem/dialplan"
)

const problemType = "application/problem+json"

// Problem is how the API says no (RFC 9457). Detail is for people.
type Problem struct {
	Type   string              `json:"type,omitempty" doc:"What kind of problem it is; about:blank when the status says it all."`
	Title  string              `json:"title,omitempty" doc:"The status in words."`
	Status int                 `json:"status,omitempty" doc:"HTTP status."`
	Detail string              `json:"detail,omitempty" doc:"What went wrong and what to do next, for people."`
	Errors []*huma.ErrorDetail `json:"errors,omitempty" doc:"Single mistakes of the request, with where they are."`

	Diagnostics []Diagnostic `json:"diagnostics,omitempty" doc:"Mistakes of a dialplan that was refused."`
	Current     *Version     `json:"current,omitempty" doc:"The dialplan in force, when a change was based on another."`
	Since       []Version    `json:"since,omitempty" doc:"What was applied since the version that a change was based on, newest first."`

	RetryAfter int `json:"-"` // seconds, from the header
}

// Error is the sentence for people.
func (p *Problem) Error() string {
	if p.Detail != "" {
		return p.Detail
	}
	return p.Title
}

// GetStatus makes huma send the status (huma.StatusError).
func (p *Problem) GetStatus() int { return p.Status }

// ContentType makes huma send the media type of RFC 9457 (huma.ContentTypeFilter).
func (p *Problem) ContentType(string) string { return problemType }

// GetHeaders makes huma send Retry-After (huma.HeadersError).
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	return h
}

func newProblem(status int, detail string) *Problem {
	return &Problem{Status: status, Title: http.StatusText(status), Detail: detail}
}

// retryLater is how soon a client may try again when the cluster could not decide.
const retryLater = 1

// propose agrees on a command with the cluster. The error is a Problem, whether the cluster or the machine refuses.
func (s *Server) propose(ctx context.Context, machine string, cmd []byte) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	result, err := s.cfg.Cluster.Propose(ctx, machine, cmd)
	if err != nil {
		return nil, clusterProblem(err, s.cfg.Cluster.Status())
	}
	if refused, ok := result.(error); ok {
		return nil, authProblem(refused)
	}
	return result, nil
}

func clusterProblem(err error, st cluster.Status) *Problem {
	p := newProblem(http.StatusServiceUnavailable, "")
	p.RetryAfter = retryLater
	switch {
	case errors.Is(err, cluster.ErrTooLarge):
		p = newProblem(http.StatusRequestEntityTooLarge, "the change is larger than "+strconv.Itoa(cluster.MaxCommand>>20)+" MiB; make it in smaller parts")
	case errors.Is(err, cluster.ErrUnknown):
		p.Detail = "it is not known whether the change was made: the cluster did not answer in time; do the same again, that does no harm"
	case errors.Is(err, cluster.ErrBusy):
		p.Detail = "too many changes are waiting to be agreed on; nothing was changed, try again in a second"
	case errors.Is(err, cluster.ErrNotLeader) && st.Leader != "":
		p.Detail = "node " + st.Leader + " leads the cluster and could not be reached in time; nothing was changed, try again in a second"
	case errors.Is(err, cluster.ErrNotLeader):
		p.Detail = "nothing was changed, try again in a second. " + st.Words()[0]
	case errors.Is(err, cluster.ErrClosed):
		p.Detail = "the node is stopping; nothing was changed"
	default:
		p.Detail = "the change could not be agreed on: " + err.Error()
	}
	return p
}

// authProblem puts what a machine refuses into HTTP's terms.
func authProblem(err error) *Problem {
	status := http.StatusUnprocessableEntity
	switch {
	case errors.Is(err, auth.ErrNotFound), errors.Is(err, dialplan.ErrNoVersion):
		status = http.StatusNotFound
	case errors.Is(err, auth.ErrNameTaken):
		status = http.StatusConflict
	case errors.Is(err, auth.ErrFull):
		status = http.StatusInsufficientStorage
	}
	return newProblem(status, err.Error())
}
