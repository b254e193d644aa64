package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"tandem/admin"
	"tandem/configs"
	"tandem/dialplan"
)

// demoPatience is how long the nodes of a demo may take to be ready.
const demoPatience = 60 * time.Second

// demoMember is one node of a demo with several: a process of its own, which a newcomer may kill and start again.
type demoMember struct {
	cfg  configs.Config
	file string // its configuration
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

// runCluster runs several nodes as one cluster until a signal comes or all have ended.
func (f *demoFlags) runCluster(cmd *cobra.Command) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	notes := cmd.ErrOrStderr()
	members, err := f.members(notes)
	if err != nil {
		return err
	}
	defer func() {
		for _, m := range members {
			m.end()
		}
	}()
	report, err := f.startCluster(ctx, members, notes)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	out := cmd.OutOrStdout()
	if f.output == "json" {
		if err := json.NewEncoder(out).Encode(report); err != nil {
			return err
		}
	} else {
		report.printCluster(out, members)
	}
	var all sync.WaitGroup
	for _, m := range members {
		all.Go(func() {
			<-m.done
			if ctx.Err() == nil {
				fmt.Fprintf(notes, "node %s has ended (%v); start it again with: tandem serve --config %s\n", m.cfg.Node.Name, m.cmd.ProcessState, m.file)
			}
		})
	}
	ended := make(chan struct{})
	go func() { all.Wait(); close(ended) }()
	select {
	case <-ended:
		return errors.New("all nodes have ended")
	case <-ctx.Done():
		return nil
	}
}

// members makes the configurations: one address for each, counted up from --listen, with the same ports where they are free.
func (f *demoFlags) members(notes io.Writer) ([]*demoMember, error) {
	if f.dir == "" {
		dir, err := os.MkdirTemp("", "tandem-demo-")
		if err != nil {
			return nil, err
		}
		f.dir = dir
	}
	dir, err := filepath.Abs(f.dir)
	if err != nil {
		return nil, err
	}
	ip, err := netip.ParseAddr(f.listen)
	if err != nil {
		return nil, usageError{fmt.Errorf("--listen %s is not an IP address", f.listen)}
	}
	var members []*demoMember
	for i := range f.nodes {
		one := *f
		one.listen, one.dir, one.nodes = ip.String(), filepath.Join(dir, fmt.Sprintf("n%d", i+1)), 1
		cfg, err := one.config(notes)
		if err != nil {
			return nil, err
		}
		cfg.Node.Name = fmt.Sprintf("n%d", i+1)
		p := ports{ip: ip, notes: notes}
		cfg.Cluster.Listen = p.at(p.free("cluster", 7000, 1, false))
		if p.err != nil {
			return nil, p.err
		}
		m := &demoMember{cfg: cfg, file: filepath.Join(one.dir, "tandem.hcl")}
		if err := m.write(); err != nil {
			return nil, err
		}
		members = append(members, m)
		ip = ip.Next()
	}
	return members, nil
}

// write puts the node's configuration into a file: it is what an operator would write, and starts the node again.
func (m *demoMember) write() error {
	c := m.cfg
	text := fmt.Sprintf(`node {
  name     = %q
  data_dir = %q
}
sip {
  udp = [%q]
  tcp = [%q]
  tls = [%q]
}
media {
  address = %q
  ports   = "%d-%d"
}
web {
  http  = [%q]
  https = [%q]
}
turn {
  udp = [%q]
  tcp = [%q]
}
cluster { listen = %q }
admin { listen = %q }
dialplan { files = [] }
certs { hosts = ["localhost", %q] }
log { level = "warn" }
`, c.Node.Name, c.Node.DataDir, c.SIP.UDP[0], c.SIP.TCP[0], c.SIP.TLS[0], c.Media.Address[0], c.Media.Ports.Min, c.Media.Ports.Max,
		c.Web.HTTP[0], c.Web.HTTPS[0], c.TURN.UDP[0], c.TURN.TCP[0], c.Cluster.Listen, c.Admin.Listen, c.Media.Address[0])
	if err := os.MkdirAll(c.Node.DataDir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(m.file, []byte(text), 0o600)
}

// belongs tells whether the node was a member before: it comes back by itself.
func (m *demoMember) belongs() bool {
	_, err := os.Stat(filepath.Join(m.cfg.ClusterDir(), "cluster.pem"))
	return err == nil
}

// start runs the node as a process of its own.
func (m *demoMember) start(notes io.Writer, token string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	m.cmd = exec.Command(program, "serve", "--config", m.file)
	m.cmd.Stderr, m.cmd.Stdout = notes, notes
	m.cmd.SysProcAttr = childAttributes()
	if token != "" {
		m.cmd.Env = append(os.Environ(), "TANDEM_CLUSTER_TOKEN="+token)
	}
	if err := m.cmd.Start(); err != nil {
		return err
	}
	m.done = make(chan struct{})
	go func() {
		_ = m.cmd.Wait()
		close(m.done)
	}()
	return nil
}

// end stops the process, in order at first.
func (m *demoMember) end() {
	if m.done == nil {
		return
	}
	_ = m.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-m.done:
		return
	case <-time.After(time.Second): // calls go on; there is nobody to wait for them
		_ = m.cmd.Process.Signal(syscall.SIGTERM)
	}
	select {
	case <-m.done:
	case <-time.After(5 * time.Second):
		_ = m.cmd.Process.Kill()
		<-m.done
	}
}

// ready waits until the node says so.
func (m *demoMember) ready(ctx context.Context) (*admin.Client, error) {
	client, err := admin.NewClient(m.cfg.AdminSocket(), "")
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if st, err := client.Status(ctx); err == nil && st.Ready {
			return client, nil
		}
		select {
		case <-tick.C:
		case <-m.done:
			client.Close()
			return nil, fmt.Errorf("node %s has ended: %v", m.cfg.Node.Name, m.cmd.ProcessState)
		case <-ctx.Done():
			client.Close()
			return nil, fmt.Errorf("node %s did not become ready", m.cfg.Node.Name)
		}
	}
}

// startCluster starts the first node and lets the others join it, or all at once when they were a cluster before; then it makes the demo's plan and
// accounts.
func (f *demoFlags) startCluster(ctx context.Context, members []*demoMember, notes io.Writer) (demoReport, error) {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	report := demoReport{Domain: f.listen}
	for _, m := range members {
		if m.belongs() {
			if err := m.start(notes, ""); err != nil {
				return report, err
			}
		}
	}
	if members[0].done == nil {
		if err := members[0].start(notes, ""); err != nil {
			return report, err
		}
	}
	client, err := members[0].ready(ctx)
	if err != nil {
		return report, err
	}
	defer client.Close()
	if report.Accounts, err = f.populateBy(ctx, client); err != nil {
		return report, err
	}
	for _, m := range members[1:] {
		if m.done != nil {
			continue
		}
		token, err := client.NewJoinToken(ctx, demoPatience)
		if err != nil {
			return report, err
		}
		if err := m.start(notes, token.Token); err != nil {
			return report, err
		}
	}
	for _, m := range members {
		c, err := m.ready(ctx)
		if err != nil {
			return report, err
		}
		c.Close()
		report.Nodes = append(report.Nodes, m.report())
	}
	return report, awaitVotes(ctx, client, len(members))
}

// awaitVotes waits until all nodes vote: one may be killed from then on.
func awaitVotes(ctx context.Context, client *admin.Client, want int) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		st, err := client.Cluster(ctx)
		votes := 0
		for _, m := range st.Members {
			if m.Voter {
				votes++
			}
		}
		if err == nil && votes >= want {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("only %d of %d nodes got a vote", votes, want)
		}
	}
}

// populateBy gives the cluster the demo's plan and accounts over the API.
func (f *demoFlags) populateBy(ctx context.Context, client *admin.Client) ([]demoAccount, error) {
	st, err := client.Status(ctx)
	if err != nil {
		return nil, err
	}
	if st.Dialplan == 0 {
		plan := dialplan.Demo(f.listen)
		_, err := client.ApplyPlan(ctx, admin.PlanChange{PlanFiles: admin.PlanFiles{Files: []admin.File{{Name: plan.Name, Text: string(plan.Text)}}}, Author: "demo", Note: "the demo dialplan"})
		if err != nil {
			return nil, err
		}
	}
	var accounts []demoAccount
	for _, user := range demoUsers {
		a := demoAccount{User: user, Extension: user, Password: f.password}
		set := client.AddAccount
		if _, err := client.Account(ctx, demoTenant, user); err == nil {
			if f.password == "" {
				a.Password = "(as before)"
				accounts = append(accounts, a)
				continue
			}
			set = client.SetAccount
		}
		a.Password = cmp.Or(a.Password, strings.ToLower(rand.Text()[:12]))
		display := "Demo " + user
		if _, err := set(ctx, demoTenant, user, admin.AccountChange{Password: a.Password, Extension: &user, Display: &display}); err != nil {
			return nil, fmt.Errorf("account %s: %w", user, err)
		}
		accounts = append(accounts, a)
	}
	return accounts, nil
}

func (m *demoMember) report() demoNode {
	c := m.cfg
	return demoNode{
		Name: c.Node.Name, PID: m.cmd.Process.Pid, DataDir: c.Node.DataDir, HTTP: "http://" + c.Web.HTTP[0], Admin: "http://" + c.Admin.Listen,
		SIP: demoSIP{UDP: c.SIP.UDP[0], TCP: c.SIP.TCP[0], TLS: c.SIP.TLS[0], WS: "ws://" + c.Web.HTTP[0] + "/ws", WSS: "wss://" + c.Web.HTTPS[0] + "/ws"},
	}
}

// printCluster writes what a person with softphones and a wish to kill something needs.
func (r *demoReport) printCluster(out io.Writer, members []*demoMember) {
	r.print(out)
	fmt.Fprintf(out, "\n%d nodes are one telephone service; phones may register at any of them:\n\n", len(r.Nodes))
	t := table.NewWriter()
	t.SetOutputMirror(out)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"Node", "Process", "SIP", "Web", "Admin"})
	for _, n := range r.Nodes {
		t.AppendRow(table.Row{n.Name, n.PID, n.SIP.UDP, n.HTTP, n.Admin})
	}
	t.Render()
	last := r.Nodes[len(r.Nodes)-1]
	fmt.Fprintf(out, "\nKill one and see what happens:\n\n  kill -9 %d\n  tandem cluster status --data-dir %s\n  tandem serve --config %s\n", last.PID, r.Nodes[0].DataDir, members[len(members)-1].file)
}
