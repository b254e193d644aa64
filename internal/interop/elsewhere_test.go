//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// elsewhere starts a node again as if it were on another machine: what the kernel says which boot this is differs, so that nobody takes its addresses
// for his own.
func (c *trio) elsewhere(t testing.TB, i int) {
	t.Helper()
	boot := filepath.Join(t.TempDir(), "boot_id")
	write(t, boot, "another machine\n")
	const id = "/proc/sys/kernel/random/boot_id"
	if os.Geteuid() != 0 {
		t.Skip("only root can give a process another machine")
	}
	p := launch(t, "tandem elsewhere", t.TempDir(), nil, "unshare", "--mount", "sh", "-c", `mount --bind "$0" `+id+` && exec "$@"`, boot,
		program, "serve", "--config", filepath.Join(c.ready.Nodes[i].DataDir, "tandem.hcl"))
	c.again = append(c.again, p)
	c.ready.Nodes[i].PID = p.cmd.Process.Pid
}

// A call whose node is killed goes on at one that cannot have its addresses: both phones are told.
func TestACallOutlivesItsNodeAndItsAddresses(t *testing.T) {
	c := startTrio(t)
	c.whole(t)
	c.kill9(t, 1)
	eventually(t, soon, "the node to be missed", func() bool { _, alive := c.status(0); return alive == 2 })
	c.elsewhere(t, 1)
	eventually(t, 2*startWithin, "the node to be back", func() bool { _, alive := c.status(1); return alive == 3 })
	home := c.member(1)
	alice := startPhone(t, home, phoneConfig{user: "1000", tone: 440, srtp: "srtp-mand"}).registered(t)
	bob := startPhone(t, home, phoneConfig{user: "1001", tone: 1000, srtp: "srtp-mand"}).registered(t)
	alice.dial(t, "1001")
	alice.talks(t, 1)
	hearEachOther(t, alice, bob)
	eventually(t, soon, "two nodes to have the call", func() bool { return home.metric(t, "tandem_copies_covered") == 1 })

	watch := watchRTP(t)
	eventually(t, soon, "packets to both phones", func() bool { _, phones, _ := watch.longest(); return phones == 2 })
	if err := syscall.Kill(c.ready.Nodes[1].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	watch.goesOn(t, time.Second, 2, alice, bob)
	for _, i := range []int{0, 2} {
		if n := c.member(i); n.metric(t, "tandem_calls_readdressed_total") == 1 {
			if _, err := n.cli(t, "call", "hangup", callID(t, n)); err != nil {
				t.Error(err)
			}
			alice.ends(t, 1)
			bob.ends(t, 1)
			eventually(t, soon, "the record", func() bool { return len(c.records()) == 1 })
			return
		}
	}
	t.Error("no node has told the phones")
}
