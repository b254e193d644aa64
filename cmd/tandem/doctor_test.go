package main

import (
	"encoding/json"
	"fmt"
	"net"
	"testing"

	"tandem/internal/doctor"
)

func TestDoctorTellsWhatWillNotWork(t *testing.T) {
	held, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	text := func(sip string) string {
		return fmt.Sprintf(`
node { data_dir = %q }
sip {
  udp = [%q]
  tcp = []
  tls = []
}
media {
  address = "127.0.0.1"
  ports   = "25000-25039"
  tier    = "sockets"
}
admin { listen = "" }
web {
  http  = []
  https = []
}
turn {
  udp = []
  tcp = []
}
`, t.TempDir(), sip)
	}
	good := write(t, "good.hcl", text("127.0.0.1:0"))
	expect(t, 0, "WHAT TO DO", "", "doctor", "--config", good)
	bad := write(t, "bad.hcl", text(held.LocalAddr().String()))
	expect(t, 1, "is taken by another program", "", "doctor", "--config", bad)
	r := expect(t, 1, `"state": "problem"`, "", "doctor", "--config", bad, "-o", "json")
	var found []doctor.Finding
	if err := json.Unmarshal([]byte(r.out), &found); err != nil || !doctor.Sick(found) {
		t.Errorf("%v: %s", err, r.out)
	}
	expect(t, 2, "!neither table nor json", "", "doctor", "-o", "yaml")
	expect(t, 78, "!nonsense", "", "doctor", "--config", write(t, "nonsense.hcl", "nonsense = 1\n"))
}
