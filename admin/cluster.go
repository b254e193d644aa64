package admin

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

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
