//go:build interop

package interop

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/icholy/digest"
)

// roundsVariable says how often TestALeaderThatDiesCostsNoRegistration kills and freezes leaders, for measurements. It is not one of TANDEM_..., which
// are keys of the configuration.
const roundsVariable = "LEADER_DEATHS"

// trio is a demo of three nodes, each a process of its own.
type trio struct {
	*node
	again []*process // nodes that were started again after a kill
}

func startTrio(t testing.TB) *trio {
	t.Helper()
	ip := loopback()
	loopback() // the two after it are the other nodes'
	loopback()
	c := &trio{node: &node{ip: ip, argv: []string{
		program, "demo", "--nodes", "3", "--dir", t.TempDir(), "--listen", ip.String(), "--sip-port", strconv.Itoa(freePort(t)), "--http-port", strconv.Itoa(freePort(t)),
		"--media-ports", fmt.Sprintf("%d-%d", mediaFirst, mediaLast), "--password", password, "-o", "json",
	}}}
	c.process = launch(t, "tandem", t.TempDir(), nil, c.argv...)
	line := c.find(t, 0, 3*startWithin, `(?m)^\{"nodes".*\}\r?$`)[0]
	if err := json.Unmarshal([]byte(line), &c.ready); err != nil {
		t.Fatalf("the ready line is no JSON: %v\n%s", err, line)
	}
	if len(c.ready.Nodes) != 3 {
		t.Fatalf("want three nodes, got %s", line)
	}
	return c
}

// status asks node i about the cluster.
func (c *trio) status(i int) (leader string, alive int) {
	out, err := exec.Command(program, "cluster", "status", "-o", "json", "--api", c.ready.Nodes[i].Admin).Output()
	var st struct {
		Leader  string `json:"leader"`
		Ready   bool   `json:"ready"`
		Members []struct {
			Health string `json:"health"`
			Voter  bool   `json:"voter"`
			Ready  bool   `json:"ready"`
		} `json:"members"`
	}
	if err != nil || json.Unmarshal(out, &st) != nil || !st.Ready {
		return "", 0
	}
	for _, m := range st.Members {
		if m.Health == "alive" && m.Voter && m.Ready {
			alive++
		}
	}
	return st.Leader, alive
}

// whole waits until all nodes answer, and gives the position of the leader.
func (c *trio) whole(t testing.TB) int {
	t.Helper()
	lead := -1
	if !looks(50*time.Millisecond, 2*startWithin, func() bool {
		leader, alive := c.status(0)
		if leader == "" || alive != 3 {
			return false
		}
		for i, n := range c.ready.Nodes {
			if n.Name == leader {
				lead = i
			}
		}
		return lead >= 0
	}) {
		t.Fatalf("the cluster did not become whole:\n%s", c.text(0))
	}
	return lead
}

// all waits until every node knows so many accounts: a change is there on the node that took it, and on the others some milliseconds later.
func (c *trio) all(t testing.TB, accounts int) {
	t.Helper()
	for _, n := range c.ready.Nodes {
		if !looks(50*time.Millisecond, startWithin, func() bool {
			out, err := exec.Command(program, "account", "list", "--limit", "0", "-o", "json", "--api", n.Admin).Output()
			return err == nil && strings.Count(string(out), `"user"`) == accounts
		}) {
			t.Fatalf("node %s does not get to know %d accounts", n.Name, accounts)
		}
	}
}

// restart starts a killed node as the demo says that it can be.
func (c *trio) restart(t testing.TB, i int) {
	t.Helper()
	p := launch(t, "tandem", t.TempDir(), nil, program, "serve", "--config", filepath.Join(c.ready.Nodes[i].DataDir, "tandem.hcl"))
	c.again = append(c.again, p)
	c.ready.Nodes[i].PID = p.cmd.Process.Pid
}

// registrant registers users at one node over UDP as a phone does: it asks again after half a second.
type registrant struct {
	conn   net.Conn
	domain string
	serial int
}

func newRegistrant(t testing.TB, server, domain string) *registrant {
	t.Helper()
	conn, err := net.Dial("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &registrant{conn: conn, domain: domain}
}

// register registers one user and returns how long it took, 0 when the node refused or did not answer.
func (r *registrant) register(user string) (took time.Duration) {
	begin := time.Now()
	r.serial++
	id := fmt.Sprintf("%s-%d-%d", user, os.Getpid(), r.serial)
	status, text := r.ask(user, id, 1, "")
	if status != 401 {
		return 0
	}
	line := regexp.MustCompile(`(?mi)^WWW-Authenticate: *(.*?)\r?$`).FindStringSubmatch(text)
	challenge, err := digest.ParseChallenge(line[1])
	if err != nil {
		return 0
	}
	cred, err := digest.Digest(challenge, digest.Options{Method: "REGISTER", URI: "sip:" + r.domain, Username: user, Password: password, Count: 1})
	if err != nil {
		return 0
	}
	if status, _ := r.ask(user, id, 2, "Authorization: "+cred.String()+"\r\n"); status != 200 {
		return 0
	}
	return time.Since(begin)
}

// ask sends a request until it is answered.
func (r *registrant) ask(user, id string, cseq int, more string) (status int, text string) {
	local := r.conn.LocalAddr().String()
	request := fmt.Sprintf("REGISTER sip:%s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%s-%d;rport\r\nMax-Forwards: 70\r\nFrom: <sip:%s@%s>;tag=%s\r\nTo: <sip:%s@%s>\r\n"+
		"Call-ID: %s\r\nCSeq: %d REGISTER\r\nContact: <sip:%s@%s>\r\nExpires: 600\r\n%sContent-Length: 0\r\n\r\n",
		r.domain, local, id, cseq, user, r.domain, id, user, r.domain, id, cseq, user, local, more)
	buf := make([]byte, 4096)
	for wait := 500 * time.Millisecond; wait < 10*time.Second; wait *= 2 {
		if _, err := r.conn.Write([]byte(request)); err != nil {
			continue
		}
		until := time.Now().Add(wait)
		for {
			r.conn.SetReadDeadline(until)
			n, err := r.conn.Read(buf)
			if err != nil {
				break
			}
			text = string(buf[:n])
			if strings.Contains(text, "CSeq: "+strconv.Itoa(cseq)+" ") && strings.Contains(text, id) && !strings.HasPrefix(text, "SIP/2.0 1") {
				status, _ = strconv.Atoi(text[8:11])
				return status, text
			}
		}
	}
	return 0, ""
}

// TestALeaderThatDiesCostsNoRegistration registers users through a surviving node while the leader is killed and frozen, and counts them afterwards.
func TestALeaderThatDiesCostsNoRegistration(t *testing.T) {
	rounds := 1
	if text := os.Getenv(roundsVariable); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	c := startTrio(t)
	const users = 400
	var csv strings.Builder
	csv.WriteString("tenant,user,password\n")
	for i := range users {
		fmt.Fprintf(&csv, "demo,u%d,%s\n", i, password)
	}
	file := filepath.Join(t.TempDir(), "users.csv")
	write(t, file, csv.String())
	if out, err := c.cli(t, "account", "import", file); err != nil {
		t.Fatalf("import: %v\n%s", err, out)
	}
	c.all(t, 4+users)
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	next := 0
	for round := range rounds {
		for _, how := range []struct {
			name string
			sig  syscall.Signal
			most time.Duration
		}{{"killed", syscall.SIGKILL, time.Second}, {"frozen", syscall.SIGSTOP, time.Second}} {
			lead := c.whole(t)
			through := (lead + 1) % 3
			r := newRegistrant(t, c.ready.Nodes[through].SIP.UDP, c.ready.Domain)
			stop := make(chan struct{})
			ended := make(chan time.Duration)
			go func() {
				worst := time.Duration(0)
				for {
					select {
					case <-stop:
						ended <- worst
						return
					default:
					}
					user := fmt.Sprintf("u%d", next%users)
					next++
					took := r.register(user)
					if took == 0 {
						t.Errorf("node %s refused a registration while the leader was %s", c.ready.Nodes[through].Name, how.name)
						continue
					}
					worst = max(worst, took)
					mu.Lock()
					acknowledged[user] = true
					mu.Unlock()
				}
			}()
			<-time.After(300 * time.Millisecond)
			if err := syscall.Kill(c.ready.Nodes[lead].PID, how.sig); err != nil {
				t.Fatal(err)
			}
			<-time.After(1500 * time.Millisecond)
			close(stop)
			worst := <-ended
			t.Logf("round %d: leader %s %s, the longest registration through %s took %v", round, c.ready.Nodes[lead].Name, how.name, c.ready.Nodes[through].Name, worst)
			if worst > how.most {
				t.Errorf("a registration took %v", worst)
			}
			if how.sig == syscall.SIGSTOP {
				if err := syscall.Kill(c.ready.Nodes[lead].PID, syscall.SIGCONT); err != nil {
					t.Fatal(err)
				}
			} else {
				c.restart(t, lead)
			}
		}
	}
	c.whole(t)
	for i, n := range c.ready.Nodes {
		out, err := exec.Command(program, "registrations", "list", "-o", "json", "--api", n.Admin).Output()
		if err != nil {
			t.Fatal(err)
		}
		lost := 0
		for user := range acknowledged {
			if !regexp.MustCompile(`"user"\s*:\s*"` + user + `"`).Match(out) {
				lost++
			}
		}
		if lost > 0 {
			t.Errorf("node %d has lost %d of %d acknowledged registrations", i+1, lost, len(acknowledged))
		}
	}
	t.Logf("%d users were told that they are registered, and are on all nodes", len(acknowledged))
}
