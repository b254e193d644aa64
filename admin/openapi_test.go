package admin

import (
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

var update = flag.Bool("update", false, "write golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (run with -update to see how):\n%s", path, got)
	}
}

// document is what the test reads of /openapi.json.
type document struct {
	OpenAPI    string                                `json:"openapi"`
	Paths      map[string]map[string]json.RawMessage `json:"paths"`
	Components struct {
		Schemas map[string]json.RawMessage `json:"schemas"`
	} `json:"components"`
}

type operation struct {
	OperationID string                     `json:"operationId"`
	Summary     string                     `json:"summary"`
	Responses   map[string]json.RawMessage `json:"responses"`
}

// The list of routes is a promise to those who use the API: the golden file shows every change of it.
func TestTheDocumentNamesEveryRoute(t *testing.T) {
	n := newNode(t)
	code, body, head := fetch(t, "GET", n.url()+"/openapi.json")
	if code != 200 || !strings.Contains(head.Get("Content-Type"), "json") {
		t.Fatalf("openapi.json: %d %v", code, head)
	}
	var d document
	if err := json.Unmarshal([]byte(body), &d); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(d.OpenAPI, "3.1.") {
		t.Errorf("openapi is %q, want 3.1", d.OpenAPI)
	}
	var lines, ids []string
	for path, methods := range d.Paths {
		for method, raw := range methods {
			var op operation
			if err := json.Unmarshal(raw, &op); err != nil {
				t.Fatal(err)
			}
			if op.OperationID == "" || op.Summary == "" || len(op.Responses) < 2 || slices.Contains(ids, op.OperationID) {
				t.Errorf("%s %s: %+v", method, path, op)
			}
			ids = append(ids, op.OperationID)
			var statuses []string
			for s := range op.Responses {
				statuses = append(statuses, s)
			}
			slices.Sort(statuses)
			lines = append(lines, strings.ToUpper(method)+" "+path+"  "+op.Summary+"  "+strings.Join(statuses, " "))
		}
	}
	slices.Sort(lines)
	golden(t, "routes.golden", strings.Join(lines, "\n")+"\n")
	for rest := body; ; {
		_, after, ok := strings.Cut(rest, `"$ref":"#/components/schemas/`)
		if !ok {
			break
		}
		name, tail, _ := strings.Cut(after, `"`)
		if _, there := d.Components.Schemas[name]; !there {
			t.Errorf("schema %s is named and not there", name)
		}
		rest = tail
	}
	if _, there := d.Components.Schemas["ErrorModel"]; there {
		t.Error("refusals are documented as something else than Problem")
	}
	for _, name := range []string{"Account", "Call", "Message", "Registration", "Problem", "Event", "ClusterStatus", "Diagnostic"} {
		if _, there := d.Components.Schemas[name]; !there {
			t.Errorf("there is no schema %s", name)
		}
	}
}

func TestMetricsAreCleanAndNameEveryPart(t *testing.T) {
	n := newNode(t)
	n.anAnsweredCall(t)
	code, body, _ := fetch(t, "GET", n.url()+"/metrics")
	if code != 200 {
		t.Fatalf("metrics: %d %s", code, body)
	}
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "tandem_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	for _, line := range []string{
		"tandem_ready 1", `tandem_build_info{node="n1",version="1.2.3"} 1`, "tandem_calls 1", "tandem_calls_answered_total 1", "tandem_location_bindings 2", "tandem_auth_accounts 2",
		"tandem_dialplan_version 1", "tandem_cluster_leader 1", "tandem_sip_dialogs 1", "tandem_registrar_committed_total 2", "go_memstats_heap_alloc_bytes ", "process_open_fds ",
		"tandem_sip_requests_total ", "tandem_transport_datagrams_total ", "tandem_guard_bans 0", "tandem_digest_verified_total ", "tandem_media_sessions 0", `tandem_ng_requests_total{command="offer"} 0`, "tandem_ng_sessions 0", `tandem_media_tier{reason="`, "tandem_events_published_total ",
		"tandem_certs_expiry_timestamp_seconds ", "tandem_admin_connections ", `tandem_media_dropped_total{reason="`,
	} {
		if !strings.Contains(body, "\n"+line) {
			t.Errorf("there is no line %q", line)
		}
	}
}

func TestAPanicIsAnAnswerAndNoEnd(t *testing.T) {
	s := &Server{cfg: Config{Log: discard()}}
	h := s.around(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("mistake") }))
	w := record(t, h)
	if w.Code != 500 || s.Stats().Panics != 1 || s.Stats().Requests[5] != 1 {
		t.Errorf("got %d %s, %+v", w.Code, w.Body, s.Stats())
	}
}
