package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAnEmptyTokenOfTheEnvironmentIsRemembered(t *testing.T) {
	for _, test := range []struct {
		env  []string
		want bool
	}{
		{nil, false},
		{[]string{"TANDEM_CLUSTER_TOKEN="}, false}, // a node alone
		{[]string{"TANDEM_CLUSTER_TOKEN=", "TANDEM_CLUSTER_LISTEN=10.0.0.1:7000"}, true},
		{[]string{"TANDEM_CLUSTER_TOKEN= ", "TANDEM_CLUSTER_LISTEN=10.0.0.1:7000"}, true},
		{[]string{"TANDEM_CLUSTER_TOKEN=x", "TANDEM_CLUSTER_LISTEN=10.0.0.1:7000"}, false},
	} {
		c, diags := Parse("tandem.hcl", []byte("cluster {\n  token = \"\"\n}\n"), test.env)
		if Failed(diags) || c.Cluster.TokenEmpty != test.want {
			t.Errorf("%q: %v, %v", test.env, c.Cluster.TokenEmpty, diags)
		}
	}
}

func TestAClusterThatNobodyCouldReachIsAMistake(t *testing.T) {
	for text, want := range map[string]string{
		`join = ["10.0.0.2:7000"]`: "cluster.join needs cluster.listen",
		`token = "x"`:              "cluster.token needs cluster.listen",
		`listen = "0.0.0.0:7000"`:  "cannot be told to come to 0.0.0.0:7000",
		`listen = "10.0.0.1:0"`:    "needs a port",
		"listen = \"0.0.0.0:7000\"\nadvertise = \"0.0.0.0:7000\"":                                             "nobody can be reached",
		"listen = \"0.0.0.0:7000\"\nadvertise = \"10.0.0.1:7000\"\njoin = [\"10.0.0.2:7000\"]\ntoken = \"x\"": "",
	} {
		file := filepath.Join(t.TempDir(), "tandem.hcl")
		if err := os.WriteFile(file, []byte("cluster {\n"+text+"\n}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, diags := Load(file, nil)
		if want == "" && Failed(diags) {
			t.Errorf("%s: %v", text, diags)
		}
		if want != "" && (len(diags) != 1 || !strings.Contains(diags[0].Error(), want)) {
			t.Errorf("%s: got %v, want %q", text, diags, want)
		}
	}
}
