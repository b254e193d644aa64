package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/pprof"
	"path"
	"reflect"
	"runtime/debug"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"tandem/pbx"
	"tandem/sip"
)

// prefix of all paths of the API.
const prefix = "/api/v1"

// answer is an output of huma with a body.
type answer[T any] struct{ Body T }

// List is one page of a list.
type List[T any] struct {
	Items []T `json:"items" nullable:"false"`
	Total int `json:"total" doc:"How many there are in all."`
}

// Page is the part of a list that is asked for.
type Page struct {
	Offset int `query:"offset" minimum:"0" doc:"How many to leave out."`
	Limit  int `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"How many to give."`
}

// cut is the page of list.
func cut[T any](list []T, p Page) List[T] {
	total := len(list)
	from := min(p.Offset, total)
	return List[T]{Items: append([]T{}, list[from:min(from+p.Limit, total)]...), Total: total}
}

// api builds the handler of /api/v1 and /openapi.json.
func (s *Server) api() http.Handler {
	mux := http.NewServeMux()
	c := huma.DefaultConfig("Tandem", s.cfg.Version)
	c.Info.Description = "The operators' API of a Tandem node. Errors are problem documents (RFC 9457)."
	c.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	c.DocsPath, c.SchemasPath, c.CreateHooks = "", "", nil
	c.RejectUnknownQueryParameters = true
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "From `tandem token create`. The unix socket and a loopback listener need none."},
	}
	c.Security = []map[string][]string{{"token": {}}, {}}
	api := humago.New(mux, c)
	s.accountRoutes(api)
	s.registrationRoutes(api)
	s.callRoutes(api)
	s.conferenceRoutes(api)
	s.voicemailRoutes(api)
	s.promptRoutes(api)
	s.queueRoutes(api)
	s.dialplanRoutes(api)
	s.tokenRoutes(api)
	s.banRoutes(api)
	s.nodeRoutes(api)
	s.clusterRoutes(api)
	s.backupRoutes(api)
	s.drainRoutes(api)
	s.engineRoutes(api)
	s.trunkRoutes(api)
	s.eventRoutes(api)
	documentProblems(api.OpenAPI())
	mux.HandleFunc("/", notFound(mux))
	return mux
}

// schemaName names a type in the OpenAPI document: those of other packages get the package before their name, so that
// cluster.Status is not taken for Status.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case typeOf[pbx.View]():
		return "Call"
	case typeOf[sip.Traced]():
		return "Message"
	case typeOf[List[pbx.View]]():
		return "ListCall"
	case typeOf[pbx.Conference]():
		return "Conference"
	case typeOf[List[pbx.Conference]]():
		return "ListConference"
	case typeOf[pbx.Attendee]():
		return "Attendee"
	}
	pkg, ours := strings.CutPrefix(t.PkgPath(), "tandem/")
	if ours && pkg != "admin" && pkg != "events" {
		pkg = path.Base(pkg)
		return strings.ToUpper(pkg[:1]) + pkg[1:] + name
	}
	return name
}

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

// route registers an operation. The statuses it fails with, besides those all have, are given with fails.
func route[I, O any](api huma.API, method, at, id, summary string, h func(context.Context, *I) (*O, error), change ...func(*huma.Operation)) {
	tag, _, _ := strings.Cut(strings.TrimPrefix(at, "/"), "/")
	op := huma.Operation{
		OperationID: id, Method: method, Path: prefix + at, Summary: summary, Tags: []string{tag},
		MaxBodyBytes: maxBody, BodyReadTimeout: requestTimeout, DefaultStatus: http.StatusOK, Errors: []int{http.StatusUnauthorized},
	}
	if method != http.MethodGet {
		op.Errors = append(op.Errors, http.StatusServiceUnavailable)
	}
	for _, f := range change {
		f(&op)
	}
	huma.Register(api, op, h)
}

// documentProblems says of every refusal that it is a Problem, where huma would name its own model.
func documentProblems(doc *huma.OpenAPI) {
	schema := doc.Components.Schemas.Schema(typeOf[Problem](), true, "Problem")
	for _, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Put, item.Post, item.Delete} {
			if op == nil {
				continue
			}
			for _, r := range op.Responses {
				if m := r.Content[problemType]; m != nil {
					m.Schema = schema
				}
			}
		}
	}
	delete(doc.Components.Schemas.Map(), "ErrorModel")
}

func fails(status ...int) func(*huma.Operation) {
	return func(op *huma.Operation) { op.Errors = append(op.Errors, status...) }
}

func noContent(op *huma.Operation) { op.DefaultStatus = http.StatusNoContent }

func largeBody(op *huma.Operation) { op.MaxBodyBytes = maxPlanBody }

// notFound answers what no route takes.
func notFound(mux *http.ServeMux) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var allowed []string
		for _, m := range []string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete} {
			probe := r.Clone(r.Context())
			probe.Method = m
			if _, pattern := mux.Handler(probe); pattern != "/" && m != r.Method {
				allowed = append(allowed, m)
			}
		}
		if len(allowed) > 0 {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			writeProblem(w, http.StatusMethodNotAllowed, fmt.Sprintf("%s is not possible here, only %s", r.Method, strings.Join(allowed, " and ")))
			return
		}
		writeProblem(w, http.StatusNotFound, "there is nothing at "+r.URL.Path+"; /openapi.json lists what there is")
	}
}

// handler is all of one door.
func (s *Server) handler(api http.Handler, tcp bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", api)
	mux.Handle("GET /metrics", s.metrics())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", s.readyz)
	if !tcp && s.cfg.TakeOver != nil {
		mux.HandleFunc("POST "+takeOverPath, s.takeOver)
	}
	if tcp {
		mux.HandleFunc("GET /debug/pprof/", profile(pprof.Index))
		mux.HandleFunc("GET /debug/pprof/cmdline", profile(pprof.Cmdline))
		mux.HandleFunc("GET /debug/pprof/profile", profile(pprof.Profile))
		mux.HandleFunc("GET /debug/pprof/symbol", profile(pprof.Symbol))
		mux.HandleFunc("GET /debug/pprof/trace", profile(pprof.Trace))
	}
	return s.around(mux)
}

// profile gives a handler more time: profiles take as long as they are asked to.
func profile(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		extend(w, profileTimeout)
		h(w, r)
	}
}

// extend moves the deadlines of a connection.
func extend(w http.ResponseWriter, d time.Duration) {
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Now().Add(d))
	_ = c.SetWriteDeadline(time.Now().Add(d))
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}

// readiness is /readyz for those who ask for JSON.
type readiness struct {
	Ready  bool     `json:"ready"`
	Reason string   `json:"reason,omitempty"`
	Node   string   `json:"node"`
	Region string   `json:"region"`
	Roles  []string `json:"roles"`
}

// readyz says whether the node takes calls, and if not why: one line of text, or JSON for those who ask for it.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	answer := readiness{Ready: true, Node: s.cfg.Node, Region: s.cfg.Region, Roles: append([]string{}, s.cfg.Roles...)}
	status, text := http.StatusOK, "ready"
	if err := s.cfg.Ready(); err != nil {
		w.Header().Set("Retry-After", "1")
		status, text = http.StatusServiceUnavailable, err.Error()
		answer.Ready, answer.Reason = false, text
	}
	if !strings.Contains(r.Header.Get("Accept"), "application/json") {
		plain(w, status, text)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

// around bounds every request and counts its answer.
func (s *Server) around(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := &response{ResponseWriter: w}
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(requestTimeout))
		r.Body = http.MaxBytesReader(out, r.Body, maxPlanBody)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		defer func() {
			if fault := recover(); fault != nil {
				s.count.panics.Add(1)
				s.cfg.Log.Error("an admin request panicked; the node goes on", "path", r.URL.Path, "panic", fault, "stack", string(debug.Stack()))
				if out.status == 0 {
					writeProblem(out, http.StatusInternalServerError, "the node made a mistake; its log says more")
				}
			}
			s.count.requests[min(max(out.status, 200)/100, 5)].Add(1)
		}()
		next.ServeHTTP(out, r)
	})
}

// response remembers the status.
type response struct {
	http.ResponseWriter
	status int
}

// WriteHeader remembers the status.
func (r *response) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write remembers that the status was 200.
func (r *response) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController through.
func (r *response) Unwrap() http.ResponseWriter { return r.ResponseWriter }
