package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"
)

// successionMachine is the name under which it stands in the log.
const successionMachine = "succession"

const (
	// maxPast is how many past lives of a node are remembered: as long as one counts its calls can be gathered.
	maxPast = 4
	// MaxInfo is the longest that a node may tell about itself, in bytes.
	MaxInfo = 16 << 10
)

// succession is the replicated answer to whose the calls are. A node lives from its start, or from when it was fenced, to its end; one entry in the log
// begins a life, one ends it and names who goes on with what it did. Nothing else moves calls from node to node.
type succession struct {
	mu      sync.RWMutex
	state   successionState
	changed chan struct{} // closed at the next change
}

type successionState struct {
	Nodes map[string]tenure `json:"nodes"`
}

// tenure is what is agreed about the lives of a node.
type tenure struct {
	Life uint64     `json:"life"` // the present one, or the last
	Dead bool       `json:"dead,omitempty"`
	Able bool       `json:"able,omitempty"` // it can go on with calls
	Info []byte     `json:"info,omitempty"` // what it has told of itself
	Past []pastLife `json:"past,omitempty"` // oldest first
}

// pastLife is one that is over, and who has what it did.
type pastLife struct {
	Life  uint64 `json:"life"`
	Info  []byte `json:"info,omitempty"`
	Taker string `json:"taker"`
	As    uint64 `json:"as"` // the life in which the taker takes it
}

// successionCommand is one change: begin or end of a life.
type successionCommand struct {
	Do    string `json:"do"`
	Node  string `json:"node"`
	Life  uint64 `json:"life"`
	Able  bool   `json:"able,omitempty"`
	Info  []byte `json:"info,omitempty"`
	Taker string `json:"taker,omitempty"`
}

func (c successionCommand) encode() []byte {
	b, _ := json.Marshal(c) // plain fields
	return b
}

func newSuccession() *succession {
	return &succession{state: successionState{Nodes: map[string]tenure{}}, changed: make(chan struct{})}
}

// Apply makes one change. The result is whether it was made: a life begins once, after those before it, and ends once.
func (s *succession) Apply(cmd []byte) any {
	var c successionCommand
	if err := json.Unmarshal(cmd, &c); err != nil {
		panic(fmt.Sprintf("the command of the succession cannot be read: %v", err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	done := false
	switch c.Do {
	case "begin":
		done = s.begin(&c)
	case "end":
		done = s.end(&c)
	default:
		panic(fmt.Sprintf("the succession does not know %q", c.Do))
	}
	if done {
		close(s.changed)
		s.changed = make(chan struct{})
	}
	return done
}

// begin is a node's, at its start. Of a life before that nobody has ended the node takes the calls itself: it was quicker than the others.
func (s *succession) begin(c *successionCommand) bool {
	n := s.state.Nodes[c.Node]
	if c.Life <= n.Life {
		return c.Life == n.Life && !n.Dead
	}
	if n.Life != 0 && !n.Dead {
		n.pass(pastLife{n.Life, n.Info, c.Node, c.Life})
	}
	n.Life, n.Dead, n.Able, n.Info = c.Life, false, c.Able, c.Info
	s.state.Nodes[c.Node] = n
	return true
}

// end is the leader's. A taker that is not there itself takes nothing.
func (s *succession) end(c *successionCommand) bool {
	n, t := s.state.Nodes[c.Node], s.state.Nodes[c.Taker]
	if n.Life != c.Life || n.Dead || c.Taker == c.Node || t.Life == 0 || t.Dead {
		return false
	}
	n.Dead = true
	n.pass(pastLife{n.Life, n.Info, c.Taker, t.Life})
	s.state.Nodes[c.Node] = n
	return true
}

func (n *tenure) pass(p pastLife) {
	n.Past = append(slices.Clone(n.Past), p) // readers may have the one before
	if len(n.Past) > maxPast {
		n.Past = n.Past[1:]
	}
}

// Snapshot writes the state as JSON; map keys are sorted, so equal states are equal bytes.
func (s *succession) Snapshot() (func(io.Writer) error, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	text, err := json.Marshal(s.state)
	return func(w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(text))
		return err
	}, err
}

// Restore replaces the state.
func (s *succession) Restore(in io.Reader) error {
	state := successionState{Nodes: map[string]tenure{}}
	if err := json.NewDecoder(in).Decode(&state); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

func (s *succession) watch() <-chan struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.changed
}

func (s *succession) tenure(node string) tenure {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state.Nodes[node]
}

// over tells whether a life has ended, as far as is known here.
func (s *succession) over(of life) bool {
	n := s.tenure(of.node)
	return n.Life == of.incarnation && n.Dead || slices.ContainsFunc(n.Past, func(p pastLife) bool { return p.Life == of.incarnation })
}

// goesOn tells whether a life has begun and not ended.
func (s *succession) goesOn(of life) bool {
	t := s.tenure(of.node)
	return t.Life == of.incarnation && !t.Dead
}

// remembers tells whether anything is known of a life.
func (s *succession) remembers(of life) bool {
	t := s.tenure(of.node)
	return t.Life == of.incarnation || slices.ContainsFunc(t.Past, func(p pastLife) bool { return p.Life == of.incarnation })
}

// estate is a life that ended, and what belongs to it: it comes first, then those that it had taken and may not have brought to an end.
type estate struct {
	pastLife
	node  string
	lives []life
	infos []EstateInfo
}

// estates are those that one life of a node is to take, of lives that ended.
func (s *succession) estates(taker life) (list []estate) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for name, n := range s.state.Nodes {
		for _, p := range n.Past {
			if p.Taker == taker.node && p.As == taker.incarnation {
				e := estate{pastLife: p, node: name}
				s.inherit(&e, life{name, p.Life}, p.Info)
				list = append(list, e)
			}
		}
	}
	slices.SortFunc(list, func(a, b estate) int { return bytes.Compare([]byte(a.node), []byte(b.node)) })
	return list
}

// inherit adds a life, and those whose taker it was.
func (s *succession) inherit(e *estate, of life, info []byte) {
	if slices.Contains(e.lives, of) {
		return
	}
	e.lives = append(e.lives, of)
	e.infos = append(e.infos, EstateInfo{of.node, info})
	for name, n := range s.state.Nodes {
		for _, p := range n.Past {
			if p.Taker == of.node && p.As == of.incarnation {
				s.inherit(e, life{name, p.Life}, p.Info)
			}
		}
	}
}
