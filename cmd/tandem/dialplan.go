package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"tandem/admin"
	"tandem/dialplan"
)

func newDialplan(f *apiFlags) *cobra.Command {
	return group("dialplan", "Check, format, apply, explain and show dialplans", nil,
		newPlanCheck(f), newPlanFormat(), newPlanApply(f), newPlanSet(f), newPlanPut(f), newPlanRemove(f), newPlanJSON(f), newPlanShow(f), newPlanDiff(f), newPlanReplay(f), newPlanExplain(f), newPlanHistory(f), newPlanRollback(f))
}

// readPlanFiles reads files and, of directories, their *.dialplan.hcl and the tables (*.csv) beside them.
func readPlanFiles(paths []string) ([]dialplan.Source, error) {
	var out []dialplan.Source
	for _, path := range paths {
		files := []string{path}
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if info.IsDir() {
			if files, err = filepath.Glob(filepath.Join(path, "*.dialplan.hcl")); err != nil {
				return nil, err
			}
			if len(files) == 0 {
				return nil, fmt.Errorf("%s holds no *.dialplan.hcl", path)
			}
			tables, err := filepath.Glob(filepath.Join(path, "*.csv"))
			if err != nil {
				return nil, err
			}
			files = append(files, tables...)
		}
		for _, name := range files {
			text, err := readPlanFile(name)
			if err != nil {
				return nil, err
			}
			out = append(out, dialplan.Source{Name: name, Text: text})
		}
	}
	return out, nil
}

func readPlanFile(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, dialplan.MaxBytes+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > dialplan.MaxBytes:
		return nil, fmt.Errorf("%s is larger than %d MiB", name, dialplan.MaxBytes>>20)
	}
	return text, nil
}

func newPlanCheck(f *apiFlags) *cobra.Command {
	var cover bool
	c := &cobra.Command{
		Use: "check FILE...", Aliases: []string{"test"}, Short: "Report every mistake in a dialplan and run its tests, without a node", Args: needs("FILE", 1, 0),
		Long: "Report every mistake in a dialplan with file, line and column, and run its test blocks. Files, or directories whose\n" +
			"*.dialplan.hcl are meant; all together are one dialplan. No node is asked.",
		RunE: func(cmd *cobra.Command, args []string) error {
			out, err := f.out(cmd)
			if err != nil {
				return err
			}
			sources, err := readPlanFiles(args)
			if err != nil {
				return err
			}
			return checkPlan(out, sources, cover)
		},
	}
	c.Flags().BoolVar(&cover, "cover", false, "say which nodes and ways no test goes to")
	return c
}

func checkPlan(out *output, sources []dialplan.Source, cover bool) error {
	plan, diags := dialplan.Compile(sources)
	report := struct {
		OK          bool                  `json:"ok"`
		Hash        string                `json:"hash,omitempty"`
		Diagnostics []dialplan.Diagnostic `json:"diagnostics"`
		Coverage    *dialplan.Coverage    `json:"coverage,omitempty"`
	}{OK: !dialplan.Failed(diags), Diagnostics: append([]dialplan.Diagnostic{}, diags...)}
	if report.OK {
		report.Hash = plan.Hash()
		if cover {
			c := plan.Coverage()
			report.Coverage = &c
		}
	}
	err := out.object(report, func() {
		for _, d := range diags {
			out.note("%s", d.String())
		}
		if report.OK {
			nodes, tests := 0, 0
			for _, t := range plan.Tenants() {
				nodes, tests = nodes+t.Nodes, tests+t.Tests
			}
			out.say("the dialplan is fine: %d file(s), %d tenant(s), %d node(s), %d test(s) passed", len(sources), len(plan.Tenants()), nodes, tests)
			if c := report.Coverage; c != nil {
				for _, m := range c.Missed {
					out.say("%s: %s", m.At, m.Text)
				}
				out.say("the tests reach %d of %d nodes and take %d of %d ways", c.NodesReached, c.Nodes, c.WaysTaken, c.Ways)
			}
		}
	})
	if err == nil && !report.OK {
		err = exitError{code: exitFailed}
	}
	return err
}

func newPlanFormat() *cobra.Command {
	var check bool
	c := &cobra.Command{
		Use: "fmt FILE...", Short: "Put dialplan files into their canonical layout", Args: needs("FILE", 1, 0),
		Long: "Put dialplan files into their canonical layout and name those that changed; - formats standard input to standard output.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && args[0] == "-" {
				text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), dialplan.MaxBytes))
				if err != nil {
					return err
				}
				_, err = cmd.OutOrStdout().Write(dialplan.Format(text))
				return err
			}
			sources, err := readPlanFiles(args)
			if err != nil {
				return err
			}
			changed := 0
			for _, s := range sources {
				text := dialplan.Format(s.Text)
				if bytes.Equal(text, s.Text) {
					continue
				}
				changed++
				fmt.Fprintln(cmd.OutOrStdout(), s.Name)
				if check {
					continue
				}
				if err := replaceFile(s.Name, text); err != nil {
					return err
				}
			}
			if check && changed > 0 {
				return exitError{code: exitFailed}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&check, "check", false, "name the files only; exit 1 when there are any")
	return c
}

// replaceFile writes a file as a whole or not at all, keeping its mode.
func replaceFile(name string, text []byte) error {
	mode := fs.FileMode(0o644)
	if info, err := os.Stat(name); err == nil {
		mode = info.Mode().Perm()
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".")
	if err != nil {
		return err
	}
	_, err = tmp.Write(text)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}

func newPlanApply(f *apiFlags) *cobra.Command {
	var version int64
	var note string
	c := &cobra.Command{
		Use: "apply FILE...", Short: "Put a dialplan in force on all nodes at once", Args: needs("FILE", 1, 0),
		Long: "Put a dialplan in force: files, or directories whose *.dialplan.hcl are meant. They replace the whole dialplan that is in\n" +
			"force. One FILE.json, as `tandem dialplan json` gives it, replaces that of its tenant. A dialplan with mistakes changes nothing.",
	}
	c.Flags().Int64Var(&version, "if-version", 0, "only when this version is in force; 0: only when there is none yet")
	c.Flags().StringVar(&note, "note", "", "why, for the history")
	c.RunE = f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
		change := admin.PlanChange{Note: note, Author: userName()}
		if c.Flags().Changed("if-version") {
			change.IfVersion = &version
		}
		if len(args) == 1 && strings.HasSuffix(args[0], ".json") {
			return applyJSON(ctx, client, out, args[0], change)
		}
		files, err := planFiles(args)
		if err != nil {
			return err
		}
		change.Files = files
		return applyPlan(ctx, client, out, change)
	})
	return c
}

// planFiles reads the files of a plan for a node.
func planFiles(paths []string) ([]admin.File, error) {
	sources, err := readPlanFiles(paths)
	if err != nil {
		return nil, err
	}
	var files []admin.File
	for _, s := range sources {
		if !utf8.Valid(s.Text) {
			return nil, fmt.Errorf("%s is not UTF-8 text; `tandem dialplan check` says where", s.Name)
		}
		files = append(files, admin.File{Name: s.Name, Text: string(s.Text)})
	}
	return files, nil
}

// userName is who runs this command, for the history.
func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return os.Getenv("USER")
}

func applyPlan(ctx context.Context, client *admin.Client, out *output, change admin.PlanChange) error {
	applied, err := client.ApplyPlan(ctx, change)
	return shownPlan(out, applied, err)
}

// shownPlan shows what became of a dialplan that was sent to a node.
func shownPlan(out *output, applied admin.PlanApplied, err error) error {
	var p *admin.Problem
	if errors.As(err, &p) {
		showDiagnostics(out, p.Diagnostics)
	}
	if err != nil {
		return err
	}
	showDiagnostics(out, applied.Diagnostics)
	return out.object(applied, func() {
		if applied.Unchanged {
			out.say("nothing to do: version %d in force is this dialplan", applied.Version.Number)
			return
		}
		out.say("version %d is in force", applied.Version.Number)
	})
}

func showDiagnostics(out *output, list []admin.Diagnostic) {
	for _, d := range list {
		out.note("%s", d.Message)
		if d.Excerpt != "" {
			out.note("%s", strings.TrimRight(d.Excerpt, "\n"))
		}
	}
}

// planNumber is an optional version number among the arguments.
func planNumber(args []string) (uint64, error) {
	if len(args) == 0 {
		return 0, nil
	}
	n, err := strconv.ParseUint(args[0], 10, 64)
	if err != nil || n == 0 {
		return 0, usageError{fmt.Errorf("%q is not the number of a version; `tandem dialplan history` lists them", args[0])}
	}
	return n, nil
}

func newPlanShow(f *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "show [VERSION]", Short: "Show the text of the dialplan in force, or of a version", Args: needs("VERSION", 0, 1),
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			n, err := planNumber(args)
			if err != nil {
				return err
			}
			v, err := client.Plan(ctx, n)
			if err != nil {
				return err
			}
			return out.object(v, func() {
				out.note("version %d, applied by %s at %s%s", v.Number, v.Author, clock(v.Time), because(v.Note))
				for i, file := range v.Files {
					if len(v.Files) > 1 {
						out.say("%s# file: %s", strings.Repeat("\n", min(i, 1)), file.Name)
					}
					fmt.Fprint(out.w, file.Text)
				}
			})
		}),
	}
}

func because(note string) string {
	if note == "" {
		return ""
	}
	return ": " + note
}

func newPlanHistory(f *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "history", Short: "List the versions of the dialplan, newest first", Args: cobra.NoArgs,
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, _ []string) error {
			l, err := client.Plans(ctx)
			if err != nil {
				return err
			}
			return list(out, l.Items, l.Total, table.Row{"Version", "Applied", "By", "Note", "Bytes", "Hash"}, func(v admin.Version) table.Row {
				return table.Row{v.Number, clock(v.Time), v.Author, v.Note, v.Bytes, v.Hash[:min(12, len(v.Hash))]}
			})
		}),
	}
}

func newPlanRollback(f *apiFlags) *cobra.Command {
	var note string
	c := &cobra.Command{
		Use: "rollback VERSION", Short: "Put an earlier version of the dialplan in force again, as a new one", Args: needs("VERSION", 1, 1),
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			n, err := planNumber(args)
			if err != nil {
				return err
			}
			v, err := client.Plan(ctx, n)
			if err != nil {
				return err
			}
			if note == "" {
				note = fmt.Sprintf("back to version %d", n)
			}
			return applyPlan(ctx, client, out, admin.PlanChange{PlanFiles: admin.PlanFiles{Files: v.Files}, Note: note, Author: userName()})
		}),
	}
	c.Flags().StringVar(&note, "note", "", "why, for the history")
	return c
}
