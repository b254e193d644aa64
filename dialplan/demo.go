package dialplan

import (
	_ "embed"
	"strconv"
	"strings"
)

//go:embed demo.dialplan.hcl
var demo string

// Demo is the plan of `tandem demo` for a SIP domain (a name or an IP address): tenant "demo", users 1000 to 1003, the
// ring group 1999, the echo test *43 and music at *98.
func Demo(domain string) Source {
	return Source{
		Name: "demo.dialplan.hcl",
		Text: []byte(strings.Replace(demo, `"demo.example"`, strconv.Quote(domain), 1)),
	}
}
