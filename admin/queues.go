package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/danielgtaylor/huma/v2"

	"tandem/dialplan"
	"tandem/pbx"
)

// AgentDoes is what is to be done to an agent.
type AgentDoes struct {
	Does   string   `json:"does" enum:"log_in,log_out,pause,resume"`
	Queues []string `json:"queues,omitempty" maxItems:"100" doc:"Of log_in and log_out; none is all."`
}

// AgentName is the path of an agent.
type AgentName struct {
	Tenant string `path:"tenant" maxLength:"64"`
	User   string `path:"user" maxLength:"64" doc:"The user name of an agent."`
}

func (s *Server) queueRoutes(api huma.API) {
	route(api, http.MethodGet, "/queues", "list-queues", "List the queues, who waits in them on all nodes, and what their agents do", s.listQueues, fails(503))
	route(api, http.MethodGet, "/parked", "list-parked", "List the calls that are parked at this node", s.listParked)
	route(api, http.MethodPost, "/agents/{tenant}/{user}", "command-agent", "Log an agent in or out, or let him pause", s.commandAgent, noContent, fails(404, 507))
}

func (s *Server) listQueues(ctx context.Context, in *struct{ Page }) (*answer[List[pbx.QueueView]], error) {
	all, err := s.cfg.PBX.Queues(ctx)
	if err != nil {
		return nil, newProblem(http.StatusServiceUnavailable, err.Error()+"; ask again")
	}
	return &answer[List[pbx.QueueView]]{cut(all, in.Page)}, nil
}

func (s *Server) listParked(_ context.Context, in *struct{ Page }) (*answer[List[pbx.ParkedCall]], error) {
	return &answer[List[pbx.ParkedCall]]{cut(s.cfg.PBX.Parked(), in.Page)}, nil
}

func (s *Server) commandAgent(ctx context.Context, in *struct {
	AgentName
	Body AgentDoes
},
) (*struct{}, error) {
	err := s.cfg.PBX.AgentDoes(ctx, in.Tenant, in.User, in.Body.Queues, dialplan.AgentAction(in.Body.Does))
	switch {
	case err == nil:
		return nil, nil
	case errors.Is(err, pbx.ErrNoQueue), errors.Is(err, pbx.ErrNoAgent):
		return nil, newProblem(http.StatusNotFound, in.User+"@"+in.Tenant+": "+err.Error()+"; `tandem queue list` shows queues and agents")
	case errors.Is(err, pbx.ErrAgents):
		return nil, newProblem(http.StatusInsufficientStorage, err.Error())
	}
	return nil, clusterProblem(err, s.cfg.Cluster.Status())
}

// queues are the figures of the queues whose callers are at this node.
func (m meter) queues(list []pbx.QueueStats) {
	for _, q := range list {
		of := []string{"tenant", q.Tenant, "queue", q.Name}
		m.counter("tandem_queue_joined_total", "Callers who have come into a queue.", q.Joined, of...)
		m.counter("tandem_queue_answered_total", "Callers whom an agent has taken.", q.Answered, of...)
		m.counter("tandem_queue_abandoned_total", "Callers who have hung up before.", q.Abandoned, of...)
		m.counter("tandem_queue_left_total", "Callers who went elsewhere: by a key, or because of time or agents.", q.Left, of...)
		m.gauge("tandem_queue_waiting", "Callers who wait.", q.Waiting, of...)
		m.gauge("tandem_queue_longest_wait_seconds", "How long one of them has waited by now.", q.Longest.Seconds(), of...)
	}
}

// Queues lists the queues.
func (c *Client) Queues(ctx context.Context) (List[pbx.QueueView], error) {
	return all[pbx.QueueView](ctx, c, "/queues", nil, 0)
}

// Parked lists the parked calls.
func (c *Client) Parked(ctx context.Context) (List[pbx.ParkedCall], error) {
	return all[pbx.ParkedCall](ctx, c, "/parked", nil, 0)
}

// CommandAgent logs an agent in or out, or lets him pause.
func (c *Client) CommandAgent(ctx context.Context, tenant, user string, do AgentDoes) error {
	return c.do(ctx, http.MethodPost, "/agents/"+url.PathEscape(tenant)+"/"+url.PathEscape(user), nil, do, nil)
}
