package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"tandem/internal/migrate"
)

func newImport() *cobra.Command {
	return group("import", "Make a dialplan of another system's configuration", nil,
		newImportFrom("asterisk", "Make a dialplan of Asterisk's pjsip.conf and extensions.conf",
			"Read a folder like /etc/asterisk and write a dialplan, a list of accounts and a report. Nothing is asked of a node, and\n"+
				"nothing changed there: look at report.md and the plan, then `tandem dialplan apply` and `tandem account import`.", migrate.Asterisk),
		newImportFrom("freeswitch", "Make a dialplan of FreeSWITCH's directory, gateways and dialplan",
			"Read a folder like /etc/freeswitch and write a dialplan, a list of accounts and a report. Nothing is asked of a node, and\n"+
				"nothing changed there: look at report.md and the plan, then `tandem dialplan apply` and `tandem account import`.", migrate.FreeSWITCH),
	)
}

func newImportFrom(system, short, long string, read func(fs.FS, migrate.Options) (*migrate.Result, error)) *cobra.Command {
	var o migrate.Options
	var dir string
	var overwrite bool
	c := &cobra.Command{
		Use: system + " DIR", Short: short, Long: long, Args: needs("DIR", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			info, err := os.Stat(args[0])
			if err != nil {
				return err
			}
			if !info.IsDir() {
				return fmt.Errorf("%s is no folder", args[0])
			}
			r, err := read(os.DirFS(args[0]), o)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			w := importWriter{dir: dir, overwrite: overwrite}
			if err := w.write(r); err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "%d nodes and %d tests, all of which pass; %d accounts, %d secrets of trunks\n", r.Nodes, r.Tests, len(r.Accounts), len(r.Secrets))
			fmt.Fprintf(out, "%d thing(s) could not be imported, %d should be checked: %s says which\n", len(r.Unmapped), len(r.Check), filepath.Join(dir, "report.md"))
			for _, name := range w.written {
				fmt.Fprintln(out, name)
			}
			return nil
		},
	}
	flags := c.Flags()
	flags.StringVarP(&dir, "out", "o", ".", "folder that the files are written to")
	flags.BoolVar(&overwrite, "overwrite", false, "replace files of an earlier import")
	flags.StringVar(&o.Tenant, "tenant", "main", "name of the tenant, which is the realm of its passwords")
	flags.StringSliceVar(&o.Domains, "domain", nil, "SIP domain of the tenant; may be given several times")
	flags.StringVar(&o.Country, "country", "", `calling code of the country, like 44: how numbers are to be read that have no "+"`)
	flags.StringVar(&o.TimeZone, "timezone", "", "time zone of the old system, like Europe/London")
	return c
}

// importWriter writes the files of an import. Those with passwords are for their owner alone.
type importWriter struct {
	dir       string
	overwrite bool
	written   []string
}

func (w *importWriter) write(r *migrate.Result) error {
	if err := os.MkdirAll(w.dir, 0o755); err != nil {
		return err
	}
	var accounts bytes.Buffer
	table := csv.NewWriter(&accounts)
	err := table.Write([]string{"tenant", "user", "password", "extension", "display"})
	for _, a := range r.Accounts {
		err = errors.Join(err, table.Write([]string{a.Tenant, a.User, a.Password, a.Extension, a.Display}))
	}
	table.Flush()
	err = errors.Join(err, table.Error(),
		w.file("imported.dialplan.hcl", r.Plan, 0o644), w.file("report.md", []byte(r.Report()), 0o644), w.file("accounts.csv", accounts.Bytes(), 0o600))
	if len(r.Secrets) > 0 && err == nil {
		err = os.MkdirAll(filepath.Join(w.dir, "secrets"), 0o700)
	}
	for _, s := range r.Secrets {
		err = errors.Join(err, w.file(filepath.Join("secrets", s.Name), []byte(s.Password), 0o600))
	}
	return err
}

func (w *importWriter) file(name string, text []byte, mode fs.FileMode) error {
	name = filepath.Join(w.dir, name)
	if _, err := os.Lstat(name); err == nil {
		if !w.overwrite {
			return fmt.Errorf("%s is there already: choose another folder with --out, or say --overwrite", name)
		}
		if err := os.Remove(name); err != nil { // never through a link, never with a mode that was wider
			return err
		}
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Close()); err == nil {
		w.written = append(w.written, name)
	}
	return err
}
