package dialplan

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"tandem/internal/hcltext"
)

const (
	mostHosts    = 16
	mostChannels = 10_000
	trunkExpires = 10 * time.Minute
	trunkPing    = 30 * time.Second
)

// callerID says whose number those see who are called over a trunk.
type callerID uint8

const (
	ownCaller       callerID = iota // that of the user, else that of the trunk
	passCaller                      // a number outside stays as it is
	trunkCaller                     // always that of the trunk
	anonymousCaller                 // none
)

func callerIDs() []string { return []string{"own", "pass", "trunk", "anonymous"} }

// trunkDraft is what a trunk block says.
type trunkDraft struct {
	Trunk
	in, out   rewriting
	caller    string // "" = none
	callerID  callerID
	rates     *rates
	arrives   []*way // where calls from it go whose number nobody has
	sharing   []value
	addressed map[netip.Prefix]hcl.Range // literal addresses that its calls come from
}

// trunk takes a carrier.
func (d *drafter) trunk(t *draft, n *node, b block) {
	n.trunk = &trunkDraft{
		Trunk:  Trunk{Tenant: t.name, Name: n.name, Expires: d.span(b, "expires", trunkExpires, 24*time.Hour), Ping: d.spanFrom(b, "ping", trunkPing, 0, time.Hour), At: position(n.rng)},
		caller: d.callerNumber(b), callerID: d.callerID(b), addressed: map[netip.Prefix]hcl.Range{},
	}
	k := n.trunk
	d.addresses(k, b)
	d.credentials(n, b)
	if v, set := b.attrs["channels"]; set {
		if k.Channels = int(v.number); v.number < 1 || v.number > mostChannels {
			d.wrong(v.rng, fmt.Sprintf("%d is out of range", v.number), fmt.Sprintf("channels takes 1 to %d", mostChannels))
		}
	}
	if v, set := b.attrs["srtp"]; set {
		d.srtp(n, v)
		k.SRTP = n.srtp
	}
	d.codecs(k, b.attrs["codecs"])
	if v, set := b.attrs["rates"]; set {
		k.rates = d.rates(v)
	}
	k.sharing = b.attrs["shared"].items
	d.directions(t, n, b)
	if len(k.Hosts) == 0 && len(k.From) == 0 && k.InUser == "" && !b.broken {
		d.wrong(n.rng, fmt.Sprintf("%s leads nowhere", n.ref), `say where the carrier is: register = "sip:name@host", or hosts = ["host"]`)
	}
}

// addresses takes where calls go, and where we register.
func (d *drafter) addresses(k *trunkDraft, b block) {
	if v, set := b.attrs["transport"]; set {
		if k.Transport = v.text; !contains(transports(), v.text) {
			d.wrong(v.rng, fmt.Sprintf("there is no transport %q%s", v.text, hcltext.DidYouMean(v.text, transports())), "choose from "+strings.Join(transports(), ", "))
		}
	}
	hosts := b.attrs["hosts"]
	if len(hosts.items) > mostHosts {
		d.wrong(hosts.rng, fmt.Sprintf("there are %d hosts", len(hosts.items)), fmt.Sprintf("%d are the most", mostHosts))
	}
	for _, v := range hosts.items {
		host, ok := hostOf(v.text)
		switch {
		case !ok:
			d.wrong(v.rng, fmt.Sprintf("%q is not a host", v.text), `write its name or address without "sip:", and a port if it has one of its own, like "sbc.carrier-a.example:5080"`)
		case contains(k.Hosts, v.text):
			d.wrong(v.rng, fmt.Sprintf("host %q is listed twice", v.text), "remove one")
		default:
			k.Hosts = append(k.Hosts, v.text)
			if addr, err := netip.ParseAddr(host); err == nil && b.attrs["register"].shape == 0 {
				k.addressed[netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen())] = v.rng
			}
		}
	}
	v, set := b.attrs["register"]
	if !set {
		return
	}
	user, host, ok := splitAddress(v.text)
	if !ok {
		d.wrong(v.rng, fmt.Sprintf("%q is not an address to register", v.text), `write it like "sip:acme@sbc.carrier-a.example"`)
		return
	}
	k.Register, k.User = v.text, user
	if len(hosts.items) == 0 {
		k.Hosts = []string{host}
	}
}

func transports() []string { return []string{"udp", "tcp", "tls"} }

// splitAddress reads "sip:user@host" and "sip:user@host:port".
func splitAddress(text string) (user, host string, ok bool) {
	rest, sip := strings.CutPrefix(text, "sip:")
	user, host, at := strings.Cut(rest, "@")
	_, fine := hostOf(host)
	return user, host, sip && at && fine && isNodeName(user)
}

// hostOf takes the port off a host.
func hostOf(text string) (host string, ok bool) {
	host = text
	if name, port, split := cutPort(text); split {
		n, err := strconv.Atoi(port)
		if err != nil || n < 1 || n > 65535 {
			return "", false
		}
		host = name
	}
	if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return addr.String(), addr.Is4() || strings.HasPrefix(host, "[")
	}
	return host, isHostName(host)
}

func cutPort(text string) (host, port string, ok bool) {
	i := strings.LastIndexByte(text, ':')
	if i < 0 || strings.HasSuffix(text, "]") {
		return text, "", false
	}
	return text[:i], text[i+1:], true
}

// credentials takes by what name we answer digest challenges, and of what secret.
func (d *drafter) credentials(n *node, b block) {
	k := n.trunk
	user, named := b.attrs["user"]
	secret, hidden := b.attrs["secret"]
	if named {
		k.User = user.text
	}
	switch {
	case hidden && !isNodeName(secret.text):
		d.wrong(secret.rng, fmt.Sprintf("%q cannot be the name of a secret", secret.text), "the plan names secrets and never contains them: use 1 to 64 letters, digits or one of . _ + * # -")
	case hidden && k.User == "":
		d.wrong(secret.rng, fmt.Sprintf("%s has a secret and no user", n.ref), `add user = "...", the name that the carrier has given to you`)
	case named && !hidden && !b.broken:
		d.wrong(user.rng, fmt.Sprintf("%s has a user and no secret", n.ref), `add secret = "...", the name of the secret`)
	case !hidden:
		k.User = ""
	}
	k.Secret = secret.text
}

func (d *drafter) codecs(k *trunkDraft, list value) {
	for _, v := range list.items {
		switch {
		case !contains(trunkCodecs(), v.text):
			d.wrong(v.rng, fmt.Sprintf("there is no codec %q%s", v.text, hcltext.DidYouMean(v.text, trunkCodecs())), "choose from "+strings.Join(trunkCodecs(), ", "))
		case contains(k.Codecs, v.text):
			d.wrong(v.rng, fmt.Sprintf("codec %q is listed twice", v.text), "remove one")
		default:
			k.Codecs = append(k.Codecs, v.text)
		}
	}
}

func trunkCodecs() []string { return []string{"PCMU", "PCMA", "G722", "opus"} }

// directions takes what is particular to calls in and out.
func (d *drafter) directions(t *draft, n *node, b block) {
	k := n.trunk
	seen := map[string]bool{}
	for _, inner := range b.blocks {
		if seen[inner.kind] {
			d.wrong(inner.rng, fmt.Sprintf("%s has two %s blocks", n.ref, inner.kind), "keep one")
			continue
		}
		seen[inner.kind] = true
		if inner.kind == "out" {
			k.out = d.rewriting(inner.attrs["rewrite"])
			continue
		}
		k.in = d.rewriting(inner.attrs["rewrite"])
		if to := inner.attrs["go"]; to.shape != 0 {
			k.arrives = append(k.arrives, &way{on: onGo, to: to})
		}
		d.senders(t, n, inner)
	}
}

// senders takes by what calls of the trunk are known.
func (d *drafter) senders(t *draft, n *node, b block) {
	k := n.trunk
	for _, v := range b.attrs["from"].items {
		network, err := netip.ParsePrefix(v.text)
		if addr, failed := netip.ParseAddr(v.text); failed == nil {
			network, err = addr.Unmap().Prefix(addr.Unmap().BitLen())
		}
		if err != nil || network != network.Masked() {
			d.wrong(v.rng, fmt.Sprintf("%q is not an address and no network", v.text), `write "198.51.100.7" or "198.51.100.0/24"`)
			continue
		}
		k.From = append(k.From, network)
		k.addressed[network] = v.rng
	}
	user, named := b.attrs["user"]
	secret, hidden := b.attrs["secret"]
	if named != hidden && !b.broken {
		d.wrong(b.rng, fmt.Sprintf("credentials of %s are a user and a secret", n.ref), "add the one that is missing")
		return
	}
	if hidden && !isNodeName(secret.text) {
		d.wrong(secret.rng, fmt.Sprintf("%q cannot be the name of a secret", secret.text), "the plan names secrets and never contains them: use 1 to 64 letters, digits or one of . _ + * # -")
	}
	if named && !isNodeName(user.text) {
		d.wrong(user.rng, fmt.Sprintf("%q cannot be the name of a user", user.text), "use 1 to 64 letters, digits or one of . _ + * # -")
	}
	for _, other := range t.nodes {
		if named && other != n && other.trunk != nil && other.trunk.InUser == user.text {
			d.wrong(user.rng, fmt.Sprintf("%s is already known by the name %q", other.ref, user.text), "give each trunk credentials of its own")
		}
	}
	k.InUser, k.InSecret = user.text, secret.text
}

// callerNumber takes the number that is shown to those who are called.
func (d *drafter) callerNumber(b block) string {
	v, set := b.attrs["caller"]
	if set && !isE164(v.text) {
		d.wrong(v.rng, fmt.Sprintf("%q is not a number of the world's telephone network", v.text), "write it as +44..., with the calling code of the country")
	}
	return v.text
}

func (d *drafter) callerID(b block) callerID {
	v, set := b.attrs["caller_id"]
	if !set {
		return ownCaller
	}
	i := slices.Index(callerIDs(), v.text)
	if i < 0 {
		d.wrong(v.rng, fmt.Sprintf("there is no caller_id %q%s", v.text, hcltext.DidYouMean(v.text, callerIDs())), "choose from "+strings.Join(callerIDs(), ", "))
		return ownCaller
	}
	return callerID(i)
}

// share lets other tenants use the trunks that are shared with them, and finds trunks that could not be told apart.
func (d *drafter) share() {
	senders := map[netip.Prefix]*node{}
	for _, t := range d.tenants {
		for _, n := range slices.Clone(t.nodes) {
			if n.trunk == nil || n.lent {
				continue
			}
			for _, v := range n.trunk.sharing {
				d.lend(t, n, v)
			}
			slices.Sort(n.trunk.Shared)
			for _, network := range slices.SortedFunc(maps.Keys(n.trunk.addressed), netip.Prefix.Compare) {
				if first := senders[network]; first != nil && first != n {
					d.wrong(n.trunk.addressed[network], fmt.Sprintf("calls from %s are already those of %s", strings.TrimSuffix(strings.TrimSuffix(network.String(), "/32"), "/128"), first.ref), "it stands at "+at(first.trunk.addressed[network])+"; no call could tell which it is")
					continue
				}
				senders[network] = n
			}
		}
	}
}

func (d *drafter) lend(t *draft, n *node, v value) {
	other := d.tenant(v.text)
	switch {
	case other == nil:
		var tenants []string
		for _, o := range d.tenants {
			tenants = append(tenants, o.name)
		}
		d.wrong(v.rng, fmt.Sprintf("there is no tenant %q%s", v.text, hcltext.DidYouMean(v.text, tenants)), "")
	case other == t, contains(n.trunk.Shared, v.text):
		d.wrong(v.rng, fmt.Sprintf("%s uses %s already", v.text, n.ref), "remove the word")
	case other.byRef[n.ref] != nil:
		d.wrong(v.rng, fmt.Sprintf("tenant %s has a %s already", v.text, n.ref), "it stands at "+at(other.byRef[n.ref].rng)+"; give this one another name")
	default:
		n.trunk.Shared = append(n.trunk.Shared, v.text)
		lent := &node{ref: n.ref, rng: n.rng, trunk: n.trunk, lent: true}
		other.nodes = append(other.nodes, lent)
		other.byRef[lent.ref] = lent
	}
}

// isKnown tells whether the plan says of the trunk that calls come in over it.
func (k *trunkDraft) isKnown() bool {
	return len(k.From) > 0 || k.InUser != "" || len(k.arrives) > 0 || len(k.Shared) > 0
}
