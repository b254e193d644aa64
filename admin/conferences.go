package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"tandem/events"
	"tandem/pbx"
)

func (s *Server) conferenceRoutes(api huma.API) {
	route(api, http.MethodGet, "/conferences", "list-conferences", "List the conferences of now and who is in them", s.listConferences)
	route(api, http.MethodPut, "/conferences/members/{id}/mute", "mute-member", "Keep a member of a conference from being heard", s.muteMember(true), noContent, fails(404, 409))
	route(api, http.MethodDelete, "/conferences/members/{id}/mute", "unmute-member", "Let a member of a conference be heard again", s.muteMember(false), noContent, fails(404, 409))
	route(api, http.MethodDelete, "/conferences/members/{id}", "kick-member", "Hang up a member of a conference", s.kickMember, noContent, fails(404, 409))
}

func (s *Server) listConferences(_ context.Context, in *struct{ Page }) (*answer[List[pbx.Conference]], error) {
	return &answer[List[pbx.Conference]]{cut(s.cfg.PBX.Conferences(), in.Page)}, nil
}

func (s *Server) muteMember(muted bool) func(context.Context, *callID) (*struct{}, error) {
	return func(ctx context.Context, in *callID) (*struct{}, error) {
		v, _ := s.cfg.PBX.Call(in.ID)
		if err := s.cfg.PBX.Mute(in.ID, muted); err != nil {
			return nil, memberProblem(in.ID, err)
		}
		kind := events.Kind("conference.unmuted")
		if muted {
			kind = "conference.muted"
		}
		s.tellMember(ctx, kind, v, "")
		return nil, nil
	}
}

func (s *Server) kickMember(ctx context.Context, in *callID) (*struct{}, error) {
	const reason = "removed from the conference by an operator"
	v, _ := s.cfg.PBX.Call(in.ID)
	if err := s.cfg.PBX.Kick(in.ID, reason); err != nil {
		return nil, memberProblem(in.ID, err)
	}
	s.tellMember(ctx, "conference.kicked", v, reason)
	return nil, nil
}

// tellMember says what an operator has done to a member.
func (s *Server) tellMember(ctx context.Context, kind events.Kind, v pbx.View, reason string) {
	s.tell(ctx, events.Event{Kind: kind, Tenant: v.Tenant, Call: v.ID, From: v.From, To: v.Node, Reason: reason})
}

func memberProblem(id string, err error) error {
	if errors.Is(err, pbx.ErrNoCall) {
		return noCall(id)
	}
	return newProblem(http.StatusConflict, err.Error()+"; `tandem conference list` shows who is in one")
}
