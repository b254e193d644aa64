package auth

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// SecretsMachine is the name under which Secrets stand in the log.
const SecretsMachine = "secrets"

// MaxSecrets and MaxSecret bound how many secrets there are, and how long one is in bytes.
const (
	MaxSecrets = 10_000
	MaxSecret  = 256
)

// Secrets are passwords that this side gives to others, such as carriers, so they must be known and not only checked. They are kept as
// accounts are: sealed with the key of the Store, in the log, in snapshots and nowhere else. A plan names them and never holds them.
// Secrets are a machine of their own. Reads may come from any goroutine; Apply and Restore from Raft's only.
type Secrets struct {
	key      *key
	changes  atomic.Uint64
	mu       sync.RWMutex
	byTenant map[string]map[string]*secret
	count    int
}

// A secret is never changed in place.
type secret struct {
	tenant, name string
	text         string
	sealed       []byte // as it came, for snapshots
	changed      int64  // Unix nanoseconds
}

// Secret is what a reader may know of a secret: everything but itself.
type Secret struct {
	Tenant  string    `json:"tenant"`
	Name    string    `json:"name"`
	Changed time.Time `json:"changed"`
}

// NewSecrets makes an empty table, sealed with the key of s.
func NewSecrets(s *Store) *Secrets {
	return &Secrets{key: s.key, byTenant: make(map[string]map[string]*secret)}
}

// The kinds of commands about secrets, behind the version.
const (
	kindSecretSet kind = iota + 1
	kindSecretRemove
)

// SetCommand builds the command that sets a secret. Apply's result is nil or an *Error.
func (s *Secrets) SetCommand(tenant, name, text string, now time.Time) ([]byte, error) {
	refuse := func(what string) error { return &Error{Tenant: tenant, Name: name, Err: ErrInvalid, Detail: what} }
	switch {
	case tenant == "" || len(tenant) > MaxName || textFault(tenant, MaxName) != "":
		return nil, refuse("the tenant is not one")
	case name == "" || textFault(name, MaxName) != "":
		return nil, refuse(fmt.Sprintf("the name of the secret is empty, longer than %d bytes, or not plain text", MaxName))
	case text == "" || textFault(text, MaxSecret) != "":
		return nil, refuse(fmt.Sprintf("the secret is empty, longer than %d bytes, or not plain text", MaxSecret))
	}
	sealed := make([]byte, nonceSize, nonceSize+len(text)+tagSize)
	if _, err := rand.Read(sealed); err != nil {
		return nil, err
	}
	sealed = s.key.aead.Seal(sealed, sealed, []byte(text), secretBinding(tenant, name))
	e := encoder{b: []byte{commandVersion, byte(kindSecretSet)}}
	e.fixed(s.key.id[:])
	e.int(now.UnixNano())
	e.strings(tenant, name, string(sealed))
	return e.b, nil
}

// RemoveCommand builds the command that removes a secret. Apply's result is nil or an *Error with ErrNotFound.
func (s *Secrets) RemoveCommand(tenant, name string) []byte {
	e := encoder{b: []byte{commandVersion, byte(kindSecretRemove)}}
	e.strings(tenant, name)
	return e.b
}

// secretBinding keeps a sealed secret from opening under another name, or as an account.
func secretBinding(tenant, name string) []byte {
	return append([]byte("secret\x00"), binding(tenant, name, "")...)
}

// Apply carries out one committed command, in Raft's goroutine. It panics on a command that this node cannot understand or open, as Store
// does.
func (s *Secrets) Apply(cmd []byte) any {
	d := decoder{b: cmd}
	version, k := d.byte(), kind(d.byte())
	switch {
	case version == commandVersion && k == kindSecretSet:
		var id keyID
		d.fixed(id[:])
		v, err := s.read(&d)
		if err == nil && id != s.key.id {
			err = s.key.mismatch(id)
		}
		if err != nil {
			panic(fmt.Errorf("auth: the log holds a secret that this node cannot read: %w", err))
		}
		return s.set(v)
	case version == commandVersion && k == kindSecretRemove:
		tenant, name := d.string(MaxName), d.string(MaxName)
		if err := d.done(); err != nil {
			panic(fmt.Errorf("auth: the log holds a command about secrets that is damaged: %w", err))
		}
		return s.remove(tenant, name)
	case k&optionalKind != 0:
		return errOptionalKind
	}
	panic(fmt.Errorf("auth: the log holds a command about secrets (version %d, kind %d) that this program does not know: upgrade it", version, k))
}

// read reads a sealed secret and opens it.
func (s *Secrets) read(d *decoder) (*secret, error) {
	v := &secret{changed: d.int(), tenant: d.string(MaxName), name: d.string(MaxName), sealed: []byte(d.string(nonceSize + MaxSecret + tagSize))}
	if err := d.done(); err != nil {
		return nil, err
	}
	if len(v.sealed) < nonceSize {
		return nil, errTruncated
	}
	text, err := s.key.aead.Open(nil, v.sealed[:nonceSize], v.sealed[nonceSize:], secretBinding(v.tenant, v.name))
	if err != nil {
		return nil, fmt.Errorf("secret %s of %s is damaged, or sealed with another key: %w", v.name, v.tenant, err)
	}
	v.text = string(text)
	return v, nil
}

func (s *Secrets) set(v *secret) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := s.byTenant[v.tenant]
	if names[v.name] == nil {
		if s.count >= MaxSecrets {
			return &Error{Tenant: v.tenant, Name: v.name, Err: ErrFull, Detail: fmt.Sprintf("%d secrets is the most", MaxSecrets)}
		}
		s.count++
	}
	if names == nil {
		names = make(map[string]*secret)
		s.byTenant[v.tenant] = names
	}
	names[v.name] = v
	s.changes.Add(1)
	return nil
}

func (s *Secrets) remove(tenant, name string) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := s.byTenant[tenant]
	if names[name] == nil {
		return &Error{Tenant: tenant, Name: name, Err: ErrNotFound, Detail: "no secret has this name"}
	}
	delete(names, name)
	if len(names) == 0 {
		delete(s.byTenant, tenant)
	}
	s.count--
	s.changes.Add(1)
	return nil
}

// Get gives a secret, "" when it is not set.
func (s *Secrets) Get(tenant, name string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if v := s.byTenant[tenant][name]; v != nil {
		return v.text
	}
	return ""
}

// Changes counts the changes, so that whoever uses secrets knows when to look again.
func (s *Secrets) Changes() uint64 { return s.changes.Load() }

// List lists the secrets by tenant and name, without their texts.
func (s *Secrets) List() []Secret {
	all := s.sorted()
	out := make([]Secret, len(all))
	for i, v := range all {
		out[i] = Secret{Tenant: v.tenant, Name: v.name, Changed: time.Unix(0, v.changed).UTC()}
	}
	return out
}

func (s *Secrets) sorted() []*secret {
	s.mu.RLock()
	all := make([]*secret, 0, s.count)
	for _, names := range s.byTenant {
		for _, v := range names {
			all = append(all, v)
		}
	}
	s.mu.RUnlock()
	slices.SortFunc(all, func(a, b *secret) int {
		if c := strings.Compare(a.tenant, b.tenant); c != 0 {
			return c
		}
		return strings.Compare(a.name, b.name)
	})
	return all
}

const secretsMagic = "tandem/secrets 1\n"

// Snapshot gives a function that writes the secrets of now, sealed: magic, key id, count, and each behind its length.
func (s *Secrets) Snapshot() (func(io.Writer) error, error) {
	all := s.sorted()
	return func(w io.Writer) error {
		e := encoder{b: []byte(secretsMagic)}
		e.fixed(s.key.id[:])
		e.uint(uint64(len(all)))
		for _, v := range all {
			var item encoder
			item.int(v.changed)
			item.strings(v.tenant, v.name, string(v.sealed))
			e.strings(string(item.b))
		}
		_, err := w.Write(e.b)
		return err
	}, nil
}

// Restore replaces all secrets by those of a snapshot. An empty one, of a program that had none, has none.
func (s *Secrets) Restore(in io.Reader) error {
	byTenant, count, err := s.readSnapshot(bufio.NewReader(in))
	if err != nil {
		return fmt.Errorf("auth: restore the snapshot of secrets: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byTenant, s.count = byTenant, count
	s.changes.Add(1)
	return nil
}

func (s *Secrets) readSnapshot(in *bufio.Reader) (map[string]map[string]*secret, int, error) {
	byTenant, count := make(map[string]map[string]*secret), 0
	if _, err := in.Peek(1); err == io.EOF {
		return byTenant, 0, nil
	}
	head := make([]byte, len(secretsMagic)+keyIDSize)
	if _, err := io.ReadFull(in, head); err != nil {
		return nil, 0, err
	}
	if string(head[:len(secretsMagic)]) != secretsMagic {
		return nil, 0, errors.New("this is not a snapshot of secrets, or of another version")
	}
	err := readItems(in, MaxSecrets, func(d *decoder) error {
		v, err := s.read(d)
		if err != nil {
			return err
		}
		if byTenant[v.tenant] == nil {
			byTenant[v.tenant] = make(map[string]*secret)
		}
		if byTenant[v.tenant][v.name] == nil {
			count++
		}
		byTenant[v.tenant][v.name] = v
		return nil
	})
	return byTenant, count, err
}
