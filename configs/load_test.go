package configs

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestEveryMistakeIsToldWithPlaceAndRemedy(t *testing.T) {
	files, err := filepath.Glob("testdata/mistakes/*.hcl")
	if err != nil || len(files) == 0 {
		t.Fatalf("no planted mistakes found: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".hcl"), func(t *testing.T) {
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, diags := Parse("tandem.hcl", src, nil)
			if !Failed(diags) {
				t.Error("the planted mistakes were not found")
			}
			golden(t, strings.TrimSuffix(file, ".hcl")+".golden", render(diags))
		})
	}
}

func TestMistakesOfTheEnvironmentNameTheirVariable(t *testing.T) {
	_, diags := Parse("tandem.hcl", []byte(`sip { udp = ["127.0.0.1:5060"] }`), []string{
		"TANDEM_SIP_UPD=0.0.0.0:5060",
		"TANDEM_SIP_TCP=127.0.0.1:5061,127.0.0.1",
		"TANDEM_MEDIA_PORTS=20001-20010",
		"TANDEM_LIMITS_CALLS=many",
		"TANDEM_CLUSTER_BOOTSTRAP=perhaps",
		"TANDEM_CLUSTER_JOIN=10.0.0.1:7000",
	})
	golden(t, "testdata/environment.golden", render(diags))
}

func TestListenersOfEnvironmentAndFileAreComparedWithEachOther(t *testing.T) {
	_, diags := Parse("tandem.hcl", []byte("sip {\n  tls = [\"127.0.0.1:5062\"]\n}"), []string{"TANDEM_SIP_TCP=127.0.0.1:5062"})
	golden(t, "testdata/environment_clash.golden", render(diags))
}

func TestSampleNamesEveryKeyWithItsDefault(t *testing.T) {
	got, diags := Parse("tandem.hcl", Sample(), nil)
	if len(diags) > 0 {
		t.Fatalf("the sample has mistakes:\n%s", render(diags))
	}
	if diff := cmp.Diff(Default(), got, emptyListsAreNone()); diff != "" {
		t.Errorf("the sample differs from the defaults:\n%s", diff)
	}
	l := &loader{name: "tandem.hcl", src: Sample(), places: map[string]place{}}
	var c Config
	l.schema = schema(&c)
	l.readText()
	for _, s := range l.schema {
		for _, k := range s.keys {
			if _, set := l.places[s.name+"."+k.name]; !set {
				t.Errorf("the sample says nothing about %s.%s", s.name, k.name)
			}
		}
	}
	if diff := cmp.Diff(Default(), c, emptyListsAreNone()); diff != "" {
		t.Errorf("over an empty Config the sample does not give the defaults:\n%s", diff)
	}
}

func TestNoFileGivesTheDefaults(t *testing.T) {
	got, diags := Load("", nil)
	if len(diags) > 0 {
		t.Fatal(render(diags))
	}
	if diff := cmp.Diff(Default(), got); diff != "" {
		t.Error(diff)
	}
	if diags := Default().Check(); len(diags) > 0 {
		t.Errorf("the defaults have mistakes:\n%s", render(diags))
	}
}

func TestEnvironmentOverridesTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tandem.hcl")
	text := "node {\n  name = \"a\"\n  data_dir = \"/tmp/a\"\n}\nmedia { address = [\"127.0.0.1\", \"::1\"] }\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, diags := Load(file, []string{
		"TANDEM_NODE_NAME=b", "TANDEM_SIP_UDP=127.0.0.1:5070, [::1]:5070", "TANDEM_SIP_TLS=", "TANDEM_LIMITS_CALLS=7",
		"TANDEM_LIMITS_AUTH_FAILURES=3/30s ban 1h", "TANDEM_CLUSTER_BOOTSTRAP=false", "TANDEM_MEDIA_PORTS=30000-30100",
		"TANDEM_SIP_TIMER_C=4m", "TANDEM_API=http://127.0.0.1:1", "TANDEM_TOKEN=x", "HOME=/",
	})
	if len(diags) > 0 {
		t.Fatal(render(diags))
	}
	want := Default()
	want.Node.Name, want.Node.DataDir = "b", "/tmp/a"
	want.SIP.UDP, want.SIP.TLS = []string{"127.0.0.1:5070", "[::1]:5070"}, nil
	want.Limits.Calls = 7
	want.Limits.AuthFailures = FailureLimit{3, 30 * time.Second, time.Hour}
	want.Cluster.Bootstrap = false
	want.Media.Address = []string{"127.0.0.1", "::1"}
	want.Media.Ports = PortRange{30000, 30099}
	want.SIP.TimerC = 4 * time.Minute
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
	if c.AdminSocket() != "/tmp/a/admin.sock" || c.CertsDir() != "/tmp/a/certs" || c.AuthKeyFile() != "/tmp/a/auth.key" || c.EventsDir() != "/tmp/a/events" || c.ClusterDir() != "/tmp/a/cluster" {
		t.Error("paths in the data directory are wrong")
	}
}

func TestVariablesThatKubernetesSetsAreNoMistakes(t *testing.T) {
	_, diags := Parse("", nil, []string{
		"TANDEM_SIP_SERVICE_HOST=10.0.0.1", "TANDEM_SIP_SERVICE_PORT=5060", "TANDEM_SIP_PORT=tcp://10.0.0.1:5060",
		"TANDEM_SIP_PORT_5060_UDP_ADDR=10.0.0.1", "TANDEM_ADMIN_PORT_9090_TCP=tcp://10.0.0.1:9090",
	})
	if len(diags) > 0 {
		t.Fatal(render(diags))
	}
}

func TestMissingAndUnreadableFilesAreSaidPlainly(t *testing.T) {
	_, diags := Load("testdata/there-is-no-such.hcl", nil)
	if got, want := render(diags), "testdata/there-is-no-such.hcl: the configuration cannot be read: there is no such file\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	_, diags = Load("testdata", nil)
	if got, want := render(diags), "testdata: the configuration cannot be read: is a directory\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHugeAndDeeplyNestedFilesAreRefusedQuietly(t *testing.T) {
	_, diags := Parse("big.hcl", []byte(strings.Repeat("#", maxFileBytes+1)), nil)
	if len(diags) != 1 || diags[0].Summary != "the file is too large" {
		t.Errorf("got %s", render(diags))
	}
	for _, piece := range []string{"[", "{", "(", "!", "-", "a{", "a?", "\"${"} {
		_, diags = Parse("deep.hcl", []byte("x = "+strings.Repeat(piece, (maxFileBytes-4)/len(piece))), nil)
		if !Failed(diags) {
			t.Errorf("%d times %q passed", maxFileBytes/len(piece), piece)
		}
	}
}

func TestRegisterDefaultFollowsTheBoundsWhenItIsNotSet(t *testing.T) {
	c, diags := Parse("t.hcl", []byte(`limits { register_max = "10m" }`), nil)
	if len(diags) > 0 || c.Limits.RegisterDefault != 10*time.Minute {
		t.Errorf("got %s, %s", c.Limits.RegisterDefault, render(diags))
	}
}

func TestConfigBuiltInAProgramIsCheckedToo(t *testing.T) {
	c := Default()
	c.SIP.TCP = []string{"127.0.0.1:1", "127.0.0.1:1", "x"}
	c.Media.Ports = PortRange{5, 7}
	if got := render(c.Check()); !strings.Contains(got, `sip.tcp: "x" is not an address`) || !strings.Contains(got, "media.ports: the range") {
		t.Errorf("got %s", got)
	}
	c = Default()
	c.SIP.TCP = []string{"127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:0", "127.0.0.1:0"}
	if got := c.Check(); len(got) != 1 || !strings.Contains(got[0].Error(), "already taken") {
		t.Errorf("got %s", render(got))
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Sample(), "TANDEM_SIP_UDP=0.0.0.0:5060")
	files, _ := filepath.Glob("testdata/mistakes/*.hcl")
	for _, file := range files {
		if src, err := os.ReadFile(file); err == nil {
			f.Add(src, "TANDEM_LIMITS_AUTH_FAILURES=1/s ban 1s")
		}
	}
	f.Fuzz(func(t *testing.T, src []byte, variable string) {
		c, diags := Parse("fuzz.hcl", src, []string{variable})
		for _, d := range diags {
			if d.Summary == "" || strings.ContainsAny(d.Excerpt, "\x00\x1b") {
				t.Errorf("unfit for a terminal: %q", d.String())
			}
		}
		if !Failed(diags) {
			if again := c.Check(); Failed(again) {
				t.Errorf("accepted, but its own check says: %s", render(again))
			}
		}
	})
}

func render(diags []Diagnostic) string {
	var b strings.Builder
	for _, d := range diags {
		fmt.Fprintln(&b, d.String())
	}
	return b.String()
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update writes it anew):\n%s", file, diff)
	}
}

func emptyListsAreNone() cmp.Option {
	return cmp.Transformer("emptyListsAreNone", func(in []string) []string {
		if len(in) == 0 {
			return nil
		}
		return in
	})
}

func TestAlarmOfQualityIsReadAndWritten(t *testing.T) {
	for text, want := range map[string]QualityAlarm{
		"off": {}, "3.1 for 5s": {3.1, 5 * time.Second}, "4 for 1m": {4, time.Minute},
	} {
		c, diags := Parse("tandem.hcl", []byte("media { mos_alarm = \""+text+"\" }"), nil)
		if len(diags) > 0 || c.Media.QualityAlarm != want {
			t.Errorf("%s: %+v\n%s", text, c.Media.QualityAlarm, render(diags))
		}
		if again, ok := parseAlarm(want.String()); !ok || again != want {
			t.Errorf("%s is written %q", text, want)
		}
	}
	for _, text := range []string{"", "5s", "3.1", "3.1 for", "0.5 for 5s", "9 for 5s", "NaN for 5s", "3.1 for 1ms", "3.1 for 5s please"} {
		if _, ok := parseAlarm(text); ok {
			t.Errorf("%q is taken", text)
		}
	}
}
