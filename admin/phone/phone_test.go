package phone

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/auth"
	"tandem/dialplan"
	"tandem/sip/transport"
)

const plan = `
dialplan "acme" {
  format  = 1
  domains = ["acme.example"]
}
user "alice" { extension = "201" }
echo "test" { extension = "*43" }
ring "sales" {
  extension = "300"
  members   = [user.alice]
  otherwise { go = echo.test }
}
`

type house struct {
	*Handler
	guard *transport.Guard
}

// open makes a handler with one account: alice, extension 201, password "a b:ü".
func open(t *testing.T) house {
	t.Helper()
	accounts, err := auth.New(auth.Config{KeyFile: filepath.Join(t.TempDir(), "auth.key")})
	if err != nil {
		t.Fatal(err)
	}
	cmd, err := accounts.SetCommand("acme", "alice", "a b:ü", "201", "Alice A.", time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	if failed, _ := accounts.Apply(cmd).(error); failed != nil {
		t.Fatal(failed)
	}
	compiled, diags := dialplan.Compile([]dialplan.Source{{Name: "acme.dialplan.hcl", Text: []byte(plan)}})
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	guard := transport.NewGuard(transport.GuardConfig{Failures: 3, Window: time.Minute, BanFor: time.Minute})
	h, err := New(Config{
		Version: "1.2.3", Accounts: accounts, Plan: func() *dialplan.Plan { return compiled }, Guard: guard, HTTPS: func() int { return 8443 },
		ICE: func(tenant, user, host string) []ICEServer {
			return []ICEServer{{URLs: []string{"turn:" + host + ":3478"}, Username: tenant + "/" + user}}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return house{h, guard}
}

// ask sends one request over https, unless change says otherwise.
func (h house) ask(path string, change func(*http.Request)) *http.Response {
	r := httptest.NewRequest(http.MethodGet, "https://pbx.acme.example:8443"+path, nil)
	r.RemoteAddr, r.TLS = "192.0.2.1:5000", &tls.ConnectionState{}
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestThePageAndAllItNamesAreThere(t *testing.T) {
	h := open(t)
	page := text(t, h.ask("/", nil))
	for _, name := range []string{"icon.svg", "phone.css", "phone.js"} {
		if !strings.Contains(page, `"`+name+`"`) {
			t.Errorf("the page does not name %s", name)
		}
		r := h.ask("/"+name, nil)
		if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") == "" || r.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("%s: %s %v", name, r.Status, r.Header)
		}
		again := h.ask("/"+name, func(q *http.Request) { q.Header.Set("If-None-Match", r.Header.Get("ETag")) })
		if again.StatusCode != http.StatusNotModified {
			t.Errorf("%s again: %s; want 304", name, again.Status)
		}
	}
	for _, name := range []string{"/nothing", "/phone.go", "/../phone.go", "/page/phone.js"} {
		if r := h.ask(name, nil); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s; want 404", name, r.Status)
		}
	}
	if r := h.ask("/", func(q *http.Request) { q.Method = http.MethodPost }); r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %s", r.Status)
	}
}

func TestThePageLearnsItsAccount(t *testing.T) {
	h := open(t)
	for _, name := range []string{"alice@acme.example", "201@acme.example", "201@192.0.2.99"} {
		r := h.ask("/phone/account", func(q *http.Request) { q.SetBasicAuth(name, "a b:ü") })
		if r.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s: %s", name, r.Status, text(t, r))
		}
		var got Account
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Fatal(err)
		}
		want := Account{
			User: "alice", Extension: "201", Display: "Alice A.",
			ICE:      []ICEServer{{URLs: []string{"turn:pbx.acme.example:3478"}, Username: "acme/alice"}},
			Services: []Service{{"*43", "echo", "test"}, {"300", "ring", "sales"}},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if r.Header.Get("Cache-Control") != "no-store" {
			t.Error("the answer may be kept")
		}
	}
	if st := h.Stats(); st.Accounts != 3 || st.Refused != 0 {
		t.Errorf("%+v", st)
	}
}

func TestWhoIsNotTheAccountLearnsNothing(t *testing.T) {
	for name, c := range map[string]struct {
		user, password string
		plain          bool
		status         int
	}{
		"a wrong password":   {"alice@acme.example", "guess", false, 401},
		"an unknown user":    {"bob@acme.example", "a b:ü", false, 401},
		"an unknown domain":  {"alice@other.example", "a b:ü", false, 401},
		"nobody":             {"", "", false, 401},
		"without encryption": {"alice@acme.example", "a b:ü", true, 403},
	} {
		h := open(t)
		r := h.ask("/phone/account", func(q *http.Request) {
			if c.user != "" {
				q.SetBasicAuth(c.user, c.password)
			}
			if c.plain {
				q.TLS = nil
			}
		})
		if r.StatusCode != c.status || strings.Contains(text(t, r), "Alice") || h.Stats().Refused != 1 {
			t.Errorf("%s: %s", name, r.Status)
		}
	}
}

func TestOnThisMachineNoEncryptionIsNeeded(t *testing.T) {
	h := open(t)
	r := h.ask("/phone/account", func(q *http.Request) {
		q.SetBasicAuth("alice@acme.example", "a b:ü")
		q.TLS, q.RemoteAddr = nil, "127.0.0.1:5000"
	})
	if r.StatusCode != http.StatusOK {
		t.Errorf("%s: %s", r.Status, text(t, r))
	}
}

func TestGuessingPasswordsIsBanned(t *testing.T) {
	h := open(t)
	guess := func(password string) int {
		return h.ask("/phone/account", func(q *http.Request) { q.SetBasicAuth("alice@acme.example", password) }).StatusCode
	}
	for range 3 {
		if got := guess("guess"); got != http.StatusUnauthorized {
			t.Fatalf("a guess is answered with %d", got)
		}
	}
	if got := guess("a b:ü"); got != http.StatusForbidden {
		t.Errorf("after three guesses the right password is answered with %d; want 403", got)
	}
	if len(h.guard.Bans()) != 1 {
		t.Errorf("bans: %v", h.guard.Bans())
	}
}

func TestAnyoneLearnsWhereTheEncryptedPageIs(t *testing.T) {
	h := open(t)
	if got := text(t, h.ask("/phone/about", nil)); got != `{"version":"1.2.3","https":8443}`+"\n" {
		t.Errorf("%q", got)
	}
}

func TestHostsLoseTheirPortAndKeepTheirBrackets(t *testing.T) {
	for in, want := range map[string]string{
		"pbx.example:8443": "pbx.example", "pbx.example": "pbx.example", "192.0.2.1:80": "192.0.2.1", "[2001:db8::1]:8443": "[2001:db8::1]", "[2001:db8::1]": "[2001:db8::1]",
	} {
		if got := hostOf(in); got != want {
			t.Errorf("%s: %s; want %s", in, got, want)
		}
	}
}
