package auth

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// Account is what a reader may know of one account: everything but its secrets. It is a copy; keep it as long as you like.
type Account struct {
	Tenant    string    // name of the tenant, which is also its digest realm
	User      string    // canonical user name, unique within the tenant
	Extension string    // second name of the same account, "" when it has none
	Display   string    // name shown to people, may be empty
	Disabled  bool      // a disabled account stays listed but answers no challenge
	Changed   time.Time // when it was last set, UTC, in the clock of the proposer
}

// NewAccount is one account to set or import.
type NewAccount struct {
	Tenant, User, Password, Extension, Display string
}

// Bounds of the fields of an account. They are part of the command format: changing one changes what every node accepts.
const (
	MaxName     = 64        // bytes of a tenant, user or extension name
	MaxPassword = 256       // bytes
	MaxDisplay  = 128       // bytes
	MaxImport   = 500       // accounts in one command
	MaxAccounts = 2_000_000 // accounts in one store; one more is refused with ErrFull
	MaxTokens   = 10_000    // API tokens in one store; one more is refused with ErrFull
)

// What Apply and the command builders refuse; match with errors.Is, the text says which account and why.
var (
	ErrInvalid        = errors.New("not a valid account")
	ErrNameTaken      = errors.New("name is taken")
	ErrNotFound       = errors.New("no such account or token")
	ErrPasswordNeeded = errors.New("a password is needed")
	ErrFull           = errors.New("table is full")
	ErrForeignKey     = errors.New("sealed with another key")
)

// Error says what was refused and for whom. It unwraps to one of the sentinels above.
type Error struct {
	Tenant, Name string
	Detail       string
	Err          error
}

func (e *Error) Error() string {
	who := e.Name
	if e.Tenant != "" {
		who = e.Name + "@" + e.Tenant
	}
	return fmt.Sprintf("account %s: %s: %s", who, e.Err, e.Detail)
}

// Unwrap makes errors.Is see the sentinel.
func (e *Error) Unwrap() error { return e.Err }

// Check reports the first thing that is wrong with a, nil when it may be set. A password is required.
func (a NewAccount) Check() error {
	field, why := a.fault(true)
	if why == "" {
		return nil
	}
	return &Error{Tenant: a.Tenant, Name: a.User, Err: ErrInvalid, Detail: field + " " + why}
}

// fault names the first field that breaks a rule and the rule, or returns an empty why.
func (a NewAccount) fault(needPassword bool) (field, why string) {
	if why := nameFault(a.Tenant); why != "" {
		return "tenant", why
	}
	if why := nameFault(a.User); why != "" {
		return "user", why
	}
	if a.Password == "" && needPassword {
		return "password", "is empty"
	}
	if why := textFault(a.Password, MaxPassword); why != "" {
		return "password", why
	}
	if a.Extension != "" {
		if why := nameFault(a.Extension); why != "" {
			return "extension", why
		}
	}
	return "display", textFault(a.Display, MaxDisplay)
}

// nameFault says what is wrong with a tenant, user or extension name: 1 to 64 of A-Z a-z 0-9 . _ + * # -
// This is the part of RFC 3261's user production that phones can dial and digest names can carry without quoting.
func nameFault(name string) string {
	if name == "" {
		return "is empty"
	}
	if len(name) > MaxName {
		return fmt.Sprintf("is longer than %d characters", MaxName)
	}
	for i, r := range name {
		if !nameRune(r) {
			return fmt.Sprintf("has %q at character %d; allowed are letters, digits and . _ + * # -", r, utf8.RuneCountInString(name[:i])+1)
		}
	}
	return ""
}

func nameRune(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return true
	}
	switch r {
	case '.', '_', '+', '*', '#', '-':
		return true
	}
	return false
}

// textFault says what is wrong with free text: it must be UTF-8 without control characters, of at most limit bytes.
func textFault(text string, limit int) string {
	if len(text) > limit {
		return fmt.Sprintf("is longer than %d bytes", limit)
	}
	if !utf8.ValidString(text) {
		return "is not UTF-8"
	}
	for _, r := range text {
		if r < 0x20 || r == 0x7f {
			return fmt.Sprintf("has the control character %U", r)
		}
	}
	return ""
}
