package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// restoreMachine is the name under which a backup goes into the log of a running cluster.
const restoreMachine = "cluster.restore"

const (
	// RestorePart is the longest part of a backup that Upload takes, in bytes.
	RestorePart = 256 << 10
	// maxRestore bounds a backup: it lies in the memory of every node until it is put in force.
	maxRestore = 1 << 30
	// restoreIdle is how long an upload may rest before it is given up.
	restoreIdle = 10 * time.Minute
	// restoreWait is how long we look whether a restore whose outcome is not known was made.
	restoreWait = time.Minute
)

// A backup is restored into a running cluster through the log: its parts are items like others, and one last item puts it in force on every node
// at the same index. So it can be given to any node, a change of leaders does it no harm, and what was not put in force has changed nothing. (Raft's
// own Restore leaves a hole in the leader's log; a leader that dies before the others have its snapshot comes back with a state that nobody agreed on.)
type restoring struct {
	fsm *fsm

	mu   sync.Mutex
	now  upload
	last RestoreReport
}

// upload is a backup on its way into the log.
type upload struct {
	ID    string `json:"id"`
	Size  int64  `json:"size"`
	Got   int64  `json:"got"`
	Parts int    `json:"parts"`
	Moved int64  `json:"moved"` // Unix seconds of the last part, the proposer's
	parts [][]byte
}

// RestoreReport says what a restore has done.
type RestoreReport struct {
	ID       string     `json:"id"`
	Restored []string   `json:"restored" nullable:"false" doc:"What is now as it was when the backup was made."`
	Kept     []string   `json:"kept" nullable:"false" doc:"What was not asked for, or is not in the backup, and stayed as it was."`
	Backup   BackupHead `json:"backup"`
}

// The kinds of commands, each the first byte of one.
const (
	restoreBegin = iota + 1 // JSON of upload
	restorePart             // uv number, uv seconds, uv len id, bytes
	restoreCommit
	restoreAbandon
)

type commitCommand struct {
	ID   string   `json:"id"`
	Keep []string `json:"keep,omitempty"` // machines that stay as they are
}

// What the machine refuses; an operator reads them.
var (
	errRestoreBusy = errors.New("another backup is being restored; wait until that has ended, or ten minutes if it was broken off")
	errNoRestore   = errors.New("this restore is not known: it was given up, or another one has begun")
)

func newRestoring() *restoring { return &restoring{} }

func encodeRestore(kind byte, v any) []byte {
	text, _ := json.Marshal(v) // plain fields
	return append([]byte{kind}, text...)
}

func encodePart(id string, number int, now time.Time, part []byte) []byte {
	b := binary.AppendUvarint([]byte{restorePart}, uint64(number))
	b = binary.AppendUvarint(b, uint64(now.Unix()))
	b = binary.AppendUvarint(b, uint64(len(id)))
	return append(append(b, id...), part...)
}

// Apply makes one step. The result is an error for the proposer, or a RestoreReport.
func (m *restoring) Apply(cmd []byte) any {
	if len(cmd) == 0 {
		panic("an empty command to restore")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch cmd[0] {
	case restoreBegin:
		var u upload
		m.read(cmd, &u)
		if m.now.ID != "" && m.now.ID != u.ID && time.Duration(u.Moved-m.now.Moved)*time.Second < restoreIdle {
			return errRestoreBusy
		}
		m.now = upload{ID: u.ID, Size: u.Size, Moved: u.Moved}
		return nil
	case restorePart:
		return m.part(cmd[1:])
	case restoreCommit:
		var c commitCommand
		m.read(cmd, &c)
		return m.commit(c)
	case restoreAbandon:
		var c commitCommand
		m.read(cmd, &c)
		if m.now.ID == c.ID {
			m.now = upload{}
		}
		return nil
	}
	panic(fmt.Sprintf("a command to restore of kind %d is not known", cmd[0]))
}

func (m *restoring) read(cmd []byte, v any) {
	if err := json.Unmarshal(cmd[1:], v); err != nil {
		panic(fmt.Sprintf("a command to restore cannot be read: %v", err))
	}
}

func (m *restoring) part(b []byte) any {
	d := decoder{b: b}
	number, moved, id := d.uvarint(), d.uvarint(), string(d.bytes())
	switch {
	case d.bad:
		panic("a part of a backup cannot be read")
	case id != m.now.ID:
		return errNoRestore
	case number < uint64(m.now.Parts):
		return nil // it came twice
	case number > uint64(m.now.Parts):
		return fmt.Errorf("part %d of the backup came before part %d", number, m.now.Parts)
	case m.now.Got+int64(len(d.b)) > m.now.Size:
		return fmt.Errorf("the backup is longer than was said: %d bytes", m.now.Size)
	}
	m.now.parts = append(m.now.parts, bytes.Clone(d.b))
	m.now.Parts, m.now.Got, m.now.Moved = m.now.Parts+1, m.now.Got+int64(len(d.b)), int64(moved)
	return nil
}

// commit puts the backup in force. Whether it can be is known before the first machine is touched: the file is checked here, and was tried by the
// node that proposes this.
func (m *restoring) commit(c commitCommand) any {
	if c.ID != m.now.ID {
		return errNoRestore
	}
	if m.now.Got != m.now.Size {
		return fmt.Errorf("%w: only %d of its %d bytes have come", ErrBackup, m.now.Got, m.now.Size)
	}
	head, err := CheckBackup(m.now.open(), m.now.Size)
	if err != nil {
		return err
	}
	report := RestoreReport{ID: c.ID, Backup: head, Restored: without(head.Machines, c.Keep)}
	for _, name := range m.fsm.names {
		if !internal(name) && !slices.Contains(report.Restored, name) {
			report.Kept = append(report.Kept, name)
		}
	}
	_, err = readBackup(m.now.open(), m.now.Size, func(name string, in io.Reader) error {
		if !slices.Contains(report.Restored, name) {
			return nil
		}
		machine := m.fsm.machines[name]
		if machine == nil || internal(name) {
			return fmt.Errorf("the program does not know %q", name)
		}
		return machine.Restore(in)
	})
	if err != nil {
		panic(fmt.Sprintf("the backup cannot be put in force here: %v", err))
	}
	m.now, m.last = upload{}, report
	return report
}

func (u *upload) open() io.Reader {
	readers := make([]io.Reader, len(u.parts))
	for i, p := range u.parts {
		readers[i] = bytes.NewReader(p)
	}
	return io.MultiReader(readers...)
}

// Snapshot writes the upload under way, if there is one: a line of JSON, then its parts.
func (m *restoring) Snapshot() (func(io.Writer) error, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now
	now.parts = slices.Clone(now.parts)
	head, err := json.Marshal(now)
	return func(w io.Writer) error {
		if _, err := w.Write(binary.BigEndian.AppendUint32(nil, uint32(len(head)))); err != nil {
			return err
		}
		if _, err := w.Write(head); err != nil {
			return err
		}
		for _, p := range now.parts {
			if _, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(p))), p...)); err != nil {
				return err
			}
		}
		return nil
	}, err
}

// Restore replaces it.
func (m *restoring) Restore(in io.Reader) error {
	block := func(limit uint32) ([]byte, error) {
		var n [4]byte
		if _, err := io.ReadFull(in, n[:]); err != nil {
			return nil, err
		}
		size := binary.BigEndian.Uint32(n[:])
		if size > limit {
			return nil, fmt.Errorf("%d bytes at once", size)
		}
		b := make([]byte, size)
		_, err := io.ReadFull(in, b)
		return b, err
	}
	var u upload
	head, err := block(RestorePart)
	if err == nil {
		err = json.Unmarshal(head, &u)
	}
	for i := 0; i < u.Parts && err == nil; i++ {
		var p []byte
		p, err = block(MaxCommand)
		u.parts = append(u.parts, p)
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = u
	return nil
}

func (m *restoring) state() (now upload, last RestoreReport) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now, m.last
}

// BeginRestore begins to restore a backup of size bytes into the running cluster; its parts come by Upload, and Restore puts it in force. It refuses a
// backup that does not suit, of which head says what it is. Any node, any goroutine.
func (c *Cluster) BeginRestore(ctx context.Context, head BackupHead, size int64) (id string, err error) {
	if err := c.suits(head); err != nil {
		return "", err
	}
	if size > maxRestore {
		return "", fmt.Errorf("%w: it has %d bytes, and %d is the most for a running cluster: restore it into an empty data directory", ErrBackup, size, maxRestore)
	}
	id = rand.Text()
	err = c.restoreStep(ctx, encodeRestore(restoreBegin, upload{ID: id, Size: size, Moved: time.Now().Unix()}))
	return id, err
}

// Upload adds the next part, at most RestorePart bytes, numbered from 0. To give one twice does no harm.
func (c *Cluster) Upload(ctx context.Context, id string, number int, part []byte) error {
	return c.restoreStep(ctx, encodePart(id, number, time.Now(), part))
}

// Abandon forgets what has come of a backup. Nothing was changed by it.
func (c *Cluster) Abandon(ctx context.Context, id string) error {
	return c.restoreStep(ctx, encodeRestore(restoreAbandon, commitCommand{ID: id}))
}

func (c *Cluster) restoreStep(ctx context.Context, cmd []byte) error {
	result, err := c.ProposeSince(ctx, sinceRestore, restoreMachine, cmd)
	if refused, ok := result.(error); ok {
		return refused
	}
	return err
}

// Restore puts a backup in force that has come whole: on all nodes, at one place in the log, all machines of it but those in keep. Before, this node tries it
// on machines of its own, so that a backup that cannot be restored changes nothing.
func (c *Cluster) Restore(ctx context.Context, id string, keep []string) (RestoreReport, error) {
	now, last := c.restoring.state()
	switch {
	case last.ID == id:
		return last, nil
	case now.ID != id:
		return RestoreReport{}, errNoRestore
	case now.Got != now.Size:
		return RestoreReport{}, fmt.Errorf("%w: only %d of its %d bytes have come", ErrBackup, now.Got, now.Size)
	}
	if _, err := c.rehearse(now.open, now.Size); err != nil {
		return RestoreReport{}, err
	}
	result, err := c.Propose(ctx, restoreMachine, encodeRestore(restoreCommit, commitCommand{id, keep}))
	if errors.Is(err, ErrUnknown) {
		return c.awaitRestore(ctx, id, err)
	}
	if err != nil {
		return RestoreReport{}, err
	}
	report, ok := result.(RestoreReport)
	if !ok {
		return report, fmt.Errorf("cluster: restore: %v", result)
	}
	c.log.Warn("a backup was restored into the running cluster", "made", report.Backup.Time, "restored", report.Restored, "kept", report.Kept)
	return report, nil
}

// awaitRestore looks whether a large backup is in force after all: to read it takes every node longer than other changes.
func (c *Cluster) awaitRestore(ctx context.Context, id string, cause error) (RestoreReport, error) {
	ctx, cancel := context.WithTimeout(ctx, restoreWait)
	defer cancel()
	for {
		if _, last := c.restoring.state(); last.ID == id {
			return last, nil
		}
		if pause(ctx, followerCheck) != nil {
			return RestoreReport{}, cause
		}
	}
}

// tidyRestore has the leader forget an upload that was broken off, once its time is over. The time is that of the log.
func (c *Cluster) tidyRestore(r *raft.Raft, now time.Time) {
	u, _ := c.restoring.state()
	if u.ID == "" || r.State() != raft.Leader || now.Sub(time.Unix(u.Moved, 0)) < restoreIdle {
		return
	}
	_ = c.ProposeAsync(restoreMachine, encodeRestore(restoreAbandon, commitCommand{ID: u.ID}), func(any, error) {}) // the next second tries again
}
