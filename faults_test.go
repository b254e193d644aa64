package tandem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/auth"
	"tandem/certs"
	"tandem/cluster"
	"tandem/dialplan"
	"tandem/internal/fakephone"
	"tandem/internal/simdisk"
	"tandem/internal/simnet"
	"tandem/pbx"
	"tandem/sip"
	"tandem/sip/transport"
)

// faultsVariable says how many histories TestNothingThatSomebodyWasToldIsLost plays, and with which first seed: "200" or "200 from 17".
const faultsVariable = "TANDEM_FAULTS"

const (
	faultTenant, faultDomain = "demo", "demo.test"
	faultPassword            = "secret"
	faultExtension           = "777" // which several accounts want
	phonesEach               = 3     // at each node
)

// service is three nodes with accounts, plan, bindings and a registrar, over a network and on disks that fail, in fake time.
type service struct {
	t     *testing.T
	rnd   *rand.Rand
	net   *simnet.Network
	key   string // file
	nodes [3]*member
	trail []string
	calls func(*member) *pbx.PBX // makes what carries the calls of a node that starts; nil: nobody does

	mu       sync.Mutex
	numbers  []act[string]                // who has faultExtension
	plans    []act[uint64]                // the number of the plan in force
	bindings map[string]map[string]string // user, contact: "there", "gone" or "perhaps"
	acked    int
}

// member is one node; what it is made of is new with each start, but for its disk.
type member struct {
	name, addr string
	host       *simnet.Host
	disk       *simdisk.Disk
	store      *cluster.Store
	identity   *certs.Membership

	accounts *auth.Store
	plans    *dialplan.Store
	places   *sip.Location
	cluster  *cluster.Cluster
	stop     func()
}

type memberNetwork struct{ *simnet.Host }

func (h memberNetwork) Listen(address string) (net.Listener, error) {
	return h.Host.Listen("tcp", address)
}

func (h memberNetwork) Dial(ctx context.Context, address string) (net.Conn, error) {
	return h.Host.Dial(ctx, "tcp", netip.AddrPort{}, netip.MustParseAddrPort(address))
}

// noCalls takes none.
type noCalls struct{}

func (noCalls) ServeInvite(*sip.Inbound)  {}
func (noCalls) ServeRequest(*sip.Inbound) {}

func TestNothingThatSomebodyWasToldIsLost(t *testing.T) {
	count, first := faultHistories(t, 2)
	for i := range count {
		seed := first + uint64(i)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { playService(t, seed) })
		})
	}
}

// faultHistories is how many histories are wanted, usually so many, and the seed of the first.
func faultHistories(t *testing.T, usually int) (count int, first uint64) {
	t.Helper()
	count, first = usually, 1
	if text := os.Getenv(faultsVariable); text != "" {
		number, from, _ := strings.Cut(text, " from ")
		var err error
		if count, err = strconv.Atoi(number); err != nil {
			t.Fatalf("%s=%q: write a number, or \"200 from 17\"", faultsVariable, text)
		}
		first = rand.Uint64N(1 << 32)
		if from != "" {
			if first, err = strconv.ParseUint(from, 10, 64); err != nil {
				t.Fatalf("%s=%q: %v", faultsVariable, text, err)
			}
		}
	}
	return count, first
}

func playService(t *testing.T, seed uint64) {
	s := &service{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), net: simnet.ForTest(t, seed), key: filepath.Join(t.TempDir(), "accounts.key"), bindings: map[string]map[string]string{}}
	s.net.SetLink(simnet.Link{Delay: 200 * time.Microsecond})
	s.found()
	for _, m := range s.nodes {
		s.start(m)
	}
	s.populate()
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i := range s.nodes {
		for k := range phonesEach {
			phone := s.phone(i, k)
			rnd := rand.New(rand.NewPCG(seed, uint64(10*i+k+2)))
			clients.Go(func() { s.register(i, phone, fmt.Sprintf("p%d-%d", i, k), rnd, stop) })
		}
		rnd := rand.New(rand.NewPCG(seed, uint64(100+i)))
		clients.Go(func() { s.claim(i, rnd, stop) })
		more := rand.New(rand.NewPCG(seed, uint64(200+i)))
		clients.Go(func() { s.plan(i, more, stop) })
	}
	for range 10 {
		time.Sleep(time.Duration(100+s.rnd.IntN(700)) * time.Millisecond)
		s.fault()
	}
	s.mend()
	time.Sleep(2 * time.Second)
	close(stop)
	clients.Wait()
	s.settle()
	s.check()
	if t.Failed() {
		t.Logf("seed %d:\n%s", seed, strings.Join(s.trail, "\n"))
	}
}

// found makes the nodes' identities and disks.
func (s *service) found() {
	t := s.t
	seal := [32]byte{5}
	var first *certs.Membership
	for i := range s.nodes {
		name, dir := fmt.Sprint("n", i+1), t.TempDir()
		var own *certs.Membership
		var err error
		if first == nil {
			own, err = certs.FoundCluster(dir, name, seal, nil)
			first = own
		} else {
			own, err = admit(first, dir, name, seal)
		}
		if err != nil {
			t.Fatal(err)
		}
		m := &member{name: name, addr: fmt.Sprintf("10.0.0.%d", i+1), identity: own, store: cluster.MemoryStore()}
		m.host, m.disk = s.net.Host(m.addr), simdisk.New(m.store.Log, uint64(i)+s.rnd.Uint64())
		m.disk.Delay.Store(int64(time.Millisecond))
		m.store.Log, m.store.Snapshots = m.disk, new(simdisk.Snapshots)
		s.nodes[i] = m
	}
}

func admit(by *certs.Membership, dir, name string, seal [32]byte) (*certs.Membership, error) {
	w, err := certs.NewMembershipWish(name)
	if err != nil {
		return nil, err
	}
	cert, err := by.Certify(w.Request, name, 1)
	if err != nil {
		return nil, err
	}
	authority, err := by.AuthorityKey()
	if err != nil {
		return nil, err
	}
	if err := w.Keep(dir, cert, by.Root(), authority, seal); err != nil {
		return nil, err
	}
	return certs.OpenMembership(dir, seal, nil)
}

// start builds a node as buildCluster and buildSIP do, and runs it.
func (s *service) start(m *member) {
	t := s.t
	must := func(err error) {
		if err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
	}
	var err error
	m.accounts, err = auth.New(auth.Config{KeyFile: s.key})
	must(err)
	m.plans, err = dialplan.New(dialplan.Config{})
	must(err)
	m.places = sip.NewLocation()
	voters := map[string]string{}
	for _, other := range s.nodes {
		voters[other.name] = other.addr + ":7000"
	}
	var carrier *pbx.PBX
	var handler sip.Handler = noCalls{}
	if s.calls != nil {
		carrier = s.calls(m)
		handler = carrier
	}
	var server *sip.Server
	messages := map[string]cluster.Receiver{}
	for _, kind := range []string{sip.EdgeSend, sip.EdgeHeard, sip.EdgeGone} {
		messages[kind] = func(from string, payload []byte) { server.FromFellow(from, kind, payload) }
	}
	m.cluster, err = cluster.New(cluster.Config{
		Node: m.name, Bootstrap: true, Voters: voters, Listen: m.addr + ":7000", Network: memberNetwork{m.host}, Store: m.store, SnapshotBytes: 20_000, Program: "test",
		Machines: map[string]cluster.Machine{"auth": m.accounts, "dialplan": m.plans, sip.LocationMachine: m.places}, Identity: m.identity, Key: [32]byte{7}, Messages: messages,
	})
	must(err)
	own := m.cluster
	leads := func() bool { _, leader, _ := own.Watch(); return leader == m.name }
	registrar, err := sip.NewRegistrar(sip.RegistrarConfig{Epoch: uint64(time.Now().UnixNano()), Location: m.places, Log: own, Node: m.name, Leads: leads, MaxBindings: 100})
	must(err)
	digest, err := sip.NewDigest(sip.DigestConfig{Secrets: secrets{m.accounts, sip.NewTrunks(sip.TrunksConfig{Lead: leads})}, Key: [32]byte{8}})
	must(err)
	server, err = sip.New(sip.Config{
		Transport: transport.Config{UDP: []string{m.addr + ":5060"}, Shards: 1, ListenPacket: m.host.ListenPacket, Listen: m.host.Listen, Dial: m.host.Dial},
		Digest:    digest, Registrar: registrar, Location: m.places, Directory: directory{m.plans, m.accounts}, Handler: handler, TraceBytes: 1 << 16,
		Edge: &sip.EdgeConfig{Node: m.name, Key: [32]byte{9}, Send: own.Send}, CatchUp: own.CatchUp,
	})
	must(err)
	if carrier != nil {
		carrier.Attach(server)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		if err := own.Run(ctx); err != nil && ctx.Err() == nil {
			s.say("%s ends: %v", m.name, err)
		}
	})
	work.Go(func() {
		wait, cancel := context.WithTimeout(ctx, startTimeout)
		defer cancel()
		if err := own.WaitReady(wait); err != nil && !errors.Is(err, context.DeadlineExceeded) { // a node that waits for too long serves what it knows
			return
		}
		if err := server.Listen(); err != nil {
			t.Errorf("%s: %v", m.name, err)
			return
		}
		work.Go(func() { _ = registrar.Run(ctx) })
		if err := server.Run(ctx); err != nil && !errors.Is(err, net.ErrClosed) { // who is killed loses its sockets first
			t.Errorf("%s: %v", m.name, err)
		}
	})
	m.stop = sync.OnceFunc(func() { cancel(); work.Wait() })
	t.Cleanup(m.stop)
}

// node is what a client finds at an address.
func (s *service) node(i int) member {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.nodes[i]
}

func (s *service) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trail = append(s.trail, time.Now().Format("05.000 ")+fmt.Sprintf(format, args...))
}

// populate makes the accounts of the phones and the first plan.
func (s *service) populate() {
	m := s.nodes[0]
	if err := m.cluster.WaitReady(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	var list []auth.NewAccount
	for i := range s.nodes {
		for k := range phonesEach {
			list = append(list, auth.NewAccount{Tenant: faultTenant, User: fmt.Sprintf("p%d-%d", i, k), Password: faultPassword})
		}
	}
	cmd, err := m.accounts.ImportCommand(list, time.Now())
	if err == nil {
		_, err = m.cluster.Propose(s.t.Context(), "auth", cmd)
	}
	if err == nil {
		_, err = m.cluster.Propose(s.t.Context(), "dialplan", m.plans.ApplyCommand(planText("first"), "test", "", 0, time.Now()))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	for _, m := range s.nodes {
		if err := errors.Join(m.cluster.WaitReady(s.t.Context()), m.cluster.CatchUp(s.t.Context())); err != nil {
			s.t.Fatal(err)
		}
	}
}

func planText(note string) []dialplan.Source {
	src := dialplan.Demo(faultDomain)
	src.Text = append(src.Text, "\n# "+note+"\n"...)
	return []dialplan.Source{src}
}

func (s *service) phone(i, k int) *fakephone.Phone {
	return fakephone.New(s.t, fakephone.Config{
		Host: s.net.Host(fmt.Sprintf("192.0.2.%d", 10*i+k+1)), Server: netip.MustParseAddrPort(s.nodes[i].addr + ":5060"), User: fmt.Sprintf("p%d-%d", i, k), Domain: faultDomain, Password: faultPassword,
	})
}

// register makes and removes bindings of one phone through its node, until stop.
func (s *service) register(i int, p *fakephone.Phone, user string, rnd *rand.Rand, stop <-chan struct{}) {
	mine := map[string]string{}
	var there []string
	for n := 0; ; n++ {
		select {
		case <-stop:
			s.mu.Lock()
			s.bindings[user] = mine
			s.mu.Unlock()
			return
		case <-time.After(time.Duration(rnd.IntN(250)) * time.Millisecond):
		}
		contact, expires, then := fmt.Sprintf("sip:%s-%d@192.0.2.%d:5060", user, n, 10*i+1), "3600", "there"
		if len(there) > 5 || len(there) > 0 && rnd.IntN(3) == 0 {
			contact, there = there[0], there[1:]
			expires, then = "0", "gone"
		}
		switch status := p.Register("Contact: <"+contact+">", "Expires: "+expires).Status(); status {
		case 200:
			mine[contact] = then
			if then == "there" {
				there = append(there, contact)
			}
			s.mu.Lock()
			s.acked++
			s.mu.Unlock()
		case 0, 500, 503:
			mine[contact] = "perhaps"
		default: // the account is there and the password right, whatever the node has missed
			s.t.Errorf("%s was answered %d", user, status)
		}
	}
}

// claim gives one extension to an account, and takes it from it, through one node: whoever is told that he has it is the only one.
func (s *service) claim(i int, rnd *rand.Rand, stop <-chan struct{}) {
	user := fmt.Sprint("claimant", i)
	for has := false; ; {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(rnd.IntN(300)) * time.Millisecond):
		}
		m := s.node(i)
		a := act[string]{what: user + " takes it", begin: time.Now()}
		cmd, err := m.accounts.SetCommand(faultTenant, user, faultPassword, faultExtension, "", time.Now())
		if has {
			a.what, cmd = user+" gives it up", m.accounts.RemoveCommand(faultTenant, user)
		}
		if err != nil {
			s.t.Error(err)
			return
		}
		result, err := m.cluster.Propose(s.t.Context(), "auth", cmd)
		a.end = time.Now()
		answer, _ := result.(error)
		if err != nil && !errors.Is(err, cluster.ErrUnknown) {
			continue // nothing was done
		}
		a.unknown = err != nil
		giving := has
		a.do = func(holder string) (string, bool) {
			free, own := holder == "", holder == user
			if giving {
				if own {
					return "", a.unknown || answer == nil
				}
				return holder, a.unknown || errors.Is(answer, auth.ErrNotFound)
			}
			if free || own {
				return user, a.unknown || answer == nil
			}
			return holder, a.unknown || errors.Is(answer, auth.ErrNameTaken)
		}
		switch {
		case a.unknown:
			has = rnd.IntN(2) == 0 // it may try either
		case giving:
			has = false
		default:
			has = answer == nil
		}
		s.mu.Lock()
		s.numbers = append(s.numbers, a)
		s.mu.Unlock()
	}
}

// plan changes the dialplan as somebody does who has looked at the version in force through one node.
func (s *service) plan(i int, rnd *rand.Rand, stop <-chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(rnd.IntN(600)) * time.Millisecond):
		}
		m := s.node(i)
		_, v := m.plans.Current()
		a := act[uint64]{what: fmt.Sprintf("node %d changes version %d", i+1, v.Number), begin: time.Now()}
		result, err := m.cluster.Propose(s.t.Context(), "dialplan", m.plans.ApplyCommand(planText(fmt.Sprintf("%d-%d", i, n)), "test", "", int64(v.Number), time.Now()))
		a.end = time.Now()
		if err != nil && !errors.Is(err, cluster.ErrUnknown) {
			continue
		}
		a.unknown = err != nil
		r, _ := result.(*dialplan.Result)
		a.do = func(number uint64) (uint64, bool) {
			if number != v.Number {
				var c *dialplan.ConflictError
				return number, a.unknown || errors.As(r.Err, &c) && c.Current.Number == number
			}
			return number + 1, a.unknown || r.Err == nil && r.Version.Number == number+1
		}
		s.mu.Lock()
		s.plans = append(s.plans, a)
		s.mu.Unlock()
	}
}

// fault does one thing to the nodes or what is between them.
func (s *service) fault() {
	i := s.rnd.IntN(3)
	m, next := s.nodes[i], s.nodes[(i+1)%3]
	switch s.rnd.IntN(9) {
	case 0:
		s.say("%s is cut off from the others", m.name)
		s.net.Cut([]string{m.addr}, []string{next.addr, s.nodes[(i+2)%3].addr})
	case 1:
		s.say("%s and %s are cut from each other", m.name, next.name)
		s.net.Cut([]string{m.addr}, []string{next.addr})
	case 2, 3:
		s.say("all cuts heal")
		s.net.Heal()
	case 4, 5:
		s.say("%s is killed and started again", m.name)
		s.restart(i)
	case 6:
		delay := time.Duration(s.rnd.IntN(400)) * time.Millisecond
		s.say("the disk of %s takes %v", m.name, delay)
		m.disk.Delay.Store(int64(delay))
	case 7:
		share := s.rnd.Float64()
		s.say("the disk of %s refuses %.0f %% of all writes", m.name, 100*share)
		m.disk.Flaky(share)
	case 8:
		link := simnet.Link{Delay: time.Duration(s.rnd.IntN(20)) * time.Millisecond, Jitter: time.Duration(s.rnd.IntN(40)) * time.Millisecond, Loss: s.rnd.Float64() / 3, Duplicate: s.rnd.Float64() / 5}
		s.say("all links: %+v", link)
		s.net.SetLink(link)
	}
	if s.rnd.IntN(2) == 0 {
		m.disk.Flaky(0)
	}
}

// restart kills a node and starts it again with the disk it had.
func (s *service) restart(i int) {
	m := s.nodes[i]
	m.host.Kill()
	m.stop()
	m.host.Revive()
	again := *m
	s.start(&again)
	s.mu.Lock()
	s.nodes[i] = &again
	s.mu.Unlock()
}

// mend undoes all faults.
func (s *service) mend() {
	s.say("all is mended")
	s.net.Heal()
	s.net.SetLink(simnet.Link{Delay: 200 * time.Microsecond})
	for i, m := range s.nodes {
		m.disk.Delay.Store(int64(time.Millisecond))
		m.disk.Flaky(0)
		if m.cluster.Status().State == "stopped" {
			s.restart(i)
		}
	}
}

// settle waits until every node has applied what any of them had been told of.
func (s *service) settle() {
	for _, m := range s.nodes {
		ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
		if err := m.cluster.CatchUp(ctx); err != nil {
			s.t.Errorf("%s does not catch up: %v", m.name, err)
		}
		cancel()
	}
}

func (s *service) check() {
	now := time.Now()
	var accounts, plans [3]string
	for i, m := range s.nodes {
		accounts[i], plans[i] = digestOf(s.t, m.accounts), digestOf(s.t, m.plans)
		if accounts[i] != accounts[0] || plans[i] != plans[0] {
			s.t.Errorf("%s holds other accounts or another plan than %s", m.name, s.nodes[0].name)
		}
		for user, contacts := range s.bindings {
			var held []string
			for _, b := range m.places.Lookup(faultTenant, user, now) {
				held = append(held, b.Contact)
			}
			for contact, want := range contacts {
				if has := slices.Contains(held, contact); has != (want == "there") && want != "perhaps" {
					s.t.Errorf("%s: the binding of %s to %s should be %s", m.name, user, contact, want)
				}
			}
			for _, contact := range held {
				if contacts[contact] == "" {
					s.t.Errorf("%s: %s never asked for the binding to %s", m.name, user, contact)
				}
			}
		}
	}
	if got, want := s.held(s.nodes[1]), s.held(s.nodes[0]); got != want {
		s.t.Errorf("the nodes hold other bindings:\n%s\nand\n%s", want, got)
	}
	if !linearisable("", s.numbers) {
		s.t.Errorf("no order explains what those were told who want the extension:\n%s", told(s.numbers))
	}
	if !linearisable(1, s.plans) {
		s.t.Errorf("no order explains what those were told who changed the plan:\n%s", told(s.plans))
	}
	s.t.Logf("%d registrations acknowledged, %d claims, %d changes of the plan", s.acked, len(s.numbers), len(s.plans))
	if s.acked < 50 || len(s.numbers) < 10 || len(s.plans) < 5 {
		s.t.Error("the faults leave nothing to check")
	}
}

// digestOf is what a machine would write into a snapshot.
func digestOf(t *testing.T, m cluster.Machine) string {
	write, err := m.Snapshot()
	var b bytes.Buffer
	if err == nil {
		err = write(&b)
	}
	if err != nil {
		t.Error(err)
	}
	return b.String()
}

// held lists what is agreed about all bindings of a node.
func (s *service) held(m *member) string {
	list, _ := m.places.All(time.Now(), 0, 1<<20)
	var lines []string
	for _, r := range list {
		lines = append(lines, fmt.Sprintf("%s %s %s cseq %d until %d, at %s", r.User, r.Contact, r.CallID, r.CSeq, r.Lease.UnixMilli(), r.Node))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func told[S comparable](acts []act[S]) string {
	var b strings.Builder
	for _, a := range acts {
		fmt.Fprintf(&b, "%s to %s: %s, unknown %v\n", a.begin.Format("05.000"), a.end.Format("05.000"), a.what, a.unknown)
	}
	return b.String()
}
