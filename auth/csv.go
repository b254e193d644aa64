package auth

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
)

// RowError is one mistake in a list of accounts: where it is and what is wrong.
type RowError struct {
	Line, Col int // from 1; Col counts bytes
	Text      string
}

func (e *RowError) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Col, e.Text) }

// columns a list may have; the first three must be there.
var columnNames = [...]string{"tenant", "user", "password", "extension", "display"}

const requiredColumns = 3

// ReadCSV reads a list of accounts: a header row with tenant, user, password and, if wanted, extension and display in any order, then a row
// an account. It yields every row in turn, either an account or a *RowError, and goes on after a bad row, so that one pass finds all mistakes;
// a bad header or a read error ends it. Blanks before a cell are skipped unless it is quoted. Names that stand in two rows are a mistake of the later one.
func ReadCSV(r io.Reader) iter.Seq2[NewAccount, error] {
	return func(yield func(NewAccount, error) bool) {
		rows := newRows(r)
		if err := rows.header(); err != nil {
			yield(NewAccount{}, err)
			return
		}
		for {
			a, err := rows.next()
			if err == io.EOF {
				return
			}
			if !yield(a, err) || rows.broken {
				return
			}
		}
	}
}

// rows is a reader of accounts row by row.
type rows struct {
	csv    *csv.Reader
	column [len(columnNames)]int // where each column stands in a row, -1 when it is not there
	width  int
	seen   map[[2]string]int // tenant and name -> line; at most two for each account there may be
	broken bool              // the input cannot be read any further
}

func newRows(r io.Reader) *rows {
	in := bufio.NewReader(r)
	if mark, err := in.Peek(3); err == nil && string(mark) == "\ufeff" {
		_, _ = in.Discard(len(mark)) // spreadsheets put a byte order mark first
	}
	c := csv.NewReader(in)
	c.FieldsPerRecord = -1
	c.ReuseRecord = true
	c.TrimLeadingSpace = true
	return &rows{csv: c, seen: map[[2]string]int{}}
}

// header finds the columns.
func (r *rows) header() error {
	for i := range r.column {
		r.column[i] = -1
	}
	row, err := r.csv.Read()
	if err == io.EOF {
		return &RowError{Line: 1, Col: 1, Text: "the list is empty; its first row must be tenant,user,password[,extension][,display]"}
	}
	if err != nil {
		return r.syntax(err)
	}
	if len(row) == 1 && strings.ContainsAny(row[0], ";\t") {
		return &RowError{Line: 1, Col: 1, Text: "the columns must be separated by commas"}
	}
	r.width = len(row)
	for i, text := range row {
		name := strings.ToLower(strings.TrimSpace(text))
		which := slices.Index(columnNames[:], name)
		switch {
		case which < 0:
			return r.fault(i, fmt.Sprintf("column %q is not known; there are %s", name, strings.Join(columnNames[:], ", ")))
		case r.column[which] >= 0:
			return r.fault(i, fmt.Sprintf("column %q stands there twice", name))
		}
		r.column[which] = i
	}
	for which, name := range columnNames[:requiredColumns] {
		if r.column[which] < 0 {
			return r.fault(0, fmt.Sprintf("column %q is missing; the first row must be tenant,user,password[,extension][,display]", name))
		}
	}
	return nil
}

// next returns the next account, a *RowError, or io.EOF.
func (r *rows) next() (NewAccount, error) {
	row, err := r.csv.Read()
	if err == io.EOF {
		return NewAccount{}, err
	}
	if err != nil {
		return NewAccount{}, r.syntax(err)
	}
	if len(row) != r.width {
		return NewAccount{}, r.fault(0, fmt.Sprintf("%d columns, the first row has %d", len(row), r.width))
	}
	a := NewAccount{
		Tenant: r.cell(row, "tenant"), User: r.cell(row, "user"), Password: r.cell(row, "password"),
		Extension: r.cell(row, "extension"), Display: r.cell(row, "display"),
	}
	if field, why := a.fault(true); why != "" {
		return NewAccount{}, r.fault(r.at(field), field+" "+why)
	}
	return a, r.claim(a)
}

// claim remembers the names of a and refuses those of an earlier row.
func (r *rows) claim(a NewAccount) error {
	line, _ := r.csv.FieldPos(0)
	for _, name := range []string{a.User, a.Extension} {
		if first, ok := r.seen[[2]string{a.Tenant, name}]; ok && name != "" {
			field := "user"
			if name != a.User {
				field = "extension"
			}
			return r.fault(r.at(field), fmt.Sprintf("%s %s is already on line %d", field, name, first))
		}
	}
	if len(r.seen) >= 2*MaxAccounts {
		r.broken = true
		return r.fault(0, fmt.Sprintf("more than %d accounts", MaxAccounts))
	}
	r.seen[[2]string{a.Tenant, a.User}] = line
	if a.Extension != "" {
		r.seen[[2]string{a.Tenant, a.Extension}] = line
	}
	return nil
}

func (r *rows) cell(row []string, column string) string {
	i := r.at(column)
	if i < 0 {
		return ""
	}
	if column == "password" {
		return strings.Clone(row[i]) // blanks at its end belong to it
	}
	return strings.Clone(strings.TrimSpace(row[i]))
}

// at is the place of a column in a row, -1 when the list has none.
func (r *rows) at(column string) int { return r.column[slices.Index(columnNames[:], column)] }

// fault is a mistake in cell i of the row read last.
func (r *rows) fault(i int, text string) error {
	line, col := r.csv.FieldPos(max(i, 0))
	return &RowError{Line: line, Col: col, Text: text}
}

// syntax turns what encoding/csv reports into a *RowError; anything else ends the list.
func (r *rows) syntax(err error) error {
	var bad *csv.ParseError
	if errors.As(err, &bad) {
		return &RowError{Line: bad.Line, Col: bad.Column, Text: bad.Err.Error()}
	}
	r.broken = true
	return fmt.Errorf("read the list of accounts: %w", err)
}
