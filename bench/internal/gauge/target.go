//go:build linux

package gauge

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Target is a server to be measured, written as name=tandem,sip=127.0.0.1:6080,pid=123,admin=http://127.0.0.1:9790 on the command line.
type Target struct {
	Name string
	SIP  netip.AddrPort // where it takes SIP over UDP
	NG   netip.AddrPort // where it takes rtpengine's NG protocol
	PID  int
	Heap Heap

	Apart bool // each phone has an address of its own: the server tells calls by them
}

// ParseTarget reads the command line's form.
func ParseTarget(text string) (t Target, err error) {
	for _, pair := range strings.Split(text, ",") {
		key, value, _ := strings.Cut(pair, "=")
		switch key {
		case "name":
			t.Name = value
		case "sip":
			t.SIP, err = netip.ParseAddrPort(value)
		case "ng":
			t.NG, err = netip.ParseAddrPort(value)
		case "pid":
			t.PID, err = strconv.Atoi(value)
		case "admin":
			t.Heap.Admin = strings.TrimSuffix(value, "/")
		case "rpc":
			t.Heap.RPC = value
		case "apart":
			t.Apart, err = strconv.ParseBool(value)
		default:
			return t, fmt.Errorf("target %q: unknown key %q; there are name, sip, ng, pid, admin, rpc, apart", text, key)
		}
		if err != nil {
			return t, fmt.Errorf("target %q: %s: %w", text, key, err)
		}
	}
	if t.Name == "" || t.PID == 0 {
		return t, fmt.Errorf("target %q: name and pid are needed", text)
	}
	return t, nil
}

// Targets is a flag.Value of several targets.
type Targets []Target

// String is the names.
func (t *Targets) String() string {
	var names []string
	for _, one := range *t {
		names = append(names, one.Name)
	}
	return strings.Join(names, " ")
}

// Set adds one.
func (t *Targets) Set(text string) error {
	one, err := ParseTarget(text)
	*t = append(*t, one)
	return err
}
