package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/events"
)

// States of a Drain, in their order.
const (
	DrainNot     = "serving"  // nobody has asked for it
	DrainWaiting = "waiting"  // for calls that end with the node
	DrainMoving  = "moving"   // calls and addresses go to another node
	DrainOver    = "finished" // the process ends
)

// Drain is how far a node is that gives away what it does, to end.
type Drain struct {
	State    string        `json:"state" enum:"serving,waiting,moving,finished"`
	Until    time.Time     `json:"until,omitzero" doc:"When it waits no longer."`
	Left     time.Duration `json:"left_ns" doc:"Until then."`
	Led      bool          `json:"led" doc:"It led the cluster, and does so no more."`
	Heir     string        `json:"heir,omitempty" doc:"The node that goes on with calls and addresses; absent when there is none."`
	Movable  int           `json:"movable" doc:"Calls that will move."`
	Ringing  int           `json:"ringing" doc:"Calls without an answer yet, which are waited for."`
	Fixed    int           `json:"fixed" doc:"Calls that this node answers itself, or cannot give to others, which are waited for."`
	Sessions int           `json:"sessions" doc:"Media sessions of other proxies, which are waited for."`
	Moved    int           `json:"moved" doc:"Calls that the heir goes on with."`
	Ended    int           `json:"ended" doc:"Calls that were ended or refused because the time was over."`
	Problem  string        `json:"problem,omitempty" doc:"Why calls could not move."`
}

// maxDrain is the longest that a drain may wait.
const maxDrain = 24 * time.Hour

// DrainWish is how a node is to be drained.
type DrainWish struct {
	Wait string `json:"wait,omitempty" doc:"How long to wait for calls that cannot move; default is node.drain_timeout." example:"5m"`
}

func (s *Server) drainRoutes(api huma.API) {
	route(api, http.MethodPost, "/drain", "drain", "Give leadership, calls and addresses to other nodes, and end the process", s.drain, fails(409))
	route(api, http.MethodGet, "/drain", "get-drain", "Show how far that is", s.getDrain)
}

func (s *Server) drain(ctx context.Context, in *struct{ Body DrainWish }) (*answer[Drain], error) {
	if s.cfg.Drain == nil {
		return nil, newProblem(http.StatusConflict, "this node cannot be drained so; send it SIGTERM")
	}
	wait := time.Duration(-1)
	if in.Body.Wait != "" {
		var err error
		if wait, err = time.ParseDuration(in.Body.Wait); err != nil || wait < 0 || wait > maxDrain {
			return nil, newProblem(http.StatusUnprocessableEntity, fmt.Sprintf("wait %q is not a time span of at most 24h; write it like 90s or 10m", in.Body.Wait))
		}
	}
	if err := s.cfg.Drain(wait); err != nil {
		return nil, newProblem(http.StatusConflict, err.Error())
	}
	s.tell(ctx, events.Event{Kind: "node.drain", Reason: in.Body.Wait})
	return &answer[Drain]{s.cfg.Drained()}, nil
}

func (s *Server) getDrain(context.Context, *struct{}) (*answer[Drain], error) {
	if s.cfg.Drained == nil {
		return &answer[Drain]{Drain{State: DrainNot}}, nil
	}
	return &answer[Drain]{s.cfg.Drained()}, nil
}

// Drain has the node give away what it does and end. wait is for calls that cannot move; negative is as the node is configured.
func (c *Client) Drain(ctx context.Context, wait time.Duration) (Drain, error) {
	var wish DrainWish
	if wait >= 0 {
		wish.Wait = wait.String()
	}
	var out Drain
	err := c.do(ctx, http.MethodPost, "/drain", nil, wish, &out)
	return out, err
}

// Drained shows how far a node is that drains.
func (c *Client) Drained(ctx context.Context) (Drain, error) {
	return get[Drain](ctx, c, "/drain", url.Values{})
}
