package migrate

import (
	"cmp"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// asterisk is an import from Asterisk.
type asterisk struct {
	*maker
	contexts  map[string]*asteriskContext
	order     []*asteriskContext
	globals   map[string]string
	endpoints []*endpoint
	byName    map[string]*endpoint
	numbers   map[string]bool // what can be dialled already
	budget    int
	active    map[string]int   // where the call that is followed has been
	claimed   map[string]bool  // what leads somewhere by now
	menus     map[string]*node // by where they begin
	owner     map[*node]*exten // whose Dial a user's block was made of
	inside    []string         // contexts of users
	boxes     mailboxes
	queues    map[string]*queue
	lots      map[string]*parkingLot
	lotNames  []string               // in the order of the files
	slots     map[string]*parkingLot // by the numbers that lots have
}

// endpoint is one of pjsip.conf.
type endpoint struct {
	*section
	context string
	node    *node
	isTrunk bool
}

// Asterisk reads the files of /etc/asterisk.
func Asterisk(fsys fs.FS, o Options) (*Result, error) {
	m, err := newMaker(o)
	if err != nil {
		return nil, err
	}
	f := &folder{fsys: fsys}
	a := newAsterisk(m)
	pjsip, err := m.readConf(f, "pjsip.conf")
	if err != nil {
		return nil, err
	}
	extensions, err := m.readConf(f, "extensions.conf")
	if err != nil {
		return nil, err
	}
	if !f.has("pjsip.conf") && !f.has("extensions.conf") {
		return nil, fmt.Errorf("%w: the folder has neither a pjsip.conf nor an extensions.conf", errNothing)
	}
	for _, other := range []struct{ file, why string }{
		{"sip.conf", "chan_sip is not read: only pjsip.conf is"},
		{"iax.conf", "IAX has no counterpart"},
		{"users.conf", "it is not read: write its users as endpoints into pjsip.conf"},
		{"pjsip_wizard.conf", "it is not read: write its endpoints into pjsip.conf"},
		{"extensions.ael", "AEL is not read: only extensions.conf is"},
		{"extensions.lua", "Lua is not read: only extensions.conf is"},
	} {
		if f.has(other.file) {
			m.unmapped(place{other.file, 1}, other.file, other.why)
		}
	}
	a.contexts, a.order, a.globals = m.readExtensions(extensions)
	a.prepare()
	a.readEndpoints(pjsip)
	if err := a.readMailboxes(f, "voicemail.conf"); err != nil {
		return nil, err
	}
	if err := a.readQueues(f, "queues.conf"); err != nil {
		return nil, err
	}
	for _, name := range []string{"res_parking.conf", "features.conf"} {
		if err := a.readParking(f, name); err != nil {
			return nil, err
		}
	}
	a.follow()
	a.listIdleBoxes()
	a.listIdleLots()
	return m.finish()
}

func newAsterisk(m *maker) *asterisk {
	return &asterisk{
		maker: m, contexts: map[string]*asteriskContext{}, byName: map[string]*endpoint{}, numbers: map[string]bool{}, budget: mostSteps, active: map[string]int{},
		menus: map[string]*node{}, owner: map[*node]*exten{}, claimed: map[string]bool{},
		boxes: mailboxes{byName: map[string]*mailbox{}}, queues: map[string]*queue{},
		lots: map[string]*parkingLot{}, slots: map[string]*parkingLot{},
	}
}

// prepare says how far calls are followed: as far as the dialplan is long.
func (a *asterisk) prepare() {
	for _, c := range a.contexts {
		for _, x := range c.extens {
			a.budget += mostAgain * len(x.steps)
		}
	}
}

// sorcery is pjsip.conf by types and names.
type sorcery map[string]map[string]*section

func (s sorcery) named(kind, name string) *section { return s[kind][name] }

func (a *asterisk) readEndpoints(sections []*section) {
	all := sorcery{}
	var endpoints, registrations, identifies []*section
	for _, s := range sections {
		kind := s.get("type")
		if all[kind] == nil {
			all[kind] = map[string]*section{}
		}
		all[kind][s.name] = s
		switch kind {
		case "endpoint":
			endpoints = append(endpoints, s)
		case "registration":
			registrations = append(registrations, s)
		case "identify":
			identifies = append(identifies, s)
		case "auth", "aor", "transport", "global", "system":
		case "":
			a.unmapped(s.at, "["+s.name+"]", "this section has no type")
		default:
			a.unmapped(s.at, "["+s.name+"]", "type="+clip(kind)+" has no counterpart")
		}
	}
	for _, s := range endpoints {
		if a.byName[s.name] != nil {
			a.unmapped(s.at, "["+s.name+"]", "there is another endpoint of this name before it")
			continue
		}
		e := &endpoint{section: s, context: cmp.Or(s.get("context"), "default")}
		a.byName[s.name] = e
		a.endpoints = append(a.endpoints, e)
		e.isTrunk = s.get("outbound_auth") != "" || slices.ContainsFunc(identifies, func(i *section) bool { return i.get("endpoint") == s.name }) ||
			slices.ContainsFunc(registrations, func(r *section) bool { return r.get("endpoint") == s.name })
		for _, aor := range list(s.get("aors")) {
			if found := all.named("aor", aor); found != nil && found.get("contact") != "" {
				e.isTrunk = true
			}
		}
	}
	for _, e := range a.endpoints {
		if !isName(e.name) || len(e.name) > 60 {
			a.unmapped(e.at, "["+e.name+"]", "this cannot be the name of a user or trunk here: 1 to 60 letters, digits or one of . _ + * # -")
			continue
		}
		if e.isTrunk {
			a.trunk(e, all, registrations, identifies)
		} else {
			a.user(e, all)
			if !slices.Contains(a.inside, e.context) {
				a.inside = append(a.inside, e.context)
			}
		}
	}
	for _, r := range registrations {
		if r.get("endpoint") == "" && !slices.ContainsFunc(a.endpoints, func(e *endpoint) bool { return e.isTrunk && a.registers(e, all, r) }) {
			a.unmapped(r.at, "["+r.name+"]", "no endpoint belongs to this registration: its contact and server_uri are no endpoint's")
		}
	}
	if len(a.inside) > 1 {
		for _, e := range a.endpoints {
			if e.node != nil && !e.isTrunk {
				e.node.set("groups", quotes([]string{name(e.context)}))
			}
		}
		a.check(place{}, strings.Join(a.inside, ", "), "users have different contexts. All users of a tenant reach each other and each extension; only what leaves the house is kept to groups")
	}
}

// list cuts a list at its commas.
func list(s string) (all []string) {
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			all = append(all, part)
		}
	}
	return all
}

// user makes a user and his account.
func (a *asterisk) user(e *endpoint, all sorcery) {
	n := &node{kind: "user", name: e.name, at: e.at, what: "[" + e.name + "]"}
	e.node = a.add(n, "")
	a.numbers[e.name] = true
	display, number := callerID(e.get("callerid"))
	if display != "" {
		n.set("display", quote(display))
	}
	if full := a.e164(number); full != "" {
		n.set("caller", quote(full))
	}
	switch e.get("media_encryption") {
	case "sdes", "dtls":
		n.set("srtp", `"required"`)
		if isTrue(strings.ReplaceAll(e.get("media_encryption_optimistic"), "no", "")) {
			n.set("srtp", `"preferred"`)
		}
	}
	became := "user." + e.name
	auths := list(e.get("auth"))
	password := ""
	for _, auth := range auths {
		s := all.named("auth", auth)
		switch {
		case s == nil:
			a.unmapped(e.at, "auth="+auth, "there is no auth section of this name")
		case s.get("password") == "":
			a.unmapped(s.at, "["+auth+"]", "this has no password in clear, and passwords that are hashed for Asterisk's realm are of no use in another: set one with tandem account set")
		default:
			password = s.get("password")
			if u := cmp.Or(s.get("username"), auth); u != e.name {
				a.check(s.at, "username="+u, fmt.Sprintf("phones of %s log in as %s here: the user of the credentials is that of the address", e.name, e.name))
			}
		}
	}
	if len(auths) == 0 {
		a.unmapped(e.at, "["+e.name+"]", "this endpoint has no auth: here every phone has a password; set one with tandem account add")
	}
	if password != "" {
		a.result.Accounts = append(a.result.Accounts, Account{a.Tenant, e.name, password, "", display})
		became += " and an account"
	}
	a.mapped(e.at, "["+e.name+"]", became)
	for _, key := range []string{"call_group", "pickup_group", "named_call_group", "named_pickup_group", "subscribe_context", "set_var", "deny", "permit", "acl", "max_audio_streams"} {
		if x := e.entry(key); x.value != "" {
			a.unmapped(x.at, x.key+"="+x.value, "this has no counterpart")
		}
	}
}

// callerID cuts "Alice" <201>.
func callerID(s string) (display, number string) {
	display, rest, ok := strings.Cut(s, "<")
	if !ok {
		if strings.Trim(s, "+0123456789") == "" {
			return "", s
		}
		return strings.Trim(strings.TrimSpace(s), `"`), ""
	}
	number, _, _ = strings.Cut(rest, ">")
	return strings.Trim(strings.TrimSpace(display), `"`), strings.TrimSpace(number)
}

// address is what a SIP URI says.
type address struct{ user, host, transport string }

func readURI(uri string) (address, bool) {
	var x address
	rest := strings.Trim(strings.TrimSpace(uri), "<>")
	scheme, rest, ok := strings.Cut(rest, ":")
	if !ok || scheme != "sip" && scheme != "sips" {
		return x, false
	}
	if scheme == "sips" {
		x.transport = "tls"
	}
	rest, params, _ := strings.Cut(rest, ";")
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		x.user, rest = rest[:i], rest[i+1:]
	}
	for p := range strings.SplitSeq(params, ";") {
		if t, is := strings.CutPrefix(strings.ToLower(p), "transport="); is {
			x.transport = t
		}
	}
	x.host = strings.ToLower(rest)
	return x, isHost(x.host)
}

// isHost is the rule for hosts in plans: a name, an IPv4 address or an IPv6 address in brackets, with a port or without.
func isHost(s string) bool {
	host := s
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		port, err := strconv.Atoi(s[i+1:])
		if err != nil || port < 1 || port > 65535 {
			return false
		}
		host = s[:i]
	}
	if inner, bracketed := strings.CutPrefix(host, "["); bracketed {
		addr, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return err == nil && addr.Is6() && addr.Zone() == ""
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Is4()
	}
	if len(host) > 253 {
		return false
	}
	labels := strings.Split(host, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' || strings.Trim(l, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			return false
		}
	}
	return strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

// registers tells whether a registration is that of an endpoint: by its name, or because it goes where the endpoint's calls go.
func (a *asterisk) registers(e *endpoint, all sorcery, r *section) bool {
	if name := r.get("endpoint"); name != "" {
		return name == e.name
	}
	server, ok := readURI(r.get("server_uri"))
	if !ok {
		return false
	}
	for _, aor := range list(e.get("aors")) {
		if s := all.named("aor", aor); s != nil {
			for _, c := range s.all("contact") {
				if x, ok := readURI(c.value); ok && hostname(x.host) == hostname(server.host) {
					return true
				}
			}
		}
	}
	return false
}

// hostname is a host without its port.
func hostname(s string) string {
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		return s[:i]
	}
	return s
}

// trunk makes a trunk of an endpoint.
func (a *asterisk) trunk(e *endpoint, all sorcery, registrations, identifies []*section) {
	n := &node{kind: "trunk", name: e.name, at: e.at, what: "[" + e.name + "]", trunk: &trunk{rewrites: map[string]string{}}}
	var hosts []string
	transport := ""
	if t := all.named("transport", e.get("transport")); t != nil {
		transport = strings.ToLower(t.get("protocol"))
	}
	for _, aor := range list(e.get("aors")) {
		s := all.named("aor", aor)
		if s == nil {
			continue
		}
		for _, c := range s.all("contact") {
			x, ok := readURI(c.value)
			if !ok {
				a.unmapped(c.at, "contact="+c.value, "this is no SIP address that can be called")
				continue
			}
			if !slices.Contains(hosts, x.host) && len(hosts) < 16 {
				hosts = append(hosts, x.host)
			}
			transport = cmp.Or(x.transport, transport)
		}
		if q := s.entry("qualify_frequency"); q.value != "" {
			if seconds, err := strconv.Atoi(q.value); err == nil && seconds >= 0 && seconds <= 3600 {
				n.set("ping", quote(strconv.Itoa(seconds)+"s"))
			}
		}
	}
	credentials := func(at place, names string) bool {
		for _, name := range list(names) {
			s := all.named("auth", name)
			if s == nil || s.get("password") == "" || s.get("username") == "" {
				a.unmapped(at, "outbound_auth="+name, "there is no auth section of this name with a username and a password")
				continue
			}
			n.set("user", quote(s.get("username")))
			n.set("secret", quote(e.name))
			a.secret(e.name, s.get("password"))
			return true
		}
		return false
	}
	registered := false
	for _, r := range registrations {
		if !a.registers(e, all, r) {
			continue
		}
		if registered {
			a.unmapped(r.at, "["+r.name+"]", "a trunk registers once: make another trunk of it")
			continue
		}
		client, ok := readURI(r.get("client_uri"))
		server, served := readURI(r.get("server_uri"))
		if !ok || !served || !isName(client.user) {
			a.unmapped(r.at, "["+r.name+"]", "its client_uri or server_uri is no SIP address of a user")
			continue
		}
		registered = true
		n.set("register", quote("sip:"+client.user+"@"+client.host))
		if !slices.Contains(hosts, server.host) && len(hosts) == 0 && server.host != client.host {
			hosts = append(hosts, server.host)
		}
		transport = cmp.Or(server.transport, transport)
		if seconds, err := strconv.Atoi(r.get("expiration")); err == nil && seconds >= 1 && seconds <= 86400 {
			n.set("expires", quote(strconv.Itoa(seconds)+"s"))
		}
		if !credentials(r.at, r.get("outbound_auth")) {
			a.check(r.at, "["+r.name+"]", "this registration has no credentials")
		}
		a.mapped(r.at, "["+r.name+"]", "register of trunk."+e.name)
	}
	if e.get("outbound_auth") != "" {
		credentials(e.at, e.get("outbound_auth"))
	}
	if len(hosts) > 0 {
		n.set("hosts", quotes(hosts))
	}
	if has([]string{"udp", "tcp", "tls"}, transport) {
		n.set("transport", quote(transport))
	}
	if display, number := callerID(cmp.Or(e.get("callerid"), e.get("from_user"))); a.e164(number) != "" {
		n.set("caller", quote(a.e164(number)))
	} else if full := a.e164(display); full != "" {
		n.set("caller", quote(full))
	}
	a.codecs(n, e)
	if e.get("media_encryption") == "sdes" || e.get("media_encryption") == "dtls" {
		n.set("srtp", `"required"`)
	}
	for _, i := range identifies {
		if i.get("endpoint") == e.name {
			a.identify(n, i)
		}
	}
	for _, auth := range list(e.get("auth")) {
		if s := all.named("auth", auth); s != nil && s.get("password") != "" && isName(s.get("username")) && n.trunk.user == "" {
			n.trunk.user, n.trunk.secret = s.get("username"), e.name+"_in"
			a.secret(e.name+"_in", s.get("password"))
		} else {
			a.unmapped(e.at, "auth="+auth, "there is no auth section of this name with a username and a password")
		}
	}
	if len(hosts) == 0 && !registered && len(n.trunk.from) == 0 && n.trunk.user == "" {
		a.unmapped(e.at, "["+e.name+"]", "nothing says where this trunk is, or who calls from it")
		return
	}
	if n.trunk.user != "" && a.taken(n) {
		a.unmapped(e.at, "["+e.name+"]", "another trunk is known by the same user already")
		n.trunk.user, n.trunk.secret = "", ""
	}
	if !registered && slices.ContainsFunc(a.nodes, func(o *node) bool {
		return o.trunk != nil && slices.ContainsFunc(hosts, func(h string) bool { return o.calls(hostname(h)) || slices.Contains(o.trunk.from, hostname(h)) })
	}) {
		a.unmapped(e.at, "["+e.name+"]", "another trunk is at the same address: no call could tell which it is")
		return
	}
	e.node = a.add(n, "")
	a.mapped(e.at, "["+e.name+"]", "trunk."+e.name)
}

func (a *asterisk) taken(n *node) bool {
	return slices.ContainsFunc(a.nodes, func(o *node) bool { return o.trunk != nil && o.trunk.user == n.trunk.user })
}

// codecs takes those of allow that there are here.
func (a *asterisk) codecs(n *node, e *endpoint) {
	known := map[string]string{"ulaw": "PCMU", "alaw": "PCMA", "g722": "G722", "opus": "opus"}
	var all []string
	for _, line := range e.all("allow") {
		for _, c := range list(line.value) {
			switch to := known[strings.ToLower(c)]; {
			case to != "":
				if !slices.Contains(all, to) {
					all = append(all, to)
				}
			case strings.HasPrefix(c, "!"), strings.EqualFold(c, "all"):
			default:
				a.unmapped(line.at, "allow="+c, "there is no such codec here: it is relayed, and never made or understood")
			}
		}
	}
	if len(all) > 0 {
		n.set("codecs", quotes(all))
	}
}

// identify takes the addresses that calls of a trunk come from.
func (a *asterisk) identify(n *node, s *section) {
	for _, line := range s.all("match") {
		for _, text := range list(line.value) {
			network, err := netip.ParsePrefix(text)
			if addr, failed := netip.ParseAddr(text); failed == nil && addr.Zone() == "" {
				network, err = addr.Unmap().Prefix(addr.Unmap().BitLen())
			}
			if err != nil {
				if isHost(text) {
					a.check(line.at, "match="+text, "a name is not taken for the source of calls; the addresses of the trunk's hosts are anyway")
					continue
				}
				a.unmapped(line.at, "match="+text, "this is no address and no network")
				continue
			}
			written := network.Masked().String()
			if network.IsSingleIP() {
				written = network.Addr().String()
			}
			if slices.ContainsFunc(a.nodes, func(o *node) bool {
				return o.trunk != nil && (slices.Contains(o.trunk.from, written) || o.calls(written))
			}) {
				a.unmapped(line.at, "match="+text, "another trunk's calls come from there already")
				continue
			}
			if !slices.Contains(n.trunk.from, written) {
				n.trunk.from = append(n.trunk.from, written)
			}
		}
	}
	if x := s.entry("match_header"); x.value != "" {
		a.unmapped(x.at, "match_header="+x.value, "calls of a trunk are known by address or credentials, not by a header")
	}
	a.mapped(s.at, "["+s.name+"]", "in of trunk."+n.name)
}

// calls tells whether a trunk's calls go to an address.
func (n *node) calls(addr string) bool {
	for _, x := range n.attrs {
		if x.name == "hosts" && strings.Contains(x.value, `"`+addr) {
			return true
		}
	}
	return false
}
