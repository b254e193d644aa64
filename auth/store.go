// Package auth knows who may use the telephone service: accounts with their digest secrets, and API tokens.
//
// A Store is a Raft machine: every node holds the whole table and applies the same commands in the same order.
// The *Command methods build a command (they hash, seal and draw random numbers, so that the machine never has to);
// the caller proposes it through the cluster and gets Apply's result back. Reads are local.
//
// Passwords are not kept. What is kept is HA1 (RFC 7616 §3.4.2), the hash of user, realm and password, for both names of an account
// (user and extension) and both algorithms. The realm is the tenant's name. HA1 is as good as the password for SIP, so commands
// and snapshots carry it sealed with AES-256-GCM under a key that lives in a file of the node and never enters the log.
// All nodes of a cluster have the same key file. A node whose key is not the one the log was sealed with stops with a clear message:
// New sees it by the check file beside the key, Restore by the snapshot's header, Apply by the command's.
//
// A Store has no goroutine of its own.
package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config is what a Store needs.
type Config struct {
	KeyFile string       // 32 random bytes in hexadecimal; created with mode 0600 when absent
	Log     *slog.Logger // nil discards
}

// Store is the table of accounts and tokens. Reads may come from any goroutine; Apply and Restore from Raft's only.
type Store struct {
	key    *key
	log    *slog.Logger
	nobody record // stands in for an account that does not exist

	counters struct {
		lookups, unknown           atomic.Uint64
		applied, refused           atomic.Uint64
		tokenChecks, tokenRefusals atomic.Uint64
		snapshots, restores        atomic.Uint64
	}

	mu     sync.RWMutex
	state  state
	listed []*record // all accounts by tenant and user; nil after a change, rebuilt by the next reader
}

// state is what the machine has agreed on. Records and tokens are never changed in place, only replaced.
type state struct {
	sealedBy *keyID // the key of the first sealed command, nil before it
	tenants  map[string]map[string]*record
	accounts int
	tokens   map[string]*token
}

// record is one account. tenant, user and the rest are its own copies, so that no command's buffer stays alive. What a look-up
// reads stands together at the head: with many accounts each line of memory is a wait.
type record struct {
	user     string
	disabled bool
	hashes   hashes // opened, for look-ups

	tenant, extension, display string

	changed int64        // Unix nanoseconds
	sealed  sealedHashes // as it came, for snapshots
}

func newState() state {
	return state{tenants: map[string]map[string]*record{}, tokens: map[string]*token{}}
}

// New reads or creates the key file. It starts nothing.
func New(c Config) (*Store, error) {
	log := c.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	k, err := loadKey(c.KeyFile, log)
	if err != nil {
		return nil, err
	}
	return &Store{key: k, log: log, state: newState()}, nil
}

// record finds an account by either of its names; nil when there is none. What it returns never changes.
func (s *Store) record(tenant, name string) *record {
	s.mu.RLock()
	r := s.state.tenants[tenant][name]
	s.mu.RUnlock()
	return r
}

// Account finds one account by user or extension. A disabled account is found too.
func (s *Store) Account(tenant, userOrExtension string) (Account, bool) {
	r := s.record(tenant, userOrExtension)
	if r == nil {
		return Account{}, false
	}
	return r.account(), true
}

// User returns the canonical user name behind a user or extension that is known and not disabled.
func (s *Store) User(tenant, name string) (user string, ok bool) {
	r := s.record(tenant, name)
	if r == nil || r.disabled {
		return "", false
	}
	return r.user, true
}

// VerifyPassword reports whether a password is that of an account, known by user or extension and not disabled; user is its canonical name.
// It takes as long for accounts that do not exist.
func (s *Store) VerifyPassword(tenant, name, password string) (user string, ok bool) {
	want, n, user, known := s.HA1(tenant, name, SHA256)
	sum := sha256.Sum256([]byte(name + ":" + tenant + ":" + password))
	same := subtle.ConstantTimeCompare(want[:n], []byte(hex.EncodeToString(sum[:]))) == 1
	if !known || !same {
		return "", false
	}
	return user, true
}

// Accounts lists a tenant's accounts by user name, or with tenant "" those of all tenants by tenant and user: at most limit of them
// from offset on, and how many there are in all.
func (s *Store) Accounts(tenant string, offset, limit int) ([]Account, int) {
	all := s.sorted()
	if tenant != "" {
		from, _ := slices.BinarySearchFunc(all, tenant, func(r *record, t string) int { return strings.Compare(r.tenant, t) })
		to, _ := slices.BinarySearchFunc(all[from:], tenant, func(r *record, t string) int {
			if r.tenant == t {
				return -1
			}
			return 1
		})
		all = all[from : from+to]
	}
	offset = min(max(offset, 0), len(all))
	page := all[offset : offset+min(max(limit, 0), len(all)-offset)]
	out := make([]Account, len(page))
	for i, r := range page {
		out[i] = r.account()
	}
	return out, len(all)
}

// sorted returns all records by tenant and user. The slice is shared: read it only.
func (s *Store) sorted() []*record {
	s.mu.RLock()
	list := s.listed
	s.mu.RUnlock()
	if list != nil {
		return list
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listed == nil {
		s.listed = s.state.records()
		slices.SortFunc(s.listed, byName)
	}
	return s.listed
}

func byName(a, b *record) int {
	if c := strings.Compare(a.tenant, b.tenant); c != 0 {
		return c
	}
	return strings.Compare(a.user, b.user)
}

// records collects every account once, in no order.
func (st *state) records() []*record {
	out := make([]*record, 0, st.accounts)
	for _, names := range st.tenants {
		for name, r := range names {
			if name == r.user {
				out = append(out, r)
			}
		}
	}
	return out
}

func (r *record) account() Account {
	return Account{
		Tenant: r.tenant, User: r.user, Extension: r.extension, Display: r.display,
		Disabled: r.disabled, Changed: time.Unix(0, r.changed).UTC(),
	}
}

// Stats are counters since New and gauges of now.
type Stats struct {
	Accounts, Tenants, Tokens  int
	Lookups, Unknown           uint64 // HA1 look-ups, and those for unknown or disabled names
	Applied, Refused           uint64 // commands applied, and accounts or commands among them that were refused
	TokenChecks, TokenRefusals uint64
	Snapshots, Restores        uint64
}

// Stats may be called from any goroutine.
func (s *Store) Stats() Stats {
	s.mu.RLock()
	st := Stats{Accounts: s.state.accounts, Tenants: len(s.state.tenants), Tokens: len(s.state.tokens)}
	s.mu.RUnlock()
	c := &s.counters
	st.Lookups, st.Unknown = c.lookups.Load(), c.unknown.Load()
	st.Applied, st.Refused = c.applied.Load(), c.refused.Load()
	st.TokenChecks, st.TokenRefusals = c.tokenChecks.Load(), c.tokenRefusals.Load()
	st.Snapshots, st.Restores = c.snapshots.Load(), c.restores.Load()
	return st
}
