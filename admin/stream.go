package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"tandem/events"
)

const (
	streamBuffer  = 1024 // events that wait for one slow reader before it loses some
	streamTimeout = 10 * time.Second
	everything    = 1 << 20 // as far back as the event log reaches
)

func (s *Server) eventRoutes(api huma.API) {
	schema := api.OpenAPI().Components.Schemas.Schema(typeOf[events.Event](), true, "Event")
	route(api, http.MethodGet, "/events", "stream-events", "Follow what happens, as server-sent events", s.streamEvents, fails(503), func(op *huma.Operation) {
		op.Description = "Each message is one event as JSON, its id the event's seq. A message of type gap says how many events a slow reader lost. " +
			"Comments are signs of life."
		op.Responses = map[string]*huma.Response{"200": {Description: "A stream without end.", Content: map[string]*huma.MediaType{"text/event-stream": {Schema: schema}}}}
	})
}

type streamInput struct {
	Kind string `query:"kind" doc:"These kinds only, by the beginning of their names, separated by commas: call,registration.added"`
	Last string `header:"Last-Event-ID" doc:"Give what came after this one first, as far as it is remembered."`
}

func (s *Server) streamEvents(ctx context.Context, in *streamInput) (*huma.StreamResponse, error) {
	if n := s.count.streams.Add(1); n > int64(s.cfg.Streams) {
		s.count.streams.Add(-1)
		p := newProblem(http.StatusServiceUnavailable, "too many event streams are open on this node; close one and try again")
		p.RetryAfter = 10
		return nil, p
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer s.count.streams.Add(-1)
		_, w := humago.Unwrap(hc)
		st := &stream{w: w, control: http.NewResponseController(w), match: kinds(in.Kind)}
		s.follow(ctx, st, in.Last)
	}}, nil
}

// kinds is a filter made of the beginnings of kinds; nothing lets everything through.
func kinds(list string) func(events.Event) bool {
	if list == "" {
		return func(events.Event) bool { return true }
	}
	wanted := strings.Split(list, ",")
	return func(e events.Event) bool {
		return slices.ContainsFunc(wanted, func(w string) bool { return strings.HasPrefix(string(e.Kind), strings.TrimSpace(w)) })
	}
}

// follow writes events until the reader goes away or the node stops.
func (s *Server) follow(ctx context.Context, st *stream, last string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	feed := s.cfg.Events.Subscribe(ctx, streamBuffer)
	st.begin()
	if n, err := strconv.ParseUint(last, 10, 64); err == nil {
		recent := s.cfg.Events.Recent(everything, nil)
		if k := len(recent); k > 0 && recent[k-1].Seq >= n { // else n is from before a restart
			st.last = n
		}
		for _, e := range recent {
			st.event(e)
		}
	}
	beat := time.NewTicker(s.cfg.Heartbeat)
	defer beat.Stop()
	for st.err == nil {
		select {
		case <-ctx.Done():
			return
		case <-s.stopping:
			return
		case <-beat.C:
			st.write(": \n\n")
		case e, open := <-feed:
			if !open {
				return
			}
			st.event(e)
		}
	}
}

// stream is one reader of events.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	match   func(events.Event) bool
	last    uint64 // seq of the newest event seen, written or not
	err     error
}

func (st *stream) begin() {
	_ = st.control.SetReadDeadline(time.Time{})
	st.w.Header().Set("Content-Type", "text/event-stream")
	st.w.Header().Set("Cache-Control", "no-store")
	st.w.Header().Set("X-Accel-Buffering", "no")
	st.w.WriteHeader(http.StatusOK)
	st.write("retry: 2000\n\n")
}

func (st *stream) event(e events.Event) {
	switch {
	case e.Seq <= st.last:
		return // already given from the ring
	case st.last > 0 && e.Seq > st.last+1:
		st.write(fmt.Sprintf("event: gap\ndata: {\"lost\":%d}\n\n", e.Seq-st.last-1))
	}
	st.last = e.Seq
	if !st.match(e) {
		return
	}
	text, err := json.Marshal(e)
	if err != nil {
		st.err = err
		return
	}
	st.write(fmt.Sprintf("id: %d\ndata: %s\n\n", e.Seq, text))
}

func (st *stream) write(text string) {
	if st.err != nil {
		return
	}
	_ = st.control.SetWriteDeadline(time.Now().Add(streamTimeout))
	if _, st.err = st.w.Write([]byte(text)); st.err == nil {
		st.err = st.control.Flush()
	}
}
