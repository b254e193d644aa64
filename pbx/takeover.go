package pbx

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"tandem/events"
	"tandem/rtpengine"
	"tandem/sip"
)

// callSnapshot is an answered call as another process can go on with it, or one that rings as it can begin it anew. It holds the keys of its media and must never be
// written to a disk or a log.
type callSnapshot struct {
	Version  int            `json:"v"`
	ID       string         `json:"id"`
	CallID   string         `json:"call_id"`
	Tenant   string         `json:"tenant"`
	From     string         `json:"from"`
	To       string         `json:"to"`
	Peer     netip.AddrPort `json:"peer"`
	Began    time.Time      `json:"began"`
	Node     string         `json:"node"`
	Answerer string         `json:"answerer"`
	Answered time.Time      `json:"answered"`
	Came     *lineSnapshot  `json:"came,omitempty"` // trunk that the call comes from
	Line     *lineSnapshot  `json:"line,omitempty"` // trunk that is called
	Dialog   []byte         `json:"dialog"`
	Media    []byte         `json:"media,omitempty"`
	Recorded bool           `json:"recorded,omitempty"`
	Lost     bool           `json:"lost,omitempty"` // its media could not be moved: the other process ends it
	CDR      events.CDR     `json:"cdr"`
	Ringing  []byte         `json:"ringing,omitempty"` // of a call without an answer, in place of all that an answer brings
}

const (
	callSnapshotVersion = 1
	maxCallSnapshot     = 1 << 20
)

// ErrSnapshot is Import's.
var ErrSnapshot = errors.New("the snapshot of a call is damaged, or of another version of the program")

// Prepare ends what cannot be moved: calls that are being set up are refused with 503 and the wish to try again at once, and those that the node
// answers itself, or whose media are on an engine elsewhere, are hung up. It tells how many. Any goroutine that is no shard's.
func (p *PBX) Prepare() (refused, ended int) {
	for _, c := range p.all() {
		c.mu.Lock()
		in, fixed, over := c.in, c.leg != nil || c.media != nil && !c.media.movable(), c.over
		c.mu.Unlock()
		switch {
		case over:
		case fixed && in == nil:
			ended++
			c.hangup(replaced)
		case in != nil:
			refused++
			c.refuseLater(replaced)
		}
	}
	return refused, ended
}

// refuseLater ends a call without an answer: its phone may try again at once.
func (c *Call) refuseLater(reason string) {
	c.mu.Lock()
	in := c.in
	c.mu.Unlock()
	if in == nil {
		return
	}
	in.Post(func() {
		in.Respond(503, "", []byte("Retry-After: 1\r\n"))
		c.end(503, reason)
	})
}

const replaced = "the node is replaced by a new process"

func (p *PBX) all() []*Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]*Call, 0, len(p.calls))
	for _, c := range p.calls {
		list = append(list, c)
	}
	return list
}

// A Departure is the move of the calls of this process to another one, until that has them or they are taken back.
type Departure struct {
	pbx  *PBX
	gone []departed
}

// departed is a call that has left, with what brings it back.
type departed struct {
	call *Call
	snap callSnapshot
}

// Depart gives every answered call between phones to send, one after the other. Its media end here just before, so that the other process can
// go on with them at once. Signalling must stand still (sip.Server.Freeze). An error of send ends it. Any goroutine that is no shard's.
func (p *PBX) Depart(ctx context.Context, send func(snapshot []byte) error) (*Departure, error) {
	d := &Departure{pbx: p}
	for _, c := range p.all() {
		snap, err := c.export(ctx)
		if errors.Is(err, sip.ErrNotMovable) {
			continue // it has ended meanwhile
		}
		if err != nil {
			return d, err
		}
		d.gone = append(d.gone, departed{c, snap})
		text, err := json.Marshal(snap)
		if err != nil {
			return d, err
		}
		if err := send(text); err != nil {
			return d, err
		}
	}
	return d, nil
}

// outline is what a snapshot says of a call itself; dialog is nil when it is none that can be moved.
func (c *Call) outline() (s callSnapshot, dialog *sip.Dialog, media *relayMedia) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s = callSnapshot{
		Version: callSnapshotVersion, ID: c.id, CallID: c.callID, Tenant: c.tenant, From: c.from, To: c.to, Peer: c.peer, Began: c.began, Node: c.node,
		Answerer: c.answerer, Answered: c.answered,
	}
	s.Came, s.Line = c.came.snapshot(), c.line.snapshot()
	if c.state == Answered && !c.over {
		dialog, media = c.dialog, c.media
	}
	return s, dialog, media
}

// export takes a call's dialog, media and record out of this process.
func (c *Call) export(ctx context.Context) (s callSnapshot, err error) {
	s, dialog, media := c.outline()
	if dialog == nil {
		return s, sip.ErrNotMovable
	}
	if s.Dialog, err = dialog.Export(ctx); err != nil {
		return s, err
	}
	if media != nil {
		s.Recorded = media.stopRecording()
		if s.Media, err = media.depart(); err != nil {
			c.pbx.cfg.Log.Warn("the media of a call cannot be moved; the call ends", "call", c.id, "error", err)
			s.Lost = true
		}
	}
	s.CDR, _ = c.pbx.cfg.Events.Release(c.id)
	return s, nil
}

// Calls is how many have been given away.
func (d *Departure) Calls() int { return len(d.gone) }

// Complete forgets the calls: the other process has them.
func (d *Departure) Complete() {
	for _, g := range d.gone {
		g.call.mu.Lock()
		g.call.over = true
		g.call.mu.Unlock()
		g.call.dropLines()
		d.pbx.remove(g.call)
	}
}

// Return takes the calls back, because nothing came of the move. One whose media cannot go on here is hung up.
func (d *Departure) Return() {
	for _, g := range d.gone {
		c := g.call
		d.pbx.cfg.Events.Adopt(g.snap.CDR)
		if len(g.snap.Media) > 0 {
			if err := c.media.returned(g.snap.Media); err != nil {
				d.pbx.cfg.Log.Error("the media of a call cannot go on; the call is ended", "call", c.id, "error", err)
				c.hangup(lostMedia)
				continue
			}
		}
		if g.snap.Recorded {
			c.recordAgain()
		}
	}
}

const lostMedia = "the media could not be moved with the call"

// An Arrival is a call that has come from another process, and does not count here before Settle.
type Arrival struct {
	call *Call
	snap callSnapshot
	from Whence
	lost bool // its media are not here, and will not be
}

// ringTime bounds how long it may take to begin a call anew.
const ringTime = time.Second

// Whence is where a call comes from.
type Whence uint8

const (
	FromProcess   Whence = iota // another process of this node, which has given it away
	FromDead                    // a dead node, at whose addresses this one is heard now; it may have done more with the call than the snapshot tells
	FromElsewhere               // a dead node, whose addresses this one does not have: the phones must be told
)

// Import goes on with a call that another process has given away, while the media engine runs. Errors: ErrSnapshot, those of sip.Server.Import.
func (p *PBX) Import(ctx context.Context, snapshot []byte, from Whence) (*Arrival, error) {
	s, err := readCall(snapshot)
	if err != nil {
		return nil, err
	}
	if len(s.Ringing) > 0 {
		return &Arrival{call: &Call{pbx: p, id: s.ID}, snap: s, from: from}, nil
	}
	c := &Call{
		pbx: p, id: s.ID, callID: s.CallID, tenant: s.Tenant, from: s.From, to: s.To, peer: s.Peer, began: s.Began, state: Answered, node: s.Node,
		answerer: s.Answerer, answered: s.Answered,
	}
	arrival := sip.Arrival{Snapshot: s.Dialog, Events: c, Old: from != FromProcess}
	c.came, arrival.CallerTrunk = p.lineOf(s.Came)
	c.line, arrival.CalleeTrunk = p.lineOf(s.Line)
	if c.came != nil {
		c.trunk = c.came.trunk
	}
	dead := from != FromProcess
	a := &Arrival{call: c, snap: s, from: from, lost: s.Lost}
	var media sip.Media
	if len(s.Media) > 0 {
		c.media = newRelayMedia(c)
		if c.line != nil {
			c.media.out = c.line.trunk
		}
		media = c.media
		switch err := c.media.arrive(s.Media, from); {
		case errors.Is(err, rtpengine.ErrPortTaken):
			c.media.awaited = true
		case err != nil:
			a.lose(err)
		}
	}
	arrival.Media = media
	if c.dialog, err = p.sig.Import(ctx, arrival); err != nil {
		if media != nil {
			media.Close()
		}
		if _, here := p.Call(s.ID); dead && !here { // nobody else writes its record
			p.cfg.Events.Adopt(s.CDR)
			c.publish(events.Event{Kind: events.CallEnded, Status: 200, Reason: "the node of the call died, and another one could not go on with it"})
		}
		return nil, err
	}
	p.mu.Lock()
	p.calls[c.id] = c
	if c.trunk == nil {
		p.byUser[c.tenant+"\x00"+c.from]++
	}
	p.mu.Unlock()
	for _, l := range [...]*line{c.came, c.line} {
		if l != nil {
			p.lines.adopt(l, time.Now())
		}
	}
	return a, nil
}

// ID is the call's.
func (a *Arrival) ID() string { return a.call.id }

func (a *Arrival) lose(err error) {
	a.lost = true
	a.call.pbx.cfg.Log.Error("the media of a call cannot be taken over; the call is ended", "call", a.call.id, "error", err)
}

// Settle makes an arrived call one of this process: from here on its record is written here.
func (a *Arrival) Settle() {
	if len(a.snap.Ringing) > 0 {
		return
	}
	a.call.pbx.cfg.Events.Adopt(a.snap.CDR)
	a.call.pbx.arrived.Add(1)
}

// Resume has others get copies of the call, brings media that waited for ports of the other process, which has ended now, and ends a call that came
// without any. Behind Settle, while signalling runs.
func (a *Arrival) Resume() {
	if len(a.snap.Ringing) > 0 {
		a.ringAgain()
		return
	}
	c := a.call
	c.Changed() // not before phones are heard: to describe a call takes as long as to take it in
	if m := c.media; m != nil && m.awaited {
		m.awaited = false
		if err := m.arrive(a.snap.Media, a.from); err != nil {
			a.lose(err)
		}
	}
	if a.lost {
		c.hangup(lostMedia)
		return
	}
	if a.snap.Recorded {
		c.recordAgain()
	}
	if a.from == FromElsewhere && c.media != nil {
		if err := c.dialog.Readdress(c.readdressed); err != nil {
			c.hangup(lostMedia)
		}
	}
}

// ringAgain begins a call anew that rang at a dead node. Its caller is asked for nothing; he hears that it rings once more.
func (a *Arrival) ringAgain() {
	p := a.call.pbx
	ctx, cancel := context.WithTimeout(context.Background(), ringTime)
	defer cancel()
	if err := p.sig.Revive(ctx, a.snap.Ringing, a.snap.ID); err != nil {
		p.cfg.Log.Warn("a call that rang at a dead node cannot be begun again", "call", a.snap.ID, "error", err)
		return
	}
	p.revived.Add(1)
}

// readdressed hears what came of telling the phones where their call goes on.
func (c *Call) readdressed(problem string) {
	if problem == "" {
		c.pbx.readdresses.Add(1)
		return
	}
	c.pbx.unaddressed.Add(1)
	c.pbx.cfg.Log.Warn("a call of a dead node ends, since its phones cannot be told where it goes on", "call", c.id, "reason", problem)
}

// recordAgain begins another recording of a call that was being recorded in the process it came from.
func (c *Call) recordAgain() {
	if _, err := c.record(); err != nil {
		c.pbx.cfg.Log.Error("a call that was recorded is so no longer behind its move", "call", c.id, "error", err)
		c.publish(events.Event{Kind: events.RecordingFailed, Reason: err.Error()})
	}
}

// readCall reads a snapshot. It may come from anywhere.
func readCall(b []byte) (s callSnapshot, err error) {
	if len(b) > maxCallSnapshot {
		return s, ErrSnapshot
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	if s.Version == callSnapshotVersion && s.ID != "" && len(s.Ringing) > 0 {
		return s, nil
	}
	if s.Version != callSnapshotVersion || s.ID == "" || s.CDR.Call != s.ID || s.Answered.IsZero() || !s.Peer.IsValid() {
		return s, ErrSnapshot
	}
	return s, nil
}

// movable tells whether the media of the call can go on in another process: those of the own engine can.
func (m *relayMedia) movable() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, here := m.session.(*rtpengine.Session)
	return here || m.session == nil
}

// depart takes the media of the call out of this process. nil: there were none.
func (m *relayMedia) depart() ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.session == nil || m.closed {
		return nil, nil
	}
	s, here := m.session.(*rtpengine.Session)
	if !here {
		return nil, errors.New("they are on an engine elsewhere")
	}
	snapshot, err := s.Export()
	if err != nil {
		return nil, err
	}
	s.Leave()
	m.session = nil
	return snapshot, nil
}

// arrive goes on with media of a call that came from another process.
func (m *relayMedia) arrive(snapshot []byte, from Whence) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.call.pbx.cfg.Media == nil {
		return errors.New("this node has no media engine of its own")
	}
	bring := m.call.pbx.cfg.Media.Import
	if from == FromElsewhere {
		bring = m.call.pbx.cfg.Media.ImportElsewhere
	}
	s, err := bring(m.config(), snapshot)
	if err == nil {
		m.session = s
	}
	return err
}

// returned is arrive for media that have just left. The engine closes ports in its own time, so that they are free a moment later.
func (m *relayMedia) returned(snapshot []byte) (err error) {
	for deadline := time.Now().Add(portTime); ; time.Sleep(portPause) {
		if err = m.arrive(snapshot, FromProcess); !errors.Is(err, rtpengine.ErrPortTaken) || time.Now().After(deadline) {
			return err
		}
	}
}

// portTime is how long a call waits for its ports to be closed, portPause how long between two looks.
const (
	portTime  = time.Second
	portPause = 2 * time.Millisecond
)

// config is how the engine's session of the call is made.
func (m *relayMedia) config() rtpengine.SessionConfig {
	return rtpengine.SessionConfig{ID: m.call.id, OnSilence: m.silence, OnRecorded: m.call.recorded, OnQuality: m.call.sounds, OnPicture: m.askPicture}
}
