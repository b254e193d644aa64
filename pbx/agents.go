package pbx

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"tandem/dialplan"
)

// AgentsMachine is the name under which Agents stand in the log.
const AgentsMachine = "agents"

// Bounds of what agents say about themselves.
const (
	maxAgents      = 100_000
	maxAgentQueues = 1000 // of one agent that he has logged in to or out of by name
	maxAgentName   = 255
)

// ErrAgents says that there is no room for what another agent says about himself.
var ErrAgents = errors.New("there are too many agents who have logged in or out")

// Agents is what agents have said about themselves: that they are in or out, that they pause. It is agreed on by all nodes, so that it is
// the same at each and outlives them all; there are few such changes. It is a machine of its own: reads may come from any goroutine, Apply and
// Restore from the log's only. Agents who have said nothing take no room.
type Agents struct {
	mu     sync.RWMutex
	byName map[agentName]agentSaid
}

type agentName struct{ tenant, user string }

// agentSaid is never changed in place.
type agentSaid struct {
	In     map[string]bool `json:"in,omitempty"` // by queue; "" is every other
	Paused bool            `json:"paused,omitempty"`
	Since  time.Time       `json:"since"`
}

// agentCommand is one thing that an agent, or an operator for him, has done.
type agentCommand struct {
	Tenant string               `json:"tenant"`
	User   string               `json:"user"`
	Queues []string             `json:"queues,omitempty"` // none = all
	Does   dialplan.AgentAction `json:"does"`
	At     time.Time            `json:"at"`
}

const (
	agentCommandVersion = 1
	agentDoes           = 1 // kinds of commands; those from 128 on may be skipped by who does not know them
)

// NewAgents makes a table of agents who have said nothing.
func NewAgents() *Agents { return &Agents{byName: make(map[agentName]agentSaid)} }

func (c agentCommand) encode() []byte {
	text, _ := json.Marshal(c) // of texts and a time, so it does not fail
	return append([]byte{agentCommandVersion, agentDoes}, text...)
}

// Apply carries out one committed command, in the log's goroutine. It panics on a command that this program does not know. Its result is nil or
// ErrAgents.
func (a *Agents) Apply(cmd []byte) any {
	if len(cmd) < 2 || cmd[0] != agentCommandVersion || cmd[1] != agentDoes {
		if len(cmd) >= 2 && cmd[1] >= 128 {
			return nil
		}
		panic("pbx: the log holds a command about agents that this program does not know: upgrade it")
	}
	var c agentCommand
	if err := json.Unmarshal(cmd[2:], &c); err != nil {
		panic(fmt.Errorf("pbx: the log holds a command about agents that is damaged: %w", err))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	name := agentName{c.Tenant, c.User}
	said, known := a.byName[name]
	next := agentSaid{maps.Clone(said.In), said.Paused, c.At.UTC()}
	switch c.Does {
	case dialplan.LogIn, dialplan.LogOut:
		if next.In == nil || len(c.Queues) == 0 {
			next.In = make(map[string]bool)
		}
		if len(c.Queues) == 0 {
			next.In[""] = c.Does == dialplan.LogIn
		}
		for _, q := range c.Queues {
			next.In[q] = c.Does == dialplan.LogIn
		}
	case dialplan.Pause, dialplan.Resume:
		next.Paused = c.Does == dialplan.Pause
	}
	switch {
	case len(next.In) == 0 && !next.Paused:
		delete(a.byName, name)
		return nil
	case !known && len(a.byName) >= maxAgents, len(next.In) > maxAgentQueues, len(c.Tenant)+len(c.User) > 2*maxAgentName:
		return ErrAgents
	}
	a.byName[name] = next
	return nil
}

// of is whether an agent is logged in to a queue, whether he pauses, and since when. login: agents of the queue are out until they log in.
func (a *Agents) of(tenant, user, queue string, login bool) (in, paused bool, since time.Time) {
	a.mu.RLock()
	said := a.byName[agentName{tenant, user}]
	in, named := said.In[queue]
	if !named {
		in, named = said.In[""]
	}
	a.mu.RUnlock()
	return named && in || !named && !login, said.Paused, said.Since
}

const agentsMagic = "tandem/agents 1\n"

// agentRecord is an agent in a snapshot.
type agentRecord struct {
	Tenant string `json:"tenant"`
	User   string `json:"user"`
	agentSaid
}

// Snapshot gives a function that writes the agents of now: magic, and a line of JSON each.
func (a *Agents) Snapshot() (func(io.Writer) error, error) {
	a.mu.RLock()
	all := maps.Clone(a.byName)
	a.mu.RUnlock()
	return func(w io.Writer) error {
		names := slices.SortedFunc(maps.Keys(all), func(x, y agentName) int {
			return strings.Compare(x.tenant+"\x00"+x.user, y.tenant+"\x00"+y.user)
		})
		out := bufio.NewWriter(w)
		_, _ = out.WriteString(agentsMagic)
		lines := json.NewEncoder(out)
		for _, n := range names {
			if err := lines.Encode(agentRecord{n.tenant, n.user, all[n]}); err != nil {
				return err
			}
		}
		return out.Flush()
	}, nil
}

// Restore replaces all agents by those of a snapshot. An empty one, of a program that knew none, has none.
func (a *Agents) Restore(r io.Reader) error {
	in, byName := bufio.NewReader(r), make(map[agentName]agentSaid)
	if _, err := in.Peek(1); err == nil {
		head := make([]byte, len(agentsMagic))
		if _, err := io.ReadFull(in, head); err != nil || string(head) != agentsMagic {
			return errors.New("pbx: restore agents: this is not a snapshot of agents, or of another version")
		}
		lines := json.NewDecoder(in)
		for {
			var rec agentRecord
			err := lines.Decode(&rec)
			if err == io.EOF {
				break
			}
			if err != nil {
				return fmt.Errorf("pbx: restore agents: %w", err)
			}
			byName[agentName{rec.Tenant, rec.User}] = rec.agentSaid
		}
	}
	a.mu.Lock()
	a.byName = byName
	a.mu.Unlock()
	return nil
}
