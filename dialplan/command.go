package dialplan

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// A command on the wire, integers as varints, texts with their length before them:
//
//	+---------+------+------------+--------------+--------+------+---------+-----------------------+
//	| version | kind | if version | unix nanosec | author | note | sources | name, text ... (each) |
//	+---------+------+------------+--------------+--------+------+---------+-----------------------+
//
// A snapshot is its version byte, the number of versions, and each version as number, time, author, note, hash, command
// identity, sources.
const (
	commandVersion  = 1
	commandApply    = 1
	snapshotVersion = 1
)

const (
	maxWords  = 4096 // bytes of author, note and names
	maxStored = 2 * keptVersions
)

// command is a decoded command.
type command struct {
	id           [32]byte // SHA-256 of its bytes
	ifVersion    int64
	time         time.Time
	author, note string
	sources      []Source
}

// ApplyCommand is the command that makes sources the plan. ifVersion is the version the author began with: AnyVersion to
// not compare, 0 for "only when there is no plan yet". now is stored as the time of the version.
func (s *Store) ApplyCommand(sources []Source, author, note string, ifVersion int64, now time.Time) []byte {
	b := []byte{commandVersion, commandApply}
	b = binary.AppendVarint(b, ifVersion)
	b = binary.AppendVarint(b, now.UnixNano())
	b = appendText(b, []byte(clip(author)))
	b = appendText(b, []byte(clip(note)))
	return appendSources(b, sources)
}

func clip(s string) string {
	if len(s) > maxWords {
		return s[:maxWords]
	}
	return s
}

func appendText(b, text []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(text)))
	return append(b, text...)
}

func appendSources(b []byte, sources []Source) []byte {
	b = binary.AppendUvarint(b, uint64(len(sources)))
	for _, s := range sources {
		b = appendText(b, []byte(s.Name))
		b = appendText(b, s.Text)
	}
	return b
}

func decodeCommand(cmd []byte) (command, error) {
	if len(cmd) < 2 || cmd[0] != commandVersion || cmd[1] != commandApply {
		return command{}, fmt.Errorf("unknown command %x", cmd[:min(len(cmd), 2)])
	}
	c := command{id: sha256.Sum256(cmd)}
	body := bytes.NewReader(cmd[2:])
	r := &decoder{r: body}
	c.ifVersion = r.integer()
	c.time = time.Unix(0, r.integer()).UTC()
	c.author, c.note = string(r.text()), string(r.text())
	c.sources = r.sources()
	if r.err == nil && body.Len() > 0 {
		r.err = errors.New("bytes behind the end")
	}
	if r.err != nil {
		return command{}, fmt.Errorf("command does not decode: %w", r.err)
	}
	return c, nil
}

// byteReader is what a snapshot and a command are read from.
type byteReader interface {
	io.Reader
	io.ByteReader
}

// decoder reads until the first error, which it keeps.
type decoder struct {
	r   byteReader
	err error
}

func (d *decoder) unsigned() uint64 {
	if d.err != nil {
		return 0
	}
	var n uint64
	n, d.err = binary.ReadUvarint(d.r)
	return n
}

func (d *decoder) integer() int64 {
	if d.err != nil {
		return 0
	}
	var n int64
	n, d.err = binary.ReadVarint(d.r)
	return n
}

// text reads in steps, so that a wrong length cannot make it reserve memory that never gets filled.
func (d *decoder) text() []byte {
	n := d.unsigned()
	if d.err != nil {
		return nil
	}
	if n > 1<<31 {
		d.err = fmt.Errorf("a text of %d bytes", n)
		return nil
	}
	var b bytes.Buffer
	_, d.err = io.CopyN(&b, d.r, int64(n))
	return b.Bytes()
}

func (d *decoder) sources() []Source {
	n := d.unsigned()
	var all []Source
	for ; n > 0 && d.err == nil; n-- {
		s := Source{Name: string(d.text())}
		s.Text = d.text()
		all = append(all, s)
	}
	return all
}

func writeSnapshot(w io.Writer, history []*stored) error {
	buffered := bufio.NewWriter(w)
	b := binary.AppendUvarint([]byte{snapshotVersion}, uint64(len(history)))
	for _, v := range history {
		b = binary.AppendUvarint(b, v.Number)
		b = binary.AppendVarint(b, v.Time.UnixNano())
		for _, text := range []string{v.Author, v.Note, v.Hash, string(v.command[:])} {
			b = appendText(b, []byte(text))
		}
		b = appendSources(b, v.Sources)
		if _, err := buffered.Write(b); err != nil {
			return err
		}
		b = b[:0]
	}
	if _, err := buffered.Write(b); err != nil {
		return err
	}
	return buffered.Flush()
}

func readSnapshot(from io.Reader) ([]*stored, error) {
	in := bufio.NewReader(from)
	version, err := in.ReadByte()
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	if version != snapshotVersion {
		return nil, fmt.Errorf("snapshot has version %d, this program reads %d", version, snapshotVersion)
	}
	d := &decoder{r: in}
	n := d.unsigned()
	if n > maxStored {
		return nil, fmt.Errorf("snapshot of %d versions", n)
	}
	var history []*stored
	for ; n > 0 && d.err == nil; n-- {
		v := &stored{}
		v.Number, v.Time = d.unsigned(), time.Unix(0, d.integer()).UTC()
		v.Author, v.Note, v.Hash = string(d.text()), string(d.text()), string(d.text())
		copy(v.command[:], d.text())
		v.Sources = d.sources()
		v.Bytes = size(v.Sources)
		history = append(history, v)
	}
	if d.err != nil {
		return nil, fmt.Errorf("snapshot: %w", d.err)
	}
	return history, nil
}
