//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"tandem/bench/internal/phone"
)

const (
	domain  = "bench.test"
	tenant  = "bench"
	startIn = 30 * time.Second
	look    = 20 * time.Millisecond
)

// world is where the nodes are.
type world struct {
	program, dir   string
	segment, disks bool
}

// node is one process of the cluster.
type node struct {
	name    string
	place   string         // number in addresses
	machine netip.Addr     // of the other nodes' and the operator's connections
	sip     netip.AddrPort // where phones send, and with that the node's media
	dir     string
	file    string
	cmd     *exec.Cmd
	gone    chan struct{}
	http    *http.Client
}

// trio is the cluster that is measured.
type trio struct {
	world
	phones netip.Addr // where the phones are
	nodes  []*node
	ended  sync.Once
	undo   []func()

	users, next  int // accounts, and whose turn it is
	acknowledged int // new bindings that phones were told of
}

// start makes three nodes one cluster.
func (w world) start() (*trio, error) {
	c := &trio{world: w, phones: netip.MustParseAddr("127.0.0.1")}
	if err := os.MkdirAll(w.dir, 0o755); err != nil {
		return c, err
	}
	if w.segment {
		if err := c.layBridge(); err != nil {
			return c, err
		}
	}
	for i := range 3 {
		if err := c.add(i + 1); err != nil {
			return c, err
		}
		if err := c.nodes[i].ready(); err != nil {
			return c, err
		}
	}
	_, err := c.whole()
	return c, err
}

// add makes node number n a member.
func (c *trio) add(n int) error {
	m := &node{name: fmt.Sprint("n", n), place: strconv.Itoa(n)}
	m.machine = netip.AddrFrom4([4]byte{127, 0, 77, byte(n)})
	served := m.machine
	if c.segment {
		m.machine, served = segmentAddr(n), segmentAddr(10+n)
		if err := c.layLink(m); err != nil {
			return err
		}
	}
	m.sip = netip.AddrPortFrom(served, 5060)
	c.nodes = append(c.nodes, m)
	var err error
	if m.dir, err = filepath.Abs(filepath.Join(c.dir, m.name)); err != nil {
		return err
	}
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return err
	}
	if c.disks {
		if err := c.mountDisk(m); err != nil {
			return err
		}
	}
	socket := filepath.Join(m.dir, "data", "admin.sock")
	m.http = &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	if err := m.configure(c.segment); err != nil {
		return err
	}
	token := ""
	if n > 1 {
		if token, err = c.cli(0, "cluster", "token"); err != nil {
			return err
		}
	}
	return c.launch(m, strings.TrimSpace(token))
}

// configure writes what an operator would. What is not named is Tandem's default.
func (m *node) configure(segment bool) error {
	plan := filepath.Join(m.dir, "bench.dialplan.hcl")
	if err := os.WriteFile(plan, []byte("dialplan \""+tenant+"\" {\n  format   = 1\n  domains  = [\""+domain+"\"]\n  timezone = \"Europe/London\"\n  country  = \"44\"\n}\n"), 0o644); err != nil {
		return err
	}
	at, machine := m.sip.Addr().String(), m.machine.String()
	virtual := ""
	if segment {
		virtual = strconv.Quote(at + "/24@eth0")
	}
	text := fmt.Sprintf(`node {
  name     = %q
  data_dir = %q
}
sip {
  udp = ["%s:5060"]
  tcp = ["%s:5060"]
  tls = ["%s:5061"]
}
media {
  address = %q
  ports   = "20000-29999"
}
web {
  http  = ["%s:8080"]
  https = ["%s:8443"]
}
turn {
  udp = []
  tcp = []
}
cluster {
  listen            = "%s:7000"
  virtual_addresses = [%s]
}
admin { listen = "" }
dialplan { files = [%q] }
auth { nonce_lifetime = "1h" }
limits {
  requests_per_ip  = 1000000 # all phones are at one address
  bindings_per_aor = 30      # each load brings the users new phones
}
`, m.name, filepath.Join(m.dir, "data"), at, at, at, at, at, at, machine, virtual, plan)
	m.file = filepath.Join(m.dir, "tandem.hcl")
	return os.WriteFile(m.file, []byte(text), 0o644)
}

// launch starts the process of a node; with a token it joins.
func (c *trio) launch(m *node, token string) error {
	log, err := os.OpenFile(filepath.Join(c.dir, m.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	argv := []string{c.program, "serve", "--config", m.file}
	if c.segment {
		argv = append([]string{"ip", "netns", "exec", m.name}, argv...)
	}
	m.cmd = exec.Command(argv[0], argv[1:]...)
	m.cmd.Stdout, m.cmd.Stderr = log, log
	m.cmd.Env = os.Environ()
	if token != "" {
		m.cmd.Env = append(m.cmd.Env, "TANDEM_CLUSTER_TOKEN="+token)
	}
	if err := m.cmd.Start(); err != nil {
		return err
	}
	m.gone = make(chan struct{})
	cmd, gone := m.cmd, m.gone
	go func() {
		_ = cmd.Wait()
		close(gone)
	}()
	return nil
}

func (m *node) pid() int { return m.cmd.Process.Pid }

// ready waits until the node serves.
func (m *node) ready() error {
	return await(m.name+" to be ready", startIn, func() (bool, error) {
		select {
		case <-m.gone:
			return false, fmt.Errorf("%s has ended: %v", m.name, m.cmd.ProcessState)
		default:
		}
		return m.get("/readyz") == nil, nil
	})
}

func (m *node) get(path string) error {
	_, err := m.text(path)
	return err
}

func (m *node) text(path string) (string, error) {
	answer, err := m.http.Get("http://node" + path)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(answer.Status)
	}
	return string(text), err
}

// metric is the sum of a metric of the node over its labels.
func (m *node) metric(name string) (sum float64) {
	text, _ := m.text("/metrics")
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name); ok && (rest[0] == ' ' || rest[0] == '{') {
			value, _ := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' ')+1:]), 64)
			sum += value
		}
	}
	return sum
}

// heap is what the node's heap holds behind a collection.
func (m *node) heap() float64 {
	for range 2 { // the first collection only unlinks what pools hold
		_ = m.get("/debug/pprof/heap?gc=1")
	}
	return m.metric("go_memstats_heap_alloc_bytes")
}

// cli runs a command of the program at a node.
func (c *trio) cli(at int, args ...string) (string, error) {
	args = append(args, "--data-dir", filepath.Join(c.nodes[at].dir, "data"))
	cmd := exec.Command(c.program, args...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("tandem %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return string(out), err
}

// member is what `tandem cluster status -o json` says of one.
type member struct {
	Name, Health string
	Voter, Ready bool
}

type status struct {
	Leader  string
	Ready   bool
	Term    uint64
	Applied uint64 `json:"applied_index"`
	Commit  uint64 `json:"commit_index"`
	Members []member
}

func (c *trio) status(at int) (st status) {
	if out, err := c.cli(at, "cluster", "status", "-o", "json"); err == nil {
		_ = json.Unmarshal([]byte(out), &st)
	}
	return st
}

// whole waits until every node finds all of them alive, voting and ready, and gives the position of the leader.
func (c *trio) whole() (lead int, err error) {
	err = await("the cluster to be whole", 2*startIn, func() (bool, error) {
		for i := range c.nodes {
			st := c.status(i)
			good := 0
			for _, m := range st.Members {
				if m.Health == "alive" && m.Voter && m.Ready {
					good++
				}
			}
			if !st.Ready || good != len(c.nodes) {
				return false, nil
			}
			lead = c.position(st.Leader)
		}
		return lead >= 0, nil
	})
	return lead, err
}

func (c *trio) position(name string) int {
	for i, m := range c.nodes {
		if m.name == name {
			return i
		}
	}
	return -1
}

// accounts makes accounts for the phones.
func (c *trio) accounts(users int) error {
	c.users = users
	var csv strings.Builder
	csv.WriteString("tenant,user,password\n")
	for i := range users {
		fmt.Fprintf(&csv, "%s,%s,%s\n", tenant, phone.UserName(i), phone.Password(i))
	}
	file := filepath.Join(c.dir, "accounts.csv")
	if err := os.WriteFile(file, []byte(csv.String()), 0o644); err != nil {
		return err
	}
	if _, err := c.cli(0, "account", "import", file); err != nil {
		return err
	}
	return await("all nodes to know the accounts", startIn, func() (bool, error) {
		applied := map[uint64]bool{}
		for i := range c.nodes {
			applied[c.status(i).Applied] = true
		}
		return len(applied) == 1, nil
	})
}

func await(what string, within time.Duration, fine func() (bool, error)) error {
	for until := time.Now().Add(within); time.Now().Before(until); time.Sleep(look) {
		if ok, err := fine(); ok || err != nil {
			return err
		}
	}
	return fmt.Errorf("waited %v in vain for %s", within, what)
}

// end stops all processes, each by its own id, and gives back what was made.
func (c *trio) end() {
	c.ended.Do(func() {
		for _, m := range c.nodes {
			if m.cmd != nil && m.cmd.Process != nil {
				_ = m.cmd.Process.Signal(syscall.SIGCONT)
				_ = m.cmd.Process.Signal(syscall.SIGTERM)
			}
		}
		for _, m := range c.nodes {
			if m.gone == nil {
				continue
			}
			select {
			case <-m.gone:
			case <-time.After(3 * time.Second): // calls may go on, nobody waits for them
				_ = m.cmd.Process.Kill()
				<-m.gone
			}
		}
		for i := len(c.undo) - 1; i >= 0; i-- {
			c.undo[i]()
		}
	})
}

// shell runs a command of words without quotes.
func shell(format string, args ...any) error {
	words := strings.Fields(fmt.Sprintf(format, args...))
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(words, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
