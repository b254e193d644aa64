package tandem

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"tandem/configs"
	"tandem/dialplan"
	"tandem/events"
	"tandem/rtpengine"
)

// Version is the version of this build.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "0.1.0-dev"
}

const startTimeout = 30 * time.Second

// Run serves until ctx ends, then stops at once; call Drain before to let calls end by themselves. It returns when every
// goroutine of the node has ended. The order: what others depend on starts first and stops last.
func (n *Node) Run(ctx context.Context) error {
	if n.heir != nil {
		defer n.heir.release() // behind the end of the log, which the process before may open again then
		if err := n.greet(ctx); err != nil {
			return fmt.Errorf("take over: %w", err)
		}
	}
	inner, stopInner := context.WithCancel(context.WithoutCancel(ctx)) // log, events, certificates: until all else has stopped
	outer, stopOuter := context.WithCancel(ctx)
	var in, out group
	in.stop, out.stop = stopOuter, stopOuter
	in.run("events", func() error { return n.events.Run(inner) })
	in.run("certs", func() error { return n.certs.Run(inner) })
	in.run("cluster", func() error { return n.cluster.Run(inner) })
	if n.member != nil {
		in.run("membership", func() error { return n.member.Run(inner) })
	}

	n.halt.all = stopOuter
	err := n.start(outer)
	if err == nil {
		err = n.serve(outer, inner, &in, &out)
	}
	if err == nil {
		if err = n.enterCluster(); err != nil {
			n.log.Error("the other nodes do not hear of this one's calls", "error", err)
		}
		n.events.Publish(events.Event{Kind: events.NodeStarted})
		n.log.Info("node is ready", "node", n.cfg.Node.Name, "version", Version())
		close(n.ready)
		<-outer.Done()
	}
	stopOuter()
	n.apps.Close()
	err = errors.Join(err, out.wait())
	n.endAdoptions()
	n.pbx.Leave()
	n.events.Publish(events.Event{Kind: events.NodeStopped})
	stopInner()
	err = errors.Join(err, in.wait())
	for _, l := range n.web {
		_ = l.Close()
	}
	if n.parting == nil { // else they are the successor's
		n.virtual.end()
	}
	if n.parting != nil {
		n.parting.Close()
	}
	return err
}

// serve starts the parts that answer: media first, so that calls of a process before have somewhere to go on.
func (n *Node) serve(outer, inner context.Context, in, out *group) error {
	var forMedia, forSIP context.Context
	forMedia, n.halt.media = context.WithCancel(outer)
	forSIP, n.halt.sip = context.WithCancel(outer)
	n.halt.mediaOver = make(chan struct{})
	if n.media == nil {
		close(n.halt.mediaOver)
	} else {
		out.run("media", func() error {
			defer close(n.halt.mediaOver)
			return n.media.Run(forMedia)
		})
	}
	if n.engines != nil {
		in.run("media engines", func() error { return n.engines.Run(inner) }) // the calls that end last delete their sessions
	}
	if n.heir != nil {
		if err := n.inherit(outer); err != nil {
			return fmt.Errorf("take over: %w", err)
		}
	}
	out.run("calls", func() error { return n.pbx.Run(outer) })
	if n.boxes != nil {
		in.run("mailboxes", func() error { return n.boxes.Run(inner) }) // messages of the calls that end last
	}
	if n.cfg.Cluster.Listen != "" {
		out.run("fellows", func() error { return n.tellFellows(outer) })
	}
	var phones sync.WaitGroup
	phones.Add(1 + len(n.web))
	out.run("sip", func() error { defer phones.Done(); return n.sip.Run(forSIP) })
	out.run("trunks", func() error { return n.feedTrunks(outer) })
	out.run("trunk registrations", func() error { return n.trunks.Run(outer) })
	out.run("registrar", func() error { return n.sip.Registrar().Run(outer) })
	for _, l := range n.web {
		out.run("web", func() error { defer phones.Done(); return n.serveWeb(forSIP, l) })
	}
	n.halt.phonesOver = make(chan struct{})
	out.run("phones", func() error { phones.Wait(); close(n.halt.phonesOver); return nil })
	if n.heir != nil {
		n.succeed()
		_ = n.listenAside() // what fails is left out, and said
	}
	if own := parseVirtual(n.cfg.Cluster.VirtualAddresses); len(own) > 0 {
		out.run("virtual addresses", func() error { n.virtual.announce(outer, own); return nil })
	}
	for _, p := range n.asides {
		out.run(p.name, func() error { return p.run(outer) })
	}
	return nil
}

// start waits for the log, applies the first dialplan and opens the listeners that phones come to.
func (n *Node) start(ctx context.Context) error {
	if err := n.virtual.begin(n.heir != nil); err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err := n.cluster.WaitReady(wait)
	if st := n.cluster.Status(); errors.Is(err, context.DeadlineExceeded) && len(st.Members) > 1 && ctx.Err() == nil {
		n.log.Warn("this node serves what it knows, since the cluster does not agree on anything now", "state", strings.Join(st.Words(), " "))
	} else if err != nil {
		return fmt.Errorf("the cluster did not become ready: %w", err)
	}
	n.places.OnChange(n.bindingChanged) // behind the replay: what was known before is no news
	if err == nil {
		if err := n.firstPlan(wait); err != nil {
			return err
		}
		if err := n.reclaim(ctx); err != nil {
			return err
		}
	}
	vacant, stop := context.WithTimeout(ctx, startTimeout) // reclaim may have waited for long
	defer stop()
	if err := n.virtual.start(vacant, parseVirtual(n.cfg.Cluster.VirtualAddresses)); err != nil {
		return err
	}
	if err := n.sip.Listen(); err != nil {
		return err
	}
	if err := n.listenWeb(); err != nil || n.heir != nil {
		return err
	}
	return n.listenAside()
}

// An aside is a part with listeners that calls do not need.
type aside struct {
	name   string
	listen func() error
	run    func(context.Context) error
}

// listenAside opens the other listeners. Behind a take-over, when the process before has let go of them, one that cannot be had is left out:
// it must not cost the calls.
func (n *Node) listenAside() error {
	var all []aside
	if n.ng != nil {
		all = append(all, aside{"ng", n.ng.Listen, n.ng.Run})
	}
	if n.turn != nil {
		all = append(all, aside{"turn", n.turn.Listen, n.turn.Run})
	}
	for _, p := range append(all, aside{"admin", n.admin.Listen, n.admin.Run}) {
		switch err := p.listen(); {
		case err == nil:
			n.asides = append(n.asides, p)
		case n.heir == nil:
			return err
		default:
			n.log.Error("a listener cannot be opened; the node goes on without it until its next start", "part", p.name, "error", err)
		}
	}
	return nil
}

// firstPlan applies the configured dialplan files when the cluster has no plan yet.
func (n *Node) firstPlan(ctx context.Context) error {
	if _, v := n.plans.Current(); v.Number > 0 {
		return nil
	}
	sources, err := readPlans(n.cfg.Dialplan.Files)
	if err != nil || len(sources) == 0 {
		return err
	}
	if err := n.ApplyPlan(ctx, sources, "configuration", "first start"); err != nil {
		return err
	}
	if n.media != nil {
		for _, s := range n.plan().Sounds() {
			if err := n.media.CheckSound(s.Play); err != nil {
				n.log.Error("the dialplan names a sound that cannot be played; its calls will be refused", "node", s.Node, "at", s.At.String(), "error", err)
			}
		}
	}
	return nil
}

// CheckPlans gives the mistakes in the dialplan files that a configuration names, a sound that this machine cannot play among them.
// Files that are not there are none.
func CheckPlans(cfg configs.Config) ([]dialplan.Diagnostic, error) {
	sources, err := readPlans(cfg.Dialplan.Files)
	if err != nil || len(sources) == 0 {
		return nil, err
	}
	plan, diags := dialplan.Compile(sources)
	if cfg.Node.Has("media") {
		for _, s := range plan.Sounds() {
			if err := rtpengine.CheckSound(cfg.PromptsDir(), int64(cfg.Media.SoundBytes), s.Play); err != nil {
				diags = append(diags, s.Missing(err))
			}
		}
	}
	return diags, nil
}

// ApplyPlan proposes a dialplan and waits until it is in force here.
func (n *Node) ApplyPlan(ctx context.Context, sources []dialplan.Source, author, note string) error {
	cmd := n.plans.ApplyCommand(sources, author, note, dialplan.AnyVersion, time.Now())
	result, err := n.cluster.Propose(ctx, "dialplan", cmd)
	if err != nil {
		return fmt.Errorf("apply the dialplan: %w", err)
	}
	if r, ok := result.(*dialplan.Result); ok {
		return r.Err
	}
	return nil
}

// readPlans reads files, and the *.dialplan.hcl of directories with the tables (*.csv) beside them. What does not exist is no error: a node may start without.
func readPlans(paths []string) ([]dialplan.Source, error) {
	var sources []dialplan.Source
	for _, path := range paths {
		info, err := os.Stat(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		files := []string{path}
		if info.IsDir() {
			if files, err = filepath.Glob(filepath.Join(path, "*.dialplan.hcl")); err != nil {
				return nil, err
			}
			tables, err := filepath.Glob(filepath.Join(path, "*.csv"))
			if err != nil {
				return nil, err
			}
			files = append(files, tables...)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				return nil, err
			}
			sources = append(sources, dialplan.Source{Name: f, Text: text})
		}
	}
	return sources, nil
}

// group runs functions and stops everything when one fails.
type group struct {
	stop context.CancelFunc
	wg   sync.WaitGroup
	mu   sync.Mutex
	errs []error
}

func (g *group) run(name string, fn func() error) {
	g.wg.Go(func() {
		err := fn()
		if err == nil || errors.Is(err, context.Canceled) {
			return
		}
		g.mu.Lock()
		g.errs = append(g.errs, fmt.Errorf("%s: %s", name, strings.TrimPrefix(err.Error(), name+": ")))
		g.mu.Unlock()
		g.stop()
	})
}

func (g *group) wait() error {
	g.wg.Wait()
	return errors.Join(g.errs...)
}
