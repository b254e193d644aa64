//go:build linux

package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"tandem/bench/internal/gauge"
	"tandem/bench/internal/phone"
)

// plan is the command line of run.
type plan struct {
	targets       gauge.Targets
	domain        string
	users         int
	sockets       int
	maxCalls      int
	algorithm     string
	cached        bool
	sdp           bool
	ring          time.Duration
	warm, window  time.Duration
	rounds        int
	settle, after time.Duration
	out           string
	scenarios     []scenario
}

// record is one line of the result file.
type record struct {
	Target   string
	Scenario string
	Name     string
	Rate     float64
	Round    int
	Report   *phone.Report `json:",omitempty"`
	Memory   []memory      `json:",omitempty"`
	Error    string        `json:",omitempty"`
}

// memory is the server's memory at one moment.
type memory struct {
	When     string
	Resident int64 // bytes
	Heap     int64 // bytes, 0 = the server does not say
	Things   int   // bindings or calls held at that moment
}

// seat is one server and the fleet that loads it.
type seat struct {
	target gauge.Target
	server *gauge.Process
	fleet  *phone.Fleet
	base   memory // with all bindings, before the first held call: from here on all growth counts
}

func run(args []string) error {
	var p plan
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	flags.Var(&p.targets, "target", "a server: name=,sip=host:port,pid=[,admin=http://host:port][,rpc=host:port]; give it once per server")
	flags.StringVar(&p.domain, "domain", "bench.test", "SIP domain")
	flags.IntVar(&p.users, "users", 10000, "accounts; the first half calls the second half")
	flags.IntVar(&p.sockets, "sockets", 8, "UDP sockets of the driver per server, half for callers, half for callees")
	flags.IntVar(&p.maxCalls, "max-calls", 60000, "call slots of the driver")
	flags.StringVar(&p.algorithm, "algorithm", "MD5", "digest algorithm taken from the challenges: MD5 or SHA-256")
	flags.BoolVar(&p.cached, "cached-nonce", false, "INVITE carries credentials on the last nonce (nc increasing) instead of waiting for a 407")
	flags.BoolVar(&p.sdp, "sdp", false, "calls carry SDP (then Tandem anchors media, Kamailio only passes it on)")
	flags.DurationVar(&p.ring, "ring", 20*time.Millisecond, "how long callees ring")
	flags.DurationVar(&p.warm, "warm", 2*time.Second, "load before the measured window")
	flags.DurationVar(&p.window, "window", 10*time.Second, "measured window")
	flags.IntVar(&p.rounds, "rounds", 1, "times each scenario is played on each server, in turn; register and hold are played once")
	flags.DurationVar(&p.settle, "settle", 5*time.Second, "rest between loads in which memory matters; finished transactions live 5 s (Kamailio) or 32 s (RFC)")
	flags.DurationVar(&p.after, "after", 0, "rest after everything before memory is read a last time, 0 = not read")
	flags.StringVar(&p.out, "out", "", "file that gets a JSON line per measurement")
	if err := flags.Parse(args); err != nil {
		return err
	}
	for _, word := range flags.Args() {
		s, err := parseScenario(word)
		if err != nil {
			return err
		}
		p.scenarios = append(p.scenarios, s)
	}
	if len(p.targets) == 0 || len(p.scenarios) == 0 {
		return errors.New("run needs a -target and a scenario")
	}
	return p.play()
}

func (p *plan) play() error {
	var seats []*seat
	for i, t := range p.targets {
		s, err := p.seat(t, i)
		if err != nil {
			return err
		}
		defer s.fleet.Close()
		seats = append(seats, s)
	}
	for _, s := range p.scenarios {
		if s.name == "pause" {
			pause(seats, time.Duration(s.rate*float64(time.Second)))
			continue
		}
		rounds := p.rounds
		if s.name == "register" || s.counts() {
			rounds = 1
		}
		for round := range rounds {
			for i := range seats {
				turn := seats[(i+round)%len(seats)] // who is first alternates
				r := p.one(turn, s, round)
				if err := p.record(r); err != nil {
					return err
				}
				if r.Error != "" { // it has died: what follows would measure nothing
					return fmt.Errorf("%s, %s: %s", r.Target, r.Scenario, r.Error)
				}
			}
		}
	}
	return p.rest(seats)
}

func (p *plan) seat(t gauge.Target, index int) (*seat, error) {
	server, err := gauge.NewProcess(t.PID)
	if err != nil {
		return nil, err
	}
	c := phone.Config{
		Server: t.SIP, Domain: p.domain, Users: p.users, Sockets: p.sockets, MaxCalls: p.maxCalls,
		Algorithm: phone.Algorithm(p.algorithm), CachedNonce: p.cached, Ring: p.ring, Expires: 3600,
	}
	if p.sdp {
		c.Offer = func(slot uint32, out []byte) []byte { return body(out, slot, 40000+2*index) }
		c.Answer = func(slot uint32, out []byte) []byte { return body(out, slot, 41000+2*index) }
	}
	fleet, err := phone.NewFleet(c)
	if err != nil {
		return nil, err
	}
	return &seat{target: t, server: server, fleet: fleet}, nil
}

// body is an SDP body for G.711.
func body(out []byte, slot uint32, port int) []byte {
	return fmt.Appendf(out, "v=0\r\no=- %d 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %d RTP/AVP 0 8 101\r\n"+
		"a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\n", slot, port)
}

// one plays a scenario on a server.
func (p *plan) one(t *seat, s scenario, round int) record {
	r := record{Target: t.target.Name, Scenario: s.String(), Name: s.name, Rate: s.rate, Round: round}
	var err error
	switch s.name {
	case "register":
		r.Report, r.Memory, err = p.register(t, s)
	case "refresh":
		r.Report, err = t.load(phone.Load{Kind: phone.Refresh, Rate: s.rate, Warm: p.warm, Window: p.window})
	case "start":
		r.Report, err = p.start(t, s)
	case "call":
		t.fleet.SetPace(p.ring, 0)
		r.Report, err = t.load(phone.Load{Kind: phone.Call, Rate: s.rate, Warm: p.warm, Window: p.window})
	case "order":
		t.fleet.SetPace(0, 0)
		r.Report, err = t.load(phone.Load{Kind: phone.Call, Rate: s.rate, Warm: p.warm, Window: p.window})
	case "hold":
		r.Report, r.Memory, err = p.hold(t, s)
	}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

func (t *seat) load(l phone.Load) (*phone.Report, error) {
	report, err := t.fleet.Run(l, t.server)
	return &report, err
}

// register binds every user once and compares the memory before and after. Before that, requests without credentials fill the rings of
// traces, which would otherwise count as bindings.
func (p *plan) register(t *seat, s scenario) (*phone.Report, []memory, error) {
	probed, err := t.load(phone.Load{Kind: phone.Probe, Rate: s.rate * 2, Count: 2 * p.users})
	if err != nil || probed.Failed > 0 {
		return probed, nil, err
	}
	t.fleet.Settle(min(p.settle, probeRest))
	before := t.memory("before registration", 0)
	report, err := t.load(phone.Load{Kind: phone.Register, Rate: s.rate, Count: p.users})
	t.fleet.Settle(min(p.settle, probeRest))
	return report, []memory{before, t.memory("all registered", t.fleet.Registered())}, err
}

// probeRest is how long memory settles around registrations, which leave no transactions behind.
const probeRest = 5 * time.Second

// start plays calls that fill what is bounded and stays full (rings of traces and events, pools), so that no later load is charged for it.
// A pause should follow, in which the transactions end.
func (p *plan) start(t *seat, s scenario) (*phone.Report, error) {
	t.fleet.SetPace(p.ring, 0)
	return t.load(phone.Load{Kind: phone.Call, Rate: s.rate, Count: s.count})
}

// pause lets all servers rest at once.
func pause(seats []*seat, d time.Duration) {
	fmt.Fprintf(os.Stderr, "resting %s\n", d)
	for until := time.Now().Add(d); time.Now().Before(until); {
		for _, t := range seats {
			t.fleet.Settle(100 * time.Millisecond)
		}
	}
}

// hold keeps s.count calls up and compares the memory before, with them, and after they were hung up.
func (p *plan) hold(t *seat, s scenario) (*phone.Report, []memory, error) {
	t.fleet.SetPace(p.ring, -1)
	t.base = t.memory("before the held calls", t.fleet.Registered())
	m := []memory{t.base}
	report, err := t.load(phone.Load{Kind: phone.Call, Rate: s.rate, Count: s.count})
	m = append(m, t.memory("calls held", t.fleet.Held()))
	t.fleet.Settle(p.settle)
	m = append(m, t.memory("calls held for a while", t.fleet.Held()))
	held := t.fleet.Held()
	if held == 0 {
		return report, m, err
	}
	ended, hangUpErr := t.load(phone.Load{Kind: phone.HangUp, Rate: s.rate, Count: held})
	for cause, n := range ended.Causes {
		report.Causes[cause] += n
		report.Failed += n
	}
	t.fleet.Settle(p.settle)
	return report, append(m, t.memory("calls hung up", t.fleet.Held())), errors.Join(err, hangUpErr)
}

// rest reads the memory a last time, some time after all load.
func (p *plan) rest(seats []*seat) error {
	if p.after <= 0 || seats[0].base.When == "" {
		return nil
	}
	pause(seats, p.after)
	for _, t := range seats {
		m := []memory{t.base, t.memory(fmt.Sprintf("%s after all load", p.after), t.fleet.Registered())}
		if err := p.record(record{Target: t.target.Name, Scenario: "rest", Name: "rest", Memory: m}); err != nil {
			return err
		}
	}
	return nil
}

func (t *seat) memory(when string, things int) memory {
	m := memory{When: when, Things: things}
	if t.target.Heap.Known() {
		heap, err := t.target.Heap.Bytes() // runs the server's collector
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: heap: %v\n", t.target.Name, err)
		}
		m.Heap = heap
	}
	m.Resident, _ = t.server.Memory()
	return m
}

// record prints a measurement for people and appends it to the result file.
func (p *plan) record(r record) error {
	fmt.Fprint(os.Stderr, r.line())
	return gauge.Record(p.out, r)
}

func (r *record) line() string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%-10s %-14s", r.Target, r.Scenario)
	if rep := r.Report; rep != nil {
		fmt.Fprintf(&b, " cpu/1000 %.3f  done %d/%d failed %d  p50 %.2f p99 %.2f p99.9 %.2f ms  challenged %d resent %d dup %d  order bye<ack %d 200<180 %d  driver cpu %.2f lag99 %.2f ms",
			rep.CPUPerThousand(), rep.Counted, rep.Started, rep.Failed, rep.Latency.P50, rep.Latency.P99, rep.Latency.P999,
			rep.Challenged, rep.Resent, rep.Duplicates, rep.ByeBeforeAck, rep.AnswerBeforeRing, rep.DriverCPU/max(rep.Window, 1e-9), rep.Lag.P99)
		if rep.Strays+rep.Unreadable+rep.StrictRoutes+rep.EndedByServer+rep.NeverRang+int(rep.SendErrors) > 0 {
			fmt.Fprintf(&b, "  strays %d unreadable %d strict %d ended %d never rang %d send errors %d", rep.Strays, rep.Unreadable, rep.StrictRoutes, rep.EndedByServer, rep.NeverRang, rep.SendErrors)
		}
		for cause, n := range rep.Causes {
			fmt.Fprintf(&b, "\n%25s failed %6d: %s", "", n, cause)
		}
	}
	for _, m := range r.Memory {
		fmt.Fprintf(&b, "\n%25s memory %-24s resident %.1f MiB heap %.2f MiB things %d", "", m.When, mib(m.Resident), mib(m.Heap), m.Things)
	}
	if r.Error != "" {
		fmt.Fprintf(&b, "\n%25s ERROR %s", "", r.Error)
	}
	return b.String() + "\n"
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }
