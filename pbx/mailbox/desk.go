package mailbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Draft is an item that is being recorded.
type Draft struct {
	store  *Store
	item   Item
	tries  int
	begins time.Time // when it may be tried again
}

// Begin makes room for an item: for a message in a mailbox of at most limit messages. It writes a small file. Errors: ErrFull, ErrNoRoom, and those
// of the disk. Keep or Drop ends it.
func (s *Store) Begin(i Item, limit int) (*Draft, error) {
	if i.Kind == Message {
		if err := s.Room(i.Tenant, i.Box, limit); err != nil {
			return nil, err
		}
	}
	i.ID = newID(i.Time)
	if err := writeWords(s.path(incoming, i.ID+".json"), &i); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.live[i.ID] = true
	s.mu.Unlock()
	return &Draft{store: s, item: i}, nil
}

// Room says why a mailbox takes no further message, nil when it does.
func (s *Store) Room(tenant, box string, limit int) error {
	fresh, heard := s.Count(tenant, box)
	if fresh+heard >= limit || s.cfg.Index.bytes(tenant, box) >= s.cfg.BoxBytes {
		s.refusedFull.Add(1)
		return ErrFull
	}
	if _, _, _, bytes := s.cfg.Index.totals(s.cfg.Node); bytes >= s.cfg.MaxBytes {
		s.refusedRoom.Add(1)
		return ErrNoRoom
	}
	return nil
}

// File is where the sound is to be recorded, without the ending that says its format.
func (d *Draft) File() string { return d.store.path(incoming, d.item.ID) }

// Keep says that the recording is complete. The rest is done by Run: it waits for nothing.
func (d *Draft) Keep() {
	s := d.store
	s.mu.Lock()
	delete(s.live, d.item.ID)
	s.pending[d.item.ID] = d
	s.mu.Unlock()
	s.nudge()
}

// Drop forgets what was recorded, because it is no message. It waits for the disk.
func (d *Draft) Drop() {
	s := d.store
	s.short.Add(1)
	s.forget(d.item.ID)
	s.mu.Lock()
	delete(s.live, d.item.ID)
	s.mu.Unlock()
}

// forget removes what is in incoming of an id.
func (s *Store) forget(id string) {
	for _, ending := range []string{".wav", ".ogg", ".json"} {
		_ = os.Remove(s.path(incoming, id+ending))
	}
}

const (
	postTries = 10 * time.Second // how long the cluster may take to agree
	postAgain = 5 * time.Second  // pause before it is asked again
	tendEvery = 30 * time.Second // how often a node looks after what it holds
	coldAfter = 10 * time.Second // a file that nobody writes to has not grown for that long
)

// Run sees to it that messages are agreed on and that there are copies, until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	done := make(chan struct{})
	go func() { // its own goroutine: a copy may take long, and messages must not wait for it
		defer close(done)
		s.tend(ctx)
	}()
	again := time.NewTicker(postAgain)
	defer again.Stop()
	for ctx.Err() == nil {
		s.postAll(ctx)
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-again.C:
		}
	}
	<-done
	return nil
}

// postAll tries everything that waits, once.
func (s *Store) postAll(ctx context.Context) {
	now := time.Now()
	s.mu.Lock()
	var due []*Draft
	for _, d := range s.pending {
		if !now.Before(d.begins) {
			due = append(due, d)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(due, func(a, b *Draft) int { return inOrder(&a.item, &b.item) })
	for _, d := range due {
		if err := s.post(ctx, d); err != nil && ctx.Err() == nil {
			s.failed.Add(1)
			if d.tries++; d.tries == 1 {
				s.cfg.Log.Warn("a message waits until the cluster agrees on it", "mailbox", d.item.Box, "message", d.item.ID, "error", err)
			}
			d.begins = time.Now().Add(postAgain)
		}
	}
	s.postLater(ctx)
}

// postLater proposes what nobody waits for.
func (s *Store) postLater(ctx context.Context) {
	for {
		s.mu.Lock()
		if len(s.later) == 0 {
			s.mu.Unlock()
			return
		}
		cmd := s.later[0]
		s.mu.Unlock()
		wait, cancel := context.WithTimeout(ctx, postTries)
		_, err := s.cfg.Propose(wait, cmd)
		cancel()
		if err != nil {
			s.failed.Add(1)
			return // again in a while
		}
		s.mu.Lock()
		s.later = s.later[1:]
		s.mu.Unlock()
	}
}

// post makes an item of a draft. It may be tried again whatever has come of it.
func (s *Store) post(ctx context.Context, d *Draft) error {
	i := d.item
	settle := func() {
		s.mu.Lock()
		delete(s.pending, i.ID)
		s.mu.Unlock()
	}
	path, err := s.describe(&i)
	switch {
	case errors.Is(err, os.ErrNotExist) || err == nil && i.Length < MinLength:
		s.short.Add(1)
		s.forget(i.ID)
		settle()
		return nil
	case err != nil:
		return err
	}
	i.Nodes = []string{s.cfg.Node}
	if to := s.pushOne(ctx, &i, path, nil); to != "" {
		i.Nodes = append(i.Nodes, to)
	}
	wait, cancel := context.WithTimeout(ctx, postTries)
	defer cancel()
	if err := s.propose(wait, command{Do: "add", Item: &i}); err != nil {
		return err
	}
	if err := s.settle(&i, path); err != nil {
		return err
	}
	settle()
	if i.Kind == Message {
		s.left.Add(1)
		if s.cfg.Left != nil {
			s.cfg.Left(i)
		}
	}
	return nil
}

// settle moves an item that is agreed on to where it stays.
func (s *Store) settle(i *Item, path string) error {
	if err := writeWords(s.path(kept, i.ID+".json"), i); err != nil {
		return err
	}
	if err := os.Rename(path, s.path(kept, i.file())); err != nil {
		return err
	}
	_ = os.Remove(s.path(incoming, i.ID+".json"))
	return syncDir(s.path(kept, ""))
}

// describe finds the sound of a draft and fills in what it is. The file is on the disk afterwards, whatever happens to the power.
func (s *Store) describe(i *Item) (path string, err error) {
	for _, format := range []string{"wav", "ogg"} {
		file, err := os.OpenFile(s.path(incoming, i.ID+"."+format), os.O_RDWR, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		defer file.Close()
		i.Format = format
		if i.Sum, i.Bytes, err = sum(file); err != nil {
			return "", err
		}
		if err := file.Sync(); err != nil {
			return "", err
		}
		if i.Length, err = s.cfg.Measure(file.Name()); err != nil {
			i.Length = 0 // no sound in it
		}
		i.Length = i.Length.Round(time.Millisecond)
		return file.Name(), nil
	}
	return "", os.ErrNotExist
}

func sum(r io.Reader) (text string, n int64, err error) {
	h := sha256.New()
	n, err = io.Copy(h, r)
	return hex.EncodeToString(h.Sum(nil)), n, err
}

// writeWords writes an item beside its sound, in one piece or not at all.
func writeWords(path string, i *Item) error {
	text, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".words-*")
	if err != nil {
		return err
	}
	_, err = file.Write(append(text, '\n'))
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
	return err
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// adopt takes up what a process before has left in incoming: its sound has not grown for a while, and nobody here records it.
func (s *Store) adopt() {
	files, err := os.ReadDir(s.path(incoming, ""))
	if err != nil {
		return
	}
	for _, f := range files {
		id, isWords := strings.CutSuffix(f.Name(), ".json")
		if !isWords || !isID(id) || !s.cold(id) {
			continue
		}
		var i Item
		text, err := os.ReadFile(s.path(incoming, f.Name()))
		if err != nil || json.Unmarshal(text, &i) != nil || i.ID != id {
			s.cfg.Log.Error("what is in this file cannot be read; its message is left alone", "file", s.path(incoming, f.Name()))
			continue
		}
		if i.Kind != Message { // nobody has said that it was good
			s.forget(id)
			continue
		}
		s.mu.Lock()
		known := s.live[id] || s.pending[id] != nil
		if !known {
			s.pending[id] = &Draft{store: s, item: i}
		}
		s.mu.Unlock()
		if !known {
			s.adopted.Add(1)
			s.cfg.Log.Info("a message that a process before had not finished is taken up", "mailbox", i.Box, "message", id)
			s.nudge()
		}
	}
}

// cold tells whether nobody has written to the files of an id for a while.
func (s *Store) cold(id string) bool {
	for _, ending := range []string{".json", ".wav", ".ogg"} {
		if info, err := os.Stat(s.path(incoming, id+ending)); err == nil && time.Since(info.ModTime()) < coldAfter {
			return false
		}
	}
	return true
}
