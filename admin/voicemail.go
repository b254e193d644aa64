package admin

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/danielgtaylor/huma/v2"

	"tandem/events"
	"tandem/pbx/mailbox"
)

func (s *Server) voicemailRoutes(api huma.API) {
	route(api, http.MethodGet, "/voicemail", "list-voicemail", "List the messages in mailboxes, the oldest first", s.listVoicemail)
	route(api, http.MethodGet, "/voicemail/{id}/sound", "get-voicemail-sound", "Get the sound of a message, as WAV or Ogg", s.voicemailSound, fails(404, 503))
	route(api, http.MethodDelete, "/voicemail/{id}", "delete-voicemail", "Delete a message or a recorded greeting", s.deleteVoicemail, noContent, fails(404))
}

func (s *Server) listVoicemail(_ context.Context, in *struct {
	Page
	Tenant  string `query:"tenant" doc:"Of this tenant only."`
	Mailbox string `query:"mailbox" doc:"Of this mailbox only."`
},
) (*answer[List[mailbox.Item]], error) {
	var list []mailbox.Item
	if s.cfg.Messages != nil {
		list = s.cfg.Messages.List(in.Tenant, in.Mailbox)
	}
	return &answer[List[mailbox.Item]]{cut(list, in.Page)}, nil
}

type messageID struct {
	ID string `path:"id" doc:"The id of the message."`
}

func (s *Server) message(id string) (mailbox.Item, error) {
	if s.cfg.Messages != nil {
		if i, ok := s.cfg.Messages.Item(id); ok {
			return i, nil
		}
	}
	return mailbox.Item{}, newProblem(http.StatusNotFound, fmt.Sprintf("there is no message %q; `tandem voicemail list` shows those there are", id))
}

func (s *Server) voicemailSound(ctx context.Context, in *messageID) (*huma.StreamResponse, error) {
	i, err := s.message(in.ID)
	if err != nil {
		return nil, err
	}
	path, err := s.cfg.Messages.File(ctx, i)
	if err != nil {
		return nil, newProblem(http.StatusServiceUnavailable, err.Error())
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		defer file.Close()
		c.SetHeader("Content-Type", "audio/"+i.Format)
		_, _ = io.Copy(c.BodyWriter(), file) // who asked may have gone
	}}, nil
}

func (s *Server) deleteVoicemail(ctx context.Context, in *messageID) (*struct{}, error) {
	i, err := s.message(in.ID)
	if err != nil {
		return nil, err
	}
	wait, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	if err := s.cfg.Messages.Remove(wait, i.ID); err != nil {
		return nil, newProblem(http.StatusServiceUnavailable, err.Error())
	}
	s.tell(ctx, events.Event{Kind: "voicemail.deleted", Tenant: i.Tenant, From: i.From, To: i.Box, Detail: map[string]string{"message": i.ID}})
	return nil, nil
}

func (m meter) voicemail(st mailbox.Stats) {
	m.gauge("tandem_voicemail_messages", "Messages in all mailboxes of the cluster.", st.Messages)
	m.gauge("tandem_voicemail_unheard", "Of these, those that nobody has heard.", st.Unheard)
	m.gauge("tandem_voicemail_mailboxes", "Mailboxes with messages.", st.Mailboxes)
	m.gauge("tandem_voicemail_recording", "Messages and greetings that are being recorded here.", st.Recording)
	m.gauge("tandem_voicemail_waiting", "Messages here on which the cluster has not agreed yet.", st.Waiting)
	m.gauge("tandem_voicemail_bytes", "Octets of the sounds that this node holds.", st.Bytes)
	m.gauge("tandem_voicemail_bytes_limit", "How many there may be.", st.MaxBytes)
	m.counter("tandem_voicemail_left_total", "Messages that were left through this node.", st.Left)
	m.counter("tandem_voicemail_full_total", "Callers who found a mailbox full.", st.RefusedFull)
	m.counter("tandem_voicemail_no_room_total", "Callers for whose message this node had no room.", st.RefusedRoom)
	m.counter("tandem_voicemail_short_total", "Recordings that were too short or silent to be messages.", st.Short)
	m.counter("tandem_voicemail_adopted_total", "Messages that a killed process had not finished.", st.Adopted)
	m.counter("tandem_voicemail_failures_total", "Attempts to agree on something about messages that came to nothing; they are made again.", st.Failed)
	m.counter("tandem_voicemail_dropped_total", "Notes that a message was heard or deleted which there was no room for.", st.Dropped)
	m.counter("tandem_voicemail_fetched_total", "Sounds fetched from other nodes.", st.Fetched)
	m.counter("tandem_voicemail_fetch_failures_total", "Attempts to fetch one that came to nothing.", st.FetchFailed)
	m.counter("tandem_voicemail_copied_total", "Copies given to other nodes.", st.Pushed)
	m.counter("tandem_voicemail_copy_failures_total", "Attempts to give one that came to nothing.", st.PushFailed)
	m.counter("tandem_voicemail_served_total", "Requests of other nodes for parts of sounds.", st.Served)
}

// Voicemail lists the messages in mailboxes; "" is all tenants, all mailboxes.
func (c *Client) Voicemail(ctx context.Context, tenant, box string) (List[mailbox.Item], error) {
	return all[mailbox.Item](ctx, c, "/voicemail", values("tenant", tenant, "mailbox", box), 0)
}

// VoicemailSound writes the sound of a message to out.
func (c *Client) VoicemailSound(ctx context.Context, id string, out io.Writer) error {
	return c.download(ctx, "/voicemail/"+url.PathEscape(id)+"/sound", out)
}

// DeleteVoicemail deletes a message.
func (c *Client) DeleteVoicemail(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, "/voicemail/"+url.PathEscape(id), nil, nil, nil)
}
