package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tandem/configs"
)

// nodeRuns reports whether somebody answers at the socket of the local commands.
func nodeRuns(path string) bool {
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// mediaPorts compares the range with what the kernel hands out, and with what the configured calls need.
func (x *examination) mediaPorts() {
	const check = "media ports"
	ports := x.cfg.Media.Ports
	if single := x.cfg.Media.SinglePort; single != 0 {
		x.ok(check, fmt.Sprintf("%d is for all phones that can be told apart there; %d-%d is enough for %d sides of calls that cannot", single, ports.Min, ports.Max, ports.Pairs()))
	} else if calls := ports.Pairs() / 2; calls < x.cfg.Limits.Calls {
		x.warn(check, fmt.Sprintf("%d-%d is enough for %d calls with audio at a time, limits.calls allows %d", ports.Min, ports.Max, calls, x.cfg.Limits.Calls),
			"widen media.ports, four ports a call, or lower limits.calls: calls beyond are refused while they ring")
	} else {
		x.ok(check, fmt.Sprintf("%d-%d is enough for %d calls with audio at a time", ports.Min, ports.Max, calls))
	}
	var low, high int
	if n, _ := fmt.Sscan(x.read("proc/sys/net/ipv4/ip_local_port_range"), &low, &high); n < 2 {
		return
	}
	first, last := max(low, int(ports.Min)), min(high, int(ports.Max))
	reserved := portSet(x.read("proc/sys/net/ipv4/ip_local_reserved_ports"))
	for first <= last && reserved[uint16(first)] {
		first++
	}
	if first > last {
		x.ok(check, "the kernel gives none of them to other programs")
		return
	}
	x.warn(check, fmt.Sprintf("the kernel gives ports of %d-%d to any program that asks for some port", first, last),
		fmt.Sprintf("sysctl -w net.ipv4.ip_local_reserved_ports=%d-%d", ports.Min, ports.Max))
}

// portSet reads "80,8000-8010".
func portSet(text string) map[uint16]bool {
	set := make(map[uint16]bool)
	for item := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(item, "-")
		if !isRange {
			to = from
		}
		low, err1 := strconv.ParseUint(from, 10, 16)
		high, err2 := strconv.ParseUint(to, 10, 16)
		if err1 != nil || err2 != nil {
			continue
		}
		for n := low; n <= high; n++ {
			set[uint16(n)] = true
		}
	}
	return set
}

// mediaBinds tries every media port.
func (x *examination) mediaBinds() {
	const check = "media ports"
	ports := x.cfg.Media.Ports
	for _, text := range x.cfg.Media.Address {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			continue // the configuration's own check has said so
		}
		if x.virtual(addr) && !x.running {
			x.ok(check, text+" comes with the node: its ports cannot be tried before")
			continue
		}
		if single := x.cfg.Media.SinglePort; single != 0 && !x.running {
			if err := try("udp", netip.AddrPortFrom(addr, uint16(single))); err != nil {
				x.problem(check, fmt.Sprintf("media.single_port %d of %s cannot be bound: %v", single, addr, cause(err)), "ss -lunp tells by whom it is taken; the node does not start without it")
			}
		}
		taken := 0
		var example uint16
		for n := int(ports.Min); n <= int(ports.Max); n++ {
			err := try("udp", netip.AddrPortFrom(addr, uint16(n)))
			if err != nil && !errors.Is(err, syscall.EADDRINUSE) {
				x.problem(check, fmt.Sprintf("%s cannot be bound: %v", addr, cause(err)), "media.address must be an address of this machine")
				taken = -1
				break
			}
			if err != nil {
				taken, example = taken+1, uint16(n)
			}
		}
		switch {
		case taken < 0:
		case taken == 0:
			x.ok(check, "all are free on "+text)
		case x.running:
			x.ok(check, fmt.Sprintf("%d are taken on %s; the node that runs here has its calls there", taken, text))
		case 4*taken > int(ports.Max)-int(ports.Min):
			x.problem(check, fmt.Sprintf("%d are taken on %s, %d among them", taken, text, example), "ss -lunp tells by whom; choose another range with media.ports")
		default:
			x.warn(check, fmt.Sprintf("%d are taken on %s, %d among them; Tandem goes round them", taken, text, example), "ss -lunp tells by whom")
		}
	}
}

// try binds an address and lets go of it.
func try(network string, at netip.AddrPort) error {
	if at.Addr().Is4() {
		network += "4"
	} else {
		network += "6"
	}
	if strings.HasPrefix(network, "udp") {
		conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(at))
		if err != nil {
			return err
		}
		return conn.Close()
	}
	l, err := net.ListenTCP(network, net.TCPAddrFromAddrPort(at))
	if err != nil {
		return err
	}
	return l.Close()
}

// cause is the kernel's word for a failed bind.
func cause(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// listeners tries every address that the node would listen on.
func (x *examination) listeners() {
	c := &x.cfg
	type listener struct {
		key, network string
		at           []string
	}
	list := []listener{
		{"cluster.listen", "tcp", one(c.Cluster.Listen)},
		{"cluster.gossip", "udp", one(c.Cluster.Gossip)},
		{"admin.listen", "tcp", one(c.Admin.Listen)},
		{"turn.udp", "udp", c.TURN.UDP},
		{"turn.tcp", "tcp", c.TURN.TCP},
		{"turn.tls", "tcp", c.TURN.TLS},
	}
	if c.Node.Has("signaling") {
		list = append(
			list,
			listener{"sip.udp", "udp", c.SIP.UDP}, listener{"sip.tcp", "tcp", c.SIP.TCP}, listener{"sip.tls", "tcp", c.SIP.TLS},
			listener{"sip.ws", "tcp", c.SIP.WS}, listener{"sip.wss", "tcp", c.SIP.WSS},
			listener{"web.http", "tcp", c.Web.HTTP}, listener{"web.https", "tcp", c.Web.HTTPS},
		)
	}
	if c.Node.Has("media") {
		list = append(list, listener{"media.ng", "udp", c.Media.NG})
	}
	free := 0
	for _, l := range list {
		for _, text := range l.at {
			at, err := netip.ParseAddrPort(text)
			if err == nil && x.listener(l.key, l.network, at) {
				free++
			}
		}
	}
	if free > 0 {
		x.ok("listeners", fmt.Sprintf("%d can be opened", free))
	}
}

func one(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

// listener tries one; true when it is free.
func (x *examination) listener(key, network string, at netip.AddrPort) bool {
	const check = "listeners"
	switch err := try(network, at); {
	case err == nil:
		return true
	case errors.Is(err, syscall.EADDRINUSE) && x.running:
		x.ok(check, key+" "+at.String()+" is taken, by the node that runs here as it seems")
	case errors.Is(err, syscall.EADDRINUSE):
		x.problem(check, key+" "+at.String()+" is taken by another program", "ss -lntup tells which; stop it, or choose another port")
	case errors.Is(err, syscall.EACCES):
		x.problem(check, key+" "+at.String()+": ports below 1024 need a right", "grant CAP_NET_BIND_SERVICE, or choose a higher port")
	case errors.Is(err, syscall.EADDRNOTAVAIL) && x.virtual(at.Addr()):
		return true // it comes with the node
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		x.problem(check, key+" "+at.String()+" is no address of this machine", "name one of its own, or 0.0.0.0 for all")
	default:
		x.problem(check, fmt.Sprintf("%s %s: %v", key, at, cause(err)), "correct "+key)
	}
	return false
}

// virtual tells whether an address is one that the node puts on an interface itself.
func (x *examination) virtual(addr netip.Addr) bool {
	return slices.ContainsFunc(x.cfg.Cluster.VirtualAddresses, func(text string) bool {
		at, _, err := configs.VirtualAddress(text)
		return err == nil && at.Addr() == addr
	})
}

// virtualAddresses looks at what they need: the rights, and the interfaces.
func (x *examination) virtualAddresses() {
	const check = "virtual addresses"
	list := x.cfg.Cluster.VirtualAddresses
	if len(list) == 0 {
		return
	}
	for _, name := range []string{"CAP_NET_ADMIN", "CAP_NET_RAW"} {
		if !x.has(name) {
			x.problem(check, "this process lacks "+name+": no address can be put on an interface and announced",
				"run the doctor as the node runs; for systemd AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW, for containers --cap-add")
			return
		}
	}
	for _, text := range list {
		_, on, err := configs.VirtualAddress(text)
		if err != nil {
			continue // the configuration's own check has said so
		}
		if _, err := net.InterfaceByName(on); err != nil {
			x.problem(check, text+": this machine has no interface "+on, "ip link lists those that there are; correct cluster.virtual_addresses")
			return
		}
	}
	x.ok(check, strings.Join(list, ", ")+" can be put on their interfaces")
}

// advertised judges the addresses that phones are told.
func (x *examination) advertised(ctx context.Context) {
	const check = "advertise"
	before := len(x.list)
	for _, text := range x.cfg.Media.Advertise {
		addr, err := netip.ParseAddr(text)
		switch {
		case err != nil: // the configuration's own check has said so
		case addr.IsLoopback() || addr.IsUnspecified() || addr.IsMulticast():
			x.problem(check, "media.advertise "+text+" cannot be reached by any phone", "name the address that phones send to")
		case addr.IsLinkLocalUnicast():
			x.warn(check, "media.advertise "+text+" is only known on one link", "name the address that phones send to")
		case addr.IsPrivate():
			x.warn(check, "media.advertise "+text+" is private: phones outside its network hear nothing", "name the public address when phones come from the internet")
		}
	}
	if host := x.cfg.SIP.Advertise; host != "" {
		if addr, err := netip.ParseAddr(host); err == nil {
			if addr.IsLoopback() {
				x.problem(check, "sip.advertise "+host+" cannot be reached by any phone", "name the address that phones send to")
			}
		} else if err := resolves(ctx, host); err != nil {
			x.warn(check, "sip.advertise "+host+" is not found: "+err.Error(), "enter it in the DNS, or name an address")
		}
	}
	if len(x.cfg.Media.Advertise) == 0 && x.cfg.Node.Has("media") && onlyPrivate() {
		x.warn(check, "this machine has private addresses only, and they are what phones are told", "behind a NAT with a public address: set media.advertise and sip.advertise to it; in a local network all is well")
	}
	if len(x.list) == before {
		x.ok(check, "the addresses that phones are told make sense")
	}
}

func resolves(ctx context.Context, host string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	_, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return errors.New(dns.Err)
	}
	return err
}

// onlyPrivate reports whether no address of this machine is known outside its network.
func onlyPrivate() bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && !n.IP.IsPrivate() {
			return false
		}
	}
	return true
}
