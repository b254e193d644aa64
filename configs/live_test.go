package configs

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestARunningNodeAdoptsLiveKeysAndNamesTheOthers(t *testing.T) {
	running, next := Default(), Default()
	next.SIP.UDP = []string{"127.0.0.1:5070"}
	next.SIP.TimerC = 4 * time.Minute
	next.Limits.CallsPerUser = 2
	next.Limits.AuthFailures.Count = 3
	next.Limits.ShardQueue = 64
	next.Log.Level = "debug"
	got, changes := running.Adopt(next)
	want := Default()
	want.SIP.TimerC, want.Limits.CallsPerUser, want.Limits.AuthFailures.Count, want.Log.Level = 4*time.Minute, 2, 3, "debug"
	if diff := cmp.Diff(want, got, emptyListsAreNone()); diff != "" {
		t.Errorf("the node runs with (-want +got):\n%s", diff)
	}
	wantChanges := []Change{
		{"sip.udp", false}, {"sip.timer_c", true}, {"limits.shard_queue", false}, {"limits.calls_per_user", true}, {"limits.auth_failures", true}, {"log.level", true},
	}
	if diff := cmp.Diff(wantChanges, changes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if _, again := got.Adopt(next); len(again) != 2 || again[0].Key != "sip.udp" || again[1].Key != "limits.shard_queue" {
		t.Errorf("read once more: %v; what waits for the next start must be named again, and nothing else", again)
	}
}

func TestSampleMarksTheKeysThatARunningNodeCanExchange(t *testing.T) {
	var c Config
	section := ""
	marked := map[string]bool{}
	for line := range strings.Lines(string(Sample())) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutSuffix(line, " {"); ok {
			section = strings.TrimSpace(name)
		}
		setting, comment, _ := strings.Cut(line, " # ")
		name, _, ok := strings.Cut(setting, "=")
		if ok {
			marked[section+"."+strings.TrimSpace(name)] = strings.HasPrefix(comment, "* ")
		}
	}
	for _, s := range schema(&c) {
		for _, k := range s.keys {
			if name := s.name + "." + k.name; marked[name] != k.live {
				t.Errorf("%s: live is %t, the sample says %t", name, k.live, marked[name])
			}
		}
	}
}

func TestARoleWithoutEffectIsSaid(t *testing.T) {
	for _, test := range []struct{ roles, want string }{
		{`["signaling", "media"]`, ""},
		{`["signaling"]`, ""},
		{`["signaling", "media", "edge"]`, "tandem.hcl:2:34: warning: the role edge has no effect in this version"},
		{`["media"]`, "tandem.hcl:2:11: warning: a node without the role signaling is a media engine for other proxies, and media.ng names no listener"},
		{`["edge"]`, "tandem.hcl:2:11: warning: a node without the roles signaling and media serves nobody"},
		{"[\"media\"]\n}\nmedia {\n  ng = [\"127.0.0.1:2223\"]", ""},
	} {
		_, diags := Parse("tandem.hcl", []byte("node {\n  roles = "+test.roles+"\n}\n"), nil)
		if got := render(diags); Failed(diags) || test.want == "" && got != "" || !strings.HasPrefix(got, test.want) {
			t.Errorf("roles %s: got %q, want %q", test.roles, got, test.want)
		}
	}
}
