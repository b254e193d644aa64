package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"tandem"
	"tandem/configs"
)

func newServe() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run a node",
		Long: "Run a node until SIGTERM or SIGINT. The first signal drains: new calls are refused, calls in progress go on to their end.\n" +
			"A second signal stops at once. SIGHUP reads the configuration file again: what can be changed while the node runs is changed, the\n" +
			"log names the rest, which takes effect with the next start. A file with a mistake changes nothing.",
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
			return runNode(cmd.Context(), n, log, func() { reload(n, log, level, file) })
		},
	}
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

// runNode runs n until a signal has drained or stopped it.
func runNode(ctx context.Context, n *tandem.Node, log *slog.Logger, hup func()) error {
	tuneCollector()
	ctx, stop := context.WithCancel(ctx)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	var rest sync.WaitGroup
	rest.Go(func() { restBehindLoad(ctx, n, log) })
	defer rest.Wait()
	defer stop()
	var drained chan struct{}
	for {
		select {
		case err := <-done:
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		case <-drained:
			drained = nil
			stop()
		case s := <-signals:
			switch {
			case s == syscall.SIGHUP:
				hup()
			case drained != nil:
				log.Warn("second signal: stopping now")
				stop()
			default:
				drained = make(chan struct{})
				go func(d chan struct{}) {
					n.Drain(ctx)
					close(d)
				}(drained)
			}
		}
	}
}
