package auth

import (
	"errors"
	"fmt"
	"time"
)

// commandVersion is the first byte of every command.
const commandVersion = 1

// kind is the second byte. A kind with the optional bit set is skipped by a node that does not know it;
// any other unknown kind stops the node, because going on would mean to disagree with its peers.
type kind byte

const (
	kindSet         kind = 1 // one account or many: key, time, entries
	kindRemove      kind = 2 // tenant, user
	kindEnable      kind = 3 // tenant, user, disabled, time
	kindTokenCreate kind = 4
	kindTokenRevoke kind = 5

	optionalKind kind = 0x80
)

var errOptionalKind = errors.New("an optional kind of command this version does not know")

// command is one decoded command; which fields count depends on kind.
type command struct {
	kind     kind
	key      keyID // kindSet
	batch    bool  // kindSet: the result is an ImportResult
	at       int64 // Unix nanoseconds
	entries  []entry
	tenant   string
	user     string
	disabled bool
	token    token
}

// entry is one account of a set command.
type entry struct {
	tenant, user, extension, display string

	keep   bool // keep the hashes that are there; sealed is empty
	sealed sealedHashes
}

// SetCommand builds the command that adds an account or changes it as a whole. An empty password keeps the one that is set; it is
// refused with ErrPasswordNeeded when there is none or when the extension changes (its hash cannot be computed without).
// Apply's result is nil or an *Error. now becomes Account.Changed.
func (s *Store) SetCommand(tenant, user, password, extension, display string, now time.Time) ([]byte, error) {
	a := NewAccount{Tenant: tenant, User: user, Password: password, Extension: extension, Display: display}
	if field, why := a.fault(false); why != "" {
		return nil, &Error{Tenant: tenant, Name: user, Err: ErrInvalid, Detail: field + " " + why}
	}
	e, err := s.entry(a)
	if err != nil {
		return nil, err
	}
	return encode(command{kind: kindSet, key: s.key.id, at: now.UnixNano(), entries: []entry{e}}), nil
}

// ImportCommand builds one command for many accounts, at most MaxImport, each with a password. It returns every
// invalid account's error at once (errors.Join of *Error). Apply's result is an ImportResult.
func (s *Store) ImportCommand(accounts []NewAccount, now time.Time) ([]byte, error) {
	if len(accounts) == 0 || len(accounts) > MaxImport {
		return nil, fmt.Errorf("import %d accounts: %w: one command takes 1 to %d", len(accounts), ErrInvalid, MaxImport)
	}
	var faults []error
	c := command{kind: kindSet, key: s.key.id, batch: true, at: now.UnixNano(), entries: make([]entry, 0, len(accounts))}
	for _, a := range accounts {
		if err := a.Check(); err != nil {
			faults = append(faults, err)
			continue
		}
		e, err := s.entry(a)
		if err != nil {
			return nil, err
		}
		c.entries = append(c.entries, e)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return encode(c), nil
}

// RemoveCommand builds the command that removes an account by its user name. Apply's result is nil or an *Error with ErrNotFound.
func (s *Store) RemoveCommand(tenant, user string) []byte {
	return encode(command{kind: kindRemove, tenant: tenant, user: user})
}

// EnableCommand builds the command that disables an account or enables it again. Apply's result is nil or an *Error with ErrNotFound.
func (s *Store) EnableCommand(tenant, user string, enabled bool, now time.Time) []byte {
	return encode(command{kind: kindEnable, tenant: tenant, user: user, disabled: !enabled, at: now.UnixNano()})
}

// entry hashes and seals one checked account.
func (s *Store) entry(a NewAccount) (entry, error) {
	e := entry{tenant: a.Tenant, user: a.User, extension: a.Extension, display: a.Display, keep: a.Password == ""}
	if e.keep {
		return e, nil
	}
	h := newHashes(a)
	var err error
	e.sealed, err = s.key.seal(&h, a.Tenant, a.User, a.Extension)
	return e, err
}

func encode(c command) []byte {
	e := encoder{b: make([]byte, 0, 64+256*len(c.entries))}
	e.byte(commandVersion)
	e.byte(byte(c.kind))
	switch c.kind {
	case kindSet:
		e.fixed(c.key[:])
		e.bool(c.batch)
		e.int(c.at)
		e.uint(uint64(len(c.entries)))
		for i := range c.entries {
			c.entries[i].encode(&e)
		}
	case kindRemove:
		e.strings(possible(c.tenant), possible(c.user))
	case kindEnable:
		e.strings(possible(c.tenant), possible(c.user))
		e.bool(c.disabled)
		e.int(c.at)
	case kindTokenCreate:
		c.token.encode(&e)
	case kindTokenRevoke:
		e.strings(possible(c.token.id))
	}
	return e.b
}

// possible replaces a name that no account can have by the empty one, which no account has either. Builders that cannot
// return an error take names from people; what they wrote must never make a command that decode refuses.
func possible(name string) string {
	if len(name) > MaxName {
		return ""
	}
	return name
}

// decode is the reverse of encode. It keeps nothing of b. It accepts only what encode can have written.
func decode(b []byte) (command, error) {
	d := decoder{b: b}
	if v := d.byte(); d.err == nil && v != commandVersion {
		return command{}, fmt.Errorf("command version %d, this node knows %d", v, commandVersion)
	}
	c := command{kind: kind(d.byte())}
	switch c.kind {
	case kindSet:
		d.fixed(c.key[:])
		c.batch = d.bool()
		c.at = d.int()
		c.entries = make([]entry, d.count(MaxImport, 5))
		if len(c.entries) == 0 {
			d.fail(errors.New("a set command without accounts"))
		}
		for i := range c.entries {
			c.entries[i].decode(&d)
		}
	case kindRemove:
		c.tenant, c.user = d.string(MaxName), d.string(MaxName)
	case kindEnable:
		c.tenant, c.user = d.string(MaxName), d.string(MaxName)
		c.disabled = d.bool()
		c.at = d.int()
	case kindTokenCreate:
		c.token.decode(&d)
	case kindTokenRevoke:
		c.token.id = d.string(MaxName)
	default:
		if d.err == nil && c.kind&optionalKind != 0 {
			return c, errOptionalKind
		}
		d.fail(fmt.Errorf("command kind %d is unknown to this node", c.kind))
	}
	return c, d.done()
}

func (e *entry) encode(w *encoder) {
	w.strings(e.tenant, e.user, e.extension, e.display)
	w.bool(e.keep)
	if !e.keep {
		w.fixed(e.sealed[:])
	}
}

func (e *entry) decode(d *decoder) {
	e.tenant, e.user, e.extension = d.string(MaxName), d.string(MaxName), d.string(MaxName)
	e.display = d.string(MaxDisplay)
	if e.keep = d.bool(); !e.keep {
		d.fixed(e.sealed[:])
	}
	a := NewAccount{Tenant: e.tenant, User: e.user, Extension: e.extension, Display: e.display}
	if field, why := a.fault(false); why != "" && d.err == nil {
		d.fail(fmt.Errorf("%s %s", field, why))
	}
}
