//go:build linux

package phone

import (
	"fmt"
	"time"

	"tandem/bench/internal/gauge"
	"tandem/bench/internal/wire"
)

// Tally is what happened during one load.
type Tally struct {
	Done, Failed     int
	Counted          int            // done, of those that started inside the window
	Causes           map[string]int // of failures
	Challenged       int            // 401 and 407 answered with credentials
	Resent           int            // retransmissions the fleet had to make
	Duplicates       int            // retransmissions the fleet received
	ByeBeforeAck     int            // order violations seen by callees: the ACK came after the BYE
	AnswerBeforeRing int            // order violations seen by callers: the 180 came after the 200
	Strays           int            // messages that belong to nothing
	Unreadable       int
	NeverRang        int // answered calls whose 180 was lost
	StrictRoutes     int
	EndedByServer    int

	latency *gauge.Samples // INVITE or REGISTER until 180 or 200, of those that started inside the window
}

func (t *Tally) fail(cause string) {
	t.Failed++
	t.Causes[cause]++
}

// Kind is what one load consists of.
type Kind string

// The kinds.
const (
	Probe    Kind = "probe"    // REGISTER without credentials, 401: leaves no state anywhere
	Register Kind = "register" // REGISTER, 401, REGISTER, 200
	Refresh  Kind = "refresh"  // REGISTER on the cached nonce, 200
	Call     Kind = "call"     // INVITE, 407, ACK, INVITE, 100, 180, 200, ACK, BYE, 200
	HangUp   Kind = "hangup"   // BYE of held calls
)

// Load is an open-loop load: it starts Rate things a second, whatever the server does.
type Load struct {
	Kind   Kind
	Rate   float64
	Count  int           // things to start after the warm-up; 0 = as many as fit Window
	Warm   time.Duration // not measured
	Window time.Duration // measured, when Count is 0
}

// Report is what a load showed.
type Report struct {
	Tally
	Window     float64 // measured seconds
	CPU        float64 // the server's CPU-seconds inside the window
	Started    int     // things started inside the window
	Latency    gauge.Latency
	Lag        gauge.Latency // how late the driver itself was in starting things
	DriverCPU  float64       // the driver's CPU-seconds inside the window
	SendErrors uint64
}

// CPUPerThousand is the server's CPU-seconds per 1,000 things.
func (r *Report) CPUPerThousand() float64 {
	if r.Started == 0 {
		return 0
	}
	return r.CPU * 1000 / float64(r.Started)
}

// generator starts things on time.
type generator struct {
	fleet    *Fleet
	load     Load
	server   *gauge.Process
	lag      *gauge.Samples
	begin    int64
	opened   int64 // real begin and end of the window
	closed   int64
	started  int
	warm     int // of started: before the window
	total    int
	quit     int64
	cpu      [2]time.Duration
	own      [2]time.Duration
	problem  error
	hangUpAt int
}

// Run plays one load and waits until everything it started is over, or has been given up.
func (f *Fleet) Run(load Load, server *gauge.Process) (Report, error) {
	if load.Rate <= 0 {
		return Report{}, fmt.Errorf("a load needs a rate")
	}
	count := load.Count
	if count == 0 {
		count = int(load.Rate * load.Window.Seconds())
	}
	g := &generator{fleet: f, load: load, server: server, warm: int(load.Rate * load.Warm.Seconds()), begin: wire.Now()}
	g.total = g.warm + count
	g.lag = gauge.NewSamples(g.total)
	f.tally = Tally{Causes: map[string]int{}, latency: gauge.NewSamples(count)}
	f.Loop.Run(g.step)
	f.settle(2 * time.Second) // until forget has looked at the last call
	report := Report{
		Tally: f.tally, Started: count, CPU: (g.cpu[1] - g.cpu[0]).Seconds(), DriverCPU: (g.own[1] - g.own[0]).Seconds(),
		Window: time.Duration(g.closed - g.opened).Seconds(), Latency: f.tally.latency.Latency(), Lag: g.lag.Latency(),
	}
	for _, s := range append(f.caller[:len(f.caller):len(f.caller)], f.callee...) {
		report.SendErrors += s.Refused
		s.Refused = 0
	}
	if g.problem != nil {
		report.CPU = 0
	}
	return report, g.problem
}

// settle goes on answering packets for a while.
func (f *Fleet) settle(d time.Duration) {
	until := wire.Now() + int64(d) + int64(50*time.Millisecond)
	f.Loop.Run(func(now int64) (int64, bool) { return min(f.fire(now), until), now >= until })
}

// Settle answers what the server sends to idle phones for d.
func (f *Fleet) Settle(d time.Duration) { f.settle(d) }

func (g *generator) step(now int64) (next int64, done bool) {
	next = g.fleet.fire(now)
	for g.started < g.total && now >= g.due(g.started) {
		if g.started == g.warm {
			g.open(now)
		}
		g.lag.Add(now - g.due(g.started))
		g.start(now)
		g.started++
	}
	if g.started < g.total {
		return min(next, g.due(g.started)), false
	}
	if g.closed == 0 {
		if now < g.due(g.total) {
			return min(next, g.due(g.total)), false
		}
		g.close(now)
	}
	return next, g.fleet.active == 0 || now > g.quit
}

// due is when thing i is to be started.
func (g *generator) due(i int) int64 { return g.begin + int64(float64(i)*1e9/g.load.Rate) }

func (g *generator) open(now int64) {
	g.opened = now
	g.sample(0)
}

func (g *generator) close(now int64) {
	g.closed = now
	g.quit = now + int64(patience+5*time.Second)
	g.sample(1)
}

func (g *generator) sample(i int) {
	var err error
	if g.cpu[i], g.own[i], err = gauge.Times(g.server); err != nil && g.problem == nil {
		g.problem = err
	}
}

func (g *generator) start(now int64) {
	f := g.fleet
	counted := g.started >= g.warm
	switch g.load.Kind {
	case Probe, Register, Refresh:
		f.register(now, g.started%len(f.users), g.load.Kind, counted)
	case Call:
		f.startCall(now, counted)
	case HangUp:
		f.hangUpNext(now, g, counted)
	}
}

// hangUpNext ends the next held call.
func (f *Fleet) hangUpNext(now int64, g *generator, counted bool) {
	for ; g.hangUpAt < len(f.calls); g.hangUpAt++ {
		if c := &f.calls[g.hangUpAt]; c.state == talking {
			f.active++
			c.counted = counted
			f.bye(now, uint32(g.hangUpAt), c)
			g.hangUpAt++
			return
		}
	}
}

// Held is how many calls are up.
func (f *Fleet) Held() (n int) {
	for i := range f.calls {
		if f.calls[i].state == talking {
			n++
		}
	}
	return n
}
