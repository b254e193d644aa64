package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem/admin"
)

// drainLook is how often a node that drains is asked how far it is.
const drainLook = 200 * time.Millisecond

func newDrain(f *apiFlags) *cobra.Command {
	var wait time.Duration
	c := &cobra.Command{
		Use: "drain", Short: "Give leadership, addresses and calls of a node to the others, and end it", Args: cobra.NoArgs,
		Long: "Give what a node does to the other nodes of its cluster, and end its process: for an upgrade, or for good. It leads no more; calls that begin\n" +
			"run elsewhere; then its calls and its addresses move, and people go on talking. Calls that cannot move are waited for, and ended when\n" +
			"the time is over: those that ring, and those that the node answers itself (music, menus, conferences). A node alone waits for all calls.\n" +
			"Interrupted, this command says no more, and the node goes on with it.",
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, _ []string) error {
			if wait > 24*time.Hour {
				return usageError{errors.New("--wait must be at most 24h")}
			}
			last, err := client.Drain(ctx, wait)
			if err != nil {
				return err
			}
			line := newStatusLine(out)
			for last.State != admin.DrainOver {
				line.show(drainWord(last))
				select {
				case <-time.After(drainLook):
				case <-ctx.Done():
					line.end()
					return ctx.Err()
				}
				if last, err = client.Drained(ctx); err != nil {
					line.end()
					return fmt.Errorf("the node has not said how it ended: %w", err)
				}
			}
			line.end()
			if err := out.object(last, func() { out.say("%s", drainedWord(last)) }); err != nil {
				return err
			}
			if last.Problem != "" && last.Heir != "" {
				return exitError{code: exitFailed}
			}
			return nil
		}),
	}
	c.Flags().DurationVar(&wait, "wait", -1, "how long to wait for calls that cannot move; default is node.drain_timeout of the node")
	c.Flags().Lookup("wait").DefValue = "0s" // what stands there is not for people
	return c
}

// drainWord says how far a node is that drains.
func drainWord(d admin.Drain) string {
	heir := "no other node can go on with its calls"
	if d.Heir != "" {
		heir = fmt.Sprintf("%d calls will go to %s", d.Movable, d.Heir)
	} else if d.Movable > 0 {
		heir += fmt.Sprintf(", %d are waited for", d.Movable)
	}
	if d.State == admin.DrainMoving {
		return fmt.Sprintf("moving %d calls to %s", d.Movable, cmp.Or(d.Heir, "nobody"))
	}
	var rest []string
	for _, r := range []struct {
		n    int
		what string
	}{{d.Ringing, "ring"}, {d.Fixed, "cannot move"}, {d.Sessions, "are media sessions of other proxies"}} {
		if r.n > 0 {
			rest = append(rest, fmt.Sprintf("%d %s", r.n, r.what))
		}
	}
	if len(rest) == 0 {
		return heir
	}
	return fmt.Sprintf("%s; waiting for calls that end by themselves: %s, %s left", heir, strings.Join(rest, ", "), span(d.Left))
}

// drainedWord says how it went.
func drainedWord(d admin.Drain) string {
	word := "the node has ended; no call was left"
	switch {
	case d.Heir != "" && d.Problem != "":
		word = "the node has ended, and its calls could not be given away in order: " + d.Problem
	case d.Heir != "":
		word = fmt.Sprintf("the node has ended; node %s goes on with %d calls", d.Heir, d.Moved)
	}
	if d.Ended > 0 {
		word += fmt.Sprintf("; %d calls that could not move were ended", d.Ended)
	}
	return word
}

// statusLine is a line that changes on a terminal; elsewhere each change is a line of its own. Nothing of it is the result.
type statusLine struct {
	out  *output
	term bool
	last string
}

func newStatusLine(out *output) *statusLine {
	f, ok := out.notes.(*os.File)
	return &statusLine{out: out, term: ok && isTerminal(f)}
}

func (l *statusLine) show(text string) {
	if l.term {
		fmt.Fprint(l.out.notes, "\r\x1b[K"+text)
		return
	}
	head := text[:max(strings.LastIndex(text, ", "), 0)] // the time left alone is no news
	if head == "" {
		head = text
	}
	if head != l.last {
		l.out.note("%s", text)
	}
	l.last = head
}

func (l *statusLine) end() {
	if l.term {
		fmt.Fprint(l.out.notes, "\r\x1b[K")
	}
}
