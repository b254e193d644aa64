package auth

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

func newToken(t *testing.T, s *Store, name string, now, expires time.Time) (secret string) {
	t.Helper()
	secret, cmd, err := s.TokenCommand(name, now, expires)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(cmd, []byte(secret[len(secret)-2*tokenSecretSize:])) {
		t.Error("the command shows the secret")
	}
	if err := applied(s, cmd); err != nil {
		t.Fatal(err)
	}
	return secret
}

func TestATokenIsGoodUntilItExpiresOrIsRevoked(t *testing.T) {
	s := newStore(t)
	forever := newToken(t, s, "backup job", noon, time.Time{})
	short := newToken(t, s, "visitor", noon.Add(time.Second), noon.Add(time.Hour))
	if tok, ok := s.VerifyToken(short, noon.Add(time.Minute)); !ok || tok.Name != "visitor" || !tok.Expires.Equal(noon.Add(time.Hour)) {
		t.Errorf("visitor: got %+v %v", tok, ok)
	}
	if _, ok := s.VerifyToken(short, noon.Add(time.Hour)); ok {
		t.Error("an expired token was accepted")
	}
	list := s.Tokens()
	if len(list) != 2 || list[0].Name != "backup job" || list[1].Name != "visitor" {
		t.Fatalf("list: got %+v", list)
	}
	if err := applied(s, s.RevokeTokenCommand(list[0].ID)); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.VerifyToken(forever, noon); ok {
		t.Error("a revoked token was accepted")
	}
	if err := applied(s, s.RevokeTokenCommand(list[0].ID)); !errors.Is(err, ErrNotFound) {
		t.Errorf("revoke again: got %v", err)
	}
}

func TestWrongTokensAreRefusedAndCounted(t *testing.T) {
	s := newStore(t)
	secret := newToken(t, s, "x", noon, time.Time{})
	last := byte('0')
	if secret[len(secret)-1] == '0' {
		last = '1'
	}
	for _, wrong := range []string{"", "tandem_", secret[:len(secret)-1], secret + "0", secret[:len(secret)-1] + string(last), "tandem_0000000000000000" + secret[23:]} {
		if _, ok := s.VerifyToken(wrong, noon); ok {
			t.Errorf("%q was accepted", wrong)
		}
	}
	if got := s.Stats().TokenRefusals; got != 6 {
		t.Errorf("refusals: got %d, want 6", got)
	}
}

func TestATokenNeedsAName(t *testing.T) {
	for _, name := range []string{"", "a\nb"} {
		if _, _, err := newStore(t).TokenCommand(name, noon, time.Time{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %v", name, err)
		}
	}
}
