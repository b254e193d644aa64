package admin

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"tandem/cluster"
	"tandem/events"
	"tandem/sip"
)

func (s *Server) backupRoutes(api huma.API) {
	route(api, http.MethodGet, "/cluster/backup", "backup-cluster", "Give all that the cluster has agreed on, as a file", s.backup, fails(503), func(op *huma.Operation) {
		op.Responses = map[string]*huma.Response{"200": {Description: "A backup, as it is now; its end is a checksum.", Content: map[string]*huma.MediaType{"application/octet-stream": {}}}}
	})
	route(api, http.MethodPost, "/cluster/restore", "begin-restore", "Begin to restore a backup into the running cluster", s.beginRestore,
		func(op *huma.Operation) { op.DefaultStatus = http.StatusCreated }, fails(409))
	route(api, http.MethodPut, "/cluster/restore/{id}/{part}", "upload-restore", "Give a part of a backup", s.uploadRestore, noContent, fails(409))
	route(api, http.MethodPost, "/cluster/restore/{id}", "commit-restore", "Put a backup in force that has come whole", s.commitRestore, fails(409))
	route(api, http.MethodDelete, "/cluster/restore/{id}", "abandon-restore", "Forget what has come of a backup", s.abandonRestore, noContent, fails(409))
}

func (s *Server) backup(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
	if st := s.cfg.Cluster.Status(); st.State == "starting" || st.State == "stopped" {
		p := newProblem(http.StatusServiceUnavailable, "the node is "+st.State)
		p.RetryAfter = retryLater
		return nil, p
	}
	s.tell(ctx, events.Event{Kind: "cluster.backup"})
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		_, w := humago.Unwrap(hc)
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Cache-Control", "no-store")
		out := &patient{w: w}
		if _, err := s.cfg.Cluster.Backup(ctx, out); err != nil && ctx.Err() == nil {
			s.cfg.Log.Error("a backup was not finished", "error", err)
		}
		// What was not finished has no checksum, so whoever has read it knows.
	}}, nil
}

// patient gives a long answer the time it takes, as long as its reader goes on.
type patient struct{ w http.ResponseWriter }

func (p *patient) Write(b []byte) (int, error) {
	extend(p.w, requestTimeout)
	return p.w.Write(b)
}

// RestoreWish is a backup that is to be restored into the running cluster.
type RestoreWish struct {
	Backup cluster.BackupHead `json:"backup" doc:"Its head."`
	Size   int64              `json:"size" minimum:"1" doc:"Of the file, in bytes."`
}

// RestoreBegun says how to go on.
type RestoreBegun struct {
	ID   string `json:"id"`
	Part int    `json:"part_bytes" doc:"The most that one part may have."`
}

func (s *Server) beginRestore(ctx context.Context, in *struct{ Body RestoreWish }) (*answer[RestoreBegun], error) {
	id, err := s.cfg.Cluster.BeginRestore(ctx, in.Body.Backup, in.Body.Size)
	if err != nil {
		return nil, s.restoreProblem(err)
	}
	return &answer[RestoreBegun]{RestoreBegun{id, cluster.RestorePart}}, nil
}

func (s *Server) uploadRestore(ctx context.Context, in *struct {
	ID      string `path:"id" maxLength:"64"`
	Part    int    `path:"part" minimum:"0" doc:"From 0."`
	RawBody []byte `contentType:"application/octet-stream"`
},
) (*struct{}, error) {
	if len(in.RawBody) > cluster.RestorePart {
		return nil, newProblem(http.StatusUnprocessableEntity, fmt.Sprintf("a part of %d bytes, %d is the most", len(in.RawBody), cluster.RestorePart))
	}
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	if err := s.cfg.Cluster.Upload(ctx, in.ID, in.Part, in.RawBody); err != nil {
		return nil, s.restoreProblem(err)
	}
	return nil, nil
}

// RestoreCommit says what is to be taken of a backup.
type RestoreCommit struct {
	Registrations bool `json:"registrations,omitempty" doc:"Take the registrations of phones from the backup too, and forget those of now."`
}

func (s *Server) commitRestore(ctx context.Context, in *struct {
	ID   string `path:"id" maxLength:"64"`
	Body RestoreCommit
},
) (*answer[cluster.RestoreReport], error) {
	var keep []string
	if !in.Body.Registrations {
		keep = []string{sip.LocationMachine}
	}
	report, err := s.cfg.Cluster.Restore(ctx, in.ID, keep)
	if err != nil {
		return nil, s.restoreProblem(err)
	}
	s.tell(ctx, events.Event{Kind: "cluster.restored", Reason: "of " + report.Backup.Time.Format(dateTime) + " by node " + report.Backup.Node})
	if report.Kept == nil {
		report.Kept = []string{}
	}
	return &answer[cluster.RestoreReport]{report}, nil
}

const dateTime = "2006-01-02 15:04:05 UTC"

func (s *Server) abandonRestore(ctx context.Context, in *struct {
	ID string `path:"id" maxLength:"64"`
},
) (*struct{}, error) {
	if err := s.cfg.Cluster.Abandon(ctx, in.ID); err != nil {
		return nil, s.restoreProblem(err)
	}
	return nil, nil
}

func (s *Server) restoreProblem(err error) *Problem {
	for _, passing := range []error{cluster.ErrUnknown, cluster.ErrBusy, cluster.ErrNotLeader, cluster.ErrClosed} {
		if errors.Is(err, passing) {
			return clusterProblem(err, s.cfg.Cluster.Status())
		}
	}
	return newProblem(http.StatusConflict, err.Error()+"; nothing was changed")
}

// Backup writes a backup to w. It is as good as its end says: see cluster.CheckBackup. progress, unless nil, is told how far it is and how long the
// whole may become; 0 is not known.
func (c *Client) Backup(ctx context.Context, w io.Writer, progress func(done, about int64)) error {
	r, err := c.request(ctx, http.MethodGet, "/cluster/backup", nil, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "application/octet-stream, application/json")
	resp, err := c.send(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	in := bufio.NewReaderSize(resp.Body, 128<<10)
	front, _ := in.Peek(4 << 10) // what is missing shows below
	about := int64(0)
	if head, err := cluster.PeekBackup(front); err == nil {
		about = head.About
	}
	buf := make([]byte, 64<<10)
	for done := int64(0); ; {
		n, err := in.Read(buf)
		if _, werr := w.Write(buf[:n]); werr != nil {
			return werr
		}
		if done += int64(n); progress != nil {
			progress(done, about)
		}
		switch {
		case err == io.EOF:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return &UnreachableError{Target: c.target, Cause: err}
		}
	}
}

// Restore restores a backup of size bytes into the running cluster. What head says is that of the file. progress is told the bytes that have gone.
func (c *Client) Restore(ctx context.Context, file io.Reader, size int64, head cluster.BackupHead, take RestoreCommit, progress func(done int64)) (report cluster.RestoreReport, err error) {
	var begun RestoreBegun
	if err := c.do(ctx, http.MethodPost, "/cluster/restore", nil, RestoreWish{head, size}, &begun); err != nil {
		return report, err
	}
	at := "/cluster/restore/" + url.PathEscape(begun.ID)
	if err = c.upload(ctx, at, begun.Part, file, progress); err == nil {
		err = c.do(ctx, http.MethodPost, at, nil, take, &report)
	}
	if err != nil {
		tidy, cancel := context.WithTimeout(context.WithoutCancel(ctx), proposeTimeout)
		defer cancel()
		_ = c.do(tidy, http.MethodDelete, at, nil, nil, nil) // else it is forgotten by itself in a while
	}
	return report, err
}

// partTries is how often a part is given while the cluster cannot agree: a change of leaders is over sooner.
const partTries = 8

func (c *Client) upload(ctx context.Context, at string, part int, file io.Reader, progress func(done int64)) error {
	buf := make([]byte, part)
	done := int64(0)
	for i := 0; ; i++ {
		n, err := io.ReadFull(file, buf)
		if n == 0 && err == io.EOF {
			return nil
		}
		if err != nil && err != io.ErrUnexpectedEOF {
			return err
		}
		if err := c.uploadPart(ctx, at+"/"+strconv.Itoa(i), buf[:n]); err != nil {
			return err
		}
		done += int64(n)
		progress(done)
	}
}

func (c *Client) uploadPart(ctx context.Context, at string, part []byte) (err error) {
	for range partTries {
		var r *http.Request
		if r, err = c.request(ctx, http.MethodPut, at, nil, bytes.NewReader(part)); err != nil {
			return err
		}
		r.Header.Set("Content-Type", "application/octet-stream")
		var resp *http.Response
		if resp, err = c.send(r); err == nil {
			return resp.Body.Close()
		}
		var p *Problem
		if !errors.As(err, &p) || p.RetryAfter == 0 {
			return err
		}
		select {
		case <-time.After(time.Duration(p.RetryAfter) * time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}
