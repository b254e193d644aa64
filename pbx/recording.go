package pbx

import (
	"context"
	"errors"

	"tandem/events"
	"tandem/rtpengine"
)

// Errors that what is done to a call adds to those of the media engine.
var (
	ErrNoCall       = errors.New("there is no such call")
	ErrNotAnswered  = errors.New("the call is not answered yet")
	ErrNoMedia      = errors.New("the media of this call do not pass this node")
	ErrNotRecording = errors.New("the call is not being recorded")
	// ErrOneParty is Check's.
	ErrOneParty = errors.New("the call is between one phone and the node itself: there is nobody to be asked but the caller, whose media are watched")
)

// recordable is the media of an answered call, relayed or answered by Tandem itself.
type recordable struct {
	record func() (*rtpengine.Recording, error)
	stop   func() bool
	file   func() string
}

func (c *Call) recordable() (recordable, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.state != Answered:
		return recordable{}, ErrNotAnswered
	case c.leg != nil:
		return recordable{c.leg.media.Record, c.leg.media.StopRecording, c.leg.media.Recording}, nil
	case c.media != nil:
		return recordable{c.media.record, c.media.stopRecording, c.media.recording}, nil
	}
	return recordable{}, ErrNoMedia
}

// recording is the file that is being written, "" when none is.
func (c *Call) recording() string {
	m, err := c.recordable()
	if err != nil {
		return ""
	}
	return m.file()
}

// record starts to record an answered call and tells the world. It waits for no disk.
func (c *Call) record() (*rtpengine.Recording, error) {
	m, err := c.recordable()
	if err != nil {
		return nil, err
	}
	rec, err := m.record()
	if err != nil {
		return nil, err
	}
	c.publish(events.Event{Kind: events.RecordingStarted, File: rec.File})
	return rec, nil
}

// recorded is told by the media engine that a recording is complete, or failed.
func (c *Call) recorded(end rtpengine.RecordingEnd) {
	e := events.Event{Kind: events.RecordingEnded, File: end.File, Duration: end.Length, Reason: end.Reason}
	if end.Err != nil {
		e.Kind, e.Reason = events.RecordingFailed, end.Err.Error()
	}
	c.publish(e)
}

// recordAsPlanned starts a recording when the plan wants one: of the ring group that rang, of the caller, or of who answered.
func (c *Call) recordAsPlanned(by string) {
	c.mu.Lock()
	wanted := c.planned
	c.mu.Unlock()
	plan := c.pbx.cfg.Plan()
	for _, user := range [...]string{c.from, by} {
		if u, ok := plan.User(c.tenant, user); ok && u.Record {
			wanted = true
		}
	}
	if !wanted {
		return
	}
	if _, err := c.record(); err != nil {
		c.pbx.cfg.Log.Error("a call that the dialplan wants recorded is not", "call", c.id, "error", err)
		c.publish(events.Event{Kind: events.RecordingFailed, Reason: err.Error()})
	}
}

// Record starts to record a call, by its id or its Call-ID, and returns when there is a file: its path.
func (p *PBX) Record(ctx context.Context, id string) (file string, err error) {
	c := p.find(id)
	if c == nil {
		return "", ErrNoCall
	}
	rec, err := c.record()
	if err != nil {
		return "", err
	}
	return rec.File, rec.Opened(ctx)
}

// StopRecording ends the recording of a call. The call goes on.
func (p *PBX) StopRecording(id string) error {
	c := p.find(id)
	if c == nil {
		return ErrNoCall
	}
	m, err := c.recordable()
	if err != nil {
		return err
	}
	if !m.stop() {
		return ErrNotRecording
	}
	return nil
}
