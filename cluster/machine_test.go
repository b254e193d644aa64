package cluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/gob"
	"fmt"
	"io"
	"maps"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if childMain() {
		return
	}
	goleak.VerifyTestMain(m)
}

// table is the machine of these tests: string keys, the index of the last change, and a count of changes that shows
// whether anything was applied twice or left out.
type table struct {
	mu      sync.Mutex
	rows    map[string]string
	changes uint64
	gate    chan struct{} // when not nil, Apply waits for it
}

func newTable() *table { return &table{rows: map[string]string{}} }

func setCmd(key, value string) []byte {
	b := binary.AppendUvarint([]byte{1}, uint64(len(key)))
	return append(append(b, key...), value...)
}

func (m *table) Apply(cmd []byte) any {
	if m.gate != nil {
		<-m.gate
	}
	if cmd[0] != 1 {
		panic(fmt.Sprintf("command kind %d is not known", cmd[0]))
	}
	n, w := binary.Uvarint(cmd[1:])
	key := string(cmd[1+w : 1+w+int(n)])
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rows[key] = string(cmd[1+w+int(n):])
	m.changes++
	return m.changes
}

func (m *table) Snapshot() (func(io.Writer) error, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rows, changes := maps.Clone(m.rows), m.changes
	return func(w io.Writer) error {
		if err := binary.Write(w, binary.BigEndian, changes); err != nil {
			return err
		}
		return gob.NewEncoder(w).Encode(rows)
	}, nil
}

func (m *table) Restore(r io.Reader) error {
	var changes uint64
	if err := binary.Read(r, binary.BigEndian, &changes); err != nil {
		return err
	}
	rows := map[string]string{}
	if err := gob.NewDecoder(r).Decode(&rows); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rows, m.changes = rows, changes
	return nil
}

func (m *table) state() (map[string]string, uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.rows), m.changes
}

// node is a running Cluster with two tables, "a" and "b".
type node struct {
	*Cluster
	a, b *table
	stop func() error
}

// launch starts a node and does not wait for it.
func launch(t *testing.T, cfg Config) *node {
	t.Helper()
	return launchAt(t, cfg, 0)
}

// launchAt starts a node on a machine whose clock is wrong by so much, and does not wait for it.
func launchAt(t *testing.T, cfg Config, clock time.Duration) *node {
	t.Helper()
	n := &node{a: newTable(), b: newTable()}
	if cfg.Machines == nil {
		cfg.Machines = map[string]Machine{"a": n.a, "b": n.b}
	}
	if cfg.Node == "" {
		cfg.Node = "n1"
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.Cluster = c
	c.outbox.incarnation += uint64(clock)
	c.life.Add(uint64(clock))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	var result error
	go func() {
		result = c.Run(ctx)
		close(ended)
	}()
	n.stop = func() error { cancel(); <-ended; return result }
	t.Cleanup(func() { n.stop() })
	return n
}

// begin starts a node and waits until it is ready.
func begin(t *testing.T, cfg Config) *node {
	t.Helper()
	n := launch(t, cfg)
	if err := n.WaitReady(t.Context()); err != nil {
		t.Fatalf("not ready: %v", err)
	}
	return n
}

func (n *node) set(t *testing.T, machine, key, value string) any {
	t.Helper()
	result, err := n.Propose(t.Context(), machine, setCmd(key, value))
	if err != nil {
		t.Fatalf("set %s: %v", key, err)
	}
	return result
}

func sections(machines map[string]Machine) ([]byte, error) {
	f := newFSM(machines)
	s, err := f.Snapshot()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	_, err = writeSections(&b, s.(*fsmSnapshot).sections)
	return b.Bytes(), err
}

func contextOf(b *testing.B) (context.Context, context.CancelFunc) {
	return context.WithCancel(b.Context())
}
