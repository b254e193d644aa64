package mailbox

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// Kinds of requests that nodes make of each other; Serve answers them.
const (
	kindPut = "voicemail.put"
	kindGet = "voicemail.get"
)

// A request or answer is the length of its head in four octets, the head as JSON, and octets of a sound.

// piece is the head: which octets of which sound.
type piece struct {
	ID     string `json:"id"`
	Format string `json:"format"`
	Sum    string `json:"sha256,omitempty"`
	Bytes  int64  `json:"bytes,omitempty"` // of the whole sound
	Offset int64  `json:"offset"`
}

const (
	pieceBytes = 1 << 20
	maxSound   = 1 << 30
	pieceTime  = 10 * time.Second // for one piece
)

func (p piece) encode(body []byte) []byte {
	head, _ := json.Marshal(p) // plain fields
	out := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(head)+len(body)), uint32(len(head)))
	return append(append(out, head...), body...)
}

var errPiece = errors.New("this is no part of a sound")

func decodePiece(b []byte) (p piece, body []byte, err error) {
	if len(b) < 4 {
		return p, nil, errPiece
	}
	n := binary.BigEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return p, nil, errPiece
	}
	if err := json.Unmarshal(b[4:4+n], &p); err != nil || !isID(p.ID) || !isFormat(p.Format) || p.Offset < 0 || p.Bytes < 0 || p.Bytes > maxSound {
		return p, nil, errPiece
	}
	return p, b[4+n:], nil
}

// Kinds are the requests that Serve answers.
func Kinds() []string { return []string{kindPut, kindGet} }

// Serve answers a request of another node.
func (s *Store) Serve(kind, from string, payload []byte) ([]byte, error) {
	p, body, err := decodePiece(payload)
	if err != nil {
		return nil, err
	}
	s.served.Add(1)
	if kind == kindPut {
		return nil, s.takePiece(from, p, body)
	}
	return s.givePiece(p)
}

func (s *Store) givePiece(p piece) ([]byte, error) {
	for _, dir := range []string{kept, incoming} {
		file, err := os.Open(s.path(dir, p.ID+"."+p.Format))
		if err != nil {
			continue
		}
		defer file.Close()
		body := make([]byte, pieceBytes)
		n, err := file.ReadAt(body, p.Offset)
		if err != nil && err != io.EOF {
			return nil, err
		}
		return body[:n], nil
	}
	return nil, ErrNoItem
}

// takePiece appends to a sound that another node is sending, and keeps it when it is whole and what it should be.
func (s *Store) takePiece(from string, p piece, body []byte) error {
	if _, _, _, bytes := s.cfg.Index.totals(s.cfg.Node); bytes+p.Bytes > s.cfg.MaxBytes {
		return ErrNoRoom
	}
	path := s.path(parts, p.ID+"."+strings.Map(plainRune, from))
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if p.Offset == 0 {
		if err := file.Truncate(0); err != nil {
			return err
		}
	}
	end := p.Offset + int64(len(body))
	if info, err := file.Stat(); err != nil || info.Size() != p.Offset || end > p.Bytes {
		return errPiece
	}
	if _, err := file.WriteAt(body, p.Offset); err != nil {
		return err
	}
	if end < p.Bytes {
		return nil
	}
	return s.keepPart(file, p.Sum, p.ID+"."+p.Format)
}

func plainRune(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
		return r
	}
	return '_'
}

// keepPart looks at a sound that is whole now and puts it where it stays.
func (s *Store) keepPart(file *os.File, want, name string) error {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	got, _, err := sum(file)
	if err == nil && got != want {
		err = errors.New("its checksum is another one")
	}
	if err = errors.Join(err, file.Sync()); err != nil {
		_ = os.Remove(file.Name())
		return err
	}
	if err := os.Rename(file.Name(), s.path(kept, name)); err != nil {
		return err
	}
	return syncDir(s.path(kept, ""))
}

// pushOne gives a copy to one other node that answers and is not among those that have one; "" when none takes it. Which one comes first depends on
// the item, so that the copies of many are spread.
func (s *Store) pushOne(ctx context.Context, i *Item, path string, have []string) (to string) {
	fellows := slices.DeleteFunc(slices.Clone(s.cfg.Fellows()), func(n string) bool { return slices.Contains(have, n) })
	slices.SortFunc(fellows, func(a, b string) int { return cmp.Compare(rank(i.ID, b), rank(i.ID, a)) })
	for _, node := range fellows {
		if err := s.push(ctx, node, i, path); err != nil {
			s.pushFailed.Add(1)
			s.cfg.Log.Warn("a copy of a message could not be given to another node", "to", node, "message", i.ID, "error", err)
			continue
		}
		s.pushed.Add(1)
		return node
	}
	return ""
}

func rank(id, node string) uint64 {
	h := fnv.New64a()
	io.WriteString(h, id+"\x00"+node)
	return h.Sum64()
}

func (s *Store) push(ctx context.Context, node string, i *Item, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	body := make([]byte, pieceBytes)
	for at := int64(0); at < i.Bytes; {
		n, err := file.ReadAt(body, at)
		if n == 0 {
			return fmt.Errorf("read %s: %w", path, err)
		}
		wait, cancel := context.WithTimeout(ctx, pieceTime)
		_, err = s.cfg.Call(wait, node, kindPut, piece{i.ID, i.Format, i.Sum, i.Bytes, at}.encode(body[:n]))
		cancel()
		if err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}

// File gives the sound of an item as a file of this node, fetched from another one when it is not here. Errors: ErrAway, and that of ctx.
func (s *Store) File(ctx context.Context, i Item) (string, error) {
	path := s.path(kept, i.file())
	if info, err := os.Stat(path); err == nil && info.Size() == i.Bytes {
		return path, nil
	}
	if arriving := s.path(incoming, i.file()); fits(arriving, i.Bytes) { // agreed on a moment ago, and about to be moved
		return arriving, nil
	}
	fellows := s.cfg.Fellows()
	for _, node := range slices.Concat(i.Nodes, fellows) {
		if !slices.Contains(fellows, node) {
			continue
		}
		if err := s.fetch(ctx, node, &i); err != nil {
			s.fetchFailed.Add(1)
			if ctx.Err() != nil {
				return "", ctx.Err()
			}
			continue
		}
		s.fetched.Add(1)
		return path, nil
	}
	return "", ErrAway
}

func fits(path string, bytes int64) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() == bytes
}

func (s *Store) fetch(ctx context.Context, node string, i *Item) error {
	file, err := os.CreateTemp(s.path(parts, ""), i.ID+".*")
	if err != nil {
		return err
	}
	defer file.Close()
	for at := int64(0); at < i.Bytes; {
		wait, cancel := context.WithTimeout(ctx, pieceTime)
		body, err := s.cfg.Call(wait, node, kindGet, piece{ID: i.ID, Format: i.Format, Offset: at}.encode(nil))
		cancel()
		if err == nil && (len(body) == 0 || at+int64(len(body)) > i.Bytes) {
			err = errPiece
		}
		if err == nil {
			_, err = file.Write(body)
		}
		if err != nil {
			_ = os.Remove(file.Name())
			return err
		}
		at += int64(len(body))
	}
	return s.keepPart(file, i.Sum, i.file())
}

// tend looks after what this node holds until ctx ends.
func (s *Store) tend(ctx context.Context) {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	s.adopt()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.adopt()
		s.spread(ctx)
		s.sweep()
	}
}

// spreadAtOnce bounds the copies of one round.
const spreadAtOnce = 100

// spread gives copies of what too few nodes hold that answer now: the first of them does it.
func (s *Store) spread(ctx context.Context) {
	fellows := s.cfg.Fellows()
	if len(fellows) == 0 {
		return
	}
	done := 0
	for _, i := range s.cfg.Index.all() {
		var there []string
		for _, n := range i.Nodes {
			if n == s.cfg.Node || slices.Contains(fellows, n) {
				there = append(there, n)
			}
		}
		if len(there) != 1 || there[0] != s.cfg.Node {
			continue
		}
		path := s.path(kept, i.file())
		if !fits(path, i.Bytes) {
			continue
		}
		if to := s.pushOne(ctx, i, path, i.Nodes); to != "" {
			s.submit(command{Do: "hold", IDs: []string{i.ID}, Node: to})
		}
		if done++; done == spreadAtOnce || ctx.Err() != nil {
			return
		}
	}
}

// strayAfter is how old a file must be that no item has, to be deleted: copies come before their items are agreed on, and whoever has restored
// a backup may want a message back that is younger.
const strayAfter = 7 * 24 * time.Hour

// sweep deletes the sounds of items that were removed.
func (s *Store) sweep() {
	if !s.cfg.Ready() {
		return
	}
	for _, dir := range []string{kept, parts} {
		files, err := os.ReadDir(s.path(dir, ""))
		if err != nil {
			continue
		}
		for _, f := range files {
			id, _, _ := strings.Cut(f.Name(), ".")
			if _, known := s.cfg.Index.Item(id); known && dir == kept {
				continue
			}
			if info, err := f.Info(); err == nil && (time.Since(info.ModTime()) > strayAfter || s.cfg.Index.isGone(id)) {
				_ = os.Remove(s.path(dir, f.Name()))
			}
		}
	}
}
