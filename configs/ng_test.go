package configs

import (
	"strings"
	"testing"
)

func TestListenersOfTheNGProtocol(t *testing.T) {
	for _, test := range []struct{ ng, want string }{
		{`"127.0.0.1:2223", "udp:127.0.0.1:2224", "tcp:127.0.0.1:2223", "http:[::1]:2225"`, ""},
		{`"tcp:127.0.0.1"`, "has no port"},
		{`"tls:127.0.0.1:2223"`, "tcp:127.0.0.1:2223"},
		{`"tcp:192.0.2.1:2223"`, "is not loopback"},
		{`"http:127.0.0.1:2225", "tcp:127.0.0.1:2225"`, "already taken"},
	} {
		_, diags := Parse("tandem.hcl", []byte("media {\n  ng = ["+test.ng+"]\n}\n"), nil)
		if got := render(diags); Failed(diags) != (test.want != "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: %s, want %q", test.ng, got, test.want)
		}
	}
}
