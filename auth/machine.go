package auth

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// ImportResult is what Apply returns for an import: every account that could be set is.
type ImportResult struct {
	Added, Changed int
	Rejected       []Rejection // in the order of the command
}

// Rejection is one account of an import that was refused.
type Rejection struct {
	Index int // position in the slice given to ImportCommand
	Err   error
}

// Apply carries out one committed command. It is called from Raft's goroutine, in log order, and is deterministic and idempotent.
// The result is nil or an error that matches one of the package's sentinels; for an import an ImportResult.
//
// It panics on a command this node cannot understand or open: the node must stop rather than disagree with its peers or lose accounts.
func (s *Store) Apply(cmd []byte) any {
	c, err := decode(cmd)
	if errors.Is(err, errOptionalKind) {
		return err
	}
	if err != nil {
		panic(fmt.Errorf("auth: the log holds a command this node cannot apply: %w", err))
	}
	records, err := s.openEntries(&c)
	if errors.Is(err, ErrForeignKey) {
		s.counters.refused.Add(1)
		return err
	}
	if err != nil {
		panic(fmt.Errorf("auth: %w", err))
	}
	s.counters.applied.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.run(&c, records)
}

// run changes the state; s.mu is held.
func (s *Store) run(c *command, records []*record) any {
	var err error
	switch c.kind {
	case kindSet:
		id := c.key // a copy, so that the state does not keep the command alive
		s.state.sealedBy = &id
		s.listed = nil
		result := s.state.setAll(c, records)
		s.counters.refused.Add(uint64(len(result.Rejected)))
		if c.batch {
			return result
		}
		if len(result.Rejected) > 0 {
			return result.Rejected[0].Err
		}
		return nil
	case kindRemove:
		s.listed = nil
		err = s.state.remove(c.tenant, c.user)
	case kindEnable:
		s.listed = nil
		err = s.state.enable(c)
	case kindTokenCreate:
		err = s.state.addToken(c.token)
	case kindTokenRevoke:
		err = s.state.removeToken(c.token.id)
	}
	if err != nil {
		s.counters.refused.Add(1)
		return err
	}
	return nil
}

// openEntries checks the key of a set command and opens its hashes, before any lock is taken. Only Apply and Restore write
// the state and both run in Raft's goroutine, so reading sealedBy needs no lock here.
// A command sealed by a key other than the agreed one is refused by every node alike (ErrForeignKey); a node whose
// own key is not the agreed one gets another error and must stop.
func (s *Store) openEntries(c *command) ([]*record, error) {
	if c.kind != kindSet {
		return nil, nil
	}
	agreed := c.key
	if s.state.sealedBy != nil {
		agreed = *s.state.sealedBy
	}
	if agreed != s.key.id {
		return nil, s.key.mismatch(agreed)
	}
	if c.key != agreed {
		return nil, &Error{Name: "import", Err: ErrForeignKey, Detail: fmt.Sprintf("the command was sealed with key %s, the cluster uses %s; give the node that sent it the right key file", c.key, agreed)}
	}
	records := make([]*record, len(c.entries))
	for i := range c.entries {
		r, err := c.entries[i].record(s.key, c.at)
		if err != nil {
			return nil, err
		}
		records[i] = r
	}
	return records, nil
}

func (k *key) mismatch(agreed keyID) error {
	return fmt.Errorf("the accounts are sealed with key %s, but this node's key file holds key %s; put the right key file in place", agreed, k.id)
}

func (e *entry) record(k *key, at int64) (*record, error) {
	r := &record{tenant: e.tenant, user: e.user, extension: e.extension, display: e.display, changed: at, sealed: e.sealed}
	if e.keep {
		return r, nil
	}
	var err error
	r.hashes, err = k.open(&r.sealed, r.tenant, r.user, r.extension)
	if err != nil {
		return nil, fmt.Errorf("the secrets of account %s@%s are damaged: %w", r.user, r.tenant, err)
	}
	return r, nil
}

func (st *state) setAll(c *command, records []*record) ImportResult {
	var out ImportResult
	for i, r := range records {
		added, err := st.set(r, c.entries[i].keep)
		switch {
		case err != nil:
			out.Rejected = append(out.Rejected, Rejection{Index: i, Err: err})
		case added:
			out.Added++
		default:
			out.Changed++
		}
	}
	return out
}

// set adds r or puts it in the place of the account with the same user name.
func (st *state) set(r *record, keep bool) (added bool, err error) {
	names := st.tenants[r.tenant]
	old := names[r.user]
	if err := st.mayset(r, old, names[r.extension], keep); err != nil {
		return false, err
	}
	if names == nil {
		names = map[string]*record{}
		st.tenants[r.tenant] = names
	}
	if old != nil {
		r.disabled = old.disabled
		if keep {
			r.hashes, r.sealed = old.hashes, old.sealed
		}
		delete(names, old.extension)
		delete(names, old.user) // so that the map's key is r's string and old can be freed
	} else {
		st.accounts++
	}
	names[r.user] = r
	if r.extension != "" {
		names[r.extension] = r
	}
	return old == nil, nil
}

func (st *state) mayset(r, old, other *record, keep bool) error {
	refuse := func(reason error, detail string) error {
		return &Error{Tenant: r.tenant, Name: r.user, Err: reason, Detail: detail}
	}
	if old != nil && old.user != r.user {
		return refuse(ErrNameTaken, fmt.Sprintf("%s is the extension of %s", r.user, old.user))
	}
	if other != nil && other.user != r.user {
		what := "the extension"
		if other.user == r.extension {
			what = "the user name"
		}
		return refuse(ErrNameTaken, fmt.Sprintf("%s is %s of %s", r.extension, what, other.user))
	}
	if old == nil && st.accounts >= MaxAccounts {
		return refuse(ErrFull, fmt.Sprintf("%d accounts is the most", MaxAccounts))
	}
	if keep && old == nil {
		return refuse(ErrPasswordNeeded, "the account is new")
	}
	if keep && old.extension != r.extension {
		return refuse(ErrPasswordNeeded, "the extension changes, and the digest of the new one depends on the password")
	}
	return nil
}

func (st *state) remove(tenant, user string) error {
	names := st.tenants[tenant]
	r := names[user]
	if r == nil || r.user != user {
		return noAccount(tenant, user)
	}
	delete(names, r.user)
	delete(names, r.extension)
	if len(names) == 0 {
		delete(st.tenants, tenant)
	}
	st.accounts--
	return nil
}

func (st *state) enable(c *command) error {
	names := st.tenants[c.tenant]
	old := names[c.user]
	if old == nil || old.user != c.user {
		return noAccount(c.tenant, c.user)
	}
	r := *old // readers may hold the old one
	r.disabled, r.changed = c.disabled, c.at
	names[r.user] = &r
	if r.extension != "" {
		names[r.extension] = &r
	}
	return nil
}

func noAccount(tenant, user string) error {
	return &Error{Tenant: tenant, Name: user, Err: ErrNotFound, Detail: "no account has this user name"}
}

// The snapshot: magic, key flag and id, number of accounts, accounts by tenant and user, number of tokens, tokens by id.
// Each account and token has its length in front. Equal states give equal bytes.
const (
	snapshotMagic = "tandem/auth 1\n"
	maxItem       = 4096 // bytes of one account or token, generous
)

// Snapshot takes the state as of now and returns a function that writes it, from any goroutine, while Apply goes on.
// Only pointers are copied here: records and tokens never change.
func (s *Store) Snapshot() (func(io.Writer) error, error) {
	s.mu.RLock()
	sealedBy := s.state.sealedBy
	records := s.state.records()
	tokens := slices.Collect(maps.Values(s.state.tokens))
	s.mu.RUnlock()
	s.counters.snapshots.Add(1)
	return func(w io.Writer) error {
		slices.SortFunc(records, byName)
		slices.SortFunc(tokens, byID)
		return writeSnapshot(bufio.NewWriterSize(w, 1<<16), sealedBy, records, tokens)
	}, nil
}

func writeSnapshot(w *bufio.Writer, sealedBy *keyID, records []*record, tokens []*token) error {
	var e encoder
	e.fixed([]byte(snapshotMagic))
	e.bool(sealedBy != nil)
	if sealedBy != nil {
		e.fixed(sealedBy[:])
	}
	e.uint(uint64(len(records)))
	_, _ = w.Write(e.b) // a bufio.Writer keeps its first error for Flush
	item := func(fill func(*encoder)) {
		e.b = e.b[:0]
		fill(&e)
		var head encoder
		head.uint(uint64(len(e.b)))
		_, _ = w.Write(head.b)
		_, _ = w.Write(e.b)
	}
	for _, r := range records {
		item(r.encode)
	}
	_, _ = w.Write(binary.AppendUvarint(nil, uint64(len(tokens))))
	for _, t := range tokens {
		item(t.encode)
	}
	return w.Flush()
}

func (r *record) encode(e *encoder) {
	e.strings(r.tenant, r.user, r.extension, r.display)
	e.int(r.changed)
	e.bool(r.disabled)
	e.fixed(r.sealed[:])
}

// Restore replaces the whole state by a snapshot that Snapshot wrote; in must end where the snapshot ends. On an error the state is
// as before, and the node must not go on: the accounts are there, but this node cannot read them.
func (s *Store) Restore(in io.Reader) error {
	st, err := readSnapshot(bufio.NewReaderSize(in, 1<<16), s.key)
	if err != nil {
		return fmt.Errorf("auth: restore snapshot: %w", err)
	}
	s.counters.restores.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.listed = st, nil
	return nil
}

func readSnapshot(in *bufio.Reader, k *key) (state, error) {
	st := newState()
	head := make([]byte, len(snapshotMagic)+1)
	if _, err := io.ReadFull(in, head); err != nil {
		return st, err
	}
	if string(head[:len(snapshotMagic)]) != snapshotMagic {
		return st, errors.New("this is not a snapshot of accounts, or of another version")
	}
	if head[len(snapshotMagic)] == 1 {
		st.sealedBy = new(keyID)
		if _, err := io.ReadFull(in, st.sealedBy[:]); err != nil {
			return st, err
		}
		if *st.sealedBy != k.id {
			return st, k.mismatch(*st.sealedBy)
		}
	}
	if err := readItems(in, MaxAccounts, func(d *decoder) error { return st.restoreAccount(d, k) }); err != nil {
		return st, err
	}
	if err := readItems(in, MaxTokens, st.restoreToken); err != nil {
		return st, err
	}
	if _, err := in.ReadByte(); err != io.EOF {
		return st, errors.New("there are bytes after its end")
	}
	return st, nil
}

// readItems reads a count and that many items with their lengths.
func readItems(in *bufio.Reader, limit int, item func(*decoder) error) error {
	n, err := binary.ReadUvarint(in)
	if err != nil {
		return err
	}
	if n > uint64(limit) {
		return fmt.Errorf("%d items, at most %d may be", n, limit)
	}
	buf := make([]byte, maxItem)
	for range n {
		size, err := binary.ReadUvarint(in)
		if err != nil {
			return err
		}
		if size > maxItem {
			return fmt.Errorf("an item of %d bytes", size)
		}
		if _, err := io.ReadFull(in, buf[:size]); err != nil {
			return err
		}
		d := decoder{b: buf[:size]}
		if err := item(&d); err != nil {
			return err
		}
	}
	return nil
}

func (st *state) restoreAccount(d *decoder, k *key) error {
	e := entry{tenant: d.string(MaxName), user: d.string(MaxName), extension: d.string(MaxName), display: d.string(MaxDisplay)}
	at := d.int()
	disabled := d.bool()
	d.fixed(e.sealed[:])
	if err := d.done(); err != nil {
		return err
	}
	r, err := e.record(k, at)
	if err != nil {
		return err
	}
	added, err := st.set(r, false)
	if err == nil && !added {
		err = fmt.Errorf("account %s@%s stands there twice", r.user, r.tenant)
	}
	r.disabled = disabled
	return err
}
