//go:build linux

// Command media sends two-way G.711 through media relays and measures them from outside: lost packets, added latency, processor time per
// million packets, memory, calls set up a second. Calls are set up through the NG protocol, or through SIP; the packets are the same.
//
//	media -target name=tandem,ng=127.0.0.1:6222,pid=12 -target name=rtpengine-1,ng=127.0.0.1:6223,pid=34 -out results.jsonl plain@500 cm@500 setup
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
	loads        []load
	sockets      int
	tick         time.Duration
	warm, window time.Duration
	rounds       int
	direct       bool
	domain, out  string
	apart        int                  // measurements so far of phones with addresses of their own
	used         map[string]time.Time // when each relay's last calls ended
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

const usage = `usage: media [flags] load...

loads:
  plain@500      500 two-way calls, RTP on both sides
  cm@500, gcm@500  the callers speak SRTP with SDES keys (AES_CM_128_HMAC_SHA1_80, AEAD_AES_128_GCM), the callees RTP
  opus@20        the callers speak Opus, the callees G.711: the relay transcodes; its delay is not measured
  setup, setup-cm  offer, answer and delete through NG, eight at a time
  capacity       plain calls held with less than 0.01 % lost and a p99 of at most 50 ms, by doubling and halving

flags:
`

func run(args []string) error {
	p := plan{used: map[string]time.Time{}}
	flags := flag.NewFlagSet("media", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage); flags.PrintDefaults() }
	flags.Var(&p.targets, "target", "a relay: name=,pid= and sip=host:port or ng=host:port [,admin=http://host:port] [,apart=true: phones with addresses of their own]; give it once per relay")
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
	for _, text := range flags.Args() {
		l, err := parseLoad(text)
		if err != nil {
			return err
		}
		p.loads = append(p.loads, l)
	}
	if len(p.loads) == 0 {
		return errors.New("no load named; media -h lists them")
	}
	return p.measureAll()
}

func (p *plan) measureAll() error {
	var failed error
	for i, l := range p.loads {
		if p.direct && i == 0 && l.calls > 0 {
			if err := p.record(p.one(gauge.Target{Name: "direct"}, load{name: l.name, calls: l.calls}, 0)); err != nil {
				return err
			}
		}
		for round := range p.rounds {
			for i := range p.targets {
				r := p.one(p.targets[(i+round)%len(p.targets)], l, round)
				if err := p.record(r); err != nil {
					return err
				}
				if r.Error != "" {
					failed = errors.Join(failed, fmt.Errorf("%s, %s: %s", r.Target, r.Scenario, r.Error)) // the others are measured all the same
				}
			}
		}
	}
	return failed
}

// one measures one relay under one load.
func (p *plan) one(t gauge.Target, l load, round int) record {
	r := record{Target: t.Name, Scenario: l.String(), Name: "media", Round: round}
	var err error
	defer func() { p.used[t.Name] = time.Now() }()
	switch l.name {
	case "setup", "setup-cm":
		r.Name = "setup"
		p.rest(t)
		r.Media, err = setUps(t, l)
	case "capacity":
		r.Name = "capacity"
		r.Media, err = p.capacity(t)
	default:
		r.Media, err = p.measure(t, l, p.warm, p.window)
	}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

// portsRest is longer than relays let the ports of ended calls rest.
const portsRest = 6 * time.Second

// rest waits until a relay has all its ports again: what needs many would else find out how many it has.
func (p *plan) rest(t gauge.Target) { time.Sleep(portsRest - time.Since(p.used[t.Name])) }

// measure puts calls onto a relay, lets them talk, and ends them.
func (p *plan) measure(t gauge.Target, l load, warm, window time.Duration) (*Report, error) {
	var server *gauge.Process
	if t.PID != 0 {
		var err error
		if server, err = gauge.NewProcess(t.PID); err != nil {
			return nil, err
		}
	}
	relay, err := p.relay(t, l)
	if err != nil {
		return nil, err
	}
	defer relay.close()
	s, err := newStreams(relay.loop(), p, l, t.Apart, warm, window)
	if err != nil {
		return nil, err
	}
	defer s.close()
	before := weigh(t, server)
	if err := relay.setUp(s); err != nil {
		return nil, errors.Join(err, relay.tearDown())
	}
	kernel := weigh(t, server).kernel - before.kernel
	report, err := s.play(server)
	after := weigh(t, server)
	calls := int64(l.calls)
	report.BytesPerCall, report.HeapPerCall = (after.resident-before.resident)/calls, (after.heap-before.heap)/calls
	report.KernelPerCall, report.FilesPerCall = kernel/calls, float64(after.files-before.files)/float64(calls)
	return report, errors.Join(err, relay.tearDown())
}

// weight is what a relay takes at a moment. What cannot be known is 0.
type weight struct{ resident, heap, kernel, files int64 }

func weigh(t gauge.Target, server *gauge.Process) (w weight) {
	if server == nil {
		return w
	}
	if t.Heap.Known() {
		w.heap, _ = t.Heap.Bytes()
	}
	w.resident = resident(server)
	w.files = server.Files()
	w.kernel = gauge.Slab()
	return w
}

func resident(p *gauge.Process) int64 {
	if p == nil {
		return 0
	}
	n, _ := p.Memory()
	return n
}

// relay picks the way in which calls are set up.
func (p *plan) relay(t gauge.Target, l load) (relay, error) {
	switch {
	case t.SIP.IsValid() && (l.suite != "" || l.opus):
		return nil, errors.New("the phones of the SIP load speak neither SRTP nor Opus: name the relay's NG address")
	case t.SIP.IsValid():
		return newSIPRelay(t, p, l)
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
	text := fmt.Sprintf("%-14s %-10s", r.Target, r.Scenario)
	switch m := r.Media; {
	case m == nil:
	case r.Name == "setup":
		text += fmt.Sprintf(" %.0f calls/s  cpu/1,000 %.3f s", m.SetUpRate, m.CPU*1000/float64(max(m.Calls, 1)))
	case r.Name == "capacity":
		text += fmt.Sprintf(" %d calls", m.Calls)
	default:
		text += fmt.Sprintf(" cpu/million %.2f  sent %d lost %d (driver dropped %d) odd %d  p50 %.3f p99 %.3f p99.9 %.3f ms  bytes/call %d heap %d kernel %d files %.1f  driver cpu %.2f lag99 %.2f ms",
			m.CPUPerMillion(), m.Sent, m.Lost, m.DriverDropped, m.Misdelivered+m.Repeated, m.Latency.P50, m.Latency.P99, m.Latency.P999,
			m.BytesPerCall, m.HeapPerCall, m.KernelPerCall, m.FilesPerCall, m.DriverCPU/max(m.Window, 1e-9), m.Lag.P99)
	}
	if r.Error != "" {
		text += "  ERROR " + r.Error
	}
	return text + "\n"
}
