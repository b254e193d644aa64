package configs

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"tandem/internal/hcltext"
)

// checkWhole finds what single values cannot show: two listeners on one address, limits that contradict each other.
func (l *loader) checkWhole(c *Config) {
	l.checkRoles(c)
	l.checkListeners(c)
	l.checkMedia(c)
	l.checkLimits(&c.Limits)
	l.checkCluster(&c.Cluster)
	if (c.Certs.CertFile == "") != (c.Certs.KeyFile == "") {
		set := "certs.cert_file"
		if c.Certs.CertFile == "" {
			set = "certs.key_file"
		}
		l.at(set, "certs.cert_file and certs.key_file belong together", "set both, or none for a self-made certificate")
	}
}

// at reports a mistake where the key was set, or without a place when it still has its default.
func (l *loader) at(key, summary, detail string) {
	l.diags = append(l.diags, l.places[key].diagnostic(l.src, summary, detail))
}

func (l *loader) checkRoles(c *Config) {
	seen := map[string]bool{}
	for i, role := range c.Node.Roles {
		if seen[role] {
			l.at(itemName("node.roles", i), fmt.Sprintf("role %q stands here twice", role), "")
		}
		seen[role] = true
	}
	switch {
	case len(c.Node.Roles) == 0:
		l.at("node.roles", "a node without a role has nothing to do", `give it "signaling", "media" or both`)
		return
	case !seen["signaling"]:
		l.checkMediaOnly(c, seen["media"])
	}
	if i := slices.Index(c.Node.Roles, "edge"); i >= 0 {
		l.warn(itemName("node.roles", i), "the role edge has no effect in this version", "a node alone is its own edge; the role comes with clusters of several nodes")
	}
}

// checkMediaOnly looks at a node that opens no SIP listener.
func (l *loader) checkMediaOnly(c *Config, media bool) {
	switch {
	case !media:
		l.warn("node.roles", "a node without the roles signaling and media serves nobody", `give it "signaling", "media" or both`)
	case len(c.Media.NG) == 0:
		l.warn("node.roles", "a node without the role signaling is a media engine for other proxies, and media.ng names no listener for them",
			`write media { ng = ["127.0.0.1:2223"] }`)
	}
}

// warn reports what is allowed and probably not what was meant, where at would.
func (l *loader) warn(key, summary, detail string) {
	l.at(key, summary, detail)
	l.diags[len(l.diags)-1].Severity = Warning
}

// socket is one address that this node will open.
type socket struct {
	key     string // "sip.udp[0]"
	label   string // "sip.udp"
	network string // "udp" or "tcp"
	addr    netip.AddrPort
}

func sockets(c *Config) (all []socket) {
	add := func(network, label string, addresses ...string) {
		for i, text := range addresses {
			addr, err := netip.ParseAddrPort(text)
			if err != nil || addr.Port() == 0 {
				continue // off, or any free port
			}
			all = append(all, socket{itemName(label, i), label, network, netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())})
		}
	}
	if c.Node.Has("signaling") { // else they are not opened
		add("udp", "sip.udp", c.SIP.UDP...)
		add("tcp", "sip.tcp", c.SIP.TCP...)
		add("tcp", "sip.tls", c.SIP.TLS...)
		add("tcp", "sip.ws", c.SIP.WS...)
		add("tcp", "sip.wss", c.SIP.WSS...)
		add("tcp", "web.http", c.Web.HTTP...)
		add("tcp", "web.https", c.Web.HTTPS...)
		if c.Node.Has("media") {
			add("udp", "turn.udp", c.TURN.UDP...)
			add("tcp", "turn.tcp", c.TURN.TCP...)
			add("tcp", "turn.tls", c.TURN.TLS...)
		}
	}
	for i, text := range c.Media.NG {
		network, text := ngNetwork(text)
		if network == "http" {
			network = "tcp"
		}
		if addr, err := netip.ParseAddrPort(text); err == nil && addr.Port() != 0 {
			all = append(all, socket{itemName("media.ng", i), "media.ng", cmp.Or(network, "udp"), netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())})
		}
	}
	for _, text := range c.Media.Address {
		for i := range max(c.Media.Shards, 1) {
			if addr, err := netip.ParseAddr(text); err == nil && c.Media.ICEPort != 0 && c.Media.ICEPort+i <= 65535 {
				all = append(all, socket{"media.ice_port", "media.ice_port", "udp", netip.AddrPortFrom(addr.Unmap(), uint16(c.Media.ICEPort+i))})
			}
		}
	}
	for _, text := range c.Media.Address {
		if addr, err := netip.ParseAddr(text); err == nil && c.Media.SinglePort != 0 {
			all = append(all, socket{"media.single_port", "media.single_port", "udp", netip.AddrPortFrom(addr.Unmap(), uint16(c.Media.SinglePort))})
		}
	}
	add("tcp", "admin.listen", c.Admin.Listen)
	add("tcp", "cluster.listen", c.Cluster.Listen)
	add("tcp", "cluster.gossip", c.Cluster.Gossip)
	add("udp", "cluster.gossip", c.Cluster.Gossip)
	return all
}

func (l *loader) checkListeners(c *Config) {
	all := sockets(c)
	for i, late := range all {
		for _, early := range all[:i] {
			if early.network != late.network || early.addr.Port() != late.addr.Port() || !overlap(early.addr.Addr(), late.addr.Addr()) {
				continue
			}
			l.clash(early, late)
			break
		}
		if late.network == "udp" && late.addr.Port() >= c.Media.Ports.Min && late.addr.Port() <= c.Media.Ports.Max && late.key != "media.ice_port" && late.key != "media.single_port" {
			l.at(l.placed(late.key, late.label, "media.ports"), fmt.Sprintf("%s %s lies in the range of media.ports", late.label, late.addr),
				fmt.Sprintf("media uses %d-%d; move one of them", c.Media.Ports.Min, c.Media.Ports.Max))
		}
	}
}

// clash names both listeners; the one that was set points at the mistake when the other has its default.
func (l *loader) clash(early, late socket) {
	here, there := late, early
	if l.placed(here.key, here.label, "") == "" {
		here, there = early, late
	}
	key := l.placed(here.key, here.label, here.label)
	where := "has it by default"
	if p, set := l.places[l.placed(there.key, there.label, "")]; set {
		where = "is set in " + p.String()
	}
	same := fmt.Sprintf("%s is already taken by %s", here.addr, there.label)
	if here.addr != there.addr {
		same = fmt.Sprintf("%s overlaps with %s of %s", here.addr, there.addr, there.label)
	}
	l.at(key, fmt.Sprintf("%s: %s", here.label, same), fmt.Sprintf("%s %s; choose another port or address", there.label, where))
}

// placed is the first of the names that has a known place, else fallback.
func (l *loader) placed(item, key, fallback string) string {
	for _, name := range []string{item, key} {
		if _, set := l.places[name]; set {
			return name
		}
	}
	return fallback
}

// overlap: the same address, or one of them stands for all addresses of the family.
func overlap(a, b netip.Addr) bool {
	return a == b || a.Is4() == b.Is4() && (a.IsUnspecified() || b.IsUnspecified())
}

func (l *loader) checkMedia(c *Config) {
	if len(c.Media.Address) == 0 {
		l.at("media.address", "media has no address", `write "0.0.0.0" for all IPv4 addresses`)
	}
	bound := l.families("media.address", c.Media.Address)
	advertised := l.families("media.advertise", c.Media.Advertise)
	for family, i := range advertised {
		if _, ok := bound[family]; !ok {
			l.at(itemName("media.advertise", i), fmt.Sprintf("media.advertise has an %s address but media.address has none", family),
				"bind an address of the same family")
		}
	}
	l.checkICEPort(c)
	l.checkSinglePort(c)
	l.checkNG(c)
}

// checkICEPort keeps the browsers' ports away from those of single calls, which may take any of their range.
func (l *loader) checkICEPort(c *Config) {
	first, last := c.Media.ICEPort, c.Media.ICEPort+max(c.Media.Shards, 1)-1
	switch {
	case first == 0:
	case first < 1024 || last > 65535:
		l.at("media.ice_port", fmt.Sprintf("media.ice_port: %d-%d are not all between 1024 and 65535", first, last), "write a port like 3479, or 0 for one of media.ports")
	case first <= int(c.Media.Ports.Max) && last >= int(c.Media.Ports.Min):
		l.at("media.ice_port", fmt.Sprintf("media.ice_port: %d-%d lie in the range of media.ports", first, last), fmt.Sprintf("calls use %d-%d; write another port, or 0 for one of them", c.Media.Ports.Min, c.Media.Ports.Max))
	}
}

// checkSinglePort keeps the phones' common port away from those of single calls. One shard reads it.
func (l *loader) checkSinglePort(c *Config) {
	const key = "media.single_port"
	switch port := c.Media.SinglePort; {
	case port == 0:
	case port < 1024:
		l.at(key, fmt.Sprintf("%s: %d is below 1024", key, port), "write a port like 3478, or 0 to have ports for each call")
	case port >= int(c.Media.Ports.Min) && port <= int(c.Media.Ports.Max):
		l.at(key, fmt.Sprintf("%s: %d lies in the range of media.ports", key, port),
			fmt.Sprintf("%d-%d are for calls that need ports of their own; write another port", c.Media.Ports.Min, c.Media.Ports.Max))
	case c.Media.Shards > 1:
		l.at(l.placed("media.shards", key, key), fmt.Sprintf("media.shards: %d shards cannot read one port", c.Media.Shards), "write shards = 1 or leave it out; more than one processor is used by more nodes, each with a port")
	}
}

// checkNG keeps the door to the media engine shut: the NG protocol has no passwords.
func (l *loader) checkNG(c *Config) {
	if len(c.Media.NG) > 0 && !c.Node.Has("media") {
		l.at("media.ng", "media.ng needs the role media", `write node { roles = [..., "media"] }, or remove the line`)
	}
	for i, text := range c.Media.Engines {
		if addr, err := netip.ParseAddrPort(text); err == nil && (addr.Port() == 0 || addr.Addr().IsUnspecified()) {
			l.at(l.placed(itemName("media.engines", i), "media.engines", ""), fmt.Sprintf("media.engines: nobody can be asked at %s", addr), `write where the engine listens, like "10.0.0.7:2223"`)
		}
		if slices.Contains(c.Media.Engines[:i], text) {
			l.at(l.placed(itemName("media.engines", i), "media.engines", ""), fmt.Sprintf("media.engines names %s twice", text), "remove one of them")
		}
	}
	if len(c.Media.Engines) > 0 && !c.Node.Has("signaling") {
		l.warn("media.engines", "media.engines has no effect without the role signaling", "the engines relay the calls of a node that has phones")
	}
	for i, text := range c.Media.NG {
		_, text = ngNetwork(text)
		addr, err := netip.ParseAddrPort(text)
		if err == nil && !addr.Addr().Unmap().IsLoopback() && len(c.Media.NGAllow) == 0 {
			l.at(l.placed(itemName("media.ng", i), "media.ng", ""), fmt.Sprintf("media.ng: %s is not loopback, and media.ng_allow names nobody", addr),
				"whoever reaches an NG port commands the media engine, for the protocol has no passwords; name the proxies, like ng_allow = [\"10.0.0.5\"], or listen on loopback")
		}
	}
}

// families maps "IPv4" and "IPv6" to the index of their address, and reports a second address of one family.
func (l *loader) families(key string, addresses []string) map[string]int {
	found := map[string]int{}
	for i, text := range addresses {
		family := "IPv6"
		if addr, err := netip.ParseAddr(text); err == nil && addr.Unmap().Is4() {
			family = "IPv4"
		}
		if _, twice := found[family]; twice {
			l.at(itemName(key, i), fmt.Sprintf("%s has two %s addresses", key, family), "name at most one IPv4 and one IPv6 address")
			continue
		}
		found[family] = i
	}
	return found
}

// checkCluster looks at what a node needs to have others.
func (l *loader) checkCluster(c *Cluster) {
	listen, err := netip.ParseAddrPort(c.Listen)
	switch {
	case c.Listen == "" && len(c.Join) > 0:
		l.at("cluster.join", "cluster.join needs cluster.listen", `the other nodes must reach this one; write listen = "10.0.0.1:7000" with the address of this machine`)
	case c.Listen == "" && c.Token != "":
		l.at("cluster.token", "cluster.token needs cluster.listen", `the other nodes must reach this one; write listen = "10.0.0.1:7000" with the address of this machine`)
	case err == nil && listen.Addr().IsUnspecified() && c.Advertise == "":
		l.at("cluster.listen", fmt.Sprintf("cluster.listen: the other nodes cannot be told to come to %s", c.Listen), "write the address of this machine, or set cluster.advertise to where the others reach it")
	case err == nil && listen.Port() == 0 && c.Advertise == "":
		l.at("cluster.listen", "cluster.listen needs a port that stays the same", `write one, like "10.0.0.1:7000"`)
	}
	if ap, err := netip.ParseAddrPort(c.Advertise); err == nil && (ap.Addr().IsUnspecified() || ap.Port() == 0) {
		l.at("cluster.advertise", fmt.Sprintf("cluster.advertise: nobody can be reached at %s", c.Advertise), `write the address and port at which the other nodes reach this one, like "203.0.113.10:7000"`)
	}
}

func (l *loader) checkLimits(limits *Limits) {
	l.followTheOthers(limits)
	if limits.RegisterMin > limits.RegisterMax {
		l.at(l.placed("limits.register_min", "limits.register_max", ""), "limits.register_min is above limits.register_max",
			fmt.Sprintf("%s is more than %s", hcltext.Duration(limits.RegisterMin), hcltext.Duration(limits.RegisterMax)))
	} else if limits.RegisterDefault < limits.RegisterMin || limits.RegisterDefault > limits.RegisterMax {
		l.at(l.placed("limits.register_default", "limits.register_max", "limits.register_min"),
			"limits.register_default lies outside of register_min and register_max",
			fmt.Sprintf("%s is not between %s and %s", hcltext.Duration(limits.RegisterDefault), hcltext.Duration(limits.RegisterMin), hcltext.Duration(limits.RegisterMax)))
	}
	if limits.TCPConnectionsPerIP > limits.TCPConnections {
		l.at(l.placed("limits.tcp_connections_per_ip", "limits.tcp_connections", ""),
			"limits.tcp_connections_per_ip is above limits.tcp_connections", "one address cannot have more than all together")
	}
}

// followTheOthers moves a default that was not set into the bounds that were.
func (l *loader) followTheOthers(limits *Limits) {
	if l.placed("limits.register_default", "limits.register_default", "") == "" {
		limits.RegisterDefault = max(limits.RegisterMin, min(limits.RegisterDefault, limits.RegisterMax))
	}
	if l.placed("limits.tcp_connections_per_ip", "limits.tcp_connections_per_ip", "") == "" {
		limits.TCPConnectionsPerIP = min(limits.TCPConnectionsPerIP, limits.TCPConnections)
	}
}
