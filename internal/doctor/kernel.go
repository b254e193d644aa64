package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"tandem/rtpengine"
	"tandem/rtpengine/codec"
)

// Kernel versions from which the media tiers exist.
var (
	steeringSince = [2]int{5, 9}
	kernelSince   = [2]int{6, 6}
)

func (x *examination) kernel() {
	const check = "kernel"
	text := x.read("proc/sys/kernel/osrelease")
	version, ok := kernelVersion(text)
	switch {
	case text == "":
		x.warn(check, "this is not Linux: media is relayed by the portable engine, several times slower", "run nodes with many calls on Linux "+dotted(kernelSince)+" or newer")
	case !ok:
		x.warn(check, fmt.Sprintf("the version %q cannot be read", text), "wanted is Linux "+dotted(kernelSince)+" or newer")
	case older(version, steeringSince):
		x.warn(check, "Linux "+text+": media needs a socket read for every packet", "Linux "+dotted(kernelSince)+" or newer relays plain media for about a tenth of the processor time")
	case older(version, kernelSince):
		x.warn(check, "Linux "+text+": media can be steered, but not forwarded by the kernel", "Linux "+dotted(kernelSince)+" or newer relays plain media for about a tenth of the processor time")
	default:
		x.ok(check, "Linux "+text)
	}
}

// kernelVersion reads "6.18.44-something".
func kernelVersion(text string) (v [2]int, ok bool) {
	major, rest, found := strings.Cut(text, ".")
	minor := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
	var err1, err2 error
	v[0], err1 = strconv.Atoi(major)
	v[1], err2 = strconv.Atoi(minor)
	return v, found && err1 == nil && err2 == nil
}

func older(a, b [2]int) bool { return slices.Compare(a[:], b[:]) < 0 }

func dotted(v [2]int) string { return fmt.Sprintf("%d.%d", v[0], v[1]) }

// Capabilities by number (capabilities(7)).
var capabilities = []struct {
	bit  int
	name string
}{{10, "CAP_NET_BIND_SERVICE"}, {12, "CAP_NET_ADMIN"}, {13, "CAP_NET_RAW"}, {39, "CAP_BPF"}}

// has reports whether this process has a capability.
func (x *examination) has(name string) bool {
	const sysAdmin = 21 // which is CAP_BPF, too
	var effective uint64
	for line := range strings.Lines(x.read("proc/self/status")) {
		if value, ok := strings.CutPrefix(line, "CapEff:"); ok {
			effective, _ = strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		}
	}
	for _, c := range capabilities {
		if c.name == name {
			return effective&(1<<c.bit) != 0 || name == "CAP_BPF" && effective&(1<<sysAdmin) != 0
		}
	}
	return false
}

func (x *examination) rights() {
	const check = "rights"
	var missing []string
	if x.cfg.Node.Has("media") && x.cfg.Media.Tier != string(rtpengine.TierSockets) {
		for _, name := range []string{"CAP_BPF", "CAP_NET_ADMIN"} {
			if !x.has(name) {
				missing = append(missing, name)
			}
		}
	}
	if missing == nil {
		x.ok(check, "this process may do what the configuration asks for")
		return
	}
	x.warn(check, "this process lacks "+strings.Join(missing, " and ")+": media takes the slowest way",
		"run the doctor as the node runs; for systemd AmbientCapabilities="+strings.Join(missing, " ")+", for containers --cap-add")
}

// tiers tries what the media engine would do: it is started and stopped at once.
func (x *examination) tiers(ctx context.Context) {
	const check = "media tier"
	c := rtpengine.Config{
		PortMin: x.cfg.Media.Ports.Min, PortMax: x.cfg.Media.Ports.Max, Tier: rtpengine.Tier(x.cfg.Media.Tier), Interfaces: x.cfg.Media.Interfaces,
	}
	for _, text := range x.cfg.Media.Address {
		if addr, err := netip.ParseAddr(text); err == nil {
			c.Bind = append(c.Bind, addr)
		}
	}
	engine, err := rtpengine.New(c)
	if err == nil {
		ended, end := context.WithCancel(ctx)
		end()
		err = engine.Run(ended)
	}
	if err != nil {
		x.problem(check, err.Error(), "correct the media block of the configuration")
		return
	}
	tier := engine.Stats().Tier
	x.tier(check, &tier)
}

func (x *examination) tier(check string, tier *rtpengine.TierStats) {
	const advice = "grant CAP_BPF and CAP_NET_ADMIN, on a kernel of the version above; docs/media.md tells what each tier costs"
	lower := x.add
	if x.cfg.Media.Tier != string(rtpengine.TierAuto) {
		lower = func(check string, _ State, found, _ string) { x.ok(check, found) } // who has chosen needs no advice
	}
	var served []string
	for _, in := range tier.Kernel.Interfaces {
		if in.Reason == "" {
			served = append(served, in.Name)
		} else {
			x.warn(check, "the kernel cannot forward what comes by "+in.Name+": "+in.Reason, "media by this interface is served by the "+string(tier.Tier)+" tier")
		}
	}
	switch {
	case tier.Kernel.On && served == nil:
		x.warn(check, "the kernel could forward plain media, but not on any interface", "check media.address and media.interfaces")
	case tier.Kernel.On:
		x.ok(check, "the kernel forwards plain media that comes by "+strings.Join(served, ", "))
	default:
		lower(check, Warning, "the kernel forwards no media: "+tier.Kernel.Reason, advice)
	}
	if tier.Tier == rtpengine.TierSteered {
		x.ok(check, "other media is steered into one socket a shard (sk_lookup)")
	} else {
		lower(check, Warning, "other media is read from a socket a port: "+tier.Reason, advice)
	}
}

// reversePath tells of interfaces where the kernel drops what comes from a source that it would answer by another one.
func (x *examination) reversePath() {
	const check = "rp_filter"
	paths, _ := filepath.Glob(filepath.Join(x.root, "proc/sys/net/ipv4/conf/*/rp_filter"))
	every, _ := strconv.Atoi(x.read("proc/sys/net/ipv4/conf/all/rp_filter"))
	var strict []string
	links := 0
	for _, path := range paths {
		name := filepath.Base(filepath.Dir(path))
		if name == "all" || name == "default" || name == "lo" {
			continue
		}
		links++
		own, _ := strconv.Atoi(x.read("proc/sys/net/ipv4/conf/" + name + "/rp_filter"))
		if max(own, every) == 1 { // ip-sysctl: the higher of the two counts; 2 is loose
			strict = append(strict, name)
		}
	}
	if links < 2 || strict == nil {
		x.ok(check, "no packet is lost because it comes by another interface than its answer would take")
		return
	}
	x.warn(check, "strict on "+strings.Join(strict, ", ")+": packets that come by another interface than the route back are lost before Tandem sees them",
		"where routes are not symmetric: sysctl -w net.ipv4.conf.all.rp_filter=2")
}

// buffers compares what the kernel gives a socket with what ours ask for.
func (x *examination) buffers() {
	const check = "socket buffers"
	const wanted = 8 << 20 // rtpengine's inbox; SIP asks for half of it
	if x.has("CAP_NET_ADMIN") {
		x.ok(check, "CAP_NET_ADMIN sets them as large as they must be")
		return
	}
	var small []string
	for _, name := range []string{"rmem_max", "wmem_max"} {
		if n, err := strconv.Atoi(x.read("proc/sys/net/core/" + name)); err == nil && n < wanted {
			small = append(small, fmt.Sprintf("net.core.%s=%d", name, wanted))
		}
	}
	if small == nil {
		x.ok(check, "they may be as large as they must be")
		return
	}
	x.warn(check, "the kernel allows less than "+size(wanted)+": bursts are lost when the node is busy", "sysctl -w "+strings.Join(small, " "))
}

// opus tells whether calls can be transcoded to Opus.
func (x *examination) opus() {
	const check = "libopus"
	l := codec.Open("")
	if err := l.Missing(); err != nil {
		x.warn(check, err.Error(), "install libopus (Debian: apt-get install libopus0) where browsers and phones share no codec")
		return
	}
	x.ok(check, l.Version())
}
