//go:build linux

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const lines = `{"Target":"tandem","Scenario":"call 3000/s","Name":"call","Rate":3000,"Report":{"Started":1000,"Counted":1000,"CPU":0.1}}
{"Target":"kamailio","Scenario":"call 3000/s","Name":"call","Rate":3000,"Report":{"Started":1000,"Counted":1000,"CPU":0.3,"ByeBeforeAck":7}}
{"Target":"tandem","Scenario":"call 3000/s","Name":"call","Round":1,"Report":{"Started":1000,"Counted":1000,"CPU":0.2}}
{"Target":"tandem","Scenario":"call 3000/s","Name":"call","Round":2,"Report":{"Started":1000,"Counted":999,"Failed":1,"Causes":{"INVITE answered 503":1},"CPU":0.12}}
{"Target":"tandem","Scenario":"register 1000/s","Name":"register","Memory":[{"When":"before","Heap":1000000},{"When":"after","Heap":5000000,"Things":10000}]}
{"Target":"tandem-sockets","Scenario":"media plain 500","Name":"media","Media":{"Sent":1000000,"CPU":8}}
{"Target":"rtpengine-1","Scenario":"media plain 500","Name":"media","Media":{"Sent":1000000,"CPU":10}}
{"Target":"rtpengine-2","Scenario":"media plain 500","Name":"media","Media":{"Sent":1000000,"CPU":12}}
{"Target":"tandem-sockets","Scenario":"setup","Name":"setup","Media":{"SetUpRate":3000}}
{"Target":"rtpengine-1","Scenario":"setup","Name":"setup","Media":{"SetUpRate":2000}}
{"Target":"rtpengine-2","Scenario":"setup","Name":"setup","Media":{"SetUpRate":2500}}
`

func TestVerdictsCompareMediansWithThePeersBest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results.jsonl")
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := read(path)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	all.verdicts(&out)
	for _, want := range []string{
		"| 0.40 (0.120 / 0.300) | yes |",                  // the median of 0.1, 0.2 and 0.12 per 1,000
		"| 0 (Kamailio 7) | yes |",                        // order
		"| 1; 2999 of 3000 measured ones done | **no** |", // failed calls
		"| 0.40 kB | yes |",                               // heap per binding
		"| 0.80 (8.00 / 10.00 rtpengine-1) | yes |",       // the better of the two
		"| 1.20 (3000 / 2500 rtpengine-2) | yes |",
		"| not measured | - |",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	all.signalling(&out)
	all.memory(&out)
	all.media(&out)
	all.failures(&out)
	if !strings.Contains(out.String(), "round 3: 1 x INVITE answered 503") {
		t.Errorf("the cause of the failure is missing in\n%s", out.String())
	}
}
