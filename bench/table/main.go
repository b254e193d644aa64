//go:build linux

// Command table turns the result lines of sipload and media into Markdown: a verdict on each figure that was promised, then everything
// that was measured.
//
//	table bench/out/run/results.jsonl
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: table RESULTS.jsonl")
		os.Exit(1)
	}
	w := bufio.NewWriter(os.Stdout)
	defer w.Flush()
	all, err := read(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
	all.verdicts(w)
	all.signalling(w)
	all.memory(w)
	all.media(w)
	all.failures(w)
}

// record is a line of sipload's or media's results; fields that are not shown are left out.
type record struct {
	Target, Scenario, Name string
	Rate                   float64
	Round                  int
	Report                 *report
	Memory                 []memory
	Media                  *media
	Error                  string
}

type latency struct{ P50, P99, P999, Max float64 }

type report struct {
	Started, Counted, Failed                                   int
	Causes                                                     map[string]int
	Challenged, Resent, Duplicates                             int
	ByeBeforeAck, AnswerBeforeRing                             int
	Strays, Unreadable, StrictRoutes, EndedByServer, NeverRang int
	Window, CPU, DriverCPU                                     float64
	Latency, Lag                                               latency
}

type memory struct {
	When           string
	Resident, Heap int64
	Things         int
}

type media struct {
	Calls                                             int
	Window, CPU, DriverCPU                            float64
	Sent, Lost, DriverDropped, Repeated, Misdelivered int
	Latency, Lag                                      latency
	SetUpRate, FilesPerCall                           float64
	BytesPerCall, HeapPerCall, KernelPerCall          int64
}

// results is all records, in the order of measuring.
type results []record

func read(path string) (results, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var all results
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("%s line %d: %w", path, len(all)+1, err)
		}
		all = append(all, r)
	}
	return all, lines.Err()
}
