//go:build linux

package main

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// The server under test and its peers, as run.sh names them.
const (
	ours         = "tandem"
	unprivileged = "tandem-sockets" // by its media tier
	steered      = "tandem-steered"
	proxy        = "kamailio"
	relay        = "rtpengine" // prefix: rtpengine-1 and rtpengine-2 differ in their threads
)

// promise is a figure to reach.
type promise struct {
	what, limit string
	measure     func(results) (found string, met, measured bool)
}

func promises() []promise {
	return []promise{
		{"CPU per 1,000 relayed calls, signalling only, at 3,000/s", "<= 0.60 x Kamailio", func(all results) (string, bool, bool) { return all.ratio("call 3000/s", 0.6) }},
		{"CPU per 1,000 authenticated re-REGISTERs", "<= 1.00 x Kamailio", func(all results) (string, bool, bool) { return all.ratio(all.first("refresh "), 1) }},
		{"order violations (BYE before ACK, 200 before 180), all loads", "0", results.order},
		{"failed calls at 3,000/s", "0", func(all results) (string, bool, bool) {
			s, ok := all.sum("call 3000/s", ours)
			return fmt.Sprintf("%d; %d of %d measured ones done", s.failed, s.counted, s.started), s.failed == 0 && s.counted == s.started, ok
		}},
		{"INVITE -> 180 p99 at 2,000/s", "<= 10 ms", func(all results) (string, bool, bool) {
			s, ok := all.sum("call 2000/s", ours)
			return fmt.Sprintf("%.2f ms", s.latency.P99), s.latency.P99 <= 10, ok && s.counted > 0
		}},
		{"heap per binding", "<= 0.5 kB", func(all results) (string, bool, bool) { return all.each("register", 500) }},
		{"heap per held relayed call without media", "<= 8 kB", func(all results) (string, bool, bool) { return all.each("hold", 8000) }},
		{"heap back to the start after the load", "within 5 % or 1 MB", results.back},
	}
}

// relayPromises are figures of media, each against the better of rtpengine's thread counts.
func relayPromises() (list []promise) {
	for _, calls := range []string{"500", "1000"} {
		list = append(
			list, cost("media plain "+calls, unprivileged, 0.80), cost("media plain "+calls, steered, 0.60),
			lost("media plain "+calls, unprivileged), lost("media plain "+calls, steered),
			late("media plain "+calls, unprivileged), late("media plain "+calls, steered),
		)
	}
	return append(
		list,
		cost("media cm 500", unprivileged, 0.75), cost("media cm 500", steered, 0.60),
		cost("media gcm 500", unprivileged, 0.65), cost("media gcm 500", steered, 0.55),
		cost("media opus 20", unprivileged, 0.50),
		rate("setup", unprivileged), rate("setup-cm", unprivileged), held(unprivileged), held(steered),
		weighs("media plain 500", unprivileged, 6000), weighs("media cm 500", unprivileged, 16000),
	)
}

func cost(scenario, server string, limit float64) promise {
	return promise{server + ", " + scenario + ": CPU per million packets", fmt.Sprintf("<= %.2f x rtpengine", limit), func(all results) (string, bool, bool) {
		a, ok := all.sum(scenario, server)
		best, found := all.best(scenario, func(s summary) float64 { return s.cpu })
		note := ""
		if !found && strings.HasPrefix(scenario, "media gcm ") { // a Debian rtpengine without GCM
			best, found = all.best(strings.Replace(scenario, "gcm", "cm", 1), func(s summary) float64 { return s.cpu })
			note = ", AES-CM"
		}
		r := a.cpu / best.cpu
		return fmt.Sprintf("%.2f (%.2f / %.2f %s%s)", r, a.cpu, best.cpu, best.target, note), r <= limit, ok && found && a.cpu > 0
	}}
}

func lost(scenario, server string) promise {
	return promise{server + ", " + scenario + ": packets lost", "0", func(all results) (string, bool, bool) {
		s, ok := all.sum(scenario, server)
		return fmt.Sprintf("%d of %d", s.lost, s.sent), s.lost == 0 && s.sent > 0, ok
	}}
}

func late(scenario, server string) promise {
	return promise{server + ", " + scenario + ": p99", "<= 1.00 x rtpengine", func(all results) (string, bool, bool) {
		a, ok := all.sum(scenario, server)
		best, found := all.best(scenario, func(s summary) float64 { return s.latency.P99 })
		return fmt.Sprintf("%.3f ms (%.3f %s)", a.latency.P99, best.latency.P99, best.target), a.latency.P99 <= best.latency.P99, ok && found
	}}
}

func rate(scenario, server string) promise {
	return promise{server + ", " + scenario + ": calls a second", ">= 1.00 x rtpengine", func(all results) (string, bool, bool) {
		a, ok := all.sum(scenario, server)
		best, found := all.best(scenario, func(s summary) float64 { return -s.setUp })
		return fmt.Sprintf("%.2f (%.0f / %.0f %s)", a.setUp/best.setUp, a.setUp, best.setUp, best.target), a.setUp >= best.setUp, ok && found && a.setUp > 0
	}}
}

func held(server string) promise {
	return promise{server + ": calls held with the driver on the same cores", ">= 1.00 x rtpengine", func(all results) (string, bool, bool) {
		a, ok := all.sum("capacity", server)
		best, found := all.best("capacity", func(s summary) float64 { return -s.calls })
		return fmt.Sprintf("%.0f (%.0f %s)", a.calls, best.calls, best.target), a.calls >= best.calls, ok && found && a.calls > 0
	}}
}

func weighs(scenario, server string, limit float64) promise {
	return promise{server + ", " + scenario + ": heap a call", fmt.Sprintf("<= %.0f kB", limit/1000), func(all results) (string, bool, bool) {
		s, ok := all.sum(scenario, server)
		return fmt.Sprintf("%.1f kB", s.heapPerCall/1000), s.heapPerCall <= limit, ok && s.heapPerCall > 0
	}}
}

// best is the summary of rtpengine's better thread count, by the least of a figure that is not 0.
func (all results) best(scenario string, figure func(summary) float64) (best summary, found bool) {
	for _, name := range all.names(target) {
		if s, ok := all.sum(scenario, name); ok && strings.HasPrefix(name, relay) && figure(s) != 0 && (!found || figure(s) < figure(best)) {
			best, found = s, true
		}
	}
	return best, found
}

func (all results) verdicts(w io.Writer) {
	fmt.Fprintf(w, "## Figures to reach\n\n| what | at least | measured | met |\n|---|---|---|---|\n")
	list := promises()
	if all.first("media ") != "" || all.first("setup") != "" {
		list = append(list, relayPromises()...)
	}
	for _, p := range list {
		found, met, measured := p.measure(all)
		verdict := "**no**"
		switch {
		case !measured:
			found, verdict = "not measured", "-"
		case met:
			verdict = "yes"
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", p.what, p.limit, found, verdict)
	}
	fmt.Fprintln(w)
}

// first is the first scenario whose name begins with prefix.
func (all results) first(prefix string) string {
	for _, name := range all.names(func(r record) string { return r.Scenario }) {
		if strings.HasPrefix(name, prefix) {
			return name
		}
	}
	return ""
}

func (all results) ratio(scenario string, limit float64) (string, bool, bool) {
	a, first := all.sum(scenario, ours)
	b, second := all.sum(scenario, proxy)
	r := a.cpu / b.cpu
	note := ""
	if b.failed > 0 {
		note = fmt.Sprintf("; Kamailio failed %d", b.failed)
	}
	return fmt.Sprintf("%.2f (%.3f / %.3f%s)", r, a.cpu, b.cpu, note), r <= limit, first && second && a.cpu > 0 && b.cpu > 0
}

func (all results) order() (string, bool, bool) {
	n, measured := all.violations(ours)
	other, _ := all.violations(proxy)
	return fmt.Sprintf("%d (Kamailio %d)", n, other), n == 0, measured
}

// each is the heap per binding or call: the growth from the first moment of the scenario to the last with as many things as the second.
func (all results) each(scenario string, limit float64) (string, bool, bool) {
	before, _ := all.moment(scenario, ours, 0)
	after, ok := all.moment(scenario, ours, 1)
	if !ok || before.Heap == 0 || after.Things == 0 {
		return "", false, false
	}
	per := func(m memory) float64 { return float64(m.Heap-before.Heap) / float64(m.Things) }
	n := per(after)
	text := fmt.Sprintf("%.2f kB", n/1000)
	if later, ok := all.moment(scenario, ours, 2); ok && later.Things == after.Things {
		n = per(later)
		text = fmt.Sprintf("%.2f kB (%s at once)", n/1000, text)
	}
	return text, n <= limit, n > 0 // what shrank was no measurement: earlier load had not ended
}

func (all results) back() (string, bool, bool) {
	before, _ := all.moment("rest", ours, 0)
	after, ok := all.moment("rest", ours, 1)
	grown := float64(after.Heap - before.Heap)
	text := fmt.Sprintf("%.1f MB, then %.1f MB %s", float64(before.Heap)/1e6, float64(after.Heap)/1e6, after.When)
	return text, grown <= math.Max(1e6, float64(before.Heap)*0.05), ok && before.Heap > 0
}
