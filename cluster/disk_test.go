package cluster

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestADirectoryInUseIsRefusedWithAdvice(t *testing.T) {
	dir := t.TempDir()
	begin(t, Config{Dir: dir, Bootstrap: true})
	start := time.Now()
	second := launch(t, Config{Dir: dir, Bootstrap: true})
	err := second.WaitReady(t.Context())
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "node.data_dir") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %v to say so", took)
	}
}

func TestATakenPortIsRefusedWithAdvice(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n := launch(t, Config{Bootstrap: true, Listen: l.Addr().String(), Identity: newAuthority(t).member(t, "n1", 1), Key: testKey})
	err = n.WaitReady(t.Context())
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), l.Addr().String()) || !strings.Contains(err.Error(), "cluster.listen") {
		t.Errorf("got %v", err)
	}
}

func TestANodeThatListensOnLoopbackServes(t *testing.T) {
	n := begin(t, Config{Bootstrap: true, Listen: "127.0.0.1:0", Identity: newAuthority(t).member(t, "n1", 1), Key: testKey})
	n.set(t, "a", "k", "v")
}

func TestBadConfigurationsAreRefused(t *testing.T) {
	ok := map[string]Machine{"a": newTable()}
	for want, cfg := range map[string]Config{
		"needs a name":   {Machines: ok},
		"no machines":    {Node: "n1"},
		"is nil":         {Node: "n1", Machines: map[string]Machine{"a": nil}},
		"1 to 64 bytes":  {Node: "n1", Machines: map[string]Machine{strings.Repeat("x", 65): newTable()}},
		"is taken":       {Node: "n1", Machines: map[string]Machine{"cluster": newTable()}},
		"an identity":    {Node: "n1", Machines: ok, Listen: "127.0.0.1:7000"},
		"advertise":      {Node: "n1", Machines: ok, Listen: "0.0.0.0:7000", Identity: newAuthority(t).member(t, "n1", 1), Key: testKey},
		"write IP:port":  {Node: "n1", Machines: ok, Listen: "7000"},
		"cannot be call": {Node: "n1", Machines: ok, Requests: map[string]Handler{"cluster.x": nil}},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestADirectoryThatCannotBeMadeIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := launch(t, Config{Bootstrap: true, Dir: filepath.Join(file, "data")})
	if err := n.WaitReady(t.Context()); err == nil || !strings.Contains(err.Error(), "data_dir") {
		t.Errorf("got %v", err)
	}
}

func TestAFileThatIsNoLogIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, oldLogFile), []byte(strings.Repeat("no log ", 5000)), 0o600); err != nil {
		t.Fatal(err)
	}
	n := launch(t, Config{Bootstrap: true, Dir: dir})
	if err := n.WaitReady(t.Context()); err == nil || !strings.Contains(err.Error(), oldLogFile) {
		t.Errorf("got %v", err)
	}
}

func TestARestartOnTheDiskReplaysSnapshotAndLog(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Dir: dir, Bootstrap: true, NoSync: true}
	n := begin(t, cfg)
	for i := range 300 {
		n.set(t, "a", fmt.Sprint(i), "v")
		if i == 200 {
			if err := n.Snapshot(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	n = begin(t, cfg)
	if rows, changes := n.a.state(); len(rows) != 300 || changes != 300 {
		t.Errorf("%d rows and %d changes, want 300", len(rows), changes)
	}
	if s := n.Status(); s.Snapshot.Index == 0 || s.LogEntries != 99 || s.FileBytes == 0 {
		t.Errorf("status %+v", s)
	}
}

const childDir = "TANDEM_CLUSTER_TEST_DIR"

// childMain is the process that TestEveryAcknowledgedItemSurvivesKill9 kills: it proposes for ever and prints the
// key of every item that was acknowledged.
func childMain() bool {
	dir := os.Getenv(childDir)
	if dir == "" {
		return false
	}
	a := newTable()
	c, err := New(Config{Node: "n1", Dir: dir, Bootstrap: true, Machines: map[string]Machine{"a": a, "b": newTable()}, SnapshotBytes: 20_000})
	if err != nil {
		panic(err)
	}
	var run atomic.Pointer[error]
	go func() { err := c.Run(nobody{}); run.Store(&err) }()
	if err := c.WaitReady(nobody{}); err != nil {
		panic(err)
	}
	go func() {
		for {
			c.Snapshot(nobody{}) // so that kills meet snapshots too
		}
	}()
	acks := make(chan string, 1000)
	for g := range 8 {
		go func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%d-%d-%d", os.Getpid(), g, i)
				if _, err := c.Propose(nobody{}, "a", setCmd(key, "v")); err != nil {
					panic(err)
				}
				acks <- key
			}
		}()
	}
	for key := range acks {
		fmt.Println(key)
	}
	return true
}

// nobody is a context that never ends; the process is killed.
type nobody struct{}

func (nobody) Deadline() (time.Time, bool) { return time.Time{}, false }
func (nobody) Done() <-chan struct{}       { return nil }
func (nobody) Err() error                  { return nil }
func (nobody) Value(any) any               { return nil }

func TestEveryAcknowledgedItemSurvivesKill9(t *testing.T) {
	dir := t.TempDir()
	var acked []string
	for round := range 4 {
		acked = append(acked, killedChild(t, dir, 150+100*round)...)
	}
	n := begin(t, Config{Dir: dir, Bootstrap: true})
	rows, changes := n.a.state()
	for _, key := range acked {
		if _, ok := rows[key]; !ok {
			t.Errorf("%s was acknowledged and is gone", key)
		}
	}
	if changes != uint64(len(rows)) {
		t.Errorf("%d changes made %d rows: something was applied twice", changes, len(rows))
	}
	t.Logf("%d acknowledged, %d rows, %+v", len(acked), len(rows), n.Status().Snapshot)
}

// killedChild runs a child in dir, kills it after so many acknowledgements and returns all that it printed.
func killedChild(t *testing.T, dir string, after int) []string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var keys []string
	in := bufio.NewReader(out)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			break // a line cut by the kill has no end and does not count
		}
		keys = append(keys, strings.TrimSpace(line))
		if len(keys) == after {
			cmd.Process.Kill()
		}
	}
	cmd.Wait()
	if len(keys) < after {
		t.Fatalf("the child ended by itself after %d items", len(keys))
	}
	return keys
}

func BenchmarkProposeOnDisk(b *testing.B) {
	for _, waiting := range []int{1, 64, 1024} {
		b.Run(fmt.Sprint(waiting, " waiting"), func(b *testing.B) {
			c, err := New(Config{Node: "n1", Dir: b.TempDir(), Bootstrap: true, Machines: map[string]Machine{"a": newTable()}})
			if err != nil {
				b.Fatal(err)
			}
			ended := make(chan error, 1)
			ctx, cancel := contextOf(b)
			go func() { ended <- c.Run(ctx) }()
			if err := c.WaitReady(ctx); err != nil {
				b.Fatal(err)
			}
			cmd := setCmd("sip:alice@example.com", strings.Repeat("x", 180))
			room := make(chan struct{}, waiting)
			for b.Loop() {
				room <- struct{}{}
				if err := c.ProposeAsync("a", cmd, func(any, error) { <-room }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(c.Status().Counters.Committed)/b.Elapsed().Seconds(), "items/s")
			cancel()
			<-ended
		})
	}
}

// BenchmarkStart is a start after a kill: 20,000 unmerged entries to replay, no snapshot.
func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	serve := func(ready func(*Cluster)) {
		c, err := New(Config{Node: "n1", Dir: dir, Bootstrap: true, NoSync: true, Machines: map[string]Machine{"a": newTable()}})
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := contextOf(b)
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		if err := c.WaitReady(ctx); err != nil {
			b.Fatal(err)
		}
		ready(c)
		cancel()
		<-ended
	}
	serve(func(c *Cluster) {
		cmd := setCmd("sip:alice@example.com", strings.Repeat("x", 180))
		for range 20_000 {
			if _, err := c.Propose(nobody{}, "a", cmd); err != nil {
				b.Fatal(err)
			}
		}
	})
	for b.Loop() {
		serve(func(*Cluster) {})
	}
}
