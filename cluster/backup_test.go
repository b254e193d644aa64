package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// fresh are machines as launch makes them.
func fresh() (map[string]Machine, error) {
	return map[string]Machine{"a": newTable(), "b": newTable()}, nil
}

// backup takes one, and checks that it can be read.
func (n *node) backup(t *testing.T) ([]byte, BackupHead) {
	t.Helper()
	var b bytes.Buffer
	head, err := n.Backup(t.Context(), &b)
	if err != nil {
		t.Fatal(err)
	}
	read, err := CheckBackup(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil || !reflect.DeepEqual(read, head) {
		t.Fatalf("%v: read %+v, want %+v", err, read, head)
	}
	return b.Bytes(), head
}

// restore gives a backup to a node in parts, as a client does.
func (n *node) restore(ctx context.Context, file []byte, keep ...string) (RestoreReport, error) {
	head, err := CheckBackup(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return RestoreReport{}, err
	}
	id, err := n.BeginRestore(ctx, head, int64(len(file)))
	if err != nil {
		return RestoreReport{}, err
	}
	for i := 0; len(file) > 0; i++ {
		part := file[:min(len(file), 1000)]
		file = file[len(part):]
		if err := n.Upload(ctx, id, i, part); err != nil {
			return RestoreReport{}, err
		}
	}
	return n.Restore(ctx, id, keep)
}

func TestABackupOfAnyNodeHoldsWhatWasAcknowledgedAnywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginThree(t)
		for i := range 30 {
			c.nodes[i%3].set(t, "a", fmt.Sprint(i), "v")
			_, head := c.nodes[(i+1)%3].backup(t)
			if head.Behind || !reflect.DeepEqual(head.Machines, []string{"a", "b"}) || head.Index == 0 {
				t.Fatalf("head %+v", head)
			}
		}
		file, _ := c.nodes[0].backup(t)
		a := newTable()
		if _, err := readBackup(bytes.NewReader(file), int64(len(file)), func(name string, in io.Reader) error {
			if name == "a" {
				return a.Restore(in)
			}
			return newTable().Restore(in)
		}); err != nil || len(a.rows) != 30 {
			t.Errorf("%v, %d rows", err, len(a.rows))
		}
		c.cut(0)
		time.Sleep(3 * time.Second)
		if _, head := c.nodes[0].backup(t); !head.Behind {
			t.Error("a node that is cut off does not say that its backup may be behind")
		}
	})
}

func TestABackupIsTheBeginningOfANewCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginThree(t)
		for i := range 2000 {
			c.nodes[0].a.Apply(longRow(i)) // without the log: it is the backup that is tried
		}
		c.nodes[0].set(t, "b", "k", "v")
		file, _ := c.nodes[0].backup(t)
		cfg := Config{Node: "other", Store: MemoryStore(), Machines: map[string]Machine{"a": newTable(), "b": newTable()}}
		old, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := old.Found(bytes.NewReader(file), int64(len(file))); err != nil {
			t.Fatal(err)
		}
		cfg.Machines = nil
		n := begin(t, cfg)
		rows, _ := n.a.state()
		if other, _ := n.b.state(); len(rows) != 2000 || other["k"] != "v" {
			t.Errorf("%d rows, %v", len(rows), other)
		}
		n.set(t, "a", "new", "v")
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		n = begin(t, cfg)
		if rows, _ := n.a.state(); len(rows) != 2001 {
			t.Errorf("%d rows behind a restart", len(rows))
		}
		cfg.Machines = map[string]Machine{"a": newTable(), "b": newTable()}
		again, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := again.Found(bytes.NewReader(file), int64(len(file))); err == nil || !strings.Contains(err.Error(), "already") {
			t.Errorf("a store in use: %v", err)
		}
	})
}

func longRow(i int) []byte { return setCmd(fmt.Sprint("key", i), strings.Repeat("v", i%50)) }

func TestABackupThatWasCutOrChangedIsRefused(t *testing.T) {
	n := begin(t, Config{Bootstrap: true, Fresh: fresh})
	for i := range 200 {
		n.set(t, "a", fmt.Sprint(i), "v")
	}
	file, _ := n.backup(t)
	refused := func(what string, file []byte) {
		t.Helper()
		empty, err := New(Config{Node: "n1", Store: MemoryStore(), Machines: map[string]Machine{"a": newTable(), "b": newTable()}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := empty.Found(bytes.NewReader(file), int64(len(file))); !errors.Is(err, ErrBackup) {
			t.Errorf("%s: %v", what, err)
		}
		if last, _ := empty.cfg.Store.Log.LastIndex(); last != 0 {
			t.Errorf("%s: something was written", what)
		}
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	for _, at := range append([]int{0, 1, 7, 8, 12, len(file) - 1, len(file) - 32, len(file) - 33}, rnd.Perm(len(file))[:200]...) {
		refused(fmt.Sprint("cut at ", at), file[:at])
		bad := bytes.Clone(file)
		bad[at] ^= 1 << rnd.IntN(8)
		refused(fmt.Sprint("changed at ", at), bad)
	}
	refused("longer", append(bytes.Clone(file), 0))
	for text, file := range map[string][]byte{
		"is not a backup": []byte(strings.Repeat("no backup ", 100)),
		"has format 9":    append([]byte(backupMagic+"\x09"), file[8:]...),
		"cut off":         file[:len(file)-100],
		"checksum":        append(bytes.Clone(file[:len(file)-1]), file[len(file)-1]^1),
	} {
		if _, err := CheckBackup(bytes.NewReader(file), int64(len(file))); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("got %v, want %q", err, text)
		}
	}
}

func TestABackupOfAnotherKeyOrProgramChangesNothing(t *testing.T) {
	n := begin(t, Config{Bootstrap: true, Fresh: fresh, SealedBy: "aa", Program: "1.0"})
	n.set(t, "a", "k", "v")
	file, _ := n.backup(t)
	other := begin(t, Config{Bootstrap: true, Fresh: fresh, SealedBy: "bb"})
	other.set(t, "a", "stays", "v")
	if _, err := other.restore(t.Context(), file); !errors.Is(err, ErrBackup) || !strings.Contains(err.Error(), "key file") {
		t.Errorf("another key: %v", err)
	}
	older := launch(t, Config{Bootstrap: true, Fresh: fresh, SealedBy: "aa", Machines: map[string]Machine{"a": newTable()}})
	if err := older.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := older.restore(t.Context(), file); !errors.Is(err, ErrBackup) || !strings.Contains(err.Error(), `"b"`) || !strings.Contains(err.Error(), "version 1.0") {
		t.Errorf("an older program: %v", err)
	}
	picky := begin(t, Config{Bootstrap: true, SealedBy: "aa", Fresh: func() (map[string]Machine, error) {
		return map[string]Machine{"a": newTable(), "b": fussy{}}, nil
	}})
	picky.set(t, "a", "stays", "v")
	if _, err := picky.restore(t.Context(), file); !errors.Is(err, ErrBackup) || !strings.Contains(err.Error(), "not to my taste") {
		t.Errorf("what a machine refuses: %v", err)
	}
	for _, n := range []*node{other, picky} {
		if rows, changes := n.a.state(); changes != 1 || rows["stays"] != "v" {
			t.Errorf("a refused backup has changed %v", rows)
		}
	}
}

// fussy is a machine that can restore nothing.
type fussy struct{ fixed }

func (fussy) Restore(io.Reader) error { return errors.New("not to my taste") }

// TestABackupIsRestoredIntoARunningCluster goes through a follower; the leader dies half way, and a node that was away the whole time gets it later.
func TestABackupIsRestoredIntoARunningCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t, 1)
		for i := range 3 {
			c.cfgs[i].Fresh = fresh
			c.nodes[i] = launch(t, c.cfgs[i])
		}
		lead := c.leader(t, -1)
		follower, away := (lead+1)%3, (lead+2)%3
		for i := range 300 {
			c.nodes[follower].set(t, "a", fmt.Sprint(i), "then")
		}
		c.nodes[follower].set(t, "b", "registration", "then")
		file, head := c.nodes[follower].backup(t)
		for i := range 20 {
			c.nodes[follower].set(t, "a", fmt.Sprint("later", i), "v")
		}
		c.nodes[follower].set(t, "b", "registration", "now")
		id, err := c.nodes[follower].BeginRestore(t.Context(), head, int64(len(file)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.nodes[lead].BeginRestore(t.Context(), head, int64(len(file))); !errors.Is(err, errRestoreBusy) {
			t.Errorf("a second one: %v", err)
		}
		if _, err := c.nodes[follower].Restore(t.Context(), id, nil); !errors.Is(err, ErrBackup) {
			t.Errorf("put in force before it has come: %v", err)
		}
		half := len(file) / 2
		for _, part := range []struct {
			number int
			bytes  []byte
		}{{0, file[:half]}, {0, file[:half]}} { // twice does no harm
			if err := c.nodes[follower].Upload(t.Context(), id, part.number, part.bytes); err != nil {
				t.Fatal(err)
			}
		}
		c.cut(lead)
		if err := c.nodes[follower].Upload(t.Context(), id, 1, file[half:]); err != nil {
			t.Fatal(err)
		}
		c.heal()
		c.leader(t, -1)
		if err := c.nodes[away].stop(); err != nil {
			t.Fatal(err)
		}
		c.leader(t, away)
		report, err := c.nodes[follower].Restore(t.Context(), id, []string{"b"})
		if err != nil || !reflect.DeepEqual(report.Restored, []string{"a"}) || !reflect.DeepEqual(report.Kept, []string{"b"}) {
			t.Fatalf("%v, %+v", err, report)
		}
		c.nodes[follower].set(t, "a", "after", "v")
		c.nodes[away] = launch(t, c.cfgs[away])
		c.agree(t)
		for i, n := range c.nodes {
			rows, _ := n.a.state()
			if len(rows) != 301 || rows["after"] != "v" || rows["later3"] != "" {
				t.Errorf("node %d has %d rows", i, len(rows))
			}
			if rows, _ := n.b.state(); rows["registration"] != "now" {
				t.Errorf("node %d: what was to be kept is %q", i, rows["registration"])
			}
		}
	})
}

func TestARestoreThatWasBrokenOffIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := begin(t, Config{Bootstrap: true, Fresh: fresh})
		file, head := n.backup(t)
		id, err := n.BeginRestore(t.Context(), head, int64(len(file)))
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Upload(t.Context(), id, 0, file[:10]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(restoreIdle + 5*time.Second)
		if now, _ := n.restoring.state(); now.ID != "" {
			t.Errorf("%d bytes are still kept", now.Got)
		}
		if err := n.Upload(t.Context(), id, 1, file[10:]); !errors.Is(err, errNoRestore) {
			t.Errorf("its next part: %v", err)
		}
		if _, err := n.restore(t.Context(), file); err != nil {
			t.Errorf("the next restore: %v", err)
		}
	})
}

// A node that is started again in the middle of an upload has what came before, from its snapshot.
func TestAnUploadSurvivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{Bootstrap: true, Fresh: fresh, Store: MemoryStore()}
		n := begin(t, cfg)
		n.set(t, "a", "k", "then")
		file, head := n.backup(t)
		n.set(t, "a", "k", "now")
		id, err := n.BeginRestore(t.Context(), head, int64(len(file)))
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Upload(t.Context(), id, 0, file[:100]); err != nil {
			t.Fatal(err)
		}
		if err := n.Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := n.Upload(t.Context(), id, 1, file[100:200]); err != nil {
			t.Fatal(err)
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		n = begin(t, cfg)
		if err := n.Upload(t.Context(), id, 2, file[200:]); err != nil {
			t.Fatal(err)
		}
		if _, err := n.Cluster.Restore(t.Context(), id, nil); err != nil {
			t.Fatal(err)
		}
		if rows, _ := n.a.state(); rows["k"] != "then" {
			t.Errorf("rows %v", rows)
		}
	})
}
