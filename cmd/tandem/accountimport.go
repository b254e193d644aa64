package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"tandem/admin"
	"tandem/auth"
)

const (
	importBatches = 4 // under way at once: the node hashes one while the log takes another
	importTries   = 8 // of one batch while the node is busy
)

func newAccountImport(f *apiFlags) *cobra.Command {
	var skip bool
	c := &cobra.Command{
		Use: "import FILE", Short: "Add or change many accounts from a CSV file", Args: needs("FILE", 1, 1),
		Long: "Add or change many accounts from a CSV file (- is standard input). Its first row names the columns:\n" +
			"tenant,user,password[,extension][,display]. Every bad row is listed with its line and column; then nothing is\n" +
			"imported, unless --skip-bad says that the good rows shall be. Importing the same file again does no harm.",
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			return importFile(ctx, client, out, args[0], skip)
		}),
	}
	c.Flags().BoolVar(&skip, "skip-bad", false, "import the good rows of a file that has bad ones")
	return c
}

// importReport is what -o json shows.
type importReport struct {
	Accounts int      `json:"accounts"` // in the file
	Added    int      `json:"added"`
	Changed  int      `json:"changed"`
	Bad      []string `json:"bad"`      // rows that are no accounts
	Rejected []string `json:"rejected"` // accounts the node refused
	Seconds  float64  `json:"seconds"`
}

func importFile(ctx context.Context, client *admin.Client, out *output, name string, skip bool) error {
	accounts, bad, err := readAccounts(out, name)
	if err != nil {
		return err
	}
	if len(bad) > 0 && !skip {
		return fmt.Errorf("%s has %d bad row(s); nothing was imported: correct them, or import the others with --skip-bad", name, len(bad))
	}
	start := time.Now()
	im := importer{client: client, bar: newProgress(out, len(accounts))}
	err = im.run(ctx, accounts)
	im.bar.end()
	r := importReport{Accounts: len(accounts), Added: im.added, Changed: im.changed, Bad: orEmpty(bad), Rejected: orEmpty(im.rejected), Seconds: time.Since(start).Seconds()}
	for _, text := range im.rejected {
		out.note("%s: %s", name, text)
	}
	if err != nil {
		return unfinished(err, im.added+im.changed, len(accounts))
	}
	if err := out.object(r, func() {
		out.say("%d accounts imported in %.1f s: %d new, %d changed", r.Added+r.Changed, r.Seconds, r.Added, r.Changed)
	}); err != nil {
		return err
	}
	if n := len(bad) + len(im.rejected); n > 0 {
		return fmt.Errorf("%d row(s) were not imported", n)
	}
	return nil
}

// unfinished says how far an import came.
func unfinished(err error, done, total int) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("interrupted: %d of %d accounts were imported; import the same file again to finish", done, total)
	}
	return fmt.Errorf("%d of %d accounts were imported, then: %w; import the same file again to finish", done, total, err)
}

func orEmpty(s []string) []string { return append([]string{}, s...) }

// readAccounts reads the whole file and lists every bad row of it.
func readAccounts(out *output, name string) (accounts []admin.NewAccount, bad []string, err error) {
	in := out.in
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, nil, err
		}
		defer file.Close()
		in = file
	}
	for a, err := range auth.ReadCSV(in) {
		var row *auth.RowError
		switch {
		case errors.As(err, &row):
			text := fmt.Sprintf("%s:%d:%d: %s", name, row.Line, row.Col, row.Text)
			bad = append(bad, text)
			out.note("%s", text)
		case err != nil:
			return nil, bad, fmt.Errorf("%s: %w", name, err)
		default:
			accounts = append(accounts, admin.NewAccount(a))
		}
	}
	return accounts, bad, nil
}

// importer sends batches, a few at once.
type importer struct {
	client *admin.Client
	bar    *progress

	mu             sync.Mutex
	added, changed int
	rejected       []string
	err            error
}

func (im *importer) run(ctx context.Context, accounts []admin.NewAccount) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	batches := make(chan []admin.NewAccount)
	var wg sync.WaitGroup
	for range importBatches {
		wg.Go(func() {
			for b := range batches {
				if im.batch(ctx, b) != nil {
					cancel()
				}
			}
		})
	}
	for from := 0; from < len(accounts) && ctx.Err() == nil; from += auth.MaxImport {
		select {
		case batches <- accounts[from:min(from+auth.MaxImport, len(accounts))]:
		case <-ctx.Done():
		}
	}
	close(batches)
	wg.Wait()
	if im.err == nil {
		im.err = ctx.Err()
	}
	return im.err
}

// batch imports some accounts, again while the node says that it is busy: that does no harm, because setting an account
// twice is the same as once.
func (im *importer) batch(ctx context.Context, accounts []admin.NewAccount) error {
	var r admin.ImportResult
	var err error
	for try := range importTries {
		r, err = im.client.ImportAccounts(ctx, accounts)
		var p *admin.Problem
		if !errors.As(err, &p) || p.RetryAfter == 0 || try == importTries-1 {
			break
		}
		select {
		case <-time.After(time.Duration(p.RetryAfter) * time.Second):
		case <-ctx.Done():
		}
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	if err != nil {
		if im.err == nil {
			im.err = err
		}
		return err
	}
	im.added += r.Added
	im.changed += r.Changed
	for _, bad := range r.Rejected {
		im.rejected = append(im.rejected, bad.Error)
	}
	im.bar.add(len(accounts))
	return nil
}

// progress is a bar on a terminal, and nothing elsewhere. Its methods are called by one goroutine at a time.
type progress struct {
	w           io.Writer
	unit        string // behind the numbers, with its space
	total, done int
	start, last time.Time
}

func newProgress(out *output, total int) *progress {
	p := &progress{total: total, start: time.Now()}
	if f, ok := out.notes.(*os.File); ok && isTerminal(f) && total > 0 {
		p.w = f
	}
	return p
}

func (p *progress) add(n int) {
	p.done += n
	now := time.Now()
	if p.w == nil || (now.Sub(p.last) < 100*time.Millisecond && p.done < p.total) {
		return
	}
	p.last = now
	fmt.Fprint(p.w, "\r"+bar(p.done, p.total, p.unit, now.Sub(p.start)))
}

// bytes says how far it is in bytes. total may be a guess, or 0.
func (p *progress) bytes(done, total int64) {
	p.unit, p.total = " KiB", int(max(done, total)>>10)+1
	p.add(int(done>>10) - p.done)
}

func (p *progress) end() {
	if p.w != nil {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// bar draws how far it is, how fast, and how long it will take.
func bar(done, total int, unit string, taken time.Duration) string {
	const width = 30
	full := width * done / total
	rate := float64(done) / max(taken.Seconds(), 0.001)
	left := time.Duration(float64(total-done) / max(rate, 1) * float64(time.Second))
	return fmt.Sprintf("[%s%s] %3d %%  %d of %d%s  %.0f%s/s  %s left ", strings.Repeat("#", full), strings.Repeat(".", width-full), 100*done/total, done, total, unit, rate, unit, left.Round(time.Second))
}
