package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const tmpfsVariable = "TANDEM_CLUSTER_TEST_TMPFS"

// TestANodeOnAFullDiskGivesWay runs in a mount namespace of its own: three nodes over loopback, the log of one on a small tmpfs that fills up for real.
func TestANodeOnAFullDiskGivesWay(t *testing.T) {
	if dir := os.Getenv(tmpfsVariable); dir != "" {
		onATmpfs(t, dir)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestANodeOnAFullDiskGivesWay$", "-test.v")
	cmd.Env = append(os.Environ(), tmpfsVariable+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	switch {
	case err == nil && strings.Contains(string(out), "--- SKIP"), err != nil && len(out) == 0:
		t.Skipf("no right to mount a tmpfs in a namespace: %v\n%s", err, out)
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	}
}

func onATmpfs(t *testing.T, dir string) {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=72m"); err != nil {
		t.Skip(err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	a := newAuthority(t)
	nodes, voters := make([]*node, 3), map[string]string{}
	for i := range nodes {
		voters[fmt.Sprint("n", i+1)] = fmt.Sprintf("127.0.77.%d:7000", i+1)
	}
	for i := range nodes {
		name := fmt.Sprint("n", i+1)
		cfg := Config{Node: name, Listen: voters[name], Identity: a.member(t, name, 1), Key: testKey, Bootstrap: true, Voters: voters, Dir: filepath.Join(t.TempDir(), name), NoSync: true}
		if i == 0 {
			cfg.Dir = filepath.Join(dir, name)
		}
		nodes[i] = launch(t, cfg)
	}
	small := nodes[0]
	await := func(what string, ok func() bool) {
		t.Helper()
		look, end := time.NewTicker(20*time.Millisecond), time.After(15*time.Second)
		defer look.Stop()
		for !ok() {
			select {
			case <-look.C: // real disks know no fake time
			case <-end:
				s := small.Status()
				t.Fatalf("%s: not in 15 s; %s, unfit %q, unserviceable %q, free %d", what, s.State, s.Unfit, s.Unserviceable, small.disk.free.Load())
			}
		}
	}
	await("a leader", func() bool { return nodes[1].Status().Ready && nodes[2].Status().Ready && small.Status().Ready })
	await("the small node leads", func() bool {
		_ = nodes[1].Transfer(context.Background(), "n1") // again when an election came between
		return small.Status().State == "leader"
	})
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 10<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	await("it gives its office away while there is little room", func() bool { return small.Status().State == "follower" && nodes[1].Status().Leader != "n1" })
	if s := small.Status(); s.Unfit != "its disk is nearly full" {
		t.Errorf("unfit %q", s.Unfit)
	}
	f, err := os.OpenFile(ballast, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	n := 0
	await("it cannot write, and says so", func() bool {
		n++
		nodes[1].set(t, "a", fmt.Sprint(n), strings.Repeat("x", 100_000))
		return small.Status().Unserviceable == "its disk refuses writes"
	})
	if s := small.Status(); s.Ready {
		t.Error("it says that it is ready")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	await("it has caught up", func() bool {
		n++
		nodes[1].set(t, "a", fmt.Sprint(n), "v")
		rows, _ := small.a.state()
		return len(rows) >= n-1 && small.Status().Ready
	})
}
