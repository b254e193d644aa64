package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Token is what a reader may know of an API token: everything but its secret.
type Token struct {
	ID      string    // 16 hexadecimal digits, also the middle of the secret
	Name    string    // what a person called it
	Created time.Time // UTC
	Expires time.Time // zero: never
}

// token is one stored token. Its secret has 256 random bits, so a plain SHA-256 of it is enough to keep.
type token struct {
	id, name         string
	digest           [sha256.Size]byte
	created, expires int64 // Unix nanoseconds, 0: never
}

// The secret as a person sees it: tandem_<id>_<64 hexadecimal digits>.
const (
	tokenPrefix     = "tandem_"
	tokenIDSize     = 8
	tokenSecretSize = 32
	tokenLength     = len(tokenPrefix) + 2*tokenIDSize + 1 + 2*tokenSecretSize
)

// TokenCommand draws a new API token and builds the command that stores it. The secret is returned here and never again; only its
// hash enters the log. expires zero means never. Apply's result is nil or an *Error.
func (s *Store) TokenCommand(name string, now, expires time.Time) (secret string, cmd []byte, err error) {
	if why := textFault(name, MaxDisplay); why != "" || name == "" {
		return "", nil, &Error{Name: "token", Err: ErrInvalid, Detail: strings.TrimSpace("its name is empty or " + why)}
	}
	var random [tokenIDSize + tokenSecretSize]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", nil, err
	}
	t := token{id: hex.EncodeToString(random[:tokenIDSize]), name: name, created: now.UnixNano()}
	if !expires.IsZero() {
		t.expires = expires.UnixNano()
	}
	secret = tokenPrefix + t.id + "_" + hex.EncodeToString(random[tokenIDSize:])
	t.digest = sha256.Sum256([]byte(secret))
	return secret, encode(command{kind: kindTokenCreate, token: t}), nil
}

// RevokeTokenCommand builds the command that removes a token by its id. Apply's result is nil or an *Error with ErrNotFound.
func (s *Store) RevokeTokenCommand(id string) []byte {
	return encode(command{kind: kindTokenRevoke, token: token{id: id}})
}

// VerifyToken says whose token a secret is. The comparison takes the same time for a wrong secret and an unknown id.
func (s *Store) VerifyToken(secret string, now time.Time) (Token, bool) {
	s.counters.tokenChecks.Add(1)
	t := &token{}
	known := false
	if len(secret) == tokenLength && strings.HasPrefix(secret, tokenPrefix) {
		s.mu.RLock()
		found := s.state.tokens[secret[len(tokenPrefix):len(tokenPrefix)+2*tokenIDSize]]
		s.mu.RUnlock()
		if known = found != nil; known {
			t = found
		}
	}
	digest := sha256.Sum256([]byte(secret))
	same := subtle.ConstantTimeCompare(digest[:], t.digest[:]) == 1
	if !same || !known || (t.expires != 0 && now.UnixNano() >= t.expires) {
		s.counters.tokenRefusals.Add(1)
		return Token{}, false
	}
	return t.view(), true
}

// Tokens lists all tokens, oldest first.
func (s *Store) Tokens() []Token {
	s.mu.RLock()
	out := make([]Token, 0, len(s.state.tokens))
	for _, t := range s.state.tokens {
		out = append(out, t.view())
	}
	s.mu.RUnlock()
	slices.SortFunc(out, func(a, b Token) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

func (t *token) view() Token {
	v := Token{ID: t.id, Name: t.name, Created: time.Unix(0, t.created).UTC()}
	if t.expires != 0 {
		v.Expires = time.Unix(0, t.expires).UTC()
	}
	return v
}

func (t *token) encode(e *encoder) {
	e.strings(t.id, t.name)
	e.fixed(t.digest[:])
	e.int(t.created)
	e.int(t.expires)
}

func (t *token) decode(d *decoder) {
	t.id, t.name = d.string(MaxName), d.string(MaxDisplay)
	d.fixed(t.digest[:])
	t.created, t.expires = d.int(), d.int()
	if len(t.id) != 2*tokenIDSize && d.err == nil {
		d.fail(fmt.Errorf("%q is not the id of a token", t.id))
	}
}

// addToken stores t; the same token again changes nothing.
func (st *state) addToken(t token) error {
	old := st.tokens[t.id]
	if old != nil && old.digest != t.digest {
		return &Error{Name: "token " + t.id, Err: ErrNameTaken, Detail: "another token has this id; create it again"}
	}
	if old == nil && len(st.tokens) >= MaxTokens {
		return &Error{Name: "token " + t.id, Err: ErrFull, Detail: fmt.Sprintf("%d tokens is the most; revoke some", MaxTokens)}
	}
	st.tokens[t.id] = &t
	return nil
}

func (st *state) removeToken(id string) error {
	if st.tokens[id] == nil {
		return &Error{Name: "token " + id, Err: ErrNotFound, Detail: "no token has this id"}
	}
	delete(st.tokens, id)
	return nil
}

func (st *state) restoreToken(d *decoder) error {
	var t token
	t.decode(d)
	if err := d.done(); err != nil {
		return err
	}
	if st.tokens[t.id] != nil {
		return fmt.Errorf("token %s stands there twice", t.id)
	}
	return st.addToken(t)
}

func byID(a, b *token) int { return strings.Compare(a.id, b.id) }
