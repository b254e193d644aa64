package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
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
			"A second signal stops at once. SIGHUP checks the configuration file and reports.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(cmd.ErrOrStderr(), file)
			if err != nil {
				return err
			}
			log := newLogger(os.Stderr, cfg.Log)
			n, err := tandem.New(cfg, log)
			if err != nil {
				return err
			}
			return runNode(cmd.Context(), n, log, func() { reportConfig(log, file) })
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

// reportConfig is SIGHUP: what can be changed while the node runs is nothing in this version, which is said.
func reportConfig(log *slog.Logger, file string) {
	if _, err := loadConfig(os.Stderr, file); err != nil {
		log.Error("the configuration file has mistakes; the node goes on with the old one", "file", file)
		return
	}
	log.Info("the configuration file is fine; it takes effect with the next start", "file", file)
}

func newLogger(w io.Writer, c configs.Log) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // checked by configs
	opts := &slog.HandlerOptions{Level: level}
	if strings.EqualFold(c.Format, "json") {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// runNode runs n until a signal has drained or stopped it.
func runNode(ctx context.Context, n *tandem.Node, log *slog.Logger, hup func()) error {
	tuneCollector()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
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
