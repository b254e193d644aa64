package cluster

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// A backup is the state of all machines at one place in the log, but for those of the cluster itself: who its nodes are is no business of
// another cluster.
//
//	+---------------------+
//	| "TDMBACK" 0x01      |  magic and format
//	| u32 len, JSON       |  BackupHead: readable in every format
//	| snapshot stream     |  as snapshot.go draws it
//	| 32 bytes            |  SHA-256 of everything before
//	+---------------------+
const (
	backupMagic  = "TDMBACK"
	backupFormat = 1
	backupSum    = sha256.Size
	maxBackHead  = 64 << 10

	// backupCatchUp is how long a backup waits to be told what has been agreed so far. Without a leader it is taken of what is known.
	backupCatchUp = 2 * time.Second
)

// ErrBackup means that a file cannot be used as a backup here; the error says why.
var ErrBackup = errors.New("the backup cannot be used")

// BackupHead says what is in a backup.
type BackupHead struct {
	Format   int       `json:"format" doc:"Of the file."`
	Node     string    `json:"node" doc:"Where it was made."`
	Program  string    `json:"version" doc:"Of the program that made it."`
	Time     time.Time `json:"time"`
	Index    uint64    `json:"index" doc:"The newest entry of the log that is in it."`
	Behind   bool      `json:"behind,omitempty" doc:"No leader could be asked whether the node had all that was agreed on."`
	Key      string    `json:"key" doc:"Names the key with which secrets in it are sealed. The key itself is not in it."`
	Machines []string  `json:"machines" nullable:"false"`
	About    int64     `json:"about_bytes" doc:"How long it was expected to be."`
}

// internal are the machines that are about the cluster itself.
func internal(machine string) bool {
	return machine == rosterMachine || machine == successionMachine || strings.HasPrefix(machine, rosterMachine+".")
}

// Backup writes the state of all machines as of now. What anybody had been told of before the call is in it, as long as a leader answers; else
// BackupHead.Behind is set. Changes go on meanwhile. One backup or snapshot is taken at a time, others wait as long as ctx allows. Any goroutine.
func (c *Cluster) Backup(ctx context.Context, w io.Writer) (BackupHead, error) {
	if c.raft.Load() == nil {
		return BackupHead{}, fmt.Errorf("cluster: backup: %w", ErrClosed)
	}
	wait, cancel := context.WithTimeout(ctx, backupCatchUp)
	behind := c.CatchUp(wait) != nil
	cancel()
	release, err := c.beginCapture(ctx)
	if err != nil {
		return BackupHead{}, fmt.Errorf("cluster: backup: %w", err)
	}
	defer release()
	sections, index, err := c.fsm.capture(func(machine string) bool { return !internal(machine) })
	if err != nil {
		return BackupHead{}, fmt.Errorf("cluster: backup: %w", err)
	}
	if index == 0 { // behind a restored snapshot, which has no number of its own
		index = c.raft.Load().AppliedIndex()
	}
	head := BackupHead{
		Format: backupFormat, Node: c.cfg.Node, Program: c.cfg.Program, Time: time.Now().UTC().Truncate(time.Second), Index: index, Behind: behind,
		Key: c.cfg.SealedBy, About: c.aboutBytes(),
	}
	for _, s := range sections {
		head.Machines = append(head.Machines, s.name)
	}
	if err := writeBackup(w, head, sections); err != nil {
		discard(sections)
		return head, fmt.Errorf("cluster: backup: %w", err)
	}
	c.log.Info("backup written", "node", c.cfg.Node, "index", index)
	return head, nil
}

// discard runs the writers that a failure has left over: a machine may keep a copy until its writer has run.
func discard(sections []section) {
	for _, s := range sections {
		_ = s.write(io.Discard) // one that has run refuses
	}
}

// aboutBytes guesses the size of the state.
func (c *Cluster) aboutBytes() int64 {
	size, _ := c.fsm.sinceSnapshot()
	if list, err := c.store.Load().Snapshots.List(); err == nil && len(list) > 0 {
		size += list[0].Size
	}
	return size
}

// beginCapture waits until no other copy of the machines' states is being written: a second one would have to stop the log for the rest of the
// first.
func (c *Cluster) beginCapture(ctx context.Context) (end func(), err error) {
	select {
	case c.capturing <- struct{}{}:
		return func() { <-c.capturing }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func writeBackup(w io.Writer, head BackupHead, sections []section) error {
	text, err := json.Marshal(head)
	if err != nil {
		return err
	}
	sum := sha256.New()
	out := io.MultiWriter(w, sum)
	front := append([]byte(backupMagic), backupFormat)
	front = binary.BigEndian.AppendUint32(front, uint32(len(text)))
	if _, err := out.Write(append(front, text...)); err != nil {
		return err
	}
	if _, err := writeSections(out, sections); err != nil {
		return err
	}
	_, err = w.Write(sum.Sum(nil))
	return err
}

// CheckBackup reads a backup of size bytes to its end and says what is in it. The error wraps ErrBackup when the file is not one, was cut off or
// changed, or is of a format that this program does not read.
func CheckBackup(r io.Reader, size int64) (BackupHead, error) {
	return readBackup(r, size, func(_ string, in io.Reader) error {
		_, err := io.Copy(io.Discard, in)
		return err
	})
}

// readBackup gives each section to restore. What is wrong with the file may be found behind the last section only.
func readBackup(r io.Reader, size int64, restore func(name string, in io.Reader) error) (head BackupHead, err error) {
	sum := sha256.New()
	in := bufio.NewReaderSize(io.TeeReader(io.LimitReader(r, size-backupSum), sum), chunkBytes+16)
	if head, err = readBackupHead(in); err != nil {
		return head, err
	}
	switch err := readSections(in, restore); {
	case errors.Is(err, errSnapshot) && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
		return head, fmt.Errorf("%w: it is cut off", ErrBackup)
	case err != nil:
		return head, fmt.Errorf("%w: %w", ErrBackup, err)
	}
	if _, err := in.ReadByte(); err != io.EOF {
		return head, fmt.Errorf("%w: there are bytes behind its end", ErrBackup)
	}
	var want [backupSum]byte
	if _, err := io.ReadFull(r, want[:]); err != nil {
		return head, fmt.Errorf("%w: it is cut off", ErrBackup)
	}
	if !bytes.Equal(sum.Sum(nil), want[:]) {
		return head, fmt.Errorf("%w: its checksum is wrong, so it was changed or damaged after it was made", ErrBackup)
	}
	return head, nil
}

// PeekBackup gives the head of a backup that begins with front.
func PeekBackup(front []byte) (BackupHead, error) { return readBackupHead(bytes.NewReader(front)) }

func readBackupHead(in io.Reader) (head BackupHead, err error) {
	var front [len(backupMagic) + 1 + 4]byte
	if _, err := io.ReadFull(in, front[:]); err != nil {
		return head, fmt.Errorf("%w: it is cut off, or no backup at all", ErrBackup)
	}
	n := binary.BigEndian.Uint32(front[len(backupMagic)+1:])
	if string(front[:len(backupMagic)]) != backupMagic || n > maxBackHead {
		return head, fmt.Errorf("%w: it is not a backup of Tandem", ErrBackup)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(in, text); err != nil {
		return head, fmt.Errorf("%w: it is cut off", ErrBackup)
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return head, fmt.Errorf("%w: its head is damaged", ErrBackup)
	}
	head.Format = int(front[len(backupMagic)])
	return head, head.readable()
}

func (h BackupHead) readable() error {
	if h.Format != backupFormat {
		return fmt.Errorf("%w: it has format %d, and this program reads %d: use version %s of the program, which made it, or a newer one", ErrBackup, h.Format, backupFormat, h.Program)
	}
	return nil
}

// suits says whether a backup may be restored here.
func (c *Cluster) suits(h BackupHead) error {
	if err := h.readable(); err != nil {
		return err
	}
	if h.Key != c.cfg.SealedBy {
		return fmt.Errorf("%w: its secrets are sealed with key %s, and the key file here holds %s: put the key file in place that was kept with the backup", ErrBackup, h.Key, c.cfg.SealedBy)
	}
	for _, name := range h.Machines {
		if c.cfg.Machines[name] == nil || internal(name) {
			return fmt.Errorf("%w: it holds %q, which this program does not know: use version %s of the program, which made it, or a newer one", ErrBackup, name, h.Program)
		}
	}
	return nil
}

// Found makes the beginning of a new cluster of a backup of size bytes: this node is its only member and holds what the backup holds. It works on
// the empty directory of a node that does not run, on a Cluster that is not run afterwards. On an error nothing has been written.
func (c *Cluster) Found(file io.ReadSeeker, size int64) (BackupHead, error) {
	head, err := CheckBackup(file, size)
	if err != nil {
		return head, err
	}
	if err := c.suits(head); err != nil {
		return head, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return head, err
	}
	if head, err = readBackup(file, size, func(name string, in io.Reader) error { return c.cfg.Machines[name].Restore(in) }); err != nil {
		return head, err
	}
	return head, c.foundWithMachines()
}

// foundWithMachines writes the machines as they are as the first snapshot of a log.
func (c *Cluster) foundWithMachines() error {
	store, err := c.openStore()
	if err != nil {
		return err
	}
	defer store.close()
	has, err := raft.HasExistingState(store.Log, store.Stable, store.Snapshots)
	if err != nil {
		return fmt.Errorf("cluster: restore: %w", err)
	}
	if has || c.hasJoined() {
		return fmt.Errorf("cluster: restore: %s belongs to a cluster already", c.place())
	}
	address := raft.ServerAddress(c.cfg.Node)
	if c.port != nil {
		address = raft.ServerAddress(c.port.addr())
	}
	sections, _, err := c.fsm.capture(func(string) bool { return true })
	if err != nil {
		return fmt.Errorf("cluster: restore: %w", err)
	}
	const index, term = 2, 1 // behind the entry that would have made this node the only member
	_, transport := raft.NewInmemTransport(address)
	alone := raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(c.cfg.Node), Address: address}}}
	sink, err := store.Snapshots.Create(raft.SnapshotVersionMax, index, term, alone, index-1, transport)
	if err != nil {
		return fmt.Errorf("cluster: restore: %w", err)
	}
	if _, err := writeSections(sink, sections); err != nil {
		return errors.Join(fmt.Errorf("cluster: restore: %w", err), sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return fmt.Errorf("cluster: restore: %w", err)
	}
	if err := store.Stable.SetUint64([]byte("CurrentTerm"), term); err != nil {
		return fmt.Errorf("cluster: restore: %w", err)
	}
	return nil
}

// rehearse restores a backup into machines that nothing depends on.
func (c *Cluster) rehearse(open func() io.Reader, size int64) (BackupHead, error) {
	head, err := CheckBackup(open(), size)
	if err != nil {
		return head, err
	}
	if err := c.suits(head); err != nil {
		return head, err
	}
	if c.cfg.Fresh == nil {
		return head, fmt.Errorf("%w: this node cannot try it first", ErrBackup)
	}
	machines, err := c.cfg.Fresh()
	if err != nil {
		return head, err
	}
	return readBackup(open(), size, func(name string, in io.Reader) error {
		if machines[name] == nil {
			return errors.New("it cannot be tried first")
		}
		return machines[name].Restore(in)
	})
}

// without are those of names that list lacks.
func without(names, list []string) (rest []string) {
	for _, name := range names {
		if !slices.Contains(list, name) {
			rest = append(rest, name)
		}
	}
	return rest
}
