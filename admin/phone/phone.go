// Package phone is the phone in a web page: the page itself, embedded, and what it asks of a node besides SIP.
//
// The page's sources lie in page/, what is served in dist/: `make ui` builds one from the other and needs Node; go build does not.
package phone

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"io/fs"
	"mime"
	"net/http"
	"net/netip"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"tandem/auth"
	"tandem/dialplan"
	"tandem/sip/transport"
)

//go:embed dist
var dist embed.FS

// Config sets a Handler up. All fields but ICE are needed.
type Config struct {
	Version  string
	Accounts *auth.Store
	Plan     func() *dialplan.Plan
	Guard    *transport.Guard
	// HTTPS is the port of the encrypted web side, 0 when there is none: browsers give a microphone to encrypted pages only.
	HTTPS func() int
	// ICE gives the STUN and TURN servers for a user, host being what the browser calls this node; nil means none.
	ICE func(tenant, user, host string) []ICEServer
}

// ICEServer is one entry of WebRTC's iceServers.
type ICEServer struct {
	URLs       []string `json:"urls"`
	Username   string   `json:"username,omitempty"`
	Credential string   `json:"credential,omitempty"`
	Expires    int64    `json:"expires,omitempty"` // Unix seconds
}

// About is the answer to GET /phone/about, which anyone may ask.
type About struct {
	Version string `json:"version"`
	HTTPS   int    `json:"https"`
}

// Account is the answer to GET /phone/account, which wants the account's name and password (RFC 7617).
type Account struct {
	User      string      `json:"user"`
	Extension string      `json:"extension"`
	Display   string      `json:"display"`
	ICE       []ICEServer `json:"ice"`
	Services  []Service   `json:"services"`
}

// Service is a number to dial.
type Service struct {
	Number string `json:"number"`
	Kind   string `json:"kind"` // echo, music, ring, ...
	Name   string `json:"name"`
}

// Handler serves the page and its questions. Any goroutine.
type Handler struct {
	cfg   Config
	files map[string]file

	accounts, refused atomic.Uint64
}

type file struct {
	body []byte
	kind string
	tag  string
}

// Stats count the questions for an account.
type Stats struct {
	Accounts uint64 // answered
	Refused  uint64 // wrong name or password, a banned source, or no encryption
}

// New reads the embedded page.
func New(c Config) (*Handler, error) {
	h := &Handler{cfg: c, files: map[string]file{}}
	err := fs.WalkDir(dist, "dist", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := dist.ReadFile(name)
		sum := sha256.Sum256(body)
		h.files["/"+strings.TrimPrefix(name, "dist/")] = file{body, mime.TypeByExtension(path.Ext(name)), `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}
		return err
	})
	return h, err
}

// Stats may be called at any time.
func (h *Handler) Stats() Stats { return Stats{h.accounts.Load(), h.refused.Load()} }

// policy lets the page load what is its own and nothing else.
const policy = "default-src 'self'; connect-src 'self' ws: wss:; media-src 'self' blob:; img-src 'self' data:; object-src 'none'; base-uri 'none'; " +
	"form-action 'none'; frame-ancestors 'none'"

// ServeHTTP answers GET and HEAD for the page's files, and GET for /phone/about and /phone/account.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Content-Security-Policy", policy)
	head.Set("Permissions-Policy", "camera=(self), microphone=(self)")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		head.Set("Allow", "GET, HEAD")
		http.Error(w, "this page is read only", http.StatusMethodNotAllowed)
		return
	}
	switch r.URL.Path {
	case "/phone/about":
		answer(w, About{h.cfg.Version, h.cfg.HTTPS()})
	case "/phone/account":
		h.account(w, r)
	case "/":
		h.file(w, r, "/index.html")
	default:
		h.file(w, r, r.URL.Path)
	}
}

func (h *Handler) file(w http.ResponseWriter, r *http.Request, name string) {
	f, ok := h.files[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", f.kind)
	w.Header().Set("ETag", f.tag)
	w.Header().Set("Cache-Control", "no-cache") // ask again, and mostly hear that nothing has changed
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.body))
}

// account answers who proves to be one. A wrong password counts for the guard like one in SIP.
func (h *Handler) account(w http.ResponseWriter, r *http.Request) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	ip := from.Addr().Unmap()
	switch {
	case err != nil || h.cfg.Guard.Banned(ip, time.Now()):
		h.refuse(w, http.StatusForbidden, "this address is banned for a while after too many failures")
		return
	case r.TLS == nil && !ip.IsLoopback():
		h.refuse(w, http.StatusForbidden, "passwords are taken over https only")
		return
	}
	name, password, _ := r.BasicAuth()
	user, domain, _ := strings.Cut(name, "@")
	plan := h.cfg.Plan()
	tenant, known := plan.TenantOf(domain)
	account, ok := h.cfg.Accounts.VerifyPassword(tenant, user, password)
	if !known || !ok {
		if name != "" {
			h.cfg.Guard.Failed(ip)
		}
		// No WWW-Authenticate: the page asks, not the browser.
		h.refuse(w, http.StatusUnauthorized, "there is no such account, or its password is another")
		return
	}
	h.accounts.Add(1)
	a, _ := h.cfg.Accounts.Account(tenant, account)
	out := Account{User: a.User, Extension: a.Extension, Display: a.Display, ICE: []ICEServer{}, Services: []Service{}}
	if h.cfg.ICE != nil {
		out.ICE = append(out.ICE, h.cfg.ICE(tenant, a.User, hostOf(r.Host))...)
	}
	for _, t := range plan.Tenants() {
		if t.Name != tenant {
			continue
		}
		for _, s := range t.Services {
			kind, name, _ := strings.Cut(s.Node, ".")
			out.Services = append(out.Services, Service{s.Number, kind, name})
		}
	}
	answer(w, out)
}

func (h *Handler) refuse(w http.ResponseWriter, status int, text string) {
	h.refused.Add(1)
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, text, status)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // who has gone needs no answer
}

// hostOf takes the port off a Host header; IPv6 addresses keep their brackets, as URLs want them.
func hostOf(host string) string {
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		return host[:i]
	}
	return host
}
