package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/cluster"
	"tandem/events"
)

// joinTokenTTL is how long a join token is good when nobody says: for an operator who does it now.
const joinTokenTTL = time.Hour

// JoinTokenWish is a join token to be made.
type JoinTokenWish struct {
	TTL string `json:"ttl,omitempty" doc:"How long it is good, at most 168h; default is 1h." example:"1h"`
}

// JoinToken lets one node join the cluster.
type JoinToken struct {
	Token     string    `json:"token" doc:"Shown once. It is a secret: whoever has it first becomes a node of the cluster."`
	Expires   time.Time `json:"expires"`
	Addresses []string  `json:"addresses" nullable:"false" doc:"Of the members that the newcomer will ask."`
}

func (s *Server) clusterRoutes(api huma.API) {
	route(api, http.MethodPost, "/cluster/tokens", "create-join-token", "Make a token with which one node can join the cluster", s.createJoinToken,
		func(op *huma.Operation) { op.DefaultStatus = http.StatusCreated }, fails(409))
	route(api, http.MethodPost, "/cluster/leave", "leave-cluster", "Take a node out of the cluster", s.leaveCluster, fails(404, 409))
	route(api, http.MethodPost, "/cluster/transfer", "transfer-leadership", "Let another node lead", s.transferLeadership, noContent, fails(404, 409))
}

func (s *Server) createJoinToken(ctx context.Context, in *struct{ Body JoinTokenWish }) (*answer[JoinToken], error) {
	ttl := joinTokenTTL
	if in.Body.TTL != "" {
		var err error
		if ttl, err = time.ParseDuration(in.Body.TTL); err != nil {
			return nil, newProblem(http.StatusUnprocessableEntity, fmt.Sprintf("ttl %q is not a time span; write it like 1h or 24h", in.Body.TTL))
		}
	}
	t, err := s.cfg.Cluster.NewToken(ttl)
	if err != nil {
		return nil, newProblem(http.StatusConflict, err.Error())
	}
	s.tell(ctx, events.Event{Kind: "cluster.token", Reason: "good until " + t.Until().UTC().Format(time.RFC3339)})
	return &answer[JoinToken]{JoinToken{Token: t.String(), Expires: t.Until(), Addresses: t.Addresses}}, nil
}

// LeaveWish says which node is to leave.
type LeaveWish struct {
	Node  string `json:"node,omitempty" maxLength:"63" doc:"Default is the node that is asked."`
	Force bool   `json:"force,omitempty" doc:"Even when too few of the others answer to agree on anything afterwards."`
}

func (s *Server) leaveCluster(ctx context.Context, in *struct{ Body LeaveWish }) (*answer[LeaveWish], error) {
	node := cmp.Or(in.Body.Node, s.cfg.Node)
	if err := s.cfg.Cluster.Remove(ctx, node, in.Body.Force); err != nil {
		return nil, changeProblem(err)
	}
	s.tell(ctx, events.Event{Kind: "cluster.left", Reason: node})
	return &answer[LeaveWish]{LeaveWish{Node: node, Force: in.Body.Force}}, nil
}

// TransferWish says which node is to lead.
type TransferWish struct {
	Node string `json:"node,omitempty" maxLength:"63" doc:"Default is the one that is furthest."`
}

func (s *Server) transferLeadership(ctx context.Context, in *struct{ Body TransferWish }) (*struct{}, error) {
	if err := s.cfg.Cluster.Transfer(ctx, in.Body.Node); err != nil {
		return nil, changeProblem(err)
	}
	s.tell(ctx, events.Event{Kind: "cluster.transferred", Reason: in.Body.Node})
	return nil, nil
}

// changeProblem puts what the cluster refuses into HTTP's terms.
func changeProblem(err error) *Problem {
	status := http.StatusConflict
	switch {
	case errors.Is(err, cluster.ErrNoNode):
		status = http.StatusNotFound
	case errors.Is(err, cluster.ErrNotLeader), errors.Is(err, cluster.ErrUnreachable), errors.Is(err, cluster.ErrBusy):
		status = http.StatusServiceUnavailable
	}
	p := newProblem(status, strings.TrimPrefix(err.Error(), "cluster: "))
	if status == http.StatusServiceUnavailable {
		p.RetryAfter = retryLater
	}
	return p
}
