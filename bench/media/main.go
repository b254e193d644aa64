//go:build linux

// Command media sends two-way G.711 through media relays and measures them from outside: lost packets, added latency, processor time per
// million packets. Calls are set up through SIP (Tandem) or through the NG protocol (rtpengine); the packets are the same.
//
//	media -calls 500 -target name=tandem,sip=127.0.0.1:6080,pid=12 -target name=rtpengine-1,ng=127.0.0.1:6223,pid=34 -out results.jsonl
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"tandem/bench/internal/gauge"
)

func main() {
	debug.SetGCPercent(400)
	if err := run(os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "media:", err)
		}
		os.Exit(1)
	}
}

// plan is the command line.
type plan struct {
	targets      gauge.Targets
	calls        int
	sockets      int
	tick         time.Duration
	warm, window time.Duration
	rounds       int
	direct       bool
	domain, out  string
}

// record is one line of the result file.
type record struct {
	Target   string
	Scenario string
	Name     string
	Round    int
	Media    *Report `json:",omitempty"`
	Error    string  `json:",omitempty"`
}

func run(args []string) error {
	var p plan
	flags := flag.NewFlagSet("media", flag.ContinueOnError)
	flags.Var(&p.targets, "target", "a relay: name=,pid= and sip=host:port or ng=host:port [,admin=http://host:port]; give it once per relay")
	flags.IntVar(&p.calls, "calls", 500, "two-way calls at once")
	flags.IntVar(&p.sockets, "sockets", 32, "UDP sockets that play the phones, half for callers, half for callees")
	flags.DurationVar(&p.tick, "tick", 250*time.Microsecond, "packets are spread evenly over ticks of this length")
	flags.DurationVar(&p.warm, "warm", 3*time.Second, "packets before the measured window")
	flags.DurationVar(&p.window, "window", 20*time.Second, "measured window")
	flags.IntVar(&p.rounds, "rounds", 1, "times each relay is measured, in turn")
	flags.BoolVar(&p.direct, "direct", true, "also send without any relay: the floor of the latency column")
	flags.StringVar(&p.domain, "domain", "bench.test", "SIP domain")
	flags.StringVar(&p.out, "out", "", "file that gets a JSON line per measurement")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if p.direct {
		if err := p.record(p.one(gauge.Target{Name: "direct"}, 0)); err != nil {
			return err
		}
	}
	var failed error
	for round := range p.rounds {
		for i := range p.targets {
			r := p.one(p.targets[(i+round)%len(p.targets)], round)
			if err := p.record(r); err != nil {
				return err
			}
			if r.Error != "" {
				failed = errors.Join(failed, fmt.Errorf("%s: %s", r.Target, r.Error)) // the others are measured all the same
			}
		}
	}
	return failed
}

// one measures one relay.
func (p *plan) one(t gauge.Target, round int) record {
	r := record{Target: t.Name, Scenario: fmt.Sprintf("media %d", p.calls), Name: "media", Round: round}
	report, err := p.measure(t)
	r.Media = report
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

func (p *plan) measure(t gauge.Target) (*Report, error) {
	var server *gauge.Process
	if t.PID != 0 {
		var err error
		if server, err = gauge.NewProcess(t.PID); err != nil {
			return nil, err
		}
	}
	relay, err := p.relay(t)
	if err != nil {
		return nil, err
	}
	defer relay.close()
	s, err := newStreams(relay.loop(), p)
	if err != nil {
		return nil, err
	}
	defer s.close()
	before := resident(server)
	began := time.Now()
	if err := relay.setUp(s); err != nil {
		return nil, err
	}
	took := time.Since(began)
	report, err := s.play(server)
	if t.NG.IsValid() {
		report.SetUpRate = float64(p.calls) / took.Seconds()
	}
	report.BytesPerCall = (resident(server) - before) / int64(p.calls)
	return report, errors.Join(err, relay.tearDown())
}

func resident(p *gauge.Process) int64 {
	if p == nil {
		return 0
	}
	n, _ := p.Memory()
	return n
}

// relay picks the way in which calls are set up.
func (p *plan) relay(t gauge.Target) (relay, error) {
	switch {
	case t.SIP.IsValid():
		return newSIPRelay(t, p)
	case t.NG.IsValid():
		return newNGRelay(t)
	}
	return newDirect()
}

func (p *plan) record(r record) error {
	fmt.Fprint(os.Stderr, r.line())
	return gauge.Record(p.out, r)
}

func (r *record) line() string {
	text := fmt.Sprintf("%-12s %-10s", r.Target, r.Scenario)
	if m := r.Media; m != nil {
		text += fmt.Sprintf(" cpu/million %.2f  sent %d lost %d (driver dropped %d) odd %d  p50 %.3f p99 %.3f p99.9 %.3f ms  bytes/call %d  driver cpu %.2f lag99 %.2f ms",
			m.CPUPerMillion(), m.Sent, m.Lost, m.DriverDropped, m.Misdelivered+m.Repeated, m.Latency.P50, m.Latency.P99, m.Latency.P999,
			m.BytesPerCall, m.DriverCPU/max(m.Window, 1e-9), m.Lag.P99)
	}
	if r.Media != nil && r.Media.SetUpRate > 0 {
		text += fmt.Sprintf("  set up %.0f calls/s", r.Media.SetUpRate)
	}
	if r.Error != "" {
		text += "  ERROR " + r.Error
	}
	return text + "\n"
}
