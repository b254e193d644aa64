package cluster

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// rosterMachine is the name under which the roster stands in the log; no other machine may have it.
const rosterMachine = "cluster"

// maxTokens bounds the used tokens that are remembered until they would have expired anyway.
const maxTokens = 1024

// roster is the replicated list of the nodes that were ever taken in. Raft's configuration says who votes; the roster says which
// certificates count, what each node can do, and which tokens are used up.
type roster struct {
	speaks int // version of commands that this program knows; 0 in tests is any

	mu    sync.RWMutex
	state rosterState
}

type rosterState struct {
	Nodes  map[string]rosterNode `json:"nodes"`
	Tokens map[string]usedToken  `json:"tokens"`
	Agreed int                   `json:"agreed,omitempty"` // version of commands that all nodes know
	Needs  string                `json:"needs,omitempty"`  // a version of the program that knows it, for people
}

// rosterNode is what the cluster has agreed on about a node.
type rosterNode struct {
	Epoch    uint64 `json:"epoch"`              // of the only certificate that counts
	Admitted bool   `json:"admitted,omitempty"` // it has come with that certificate
	Gone     bool   `json:"gone,omitempty"`     // removed: only a new token brings it back
	Address  string `json:"address,omitempty"`
	Program  string `json:"program,omitempty"` // version, for people
	Speaks   int    `json:"speaks,omitempty"`  // newest version of commands that its program knows
}

type usedToken struct {
	Until int64  `json:"until"` // Unix seconds
	Key   string `json:"key"`   // digest of the request it was used for: the same newcomer may ask again
}

// rosterCommand is one change. Do says which; the rest is what that needs.
type rosterCommand struct {
	Do      string `json:"do"` // enrol, hello, remove, agree
	Node    string `json:"node"`
	Epoch   uint64 `json:"epoch,omitempty"`
	Address string `json:"address,omitempty"`
	Program string `json:"program,omitempty"`
	Speaks  int    `json:"speaks,omitempty"`
	Token   string `json:"token,omitempty"`
	Until   int64  `json:"until,omitempty"`
	Key     string `json:"key,omitempty"`
	Time    int64  `json:"time,omitempty"` // Unix seconds, the proposer's
}

func (c rosterCommand) encode() []byte {
	b, _ := json.Marshal(c) // plain fields
	return b
}

func newRoster() *roster {
	return &roster{state: rosterState{Nodes: map[string]rosterNode{}, Tokens: map[string]usedToken{}}}
}

// What the roster refuses; a newcomer's operator reads them.
var (
	errTokenUsed  = errors.New("this join token was used already; make another with `tandem cluster token`")
	errTooMany    = errors.New("too many join tokens were used lately; wait until they expire")
	errMemberName = errors.New("a node of this name is a member of the cluster; give this one another node.name, or remove the other with `tandem cluster leave NAME`")
)

// Apply makes one change. The result is the node's epoch, or an error for the proposer.
func (r *roster) Apply(cmd []byte) any {
	var c rosterCommand
	if err := json.Unmarshal(cmd, &c); err != nil {
		panic(fmt.Sprintf("the roster's command cannot be read: %v", err))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch c.Do {
	case "enrol":
		return r.enrol(c)
	case "hello":
		return r.hello(c)
	case "agree":
		return r.agree(c)
	case "remove":
		n := r.state.Nodes[c.Node]
		n.Gone, n.Admitted = true, false
		r.state.Nodes[c.Node] = n
		return n.Epoch
	}
	panic(fmt.Sprintf("the roster does not know %q", c.Do))
}

// enrol uses up a token for a newcomer and gives it the epoch of its certificate.
func (r *roster) enrol(c rosterCommand) any {
	for id, t := range r.state.Tokens {
		if t.Until <= c.Time {
			delete(r.state.Tokens, id)
		}
	}
	n, known := r.state.Nodes[c.Node]
	used, again := r.state.Tokens[c.Token]
	switch {
	case again && used.Key == c.Key && known && !n.Gone:
		return n.Epoch
	case again:
		return errTokenUsed
	case known && n.Admitted:
		return errMemberName
	case len(r.state.Tokens) >= maxTokens:
		return errTooMany
	}
	r.state.Tokens[c.Token] = usedToken{c.Until, c.Key}
	r.state.Nodes[c.Node] = rosterNode{Epoch: n.Epoch + 1}
	return n.Epoch + 1
}

// hello notes that a node has come with its certificate, from where, and what it can do.
func (r *roster) hello(c rosterCommand) any {
	n, known := r.state.Nodes[c.Node]
	if known && (n.Gone || n.Epoch != c.Epoch) {
		return fmt.Errorf("%w: node %s", ErrFenced, c.Node)
	}
	if c.Speaks < r.state.Agreed {
		return fmt.Errorf("%w: node %s knows version %d of commands and the cluster uses %d: install version %s of the program, or a newer one, on it", ErrTooOld, c.Node, c.Speaks, r.state.Agreed, r.state.Needs)
	}
	r.state.Nodes[c.Node] = rosterNode{Epoch: c.Epoch, Admitted: true, Address: c.Address, Program: c.Program, Speaks: c.Speaks}
	return c.Epoch
}

// Snapshot writes the roster as JSON; map keys are sorted, so equal rosters are equal bytes.
func (r *roster) Snapshot() (func(io.Writer) error, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	text, err := json.Marshal(r.state)
	return func(w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(text))
		return err
	}, err
}

// Restore replaces the roster.
func (r *roster) Restore(in io.Reader) error {
	state := newRoster().state
	if err := json.NewDecoder(in).Decode(&state); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = state
	return r.suits()
}

// admits says whether a certificate counts. A node that is not known is let in: its certificate is newer than what has been
// applied here, and to refuse the leader for that would keep this node from ever learning better.
func (r *roster) admits(p peer) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	n, known := r.state.Nodes[p.node]
	if known && (p.epoch < n.Epoch || n.Gone && p.epoch == n.Epoch) {
		return fmt.Errorf("%w: node %s", ErrFenced, p.node)
	}
	return nil
}

// stray lists the nodes that were admitted and have no place among the servers.
func (r *roster) stray(servers []raft.Server) (names []string) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for name, n := range r.state.Nodes {
		if n.Admitted && !n.Gone && !slices.ContainsFunc(servers, func(s raft.Server) bool { return string(s.ID) == name }) {
			names = append(names, name)
		}
	}
	return names
}

func (r *roster) node(name string) rosterNode {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.state.Nodes[name]
}

// enrolment is the command by which a newcomer's token is used up.
func enrolment(node string, t ticket, request []byte, now time.Time) []byte {
	key := sha256.Sum256(request)
	return rosterCommand{
		Do: "enrol", Node: node, Token: hex.EncodeToString(t.id[:]), Until: t.until, Key: hex.EncodeToString(key[:]), Time: now.Unix(),
	}.encode()
}
