//go:build linux

package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"tandem/bench/internal/gauge"
)

// load is what a relay is measured under.
type load struct {
	name  string
	calls int    // 0 for setup and capacity, which find out
	suite string // of the callers' side; "" is plain RTP
	opus  bool   // the callers speak Opus, the callees G.711
}

const (
	suiteCM  = "AES_CM_128_HMAC_SHA1_80"
	suiteGCM = "AEAD_AES_128_GCM"
)

var suites = map[string]string{"plain": "", "cm": suiteCM, "gcm": suiteGCM}

func parseLoad(text string) (l load, err error) {
	switch text {
	case "setup", "capacity":
		return load{name: text}, nil
	case "setup-cm":
		return load{name: text, suite: suiteCM}, nil
	}
	name, count, _ := strings.Cut(text, "@")
	opus := name == "opus"
	suite, known := suites[name]
	calls, err := strconv.Atoi(count)
	if !known && !opus || err != nil || calls < 1 || calls > mostCalls {
		return l, fmt.Errorf("load %q: want plain, cm, gcm or opus @ 1 to %d calls, setup, setup-cm or capacity", text, mostCalls)
	}
	return load{name, calls, suite, opus}, nil
}

func (l load) String() string {
	if l.calls == 0 {
		return l.name
	}
	return fmt.Sprintf("media %s %d", l.name, l.calls)
}

const (
	atOnce    = 8   // workers of proxies that set up calls at the same time
	setUpEach = 900 // calls: their ports, four each, must all be had, for relays let them rest
)

// setUps times calls that are offered, answered and deleted, one after the other by each of a few workers.
func setUps(t gauge.Target, l load) (*Report, error) {
	if !t.NG.IsValid() {
		return nil, errors.New("calls are set up through NG: name the relay's NG address")
	}
	server, err := gauge.NewProcess(t.PID)
	if err != nil {
		return nil, err
	}
	var r Report
	var mu sync.Mutex
	var workers sync.WaitGroup
	before, own, err := gauge.Times(server)
	began := time.Now()
	for n := range atOnce {
		workers.Go(func() {
			calls, problem := work(t, l.suite, n)
			mu.Lock()
			defer mu.Unlock()
			r.Calls += calls
			err = errors.Join(err, problem)
		})
	}
	workers.Wait()
	r.Window = time.Since(began).Seconds()
	after, ownAfter, problem := gauge.Times(server)
	r.CPU, r.DriverCPU = (after - before).Seconds(), (ownAfter - own).Seconds()
	r.SetUpRate = float64(r.Calls) / r.Window
	return &r, errors.Join(err, problem)
}

func work(t gauge.Target, suite string, worker int) (calls int, err error) {
	c, err := newNGClient(t)
	if err != nil {
		return 0, err
	}
	defer c.conn.Close()
	c.run += int64(worker)
	for ; calls < setUpEach/atOnce; calls++ {
		caller, callee := "127.0.0.1", "127.0.0.1"
		if t.Apart {
			n := 2 * (worker*setUpEach/atOnce + calls)
			caller, callee = addressOf(int(c.run), n).String(), addressOf(int(c.run), n+1).String()
		}
		if _, err = c.offer(calls, sdp(nil, calls, caller, 9000, suite), nil); err != nil {
			return calls, err
		}
		if _, err = c.answer(calls, sdp(nil, calls, callee, 9002, "")); err != nil {
			return calls, err
		}
		if err = c.delete(calls); err != nil {
			return calls, err
		}
	}
	return calls, nil
}

// Bounds of the search for the most calls.
const (
	fewestCalls  = 500
	mostCalls    = 8000
	stepsOfTenth = 3 // halvings after doubling: the answer is good to an eighth
	probeWarm    = time.Second
	probeWindow  = 3 * time.Second
)

// capacity searches the most calls that are held, by doubling and then halving the interval. The driver uses the same cores: it is the
// machine's limit with this relay on it, and compares relays.
func (p *plan) capacity(t gauge.Target) (*Report, error) {
	var best Report
	good, bad := 0, 0
	for steps := 0; steps < stepsOfTenth; {
		calls := max(2*good, fewestCalls)
		if bad > 0 {
			calls = (good + bad) / 2
			steps++
		}
		if calls > mostCalls {
			break
		}
		p.rest(t)
		r, err := p.measure(t, load{name: "plain", calls: calls}, probeWarm, probeWindow)
		p.used[t.Name] = time.Now()
		if err != nil {
			return &best, err
		}
		if r.held() {
			best, good = *r, calls
		} else {
			bad = calls
		}
	}
	return &best, nil
}

// held is whether everybody was heard.
func (r *Report) held() bool {
	return float64(r.Lost-r.DriverDropped) < 1e-4*float64(r.Sent) && r.DriverDropped*100 < r.Sent && r.Latency.P99 <= 50 && r.Lag.P99 <= 50
}
