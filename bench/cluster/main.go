//go:build linux

// Command cluster starts three nodes of Tandem as processes of their own, loads them with phones, does to them what happens to machines, and
// compares what it has measured with what was promised.
//
//	cluster run -tandem bin/tandem -dir out -out results.jsonl register bindings refresh writes
//	cluster run -tandem bin/tandem -dir out -out results.jsonl -segment stall:cut calls:plain     (in namespaces of its own: unshare --net --mount)
//	cluster table results.jsonl
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"tandem/bench/internal/gauge"
)

func main() {
	debug.SetGCPercent(400) // the driver must not take processor time from the nodes
	if err := command(os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "cluster:", err)
		}
		os.Exit(1)
	}
}

func command(args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "run":
			return run(args[1:])
		case "table":
			return table(args[1:])
		}
	}
	return errors.New("usage: cluster run|table -h")
}

// plan is the command line of run.
type plan struct {
	world
	out   string
	quick bool
	users int
	runs  int
	calls int
	times times
}

// scenario is one word of the command line: what is measured, and how.
type scenario struct {
	about   string
	measure func(p *plan, c *trio) error
}

var scenarios = map[string]scenario{
	"register":     {"new bindings through all nodes at 500/s", (*plan).register},
	"bindings":     {"as many new bindings as are agreed on", (*plan).bindings},
	"refresh":      {"registrations again inside their lease", (*plan).refresh},
	"writes":       {"what the log writes to the disk at 2,000 registrations/s", (*plan).writes},
	"million":      {"1,000,000 bindings: heap, snapshot, a fresh node", (*plan).million},
	"stall:killed": {"kill -9 of the leader", func(p *plan, c *trio) error { return p.stall(c, killed) }},
	"stall:frozen": {"SIGSTOP of the leader", func(p *plan, c *trio) error { return p.stall(c, frozen) }},
	"stall:cut":    {"the leader's link goes down (-segment)", func(p *plan, c *trio) error { return p.stall(c, cut) }},
	"stall:hung":   {"the leader's file system is frozen (-disks)", func(p *plan, c *trio) error { return p.stall(c, hung) }},
	"calls:plain":  {"kill -9 of a node with calls, RTP", func(p *plan, c *trio) error { return p.survive(c, "plain", killed) }},
	"calls:sdes":   {"the same with SRTP by SDES", func(p *plan, c *trio) error { return p.survive(c, "sdes", killed) }},
	"calls:dtls":   {"the same with SRTP by DTLS", func(p *plan, c *trio) error { return p.survive(c, "dtls", killed) }},
	"calls:frozen": {"SIGSTOP of a node with calls (-segment)", func(p *plan, c *trio) error { return p.survive(c, "plain", frozen) }},
	"calls:cut":    {"the link of a node with calls goes down (-segment)", func(p *plan, c *trio) error { return p.survive(c, "plain", cut) }},
	"soak":         {"registrations and calls for -soak, and nothing else happens", (*plan).soak},
}

func run(args []string) error {
	var p plan
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	flags.StringVar(&p.program, "tandem", "bin/tandem", "the program that is measured")
	flags.StringVar(&p.dir, "dir", "", "directory for data and logs of the nodes, on a real disk")
	flags.StringVar(&p.out, "out", "", "file that gets a JSON line per figure")
	flags.BoolVar(&p.segment, "segment", false, "nodes in network namespaces on a bridge, with virtual addresses; needs root, and unshare --net --mount around this command")
	flags.BoolVar(&p.disks, "disks", false, "a file system of its own for each node; needs root, and unshare --mount")
	flags.BoolVar(&p.quick, "quick", false, "short windows and few runs: a smoke test, not a result")
	flags.IntVar(&p.users, "users", 30000, "accounts; million makes 100,000")
	flags.IntVar(&p.runs, "runs", 20, "times that a leader is killed, frozen, cut off")
	flags.IntVar(&p.calls, "calls", 200, "calls at once")
	flags.DurationVar(&p.times.soak, "soak", defaultSoak, "length of soak")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: cluster run [flags] scenario...")
		flags.PrintDefaults()
		for _, name := range sorted(scenarios) {
			fmt.Fprintf(flags.Output(), "  %-13s %s\n", name, scenarios[name].about)
		}
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	p.times.set(p.quick)
	for _, name := range flags.Args() {
		if _, ok := scenarios[name]; !ok {
			return fmt.Errorf("%q is no scenario: there are %s", name, strings.Join(sorted(scenarios), " "))
		}
		if name == "million" {
			p.users = max(p.users, millionUsers)
		}
	}
	if p.dir == "" || len(flags.Args()) == 0 {
		return errors.New("run needs -dir and a scenario")
	}
	c, err := p.start()
	defer c.end()
	if err == nil {
		err = c.accounts(p.users)
	}
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-stopped
		c.end()
		os.Exit(130)
	}()
	for _, name := range flags.Args() {
		if err != nil {
			break
		}
		fmt.Fprintln(os.Stderr, "---", name)
		if err = scenarios[name].measure(&p, c); err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
	}
	return err
}

func sorted[V any](m map[string]V) (names []string) {
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// A figure is one line of the table.
type figure struct {
	What     string
	Promised string
	Measured string
	Met      bool
	Of       string `json:",omitempty"` // what else was seen
}

// found prints a figure and keeps it.
func (p *plan) found(f figure) error {
	fmt.Fprintf(os.Stderr, "%s: %s (promised %s) %s\n", f.What, f.Measured, f.Promised, f.Of)
	return gauge.Record(p.out, f)
}

// table prints the figures of a file as Markdown.
func table(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: cluster table RESULTS.jsonl")
	}
	file, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer file.Close()
	fmt.Print("| what | promised | measured | met | besides |\n|---|---|---|---|---|\n")
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var f figure
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
			return err
		}
		met := "**no**"
		if f.Met {
			met = "yes"
		}
		fmt.Printf("| %s | %s | %s | %s | %s |\n", f.What, f.Promised, f.Measured, met, f.Of)
	}
	return lines.Err()
}
