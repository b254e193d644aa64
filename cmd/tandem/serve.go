package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"tandem"
	"tandem/configs"
)

func newServe() *cobra.Command {
	var file string
	var takeOver bool
	c := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run a node",
		Long: "Run a node until SIGTERM or SIGINT. The first signal drains, as `tandem drain` does: other nodes of the cluster go on with the calls; those that\n" +
			"cannot move go on to their end, or for node.drain_timeout. A second signal stops at once. SIGHUP reads the configuration file again: what can be changed while the node runs is changed, the\n" +
			"log names the rest, which takes effect with the next start. A file with a mistake changes nothing.\n\n" +
			"--take-over replaces the process that runs the node, for a new version or for settings that wait for a start: it hands its sockets\n" +
			"and its answered calls over and ends, and people go on talking. When this one cannot start, that one goes on. SIGUSR2 has a node\n" +
			"start its own successor so.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(cmd.ErrOrStderr(), file)
			if err != nil {
				return err
			}
			level := new(slog.LevelVar)
			log := newLogger(cmd.ErrOrStderr(), cfg.Log, level)
			if err := tandem.Join(cmd.Context(), cfg, log); err != nil {
				return err
			}
			n, err := tandem.New(cfg, log)
			if err != nil {
				return err
			}
			limitMemory(log, cfg.Limits.MemoryBytes)
			if takeOver {
				n.TakeOver(isMain)
			}
			return runNode(cmd.Context(), n, log, onSignals{hup: func() { reload(n, log, level, file) }, usr2: func() { startSuccessor(log) }})
		},
	}
	c.Flags().BoolVar(&takeOver, "take-over", false, "take the place of the process that runs the node, with its calls")
	c.Flags().StringVar(&file, "config", "", "configuration file; without it the defaults and the environment count")
	return c
}

// loadConfig reads a configuration and prints every mistake in it.
func loadConfig(w io.Writer, file string) (configs.Config, error) {
	cfg, diags := configs.Load(file, os.Environ())
	bad := false
	for _, d := range diags {
		fmt.Fprintln(w, d.Error())
		bad = bad || d.Severity == configs.Error
	}
	if bad {
		return cfg, exitError{code: exitConfig}
	}
	return cfg, nil
}

// reload is SIGHUP: the file is taken over as far as a running node can, or not at all. Every mistake in it is a line of the log, and so is
// every key that has changed and must wait for the next start.
func reload(n *tandem.Node, log *slog.Logger, level *slog.LevelVar, file string) {
	next, diags := configs.Load(file, os.Environ())
	for _, d := range diags {
		if d.Severity == configs.Error {
			log.Error(d.Error())
		} else {
			log.Warn(d.Error())
		}
	}
	if configs.Failed(diags) {
		log.Error("the configuration has mistakes; the node goes on with the old one", "file", file)
		return
	}
	changes, err := n.Reload(next)
	if err != nil {
		log.Error("the configuration cannot be applied; the node goes on with the old one", "file", file, "error", err)
		return
	}
	setLevel(level, next.Log)
	if slices.ContainsFunc(changes, func(c configs.Change) bool { return c.Key == "limits.memory_bytes" }) {
		limitMemory(log, next.Limits.MemoryBytes)
	}
	var applied []string
	for _, c := range changes {
		if c.Live {
			applied = append(applied, c.Key)
			continue
		}
		log.Warn(c.Key + " changed: takes effect with the next start")
	}
	log.Info("the configuration was read again", "file", file, "applied", strings.Join(applied, " "))
}

// startSuccessor is SIGUSR2: the program that is installed now is started with the arguments of this one, to take its place.
func startSuccessor(log *slog.Logger) {
	args := append(slices.DeleteFunc(slices.Clone(os.Args[1:]), func(a string) bool { return a == "--take-over" }), "--take-over")
	c := exec.Command(os.Args[0], args...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := c.Start(); err != nil {
		log.Error("the successor cannot be started; this process goes on", "error", err)
		return
	}
	log.Info("a successor is started", "pid", c.Process.Pid)
	go func() { // ends with the successor, or with this process, which that outlives
		if err := c.Wait(); err != nil {
			log.Error("the successor has ended", "error", err)
		}
	}()
}

// newLogger writes lines as c says from level on, which it sets.
func newLogger(w io.Writer, c configs.Log, level *slog.LevelVar) *slog.Logger {
	setLevel(level, c)
	opts := &slog.HandlerOptions{Level: level}
	if strings.EqualFold(c.Format, "json") {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

func setLevel(level *slog.LevelVar, c configs.Log) {
	var l slog.Level
	_ = l.UnmarshalText([]byte(c.Level)) // checked by configs
	level.Set(l)
}

// onSignals is what the signals do that end nothing; nil is nothing.
type onSignals struct{ hup, usr2 func() }

// runNode runs n until a signal has drained or stopped it.
func runNode(ctx context.Context, n *tandem.Node, log *slog.Logger, on onSignals) error {
	tuneCollector()
	ctx, stop := context.WithCancel(ctx)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR2)
	defer signal.Stop(signals)
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	var rest sync.WaitGroup
	rest.Go(func() { restBehindLoad(ctx, n, log) })
	defer rest.Wait()
	defer stop()
	var drained chan struct{}
	drain := func(wait time.Duration) {
		if drained != nil {
			return
		}
		notify("STOPPING=1")
		drained = make(chan struct{})
		go func(d chan struct{}) {
			n.Drain(ctx, wait)
			close(d)
		}(drained)
	}
	ready := n.WhenReady()
	for {
		select {
		case <-ready:
			ready = nil
			notify("READY=1")
		case err := <-done:
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		case wait := <-n.DrainWishes():
			drain(wait)
		case <-drained:
			drained = nil
			stop()
		case s := <-signals:
			switch {
			case s == syscall.SIGHUP:
				do(on.hup)
			case s == syscall.SIGUSR2:
				do(on.usr2)
			case drained != nil:
				log.Warn("second signal: stopping now")
				stop()
			default:
				drain(-1)
			}
		}
	}
}

func do(fn func()) {
	if fn != nil {
		fn()
	}
}
