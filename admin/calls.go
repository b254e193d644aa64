package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/events"
	"tandem/pbx"
	"tandem/rtpengine"
	"tandem/sip"
)

// maxTrace bounds the messages of one trace.
const maxTrace = 2000

// Trace is the signalling of one call.
type Trace struct {
	Call     *pbx.View    `json:"call,omitempty" doc:"The call, while it goes on."`
	CDR      *events.CDR  `json:"cdr,omitempty" doc:"Its record, when it is over."`
	CallID   string       `json:"call_id"`
	Messages []sip.Traced `json:"messages" nullable:"false" doc:"Oldest first, secrets masked."`

	Why *CallExplained `json:"why,omitempty" doc:"Of a finished call: why it went where it went, in the words of explain-call."`
}

// MessageList is a piece of the ring of recent SIP messages.
type MessageList struct {
	Items []sip.Traced `json:"items" nullable:"false"`
}

func (s *Server) callRoutes(api huma.API) {
	route(api, http.MethodGet, "/calls", "list-calls", "List the calls of now, oldest first", s.listCalls)
	route(api, http.MethodGet, "/calls/{id}", "get-call", "Show a call", s.getCall, fails(404))
	route(api, http.MethodDelete, "/calls/{id}", "hang-up-call", "Hang up a call on both sides", s.hangUp, noContent, fails(404))
	route(api, http.MethodPut, "/calls/{id}/recording", "record-call", "Start to record an answered call", s.recordCall, fails(404, 409, 507))
	route(api, http.MethodDelete, "/calls/{id}/recording", "stop-recording-call", "Stop recording a call, which goes on", s.stopRecordingCall, noContent, fails(404, 409))
	route(api, http.MethodGet, "/calls/{id}/media", "show-call-media", "Show how a call sounds, second by second", s.callMedia, fails(404, 409))
	route(api, http.MethodPost, "/calls/{id}/digits", "dial-in-call", "Send digits to one side of an answered call", s.dialInCall, noContent, fails(404, 409))
	route(api, http.MethodPost, "/calls/{id}/check", "check-call", "Ask both phones of an answered call whether they are still in it", s.checkCall, fails(404, 409, 503))
	route(api, http.MethodGet, "/calls/{id}/trace", "trace-call", "Show the SIP messages of a call", s.traceCall, fails(404))
	route(api, http.MethodGet, "/cdrs", "list-cdrs", "List finished calls, newest first", s.listCDRs)
	route(api, http.MethodGet, "/messages", "list-messages", "Show recent SIP messages", s.listMessages)
}

func (s *Server) listCalls(_ context.Context, in *struct {
	Page
	Tenant string `query:"tenant" doc:"Of this tenant only."`
	User   string `query:"user" doc:"To, from or answered by this user only."`
},
) (*answer[List[pbx.View]], error) {
	list := slices.DeleteFunc(s.cfg.PBX.Calls(), func(v pbx.View) bool {
		return in.Tenant != "" && v.Tenant != in.Tenant || in.User != "" && v.From != in.User && v.To != in.User && v.Answerer != in.User
	})
	return &answer[List[pbx.View]]{cut(list, in.Page)}, nil
}

type callID struct {
	ID string `path:"id" doc:"The call's id, or its Call-ID."`
}

func (s *Server) getCall(_ context.Context, in *callID) (*answer[pbx.View], error) {
	v, ok := s.cfg.PBX.Call(in.ID)
	if !ok {
		return nil, noCall(in.ID)
	}
	return &answer[pbx.View]{v}, nil
}

func noCall(id string) error {
	return newProblem(http.StatusNotFound, fmt.Sprintf("there is no call %s now; `tandem calls list` shows those there are", id))
}

func (s *Server) hangUp(ctx context.Context, in *callID) (*struct{}, error) {
	v, ok := s.cfg.PBX.Call(in.ID)
	if !ok || !s.cfg.PBX.Hangup(in.ID, "ended by an operator") {
		return nil, noCall(in.ID)
	}
	s.tell(ctx, events.Event{Kind: "call.hangup", Tenant: v.Tenant, Call: v.ID, Reason: "ended by an operator"})
	return nil, nil
}

// Recording is a recording that was begun.
type Recording struct {
	File string `json:"file" doc:"Its path on the node: a stereo WAV file, the caller left."`
}

func (s *Server) recordCall(ctx context.Context, in *callID) (*answer[Recording], error) {
	file, err := s.cfg.PBX.Record(ctx, in.ID)
	if err != nil {
		return nil, recordingProblem(in.ID, err)
	}
	return &answer[Recording]{Recording{file}}, nil
}

func (s *Server) stopRecordingCall(_ context.Context, in *callID) (*struct{}, error) {
	if err := s.cfg.PBX.StopRecording(in.ID); err != nil {
		return nil, recordingProblem(in.ID, err)
	}
	return nil, nil
}

func (s *Server) callMedia(_ context.Context, in *callID) (*answer[pbx.CallMedia], error) {
	m, err := s.cfg.PBX.Media(in.ID)
	switch {
	case errors.Is(err, pbx.ErrNoCall):
		return nil, noCall(in.ID)
	case err != nil:
		return nil, newProblem(http.StatusConflict, err.Error())
	}
	return &answer[pbx.CallMedia]{m}, nil
}

// Digits are to be sent to one side of a call.
type Digits struct {
	Digits string `json:"digits" minLength:"1" maxLength:"64" pattern:"^[0-9*#A-Da-d,!]+$" doc:"Keys, and commas for pauses of half a second."`
	To     string `json:"to,omitempty" enum:"caller,callee" default:"callee" doc:"Who hears them; in a call that the node answers it is the caller."`
}

func (s *Server) dialInCall(_ context.Context, in *struct {
	callID
	Body Digits
},
) (*struct{}, error) {
	switch err := s.cfg.PBX.SendDigits(in.ID, in.Body.Digits, in.Body.To == "caller"); {
	case errors.Is(err, pbx.ErrNoCall):
		return nil, noCall(in.ID)
	case err != nil:
		return nil, newProblem(http.StatusConflict, strings.TrimPrefix(err.Error(), "rtpengine: "))
	}
	return nil, nil
}

func (s *Server) checkCall(ctx context.Context, in *callID) (*answer[pbx.Pulses], error) {
	out, err := s.cfg.PBX.Check(ctx, in.ID)
	switch {
	case errors.Is(err, pbx.ErrNoCall):
		return nil, noCall(in.ID)
	case errors.Is(err, pbx.ErrNotAnswered), errors.Is(err, pbx.ErrOneParty):
		return nil, newProblem(http.StatusConflict, err.Error())
	case err != nil:
		return nil, newProblem(http.StatusServiceUnavailable, err.Error())
	}
	return &answer[pbx.Pulses]{out}, nil
}

// recordingProblem says why a call cannot be recorded, or not be stopped to be.
func recordingProblem(id string, err error) error {
	status := http.StatusInsufficientStorage // a directory that cannot be written, a full disk
	switch {
	case errors.Is(err, pbx.ErrNoCall):
		return noCall(id)
	case errors.Is(err, rtpengine.ErrRecordingBusy), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		status = http.StatusServiceUnavailable
	case errors.Is(err, pbx.ErrNotAnswered), errors.Is(err, pbx.ErrNoMedia), errors.Is(err, pbx.ErrNotRecording), errors.Is(err, rtpengine.ErrRecording),
		errors.Is(err, rtpengine.ErrNothingHere), errors.Is(err, rtpengine.ErrNoRecording), errors.Is(err, rtpengine.ErrClosed), errors.Is(err, rtpengine.ErrEndToEnd):
		status = http.StatusConflict
	}
	return newProblem(status, strings.TrimPrefix(err.Error(), "rtpengine: "))
}

func (s *Server) listCDRs(_ context.Context, in *struct{ Page }) (*answer[List[events.CDR]], error) {
	list := s.cfg.Events.CDRs(everything)
	slices.Reverse(list)
	return &answer[List[events.CDR]]{cut(list, in.Page)}, nil
}

func (s *Server) traceCall(_ context.Context, in *callID) (*answer[Trace], error) {
	out := Trace{Messages: []sip.Traced{}}
	if v, ok := s.cfg.PBX.Call(in.ID); ok {
		out.Call, out.CallID = &v, v.CallID
	} else if cdr, ok := s.cdr(in.ID); ok {
		out.CDR = &cdr
		out.Why = s.explainPast(&cdr)
		out.CallID = cdr.CallID
	} else {
		out.CallID = in.ID
	}
	out.Messages = append(out.Messages, s.cfg.SIP.Trace(maxTrace, out.CallID)...)
	out.Messages = slices.DeleteFunc(out.Messages, func(m sip.Traced) bool { return header(m.Text, "Call-ID", "i") != out.CallID })
	if len(out.Messages) == 0 {
		return nil, newProblem(http.StatusNotFound, fmt.Sprintf("no recent message belongs to call %s: it is unknown, or its messages have left the trace (limits.trace_bytes makes it reach further back); `tandem calls list` shows the calls of now", in.ID))
	}
	return &answer[Trace]{out}, nil
}

// cdr finds the record of a finished call.
func (s *Server) cdr(id string) (events.CDR, bool) {
	list := s.cfg.Events.CDRs(everything)
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].Call == id {
			return list[i], true
		}
	}
	return events.CDR{}, false
}

// header is the value of a header field in the text of a message, by its long or its compact name.
func header(text, long, short string) string {
	head, _, _ := strings.Cut(text, "\r\n\r\n")
	for line := range strings.SplitSeq(head, "\r\n") {
		name, value, ok := strings.Cut(line, ":")
		name = strings.TrimSpace(name)
		if ok && (strings.EqualFold(name, long) || strings.EqualFold(name, short)) {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (s *Server) listMessages(_ context.Context, in *struct {
	Limit int       `query:"limit" minimum:"1" maximum:"2000" default:"200" doc:"How many to give, the newest."`
	After time.Time `query:"after" doc:"Later than this only."`
	User  string    `query:"user" doc:"Whose From, To, Contact or request line holds this only."`
},
) (*answer[MessageList], error) {
	list := slices.DeleteFunc(s.cfg.SIP.Trace(0), func(m sip.Traced) bool {
		return !m.At.After(in.After) || in.User != "" && !concerns(m.Text, in.User)
	})
	if len(list) > in.Limit {
		list = list[len(list)-in.Limit:]
	}
	return &answer[MessageList]{MessageList{append([]sip.Traced{}, list...)}}, nil
}

// concerns tells whether a message is from, to or about a user.
func concerns(text, user string) bool {
	first, _, _ := strings.Cut(text, "\r\n")
	for _, place := range []string{first, header(text, "From", "f"), header(text, "To", "t"), header(text, "Contact", "m")} {
		if strings.Contains(place, ":"+user+"@") {
			return true
		}
	}
	return false
}
