//go:build linux

package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

func target(r record) string   { return r.Target }
func scenario(r record) string { return r.Scenario }

// signalling shows every SIP load, one line a server.
func (all results) signalling(w io.Writer) {
	if !slices.ContainsFunc(all, func(r record) bool { return r.Report != nil }) {
		return
	}
	fmt.Fprintf(w, "## Signalling\n\nCPU-seconds of the server per 1,000 (median of the rounds, lowest-highest); INVITE until 180, REGISTER until 200, in ms, the challenge included.\n\n"+
		"| load | server | CPU-s per 1,000 | ratio | p50 | p99 | p99.9 | max | done | failed | BYE<ACK | 200<180 | challenged | resent by driver | duplicates | driver CPU | driver late p99 |\n"+
		"|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, load := range all.names(scenario) {
		base, hasBase := all.sum(load, proxy)
		for _, server := range all.names(target) {
			s, ok := all.sum(load, server)
			if !ok || s.sent > 0 || s.started == 0 {
				continue
			}
			ratio := ""
			if hasBase && base.cpu > 0 && server == ours {
				ratio = fmt.Sprintf("%.2f", s.cpu/base.cpu)
			}
			done := fmt.Sprintf("%d/%d", s.counted, s.started)
			if strings.HasPrefix(load, "hold") {
				done = fmt.Sprintf("%d", s.started)
			}
			fmt.Fprintf(w, "| %s | %s | %.3f%s | %s | %.2f | %.2f | %.2f | %.1f | %s | %d | %d | %d | %d | %d | %d | %.2f | %.2f |\n", load, server, s.cpu, span(s), ratio,
				s.latency.P50, s.latency.P99, s.latency.P999, s.latency.Max, done, s.failed, s.bye, s.answer, s.challenged, s.resent, s.duplicates, s.driver, s.lag)
		}
	}
	fmt.Fprintln(w)
}

func span(s summary) string {
	if s.rounds < 2 {
		return ""
	}
	return fmt.Sprintf(" (%.3f-%.3f)", s.cpuLow, s.cpuHigh)
}

// memory shows every moment at which memory was read.
func (all results) memory(w io.Writer) {
	if !slices.ContainsFunc(all, func(r record) bool { return r.Memory != nil }) {
		return
	}
	fmt.Fprintf(w, "## Memory\n\nHeap: Tandem's live Go heap after a collection, Kamailio's used shared memory. Resident: PSS of all processes. Each: growth of the heap per binding or call since the scenario's first line.\n\n"+
		"| scenario | server | when | resident MB | heap MB | things | heap each |\n|---|---|---|---|---|---|---|\n")
	for _, r := range all {
		for i, m := range r.Memory {
			each := ""
			if i > 0 && m.Things > 0 && m.Heap > 0 && r.Name != "rest" && r.Memory[0].Heap > 0 {
				each = fmt.Sprintf("%.2f kB", float64(m.Heap-r.Memory[0].Heap)/float64(m.Things)/1000)
			}
			fmt.Fprintf(w, "| %s | %s | %s | %.1f | %.2f | %d | %s |\n", r.Scenario, r.Target, m.When, float64(m.Resident)/1e6, float64(m.Heap)/1e6, m.Things, each)
		}
	}
	fmt.Fprintln(w)
}

// media shows every relay.
func (all results) media(w io.Writer) {
	if all.first("media ") != "" {
		fmt.Fprintf(w, "## Media relay\n\nTwo-way G.711, 172-byte packets of RTP, 50 a second each way; cm and gcm: SRTP on the callers' side; opus: "+
			"Opus there, to be transcoded, of which no delay is measured. CPU-seconds of the relay per million packets forwarded, and their ratio to "+
			"the better rtpengine; phone to phone in ms, kernel receive times. A call: growth of resident memory, of live heap, of the kernel's slabs, of open files.\n\n"+
			"| load | relay | CPU-s per million | ratio | p50 | p99 | p99.9 | max | sent | lost | lost at the driver's sockets | repeated or astray | resident a call | heap | kernel | files | driver CPU | driver late p99 |\n"+
			"|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	}
	for _, load := range all.names(scenario) {
		best, compared := all.best(load, func(s summary) float64 { return s.cpu })
		for _, server := range all.names(target) {
			s, ok := all.sum(load, server)
			if !ok || !strings.HasPrefix(load, "media ") {
				continue
			}
			ratio := ""
			if compared && s.cpu > 0 {
				ratio = fmt.Sprintf("%.2f", s.cpu/best.cpu)
			}
			fmt.Fprintf(w, "| %s | %s | %.2f%s | %s | %.3f | %.3f | %.3f | %.1f | %d | %d | %d | %d | %.1f kB | %.1f kB | %.1f kB | %.1f | %.2f | %.2f |\n", load, server, s.cpu, span(s), ratio,
				s.latency.P50, s.latency.P99, s.latency.P999, s.latency.Max, s.sent, s.lost, s.dropped, s.odd, s.bytesPerCall/1000, s.heapPerCall/1000, s.kernel/1000, s.files, s.driver, s.lag)
		}
	}
	fmt.Fprintln(w)
	all.settingUp(w)
}

// settingUp shows how fast calls are made and how many are held.
func (all results) settingUp(w io.Writer) {
	if all.first("setup") == "" {
		return
	}
	fmt.Fprintf(w, "## Calls made and held\n\nNG offer, answer and delete, eight at a time; calls held with less than 0.01 %% lost and p99 <= 50 ms, the driver on the same cores.\n\n"+
		"| load | relay | calls a second, or calls |\n|---|---|---|\n")
	for _, load := range all.names(scenario) {
		for _, server := range all.names(target) {
			s, ok := all.sum(load, server)
			switch {
			case ok && strings.HasPrefix(load, "setup"):
				fmt.Fprintf(w, "| %s | %s | %.0f |\n", load, server, s.setUp)
			case ok && load == "capacity":
				fmt.Fprintf(w, "| %s | %s | %.0f |\n", load, server, s.calls)
			}
		}
	}
	fmt.Fprintln(w)
}

// failures lists causes.
func (all results) failures(w io.Writer) {
	var lines []string
	for _, r := range all {
		if r.Error != "" {
			lines = append(lines, fmt.Sprintf("- %s, %s, round %d: error: %s", r.Target, r.Scenario, r.Round+1, r.Error))
		}
		if r.Report == nil {
			continue
		}
		for _, cause := range slices.Sorted(maps.Keys(r.Report.Causes)) {
			lines = append(lines, fmt.Sprintf("- %s, %s, round %d: %d x %s", r.Target, r.Scenario, r.Round+1, r.Report.Causes[cause], cause))
		}
		if n := r.Report.Strays + r.Report.Unreadable + r.Report.StrictRoutes + r.Report.EndedByServer + r.Report.NeverRang; n > 0 {
			lines = append(lines, fmt.Sprintf("- %s, %s, round %d: %d stray messages, %d unreadable, %d without ;lr, %d calls ended by the server, %d answered without a 180", r.Target, r.Scenario,
				r.Round+1, r.Report.Strays, r.Report.Unreadable, r.Report.StrictRoutes, r.Report.EndedByServer, r.Report.NeverRang))
		}
	}
	if len(lines) > 0 {
		fmt.Fprintf(w, "## What went wrong\n\n%s\n", strings.Join(lines, "\n"))
	}
}
