package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"tandem/admin"
	"tandem/configs"
)

// apiCommands are the commands that speak to a node over its API.
func apiCommands() []*cobra.Command {
	commands := []func(*apiFlags) *cobra.Command{
		newAccount, newRegistrations, newCalls, newCall, newConference, newVoicemail, newPrompts, newQueue, newPark, newDialplan, newTrunks, newBans, newMedia, newToken, newStatus, newNodes, newCluster, newBackup, newRestore, newDrain, newSIP,
	}
	var out []*cobra.Command
	for _, make := range commands {
		f := &apiFlags{}
		c := make(f)
		f.register(c)
		out = append(out, c)
	}
	return out
}

// apiFlags say which node is meant and how its answers are shown.
type apiFlags struct {
	api, dataDir, token, output string
}

func (f *apiFlags) register(c *cobra.Command) {
	flags := c.PersistentFlags()
	flags.StringVar(&f.api, "api", "", "URL or socket of the node's API; default is $TANDEM_API, then the socket in the data directory")
	flags.StringVar(&f.dataDir, "data-dir", "", "data directory of the node on this machine; default is $TANDEM_NODE_DATA_DIR, then "+configs.Default().Node.DataDir)
	flags.StringVar(&f.token, "token", "", "API token, needed for a node on another machine; default is $TANDEM_TOKEN")
	flags.StringVarP(&f.output, "output", "o", "table", "table or json")
}

// target is the node's API: the most special thing that is said counts.
func (f *apiFlags) target(getenv func(string) string) string {
	dir := f.dataDir
	switch {
	case f.api != "":
		return f.api
	case dir != "":
	case getenv("TANDEM_API") != "":
		return getenv("TANDEM_API")
	case getenv("TANDEM_NODE_DATA_DIR") != "":
		dir = getenv("TANDEM_NODE_DATA_DIR")
	default:
		dir = configs.Default().Node.DataDir
	}
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	return filepath.Join(dir, "admin.sock")
}

// verb is what a command does: with the node, for its arguments.
type verb func(ctx context.Context, c *admin.Client, out *output, args []string) error

// run makes a cobra function of a verb. Ctrl-C ends it in order.
func (f *apiFlags) run(do verb) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		out, err := f.out(cmd)
		if err != nil {
			return err
		}
		token := f.token
		if token == "" {
			token = os.Getenv("TANDEM_TOKEN")
		}
		client, err := admin.NewClient(f.target(os.Getenv), token)
		if err != nil {
			return usageError{err}
		}
		defer client.Close()
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return failure(do(ctx, client, out, args))
	}
}

func (f *apiFlags) out(cmd *cobra.Command) (*output, error) {
	if f.output != "table" && f.output != "json" {
		return nil, usageError{fmt.Errorf("--output %s is neither table nor json", f.output)}
	}
	return &output{w: cmd.OutOrStdout(), notes: cmd.ErrOrStderr(), in: cmd.InOrStdin(), json: f.output == "json"}, nil
}

// failure gives an error of the API its exit code.
func failure(err error) error {
	var p *admin.Problem
	switch {
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	case errors.As(err, &p) && p.Status == http.StatusServiceUnavailable:
		return exitError{code: exitRetry, cause: err}
	}
	return err
}

// group is a command that only has other commands. Called without one it runs first, if there is one.
func group(use, short string, first *cobra.Command, others ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs}
	if first != nil {
		c.RunE = first.RunE
		c.AddCommand(first)
	} else {
		c.RunE = func(cmd *cobra.Command, _ []string) error {
			return usageError{fmt.Errorf("%s needs a command; see %s --help", cmd.CommandPath(), cmd.CommandPath())}
		}
	}
	c.AddCommand(others...)
	return c
}

// needs checks the number of arguments; most 0 sets no limit.
func needs(what string, least, most int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return errors.New(what + " is missing")
		case most > 0 && len(args) > most:
			return fmt.Errorf("%q is too much: one %s at a time", args[most], what)
		}
		return nil
	}
}

// output is where a verb writes.
type output struct {
	w, notes io.Writer
	in       io.Reader
	json     bool
}

// object writes one thing: as JSON, or as show does.
func (o *output) object(v any, show func()) error {
	if !o.json {
		show()
		return nil
	}
	e := json.NewEncoder(o.w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// line writes one thing as a line of JSON, or as show does: for lists without end.
func (o *output) line(v any, show func()) error {
	if !o.json {
		show()
		return nil
	}
	e := json.NewEncoder(o.w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// say writes a sentence for people, who are not there when JSON is wanted.
func (o *output) say(format string, args ...any) {
	if !o.json {
		fmt.Fprintf(o.w, format+"\n", args...)
	}
}

// note writes a sentence beside the result.
func (o *output) note(format string, args ...any) { fmt.Fprintf(o.notes, format+"\n", args...) }

// list writes a list: as a JSON array, or as a table with a row for each item.
func list[T any](o *output, items []T, total int, header table.Row, row func(T) table.Row) error {
	if items == nil {
		items = []T{}
	}
	return o.object(items, func() {
		t := newTable(o.w, header)
		for _, item := range items {
			t.AppendRow(row(item))
		}
		t.Render()
		if total > len(items) {
			o.note("%d of %d", len(items), total)
		}
	})
}

func newTable(w io.Writer, header table.Row) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(header)
	return t
}

// fields writes one thing as a table of names and values.
func fields(o *output, rows ...table.Row) {
	t := table.NewWriter()
	t.SetOutputMirror(o.w)
	t.SetStyle(table.StyleLight)
	t.AppendRows(rows)
	t.Render()
}

func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// span is a duration as people read it.
func span(d time.Duration) string {
	if d < 0 {
		return "over"
	}
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}
