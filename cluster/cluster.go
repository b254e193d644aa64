package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// Errors on which callers branch; the errors returned wrap one of them.
var (
	// ErrNotLeader: nothing was done; another node leads, or none does at the moment.
	ErrNotLeader = errors.New("this node does not lead the cluster")
	// ErrBusy: nothing was done; too many proposals wait already.
	ErrBusy = errors.New("too many changes are waiting to be committed")
	// ErrClosed: nothing was done; the cluster is stopping or has stopped.
	ErrClosed = errors.New("the cluster is stopped")
	// ErrUnknown: the outcome is not known; the item may or may not be in the log. Propose the same item again.
	ErrUnknown = errors.New("the outcome of the change is not known")
	// ErrTooLarge: the command is longer than MaxCommand.
	ErrTooLarge = errors.New("the command is too large")
	// ErrNoMachine: no machine of that name was given to New.
	ErrNoMachine = errors.New("no such machine")
	// ErrInUse: the data directory or the listen address belongs to another process.
	ErrInUse = errors.New("in use by another process")
	// ErrWrongNode: the data directory was written by a node of another name.
	ErrWrongNode = errors.New("the data directory belongs to another node")
	// ErrUnreachable: there is no connection to the other node, or it broke before an answer came.
	ErrUnreachable = errors.New("the node cannot be reached")
	// ErrNoNode: no member of the cluster has that name, or this node alone is the cluster.
	ErrNoNode = errors.New("no such node in the cluster")
	// ErrNoHandler: the other node does not know what was asked.
	ErrNoHandler = errors.New("the other node has no handler")
	// ErrFenced: the node was removed from the cluster, or another one was taken in under its name.
	ErrFenced = errors.New("the node is no longer a member of the cluster: its certificate does not count; remove its data directory and join with a new token")

	errPanic = errors.New("the other node failed while it answered")
)

// MaxCommand is the longest command that can be proposed, in bytes.
const MaxCommand = 8 << 20

// Machine is one replicated state. The cluster calls its methods from one goroutine at a time, never two at once;
// reads by others are the machine's own business (a mutex, an atomic pointer).
type Machine interface {
	// Apply executes one command and returns a result for the proposer. It must be deterministic and must
	// panic on a command that it has to know but does not. cmd must not be kept or changed.
	Apply(cmd []byte) any
	// Snapshot returns quickly with a function that writes the state as it is now; Apply goes on while that
	// function runs (in another goroutine), so it must write a copy or something immutable.
	Snapshot() (func(io.Writer) error, error)
	// Restore replaces the whole state with what Snapshot's function wrote. The reader ends (io.EOF) exactly
	// where that function stopped. An error stops the node: the state may be half replaced.
	Restore(io.Reader) error
}

// Config says what a Cluster is made of. Node and Machines are required.
type Config struct {
	// Node is this node's name in the cluster. It must not change while Dir is kept.
	Node string
	// Dir holds the log, the vote and the snapshots; it is created with mode 0700. "" keeps all in memory.
	Dir string
	// Machines by name. Names are written into the log: at most 64 bytes, never to be renamed.
	Machines map[string]Machine
	// Bootstrap makes a new cluster of this node (and Voters) when Dir holds none. Without it, and where KeepSeeds has noted that the
	// node has joined one, an empty node waits until that cluster takes it in.
	Bootstrap bool
	// Voters are further nodes of a new cluster, name to address. Used with Bootstrap only.
	Voters map[string]string
	// Listen is the IP:port for the other nodes; "" means that there are none and no port is opened. It needs Identity and Key.
	Listen string
	// Advertise is the IP:port at which the others reach Listen; "" when it is the same.
	Advertise string
	// Identity proves to the other nodes who this one is.
	Identity Identity
	// Key is a secret that all nodes share: who does not know it gets no answer on the port. It also makes join tokens.
	Key [32]byte
	// SealedBy names the key with which secrets in the machines are sealed. A backup carries the name, and is refused where it is another.
	SealedBy string
	// Fresh makes empty machines like Machines, on which a backup is tried before it is put in force; nil refuses that.
	Fresh func() (map[string]Machine, error)
	// Speaks is the newest version of commands that the program knows; 0 is CommandVersion.
	Speaks int
	// CompareEvery is how often the states of all nodes are compared (default 5 minutes).
	CompareEvery time.Duration
	// Share is what a node that joins is given besides its certificate, over its encrypted connection; nil is nothing.
	Share func() ([]byte, error)
	// Seeds are addresses of members, where a node without a log asks to be admitted, besides those it was told when it joined.
	Seeds []string
	// Requests and Messages of other nodes, by kind: at most 64 bytes, "cluster." is taken.
	Requests map[string]Handler
	Messages map[string]Receiver
	// Copies of what lives on this node, in the memory of others. The zero value keeps none.
	Copies CopiesConfig
	// Succession is how nodes go on with what dead ones did; it needs Copies.
	Succession SuccessionConfig
	// Program is the version of the program, for people.
	Program string
	// ForgetAfter is how long a node must have been dead to be removed without being asked, while at least three that vote remain and most of them
	// answer; 0 is never.
	ForgetAfter time.Duration
	// Silence after which a node counts as suspect where the way to it is short (default 150 ms).
	Silence time.Duration
	// Log receives one line per state change a person cares for; nil discards.
	Log *slog.Logger

	// SnapshotBytes of log lead to a snapshot (default 16 MiB), but never before the log has grown to half of
	// the last snapshot, so that a large state is not written over and over.
	SnapshotBytes int64
	// SnapshotEntries in the log lead to a snapshot too (default 32,768): a start replays them one by one.
	SnapshotEntries int64
	// QueueItems and QueueBytes bound what waits for commit (defaults 32,768 and 32 MiB). Full: ErrBusy.
	QueueItems int
	QueueBytes int
	// Timing of elections; zero values mean 50 ms for a node without Listen, else 500/500/250 ms.
	Timing Timing

	// NoSync leaves out fsync: for tests and throw-away nodes only.
	NoSync bool
	// Network and Store replace TCP and the disk, for tests in fake time.
	Network Network
	Store   *Store
}

// Timing is how long silence is borne. Lease must not exceed Heartbeat, Heartbeat must not exceed Election.
type Timing struct {
	Heartbeat, Election, Lease time.Duration
}

// Cluster keeps the machines of one node in agreement with the other nodes. All methods may be called from any
// goroutine.
type Cluster struct {
	cfg    Config
	log    *slog.Logger
	fsm    *fsm
	outbox *outbox
	merger *merger
	ready  *gate
	counts counters

	pausing pausing
	running atomic.Bool
	raft    atomic.Pointer[raft.Raft]
	store   atomic.Pointer[Store]

	roster     *roster
	succession *succession
	restoring  *restoring
	comparing  *comparing
	disk       disk
	port       *port         // nil when there are no other nodes
	copies     *Copies       // nil when there are no other nodes, or nothing to copy
	life       atomic.Uint64 // what tells this life of the node from others under its name
	successor  *successor
	shares     *shares
	sharing    *Shares      // nil when nothing is shared
	blind      atomic.Int64 // Unix ns until when what was not heard means nothing
	handlers   map[string]Handler
	receivers  map[string]Receiver
	suspects   atomic.Uint64 // the term whose leader this node finds silent
	relink     chan struct{} // a token: what was given to the leader may have been lost
	led        chan struct{} // a token: leaders have changed
	reign      atomic.Pointer[reign]
	alarm      chan struct{} // a token: the detector should look
	knell      chan struct{} // a token: the undertaker should look
	changing   chan struct{} // holds a token while Raft's configuration is being changed: one change at a time
	capturing  chan struct{} // holds a token while the machines' states are being written

	shunMu  sync.Mutex
	shunned map[string]shun

	linksMu sync.Mutex
	links   map[string]*link
	asking  map[string]int // connections that a node's pings come by

	membersMu      sync.Mutex
	members        []Member
	leader         string
	membersChanged chan struct{}
}

// New checks the configuration. It opens nothing and starts nothing; Run does.
func New(cfg Config) (*Cluster, error) {
	if cfg.Node == "" {
		return nil, errors.New("cluster: the node needs a name")
	}
	if len(cfg.Machines) == 0 {
		return nil, errors.New("cluster: no machines")
	}
	for name, m := range cfg.Machines {
		if name == "" || len(name) > maxName {
			return nil, fmt.Errorf("cluster: machine name %q must have 1 to %d bytes", name, maxName)
		}
		if m == nil {
			return nil, fmt.Errorf("cluster: machine %q is nil", name)
		}
	}
	for _, name := range []string{rosterMachine, originsMachine, successionMachine, restoreMachine, checkMachine, sharesMachine} {
		if cfg.Machines[name] != nil {
			return nil, fmt.Errorf("cluster: machine name %q is taken", name)
		}
	}
	if err := checkListen(cfg); err != nil {
		return nil, err
	}
	setDefaults(&cfg)
	c := &Cluster{
		cfg: cfg, log: cfg.Log, ready: newGate(), roster: newRoster(), succession: newSuccession(), shunned: map[string]shun{}, relink: make(chan struct{}, 1), led: make(chan struct{}, 1), alarm: make(chan struct{}, 1), knell: make(chan struct{}, 1), changing: make(chan struct{}, 1), capturing: make(chan struct{}, 1), restoring: newRestoring(),
		links: map[string]*link{}, asking: map[string]int{}, membersChanged: make(chan struct{}), pausing: newPausing(),
	}
	c.cfg.Machines = maps.Clone(cfg.Machines)
	c.cfg.Machines[rosterMachine] = c.roster
	c.cfg.Machines[successionMachine] = c.succession
	c.shares = newShares(c.succession.goesOn)
	c.cfg.Machines[sharesMachine] = c.shares
	c.cfg.Machines[restoreMachine] = c.restoring
	c.comparing = newComparing(c)
	c.cfg.Machines[checkMachine] = c.comparing
	c.roster.speaks = cfg.Speaks
	// Later starts have larger numbers as long as the clock goes forward; where it does not, the outbox finds out.
	c.outbox = newOutbox(uint64(time.Now().UnixNano()), cfg.QueueItems, cfg.QueueBytes)
	c.merger = newMerger()
	c.fsm = newFSM(c.cfg.Machines)
	c.fsm.node, c.fsm.own = cfg.Node, c.outbox
	c.fsm.omits = func(machine string) bool { return machine == sharesMachine && c.Agreed() < sinceShares } // nothing is in it yet
	c.restoring.fsm = c.fsm
	c.handlers = map[string]Handler{kindHello: c.answerHello, kindAdmit: c.answerAdmit, kindRemove: c.answerRemove, kindTransfer: c.answerTransfer, kindApplied: c.answerApplied}
	c.receivers = map[string]Receiver{kindForward: c.receiveForward, kindRefused: c.receiveRefused, kindSums: c.receiveSums}
	c.life.Store(uint64(time.Now().UnixNano()))
	if !c.cfg.alone() && cfg.Copies.Again != nil {
		c.copies = newCopies(c, cfg.Copies)
		c.handlers[kindCopies] = c.answerCopies
	}
	c.successor = newSuccessor(c)
	if c.copies != nil && cfg.Succession.Take != nil {
		c.sharing = newShareholder(c)
	}
	c.handlers[kindGone], c.handlers[kindGather], c.handlers[kindOutcome], c.handlers[kindReclaim] = c.answerGone, c.answerGather, c.answerOutcome, c.answerReclaim
	c.handlers[kindFit] = c.answerFit
	c.receivers[kindTaken] = c.receiveTaken
	for kind, h := range cfg.Requests {
		if err := c.checkKind(kind); err != nil {
			return nil, err
		}
		c.handlers[kind] = h
	}
	for kind, r := range cfg.Messages {
		if err := c.checkKind(kind); err != nil {
			return nil, err
		}
		c.receivers[kind] = r
	}
	if !c.cfg.alone() {
		p := newPort(c.cfg)
		p.admits, p.join, p.rafts.name = c.roster.admits, c.serveJoin, c.nodeAt
		p.serve[protoCall], p.serve[protoPing] = c.serveCalls, c.servePings
		c.port = p
	}
	return c, nil
}

func (c *Cluster) checkKind(kind string) error {
	if kind == "" || len(kind) > maxKind || strings.HasPrefix(kind, "cluster.") {
		return fmt.Errorf("cluster: a kind of calls cannot be called %q", kind)
	}
	return nil
}

func setDefaults(cfg *Config) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.SnapshotBytes <= 0 {
		cfg.SnapshotBytes = 16 << 20
	}
	if cfg.SnapshotEntries <= 0 {
		cfg.SnapshotEntries = 32 << 10
	}
	if cfg.QueueItems <= 0 {
		cfg.QueueItems = 32 << 10
	}
	if cfg.QueueBytes <= 0 {
		cfg.QueueBytes = 32 << 20
	}
	if cfg.Speaks <= 0 {
		cfg.Speaks = CommandVersion
	}
	if cfg.CompareEvery <= 0 {
		cfg.CompareEvery = compareEvery
	}
	if cfg.Silence <= 0 {
		cfg.Silence = 150 * time.Millisecond
	}
	if cfg.Succession.After <= 0 {
		cfg.Succession.After = time.Second
	}
	if cfg.Timing == (Timing{}) {
		cfg.Timing = Timing{500 * time.Millisecond, 500 * time.Millisecond, 250 * time.Millisecond}
		if cfg.alone() {
			cfg.Timing = Timing{50 * time.Millisecond, 50 * time.Millisecond, 50 * time.Millisecond}
		}
	}
}

// alone says that this node can have no peers: nobody to wait for, nobody to catch up.
func (cfg *Config) alone() bool {
	return cfg.Listen == ""
}

// Run opens the log, replays it and serves until ctx ends; then it commits what was accepted, stops Raft and
// returns nil once all its goroutines have ended. Any other return value says why the node cannot serve (ErrInUse,
// ErrWrongNode, ErrTooOld, a damaged snapshot ...). A Cluster runs once.
func (c *Cluster) Run(ctx context.Context) error {
	if !c.running.CompareAndSwap(false, true) {
		return errors.New("cluster: Run was called twice")
	}
	err := c.runAndRest(ctx)
	c.outbox.close()
	if err != nil {
		c.ready.fail(err)
		return err
	}
	c.ready.fail(fmt.Errorf("cluster: %w", ErrClosed))
	return nil
}

func (c *Cluster) run(ctx context.Context) error {
	store, err := c.storeAgain(ctx)
	if err != nil {
		return err
	}
	defer store.close()
	c.disk.LogStore = &logCut{LogStore: store.Log}
	transport, err := c.openTransport()
	if err != nil {
		return err
	}
	defer c.closeTransport(transport)
	r, err := c.startRaft(store, transport)
	if err != nil {
		return err
	}
	if err := c.checkIdentity(r); err != nil {
		r.Shutdown().Error()
		return err
	}
	c.store.Store(store)
	c.raft.Store(r)
	c.fsm.again.Store(false)
	c.fsm.live.Store(true)
	serving, stop := context.WithCancel(ctx)
	if c.fsm.halt.Store(&stop); c.fsm.outdated.Load() != nil {
		stop()
	}
	c.serve(serving, r, transport)
	stop()
	c.resign(r)
	// Everything that waits for Raft has ended by now. That order matters: Raft never answers a future whose
	// entry sits before the FSM when Shutdown comes.
	err = r.Shutdown().Error()
	c.log.Info("cluster stopped", "node", c.cfg.Node)
	if cause := c.fsm.outdated.Load(); cause != nil {
		return fmt.Errorf("cluster: %w", *cause)
	}
	return err
}

// serve runs the goroutines around Raft until ctx ends and they have finished their work: first what was accepted here gets its outcome, then
// what others have forwarded is in the log, then the proposers hear the last of it.
func (c *Cluster) serve(ctx context.Context, r *raft.Raft, transport raft.Transport) {
	var wg, log, settler sync.WaitGroup
	flights := make(chan flight, maxFlights)
	landed := make(chan struct{}, 1)
	settled := make(chan struct{})
	settler.Go(func() { c.settle(settled) })
	log.Go(func() { c.batch(r, flights, landed) })
	log.Go(func() { c.complete(flights, landed) })
	wg.Go(func() { c.dispatch(ctx, r) })
	wg.Go(func() { c.watch(ctx, r) })
	wg.Go(func() { c.snapshots(ctx, r) })
	wg.Go(func() { c.mind(ctx, r) })
	if c.port != nil {
		wg.Go(func() { c.present(ctx, r) })
		wg.Go(func() { c.tend(ctx, r) })
		wg.Go(func() { c.detect(ctx, r, transport) })
		wg.Go(func() { c.compare(ctx, r) })
	}
	if c.copies != nil {
		wg.Go(func() { c.copies.run(ctx) })
		if c.cfg.Succession.Take != nil {
			wg.Go(func() { c.successor.run(ctx) })
			wg.Go(func() { c.undertake(ctx, r) })
			wg.Go(func() { c.sharing.run(ctx) })
		}
	}
	<-ctx.Done()
	c.fsm.stop.Store(true)
	c.outbox.close()
	wg.Wait()
	c.merger.close()
	log.Wait()
	close(settled)
	settler.Wait()
}

// resign gives leadership to another node before this one stops, so that nobody has to wait for an election.
func (c *Cluster) resign(r *raft.Raft) {
	if c.port == nil || r.State() != raft.Leader {
		return
	}
	for _, m := range c.Members() {
		if !m.Self && m.Voter && m.Health == Alive {
			_ = c.transfer("") // else an election does
			return
		}
	}
}

// Copies keeps copies of what lives here on other nodes; nil when Config.Copies wants none, or there are no other nodes.
func (c *Cluster) Copies() *Copies { return c.copies }

// WaitReady returns nil as soon as a leader is known and this node has applied everything that was committed
// before; the machines may then be read. It returns Run's error when Run has failed.
func (c *Cluster) WaitReady(ctx context.Context) error {
	return c.ready.wait(ctx)
}

// startRaft replays the newest snapshot, bootstraps an empty store when told to, and starts Raft.
func (c *Cluster) startRaft(store *Store, transport raft.Transport) (r *raft.Raft, err error) {
	conf := c.raftConfig()
	if c.cfg.Bootstrap {
		if err := c.bootstrap(conf, store, transport); err != nil {
			return nil, err
		}
	}
	defer func() {
		// Raft panics when its log has a hole, a machine when a snapshot makes no sense: both mean that the
		// data directory is damaged, and an operator should read that instead of a stack.
		if p := recover(); p != nil {
			if cause := c.fsm.restoreError(); cause != nil {
				p = cause // the hole appears only because an older snapshot had to do
			}
			r, err = nil, fmt.Errorf("cluster: the data in %s cannot be replayed: %v; restore a backup", c.place(), p)
		}
	}()
	r, err = raft.NewRaft(conf, c.fsm, &c.disk, store.Stable, store.Snapshots, transport)
	if err != nil {
		if cause := c.fsm.restoreError(); cause != nil {
			err = cause
		}
		return nil, fmt.Errorf("cluster: start with the data in %s: %w", c.place(), err)
	}
	return r, nil
}

func (c *Cluster) bootstrap(conf *raft.Config, store *Store, transport raft.Transport) error {
	has, err := raft.HasExistingState(store.Log, store.Stable, store.Snapshots)
	if err != nil {
		return fmt.Errorf("cluster: look for a cluster in %s: %w", c.place(), err)
	}
	if has || c.hasJoined() {
		return nil
	}
	servers := []raft.Server{{ID: conf.LocalID, Address: transport.LocalAddr()}}
	for name, address := range c.cfg.Voters {
		if name != c.cfg.Node {
			servers = append(servers, raft.Server{ID: raft.ServerID(name), Address: raft.ServerAddress(address)})
		}
	}
	err = raft.BootstrapCluster(conf, store.Log, store.Stable, store.Snapshots, transport, raft.Configuration{Servers: servers})
	if err != nil {
		return fmt.Errorf("cluster: bootstrap in %s: %w", c.place(), err)
	}
	c.log.Info("new cluster made", "node", c.cfg.Node, "voters", len(servers))
	return nil
}

// checkIdentity refuses a data directory of which this node is no member: it would wait for a leader for ever.
func (c *Cluster) checkIdentity(r *raft.Raft) error {
	future := r.GetConfiguration()
	if err := future.Error(); err != nil {
		return fmt.Errorf("cluster: read the members: %w", err)
	}
	servers := future.Configuration().Servers
	if len(servers) == 0 {
		return nil // empty, waits to be taken in
	}
	for _, s := range servers {
		if string(s.ID) == c.cfg.Node {
			return nil
		}
	}
	return fmt.Errorf("cluster: %w: %s was written by node %q and this node is called %q; set node.name back or use another data_dir",
		ErrWrongNode, c.place(), servers[0].ID, c.cfg.Node)
}

// place names where the state is, for error texts.
func (c *Cluster) place() string {
	if c.cfg.Dir == "" {
		return "memory"
	}
	return c.cfg.Dir
}

// commitNews is how soon a leader with nothing to send tells the others what has been agreed: at least as long after an entry, at most twice.
// A change that was proposed on another node waits for that news (DESIGN.md).
const commitNews = 10 * time.Millisecond

func (c *Cluster) raftConfig() *raft.Config {
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(c.cfg.Node)
	conf.HeartbeatTimeout = c.cfg.Timing.Heartbeat
	conf.ElectionTimeout = c.cfg.Timing.Election
	conf.LeaderLeaseTimeout = c.cfg.Timing.Lease
	conf.CommitTimeout = commitNews
	conf.ShutdownOnRemove = false
	// Snapshots are taken by our own rule (snapshots); Raft's counts entries only, so it is put out of reach.
	conf.SnapshotInterval = 365 * 24 * time.Hour
	conf.SnapshotThreshold = 1 << 62
	conf.TrailingLogs = 1024 // what a follower may miss without needing a whole snapshot
	if c.cfg.alone() {
		conf.TrailingLogs = 16
	}
	conf.Logger = newRaftLog(c.log, c.cfg.alone())
	return conf
}
