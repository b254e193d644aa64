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

	err := n.start(outer)
	if err == nil {
		if n.media != nil {
			out.run("media", func() error { return n.media.Run(outer) })
		}
		if n.engines != nil {
			in.run("media engines", func() error { return n.engines.Run(inner) }) // the calls that end last delete their sessions
		}
		if n.ng != nil {
			out.run("ng", func() error { return n.ng.Run(outer) })
		}
		if n.turn != nil {
			out.run("turn", func() error { return n.turn.Run(outer) })
		}
		out.run("sip", func() error { return n.sip.Run(outer) })
		out.run("admin", func() error { return n.admin.Run(outer) })
		out.run("registrar", func() error { return n.sip.Registrar().Run(outer) })
		for _, l := range n.web {
			out.run("web", func() error { return n.serveWeb(outer, l) })
		}
		n.events.Publish(events.Event{Kind: events.NodeStarted})
		n.log.Info("node is ready", "node", n.cfg.Node.Name, "version", Version())
		close(n.ready)
		<-outer.Done()
	}
	stopOuter()
	err = errors.Join(err, out.wait())
	n.events.Publish(events.Event{Kind: events.NodeStopped})
	stopInner()
	err = errors.Join(err, in.wait())
	for _, l := range n.web {
		_ = l.Close()
	}
	return err
}

// start waits for the log, applies the first dialplan and opens the listeners.
func (n *Node) start(ctx context.Context) error {
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
	}
	if err := n.sip.Listen(); err != nil {
		return err
	}
	if err := n.listenWeb(); err != nil {
		return err
	}
	if n.ng != nil {
		if err := n.ng.Listen(); err != nil {
			return err
		}
	}
	if n.turn != nil {
		if err := n.turn.Listen(); err != nil {
			return err
		}
	}
	return n.admin.Listen()
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

// readPlans reads files, and the *.dialplan.hcl of directories. What does not exist is no error: a node may start without.
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

// Drain refuses new work and returns when the calls are over or ctx ends.
func (n *Node) Drain(ctx context.Context) {
	n.draining.Store(true)
	n.events.Publish(events.Event{Kind: events.NodeDraining})
	n.log.Info("draining: new calls are refused, calls in progress go on", "calls", n.pbx.Stats().Calls)
	if err := n.sip.Drain(ctx); err != nil {
		n.log.Warn("calls were still going on when the node had to stop", "calls", n.pbx.Stats().Calls)
	}
	if n.ng != nil {
		if err := n.ng.Drain(ctx); err != nil {
			n.log.Warn("media sessions of other proxies were still going on when the node had to stop", "sessions", n.ng.Stats().Sessions)
		}
	}
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
