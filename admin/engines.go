package admin

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"tandem/events"
	"tandem/rtpengine/ng"
)

func (s *Server) engineRoutes(api huma.API) {
	route(api, http.MethodGet, "/media/engines", "list-media-engines", "List the media engines elsewhere that calls of this node are given to", s.listEngines)
	route(api, http.MethodPut, "/media/engines/{address}/drain", "drain-media-engine", "Give a media engine no new calls", s.drainEngine, noContent, fails(404))
	route(api, http.MethodDelete, "/media/engines/{address}/drain", "undrain-media-engine", "Give a media engine calls again", s.undrainEngine, noContent, fails(404))
}

func (s *Server) listEngines(context.Context, *struct{}) (*answer[List[ng.EngineStats]], error) {
	out := List[ng.EngineStats]{Items: []ng.EngineStats{}}
	if s.cfg.Engines != nil {
		out.Items = append(out.Items, s.cfg.Engines.Stats().Engines...)
	}
	out.Total = len(out.Items)
	return &answer[List[ng.EngineStats]]{out}, nil
}

type engineAddress struct {
	Address string `path:"address" doc:"IP:port, as it is listed."`
}

func (s *Server) drainEngine(ctx context.Context, in *engineAddress) (*struct{}, error) {
	return s.setDrained(ctx, in.Address, true, "media.engine.drained")
}

func (s *Server) undrainEngine(ctx context.Context, in *engineAddress) (*struct{}, error) {
	return s.setDrained(ctx, in.Address, false, "media.engine.undrained")
}

func (s *Server) setDrained(ctx context.Context, address string, on bool, kind events.Kind) (*struct{}, error) {
	if s.cfg.Engines == nil || s.cfg.Engines.Drain(address, on) != nil {
		return nil, newProblem(http.StatusNotFound, fmt.Sprintf("there is no media engine %s; `tandem media list` shows those there are, media.engines names them", address))
	}
	s.tell(ctx, events.Event{Kind: kind, Peer: address})
	return nil, nil
}
