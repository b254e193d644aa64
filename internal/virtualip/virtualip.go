// Package virtualip puts addresses on interfaces of this machine that move between the nodes of a cluster, takes them away again, and tells the
// network segment where they are now. It asks the kernel itself (rtnetlink, packet sockets) and keeps no state. Linux only, with CAP_NET_ADMIN and
// CAP_NET_RAW.
package virtualip

import (
	"errors"
	"net/netip"
)

// An Address is one that can move, with the interface that it stands on wherever it is.
type Address struct {
	Prefix    netip.Prefix // the address itself, and how much of it names the network
	Interface string
}

// String is as the configuration has it: "203.0.113.10/24@eth0".
func (a Address) String() string { return a.Prefix.String() + "@" + a.Interface }

// Errors that callers branch on.
var (
	ErrRight     = errors.New("the right to put addresses on interfaces is missing (CAP_NET_ADMIN, and CAP_NET_RAW to announce them); grant it, or leave cluster.virtual_addresses empty")
	ErrInterface = errors.New("this machine has no such interface")
)
