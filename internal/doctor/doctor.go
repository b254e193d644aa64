// Package doctor looks at a machine before a node is started on it: will this configuration work here, how well, and what
// should be done about it?
//
// It asks the kernel, tries what a node would do (binds, loads, attaches) and takes it back at once. It changes nothing, and
// needs no node that runs; with one, the ports that node holds are told apart from those that a stranger has.
package doctor

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tandem/configs"
)

// State of a finding.
type State string

const (
	OK      State = "ok"
	Warning State = "warning" // it works, but worse than it could, or not for everybody
	Problem State = "problem" // something that is configured will not work
)

// Finding is one thing that was looked at.
type Finding struct {
	Check  string `json:"check"`
	State  State  `json:"state"`
	Found  string `json:"found"`            // what is there, and what it means
	Advice string `json:"advice,omitempty"` // what to do; "" when nothing
}

// Sick reports whether there is a problem among the findings.
func Sick(list []Finding) bool {
	for _, f := range list {
		if f.State == Problem {
			return true
		}
	}
	return false
}

// Examine looks at everything. It takes about a second, of which the most is spent on trying the media ports.
func Examine(ctx context.Context, cfg configs.Config) []Finding {
	return (&examination{cfg: cfg, root: "/", now: time.Now()}).all(ctx)
}

// examination is one run. root is where /proc and /sys are, for tests.
type examination struct {
	cfg     configs.Config
	root    string
	now     time.Time
	running bool // a node with this configuration runs here
	list    []Finding
}

func (x *examination) all(ctx context.Context) []Finding {
	x.running = nodeRuns(x.cfg.AdminSocket())
	x.kernel()
	x.rights()
	if x.cfg.Node.Has("media") {
		x.tiers(ctx)
		x.reversePath()
		x.mediaPorts()
		x.mediaBinds()
		x.opus()
	}
	x.buffers()
	x.files()
	x.virtualAddresses()
	x.listeners()
	x.advertised(ctx)
	x.clock()
	x.directories()
	x.certificate()
	return x.list
}

func (x *examination) ok(check, found string)              { x.add(check, OK, found, "") }
func (x *examination) warn(check, found, advice string)    { x.add(check, Warning, found, advice) }
func (x *examination) problem(check, found, advice string) { x.add(check, Problem, found, advice) }

func (x *examination) add(check string, s State, found, advice string) {
	x.list = append(x.list, Finding{Check: check, State: s, Found: found, Advice: advice})
}

// read gives a file of the kernel's in one line, "" when there is none.
func (x *examination) read(path string) string {
	text, err := os.ReadFile(filepath.Join(x.root, path))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
