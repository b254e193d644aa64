// Package mailbox answers one question: what was said to whom while nobody was there?
//
// A message is a sound file with a few words about it. The words are agreed on (Index, a machine of the replicated log), so every node knows
// all messages; the sound is a file on two nodes or more (copies.go), and whoever needs it elsewhere fetches it and looks at its checksum.
// DESIGN.md says why.
//
// The life of a message:
//
//	Begin      incoming/ID.json says who called whom; the media engine writes the sound beside it while the caller speaks
//	Keep       he has hung up: the sound is synced and summed, a copy goes to another node, the index hears of it
//	           messages/ID.json and the sound are where they stay
//
// What a killed process leaves in incoming is taken up by the next one (desk.go), so a message that was cut is still a message.
package mailbox

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// Errors on which callers branch.
var (
	ErrFull   = errors.New("the mailbox is full")
	ErrNoRoom = errors.New("the room for messages on this node is used up")
	ErrNoItem = errors.New("there is no such message")
	ErrAway   = errors.New("no node that holds the message can be reached")
)

// Kind is what an item is.
type Kind string

const (
	Message  Kind = "message"
	Greeting Kind = "greeting" // what the owner of a mailbox has recorded for his callers
)

// Item is something that was recorded. It is agreed on by all nodes and never changed in place.
type Item struct {
	ID     string        `json:"id"`
	Kind   Kind          `json:"kind"`
	Tenant string        `json:"tenant"`
	Box    string        `json:"mailbox"`
	From   string        `json:"from"`           // user or number of the caller, "" = not known
	Name   string        `json:"name,omitempty"` // of the caller, as his phone says it
	To     string        `json:"to"`             // what he had dialled
	Call   string        `json:"call,omitempty"` // id of the call
	Time   time.Time     `json:"time"`           // when it began
	Length time.Duration `json:"length_ns"`
	Format string        `json:"format"` // wav, ogg
	Bytes  int64         `json:"bytes"`
	Sum    string        `json:"sha256"`
	Nodes  []string      `json:"nodes" nullable:"false"` // that hold the sound
	Heard  bool          `json:"heard"`
}

// file is the name of its sound.
func (i *Item) file() string { return i.ID + "." + i.Format }

// MinLength is how long a message is at least; what is shorter is no message.
const MinLength = 2 * time.Second

// Config says what a Store is made of. Index, Dir, Node, Propose and Measure are required.
type Config struct {
	Index   *Index
	Dir     string // made when it is absent
	Node    string // name of this node
	Propose func(ctx context.Context, cmd []byte) (any, error)
	Measure func(path string) (time.Duration, error) // how long a sound file is
	// Call asks another node, Fellows names the other nodes that answer now. nil for a node alone.
	Call    func(ctx context.Context, node, kind string, payload []byte) ([]byte, error)
	Fellows func() []string
	// Ready tells whether this node knows what was agreed on: before, it deletes nothing. nil: always.
	Ready func() bool
	// MaxBytes bounds the sounds on this node, BoxBytes those of one mailbox. Default 20 GiB and 200 MiB.
	MaxBytes, BoxBytes int64
	// Left is told of each message that was left through this node, once it is agreed on. It must not block. nil: nobody asks.
	Left func(Item)
	Log  *slog.Logger
}

// Store keeps the sounds of this node and lets messages be left and read. Its methods may be called from any goroutine; those that
// take a context may wait for other nodes.
type Store struct {
	cfg Config

	mu      sync.Mutex
	live    map[string]bool   // ids of what is being recorded
	pending map[string]*Draft // complete, and not agreed on yet
	later   [][]byte          // commands whose results nobody waits for
	wake    chan struct{}     // buffered by one: there is something pending

	left, refusedFull, refusedRoom, short, adopted, failed, fetched, fetchFailed, pushed, pushFailed, served, dropped atomic.Uint64
}

// New makes the directories. Nothing runs before Run.
func New(cfg Config) (*Store, error) {
	if cfg.Index == nil || cfg.Dir == "" || cfg.Propose == nil || cfg.Measure == nil {
		return nil, errors.New("mailbox: Index, Dir, Propose and Measure are required")
	}
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, 20<<30)
	cfg.BoxBytes = cmp.Or(cfg.BoxBytes, 200<<20)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Ready == nil {
		cfg.Ready = func() bool { return true }
	}
	if cfg.Fellows == nil {
		cfg.Fellows = func() []string { return nil }
	}
	s := &Store{cfg: cfg, live: map[string]bool{}, pending: map[string]*Draft{}, wake: make(chan struct{}, 1)}
	for _, dir := range []string{incoming, kept, parts} {
		if err := os.MkdirAll(filepath.Join(cfg.Dir, dir), 0o700); err != nil {
			return nil, fmt.Errorf("the directory for messages cannot be made: %w", err)
		}
	}
	return s, nil
}

// The directories of a store.
const (
	incoming = "incoming" // what is being recorded, or not agreed on yet
	kept     = "messages"
	parts    = "parts" // of what other nodes are sending
)

func (s *Store) path(dir, file string) string { return filepath.Join(s.cfg.Dir, dir, file) }

// newID makes the name of an item: when it began, and something that no other has.
func newID(at time.Time) string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return at.UTC().Format("20060102-150405") + "-" + hex.EncodeToString(b[:])
}

// isID keeps what other nodes say from being a path.
func isID(id string) bool {
	if len(id) < 8 || len(id) > 64 {
		return false
	}
	for _, c := range []byte(id) {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c == '-') {
			return false
		}
	}
	return true
}

func isFormat(format string) bool { return format == "wav" || format == "ogg" }

// Messages lists those of a mailbox, the oldest first.
func (s *Store) Messages(tenant, box string) []Item { return s.cfg.Index.Messages(tenant, box) }

// List gives messages and greetings, the oldest first: of a mailbox, or with "" of all of a tenant, or of all tenants.
func (s *Store) List(tenant, box string) []Item { return s.cfg.Index.list(tenant, box) }

// Item finds one by its id.
func (s *Store) Item(id string) (Item, bool) { return s.cfg.Index.Item(id) }

// Count tells how many messages of a mailbox are new and how many were heard.
func (s *Store) Count(tenant, box string) (fresh, heard int) { return s.cfg.Index.Count(tenant, box) }

// Greeting is what the owner of a mailbox has recorded for his callers.
func (s *Store) Greeting(tenant, box string) (Item, bool) { return s.cfg.Index.Greeting(tenant, box) }

// MarkHeard notes that messages were heard. It does not wait: when this node ends before the others have agreed, they are new again.
func (s *Store) MarkHeard(ids ...string) { s.submit(command{Do: "heard", IDs: ids}) }

// RemoveLater is Remove for those who cannot wait.
func (s *Store) RemoveLater(ids ...string) { s.submit(command{Do: "remove", IDs: ids}) }

// Remove deletes items on all nodes.
func (s *Store) Remove(ctx context.Context, ids ...string) error {
	return s.propose(ctx, command{Do: "remove", IDs: ids})
}

// mostLater bounds the commands that wait for the cluster; one more is dropped, and counted.
const mostLater = 10_000

func (s *Store) submit(c command) {
	if len(c.IDs) == 0 {
		return
	}
	s.mu.Lock()
	if len(s.later) < mostLater {
		s.later = append(s.later, c.encode())
	} else {
		s.dropped.Add(1)
	}
	s.mu.Unlock()
	s.nudge()
}

func (s *Store) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Store) propose(ctx context.Context, c command) error {
	result, err := s.cfg.Propose(ctx, c.encode())
	if err != nil {
		return err
	}
	if refused, ok := result.(error); ok {
		return refused
	}
	return nil
}

// Stats are counters since the start and gauges of now.
type Stats struct {
	Left        uint64 // messages that were left through this node and are agreed on
	RefusedFull uint64 // callers who found a mailbox full
	RefusedRoom uint64 // callers for whom this node had no room
	Short       uint64 // recordings that were too short or silent to be messages
	Adopted     uint64 // messages of a process before, which had been killed
	Failed      uint64 // attempts to agree on a message that came to nothing; they are made again
	Dropped     uint64 // notes that messages were heard or deleted which could not be taken
	Fetched     uint64 // sounds fetched from other nodes
	FetchFailed uint64
	Pushed      uint64 // copies given to other nodes
	PushFailed  uint64
	Served      uint64 // requests of other nodes for parts of sounds

	Messages, Unheard, Mailboxes int   // of all nodes; Mailboxes that hold something
	Waiting                      int   // messages here that are not agreed on yet
	Recording                    int   // now
	Bytes, MaxBytes              int64 // of what this node holds
}

// Stats may be called from any goroutine.
func (s *Store) Stats() Stats {
	st := Stats{
		Left: s.left.Load(), RefusedFull: s.refusedFull.Load(), RefusedRoom: s.refusedRoom.Load(), Short: s.short.Load(), Adopted: s.adopted.Load(),
		Failed: s.failed.Load(), Dropped: s.dropped.Load(), Fetched: s.fetched.Load(), FetchFailed: s.fetchFailed.Load(), Pushed: s.pushed.Load(),
		PushFailed: s.pushFailed.Load(), Served: s.served.Load(), MaxBytes: s.cfg.MaxBytes,
	}
	st.Messages, st.Unheard, st.Mailboxes, st.Bytes = s.cfg.Index.totals(s.cfg.Node)
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Waiting = len(s.pending)
	st.Recording = len(s.live)
	return st
}
