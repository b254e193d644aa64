// Package tandem puts the parts of a node together. It is the only place that knows all of them; it holds no logic of its
// own beyond the order in which parts start, drain and stop.
package tandem

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tandem/admin"
	"tandem/admin/phone"
	"tandem/auth"
	"tandem/certs"
	"tandem/cluster"
	"tandem/configs"
	"tandem/dialplan"
	"tandem/events"
	"tandem/internal/handover"
	"tandem/pbx"
	"tandem/pbx/app"
	"tandem/pbx/mailbox"
	"tandem/rtpengine"
	"tandem/rtpengine/ng"
	"tandem/rtpengine/turn"
	"tandem/sip"
	"tandem/sip/transport"
)

// Node is one node of Tandem. New builds it, Run serves until its context ends.
type Node struct {
	cfg     configs.Config
	log     *slog.Logger
	certs   *certs.Store
	member  *certs.Membership // nil when this node is alone
	events  *events.Log
	auth    *auth.Store
	secrets *auth.Secrets
	apps    *app.Client
	trunks  *sip.Trunks
	plans   *dialplan.Store
	agents  *pbx.Agents
	prompts *pbx.Prompts
	places  *sip.Location
	cluster *cluster.Cluster
	media   *rtpengine.Engine
	ng      *ng.Server
	engines *ng.Engines
	turn    *turn.Server
	phone   *phone.Handler
	index   *mailbox.Index
	boxes   *mailbox.Store // nil where no calls are carried
	pbx     *pbx.PBX
	sip     *sip.Server
	guard   *transport.Guard
	admin   *admin.Server

	virtual  *virtualAddresses
	web      []webListener
	asides   []aside // that listen
	ready    chan struct{}
	draining atomic.Bool
	drainage *drainage

	heir    *inheritance // of a node that takes the place of another process
	handing atomic.Bool  // a process takes the place of this one
	halt    halting      // set by Run
	adopted adoptions
	parting *handover.Conn // closed when all has ended

	reloading sync.Mutex
	running   configs.Config // cfg with what Reload has exchanged since
}

// New checks cfg and builds every part. Nothing listens and nothing runs before Run; the data directory and the keys in it
// are made.
func New(cfg configs.Config, log *slog.Logger) (*Node, error) {
	n := &Node{cfg: cfg, running: cfg, log: log, ready: make(chan struct{}), drainage: newDrainage()}
	if !cfg.Node.Has("signaling") { // a media engine for other proxies: phones have no business here
		n.cfg.SIP.UDP, n.cfg.SIP.TCP, n.cfg.SIP.TLS, n.cfg.SIP.WS, n.cfg.SIP.WSS = nil, nil, nil, nil, nil
		n.cfg.Web.HTTP, n.cfg.Web.HTTPS = nil, nil
	}
	if err := os.MkdirAll(cfg.Node.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("the data directory cannot be made: %w; choose another with node.data_dir", err)
	}
	n.virtual = newVirtualAddresses(cfg.Node.DataDir, log)
	for _, build := range []func() error{n.buildStores, n.buildCluster, n.buildMedia, n.buildEngines, n.buildNG, n.buildTURN, n.buildMailboxes, n.buildSIP, n.buildPhone, n.buildAdmin} {
		if err := build(); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func (n *Node) buildStores() (err error) {
	c := n.cfg
	if n.certs, err = certs.New(certs.Config{Dir: c.CertsDir(), CertFile: c.Certs.CertFile, KeyFile: c.Certs.KeyFile, Hosts: certHosts(c), Log: n.log}); err != nil {
		return err
	}
	if n.events, err = events.New(events.Config{Dir: c.EventsDir(), Node: c.Node.Name, Ring: c.Events.Ring, MaxOpen: maxOpen(c), Log: n.log}); err != nil {
		return err
	}
	if n.auth, err = auth.New(auth.Config{KeyFile: c.AuthKeyFile(), Log: n.log}); err != nil {
		return err
	}
	n.secrets = auth.NewSecrets(n.auth)
	n.plans, err = dialplan.New(dialplan.Config{Log: n.log})
	return err
}

func certHosts(c configs.Config) []string {
	if len(c.Certs.Hosts) > 0 {
		return c.Certs.Hosts
	}
	hosts := []string{"localhost"}
	if name, err := os.Hostname(); err == nil {
		hosts = append(hosts, name)
	}
	if c.SIP.Advertise != "" {
		hosts = append(hosts, c.SIP.Advertise)
	}
	for _, addr := range append(append([]string(nil), c.SIP.TLS...), c.Web.HTTPS...) {
		if host, _, err := net.SplitHostPort(addr); err == nil {
			if ip, err := netip.ParseAddr(host); err == nil && !ip.IsUnspecified() {
				hosts = append(hosts, ip.String())
			}
		}
	}
	return hosts
}

// buildCluster makes the agreed state: accounts, dialplans and bindings are machines of one log.
func (n *Node) buildCluster() (err error) {
	c := n.cfg
	n.places, n.index, n.agents, n.prompts = sip.NewLocation(), mailbox.NewIndex(), pbx.NewAgents(), pbx.NewPrompts(n.playedAt)
	cc := cluster.Config{
		Node: c.Node.Name, Dir: c.ClusterDir(), Bootstrap: c.Cluster.Bootstrap, Listen: c.Cluster.Listen, Advertise: c.Cluster.Advertise, Program: Version(), Log: n.log,
		Machines: map[string]cluster.Machine{"auth": n.auth, "dialplan": n.plans, sip.LocationMachine: n.places, mailbox.Machine: n.index, auth.SecretsMachine: n.secrets, pbx.AgentsMachine: n.agents, pbx.PromptsMachine: n.prompts},
		Key:      derivedKey("tandem cluster", c.AuthKeyFile()), Share: n.clusterShare, Seeds: c.Cluster.Join,
		SealedBy: n.auth.KeyID(), Fresh: func() (map[string]cluster.Machine, error) {
			machines, _, err := freshMachines(c)
			return machines, err
		},
		Copies:     cluster.CopiesConfig{Again: func(ids []string) { n.pbx.CopyAgain(ids) }},
		Succession: n.succession(),
		Requests:   n.nodeRequests(), Messages: n.edgeMessages(),
	}
	if c.Cluster.Listen != "" {
		if n.member, err = n.membership(); err != nil {
			return err
		}
		cc.Identity = n.member
	}
	n.cluster, err = cluster.New(cc)
	return err
}

func (n *Node) bindingChanged(kind events.Kind, tenant, user string, b sip.Binding) {
	n.events.Publish(events.Event{Kind: kind, Tenant: tenant, AOR: user, To: b.Contact, Peer: b.Flow.Remote.String()})
}

// buildMedia makes the media engine of a node that has the role. One without relays session descriptions as they are, opens no media port,
// and refuses what it would have to answer itself (echo, music, tones, conferences).
func (n *Node) buildMedia() error {
	c := n.cfg
	if !c.Node.Has("media") && len(c.Media.Engines) > 0 {
		n.log.Info("this node has no role media: calls are relayed by the engines of media.engines, and nodes of the dialplan that play or echo are refused", "engines", c.Media.Engines)
		return nil
	}
	if !c.Node.Has("media") {
		n.log.Info("this node has no role media: session descriptions pass as they are, and nodes of the dialplan that play or echo are refused")
		return nil
	}
	mc := rtpengine.Config{
		PortMin: c.Media.Ports.Min, PortMax: c.Media.Ports.Max, Shards: c.Media.Shards, Silence: c.Limits.MediaSilence,
		MaxSessions: c.Limits.Calls, Prompts: c.PromptsDir(), Uploaded: n.prompts.Sound, SoundBytes: int64(c.Media.SoundBytes), Codecs: rtpengine.CodecPolicy{Only: c.Media.Codecs, Block: c.Media.CodecsOff},
		AlarmMOS: c.Media.QualityAlarm.MOS, AlarmAfter: c.Media.QualityAlarm.After, Tier: rtpengine.Tier(c.Media.Tier), Interfaces: c.Media.Interfaces, ICEPort: uint16(c.Media.ICEPort), SinglePort: uint16(c.Media.SinglePort), Log: n.log,
		Transcode: rtpengine.TranscodeConfig{Off: c.Media.Transcode == "off", Always: c.Media.Transcode == "always", Keys: c.Media.Keys, PacketTimes: c.Media.Lengths, MaxCalls: c.Media.Transcoded, Opus: c.Media.Opus},
		Recording: rtpengine.RecordingConfig{
			Dir: c.RecordingDir(), MaxTime: time.Duration(c.Recording.MaxHours) * time.Hour, MaxBytes: int64(c.Recording.MaxBytes), AtOnce: c.Recording.AtOnce,
			Format: rtpengine.RecordingFormat(c.Recording.Format), Video: c.Recording.Video,
		},
		MaxRooms: c.Limits.Conferences, MaxMembers: c.Limits.ConferenceMembers,
	}
	for _, a := range c.Media.Address {
		ip, err := netip.ParseAddr(a)
		if err != nil {
			return fmt.Errorf("media.address: %w", err)
		}
		mc.Bind = append(mc.Bind, ip)
	}
	var known bool
	if mc.SRTP, known = rtpengine.ParseSRTPPolicy(c.Media.SRTP); !known {
		return fmt.Errorf("media.srtp: %q is not known", c.Media.SRTP)
	}
	var advertise [2]netip.Addr
	for _, a := range c.Media.Advertise {
		ip, err := netip.ParseAddr(a)
		if err != nil {
			return fmt.Errorf("media.advertise: %w", err)
		}
		advertise[family(ip)] = ip
	}
	mc.Advertise = func(local netip.Addr) netip.Addr { return advertise[family(local)] }
	identity, err := certs.DTLS(derivedKey("tandem dtls", c.AuthKeyFile())) // one for all nodes of the cluster
	if err != nil {
		return err
	}
	mc.Identity = &identity
	n.media, err = rtpengine.New(mc)
	return err
}

// buildEngines makes the way to the media engines elsewhere that relay the calls of this node.
func (n *Node) buildEngines() (err error) {
	if len(n.cfg.Media.Engines) == 0 || !n.cfg.Node.Has("signaling") {
		return nil
	}
	n.engines, err = ng.NewEngines(ng.EnginesConfig{Addrs: n.cfg.Media.Engines, Log: n.log})
	return err
}

// relay is where the media of relayed calls are, nil for the own engine.
func (n *Node) relay() pbx.Relay {
	if n.engines == nil {
		return nil
	}
	return func(c rtpengine.SessionConfig, lost func(string)) pbx.Session { return n.engines.NewSession(c, lost) }
}

// buildNG makes the door through which other proxies command the media engine.
func (n *Node) buildNG() error {
	c := n.cfg
	if n.media == nil || len(c.Media.NG) == 0 {
		return nil
	}
	var allow []netip.Prefix
	for _, text := range c.Media.NGAllow {
		p, err := netip.ParsePrefix(text)
		if ip, one := netip.ParseAddr(text); one == nil {
			p, err = ip.Unmap().Prefix(ip.Unmap().BitLen())
		}
		if err != nil {
			return fmt.Errorf("media.ng_allow: %w", err)
		}
		allow = append(allow, p)
	}
	var err error
	n.ng, err = ng.New(ng.Config{Engine: n.media, Listen: c.Media.NG, Allow: allow, MaxCallTime: c.Limits.CallDuration, Log: n.log})
	return err
}

// buildTURN makes the way in for phones whose network passes little UDP.
func (n *Node) buildTURN() (err error) {
	c := n.cfg
	if n.media == nil || !c.Node.Has("signaling") || !c.TURN.On() {
		return nil
	}
	var told []netip.Addr
	for _, sixth := range []bool{false, true} {
		if addr := n.media.Told(sixth); addr.IsValid() {
			told = append(told, addr)
		}
	}
	n.turn, err = turn.New(turn.Config{
		UDP: c.TURN.UDP, TCP: c.TURN.TCP, TLS: c.TURN.TLS, TLSConfig: n.certs.TLS(), Secret: n.turnSecret(), Known: n.mayRelay, Media: n.media, Address: told,
		PerUser: c.TURN.PerUser, Log: n.log,
	})
	return err
}

func (n *Node) turnSecret() []byte {
	key := derivedKey("tandem turn", n.cfg.AuthKeyFile())
	return key[:]
}

// mayRelay reports whether an account of a TURN credential is still there.
func (n *Node) mayRelay(user string) bool {
	tenant, name, _ := strings.Cut(user, "/")
	a, ok := n.auth.Account(tenant, name)
	return ok && !a.Disabled
}

func family(ip netip.Addr) int {
	if ip.Unmap().Is4() {
		return 0
	}
	return 1
}

func (n *Node) buildSIP() (err error) {
	c := n.cfg
	dir := directory{n.plans, n.auth}
	calls := pbx.Config{
		Plan: n.plan, Directory: dir, Media: n.media, Relay: n.relay(), Events: n.events, MaxCalls: c.Limits.Calls, CallsPerUser: c.Limits.CallsPerUser,
		MaxBranches: c.Limits.BranchesPerCall, Messages: n.boxes, Node: c.Node.Name, Agents: n.agents, Agree: n.cluster.Propose, Fellows: n.queueFellows(), Log: n.log,
	}
	if copies := n.cluster.Copies(); copies != nil {
		calls.Copies, calls.CopyWait, calls.Entitled = copies, c.Cluster.CopyWait, n.cluster.Entitled
	}
	if shares := n.cluster.Shares(); shares != nil {
		calls.Quota = shares
	}
	n.apps = app.New(app.Config{Secret: n.secrets.Get, Log: n.log})
	calls.Apps = n.apps
	if n.pbx, err = pbx.New(calls); err != nil {
		return err
	}
	registrar, err := sip.NewRegistrar(sip.RegistrarConfig{
		Epoch:    uint64(time.Now().UnixNano()), // connections of an earlier start are gone
		Location: n.places, Log: n.cluster, MinExpires: c.Limits.RegisterMin, MaxExpires: c.Limits.RegisterMax,
		DefaultExpires: c.Limits.RegisterDefault, MaxBindings: c.Limits.BindingsPerAOR, Node: c.Node.Name,
		GRUUKey: derivedKey("tandem gruu", c.AuthKeyFile()), Leads: n.leads,
	})
	if err != nil {
		return err
	}
	n.guard = transport.NewGuard(transport.GuardConfig{
		Slots: c.Limits.Sources, Rate: float64(c.Limits.RequestsPerIP), Failures: c.Limits.AuthFailures.Count, Window: c.Limits.AuthFailures.Window,
		BanFor: c.Limits.AuthFailures.Ban,
		OnBan: func(b transport.Ban) {
			n.events.Publish(events.Event{Kind: events.GuardBanned, Peer: b.Source.String(), Reason: b.Reason})
			n.log.Warn("source banned", "peer", b.Source.String(), "until", b.Until, "reason", b.Reason)
		},
	})
	n.trunks = sip.NewTrunks(sip.TrunksConfig{Key: derivedKey("tandem trunks", c.AuthKeyFile()), Lead: n.leads, Events: n.events, Log: n.log})
	digest, err := sip.NewDigest(sip.DigestConfig{Secrets: secrets{n.auth, n.trunks}, Key: derivedKey("tandem nonce", c.AuthKeyFile()), Lifetime: c.Auth.NonceLifetime})
	if err != nil {
		return err
	}
	n.sip, err = sip.New(sip.Config{
		Transport: transport.Config{
			UDP: c.SIP.UDP, TCP: c.SIP.TCP, TLS: c.SIP.TLS, WS: c.SIP.WS, WSS: c.SIP.WSS, Advertise: c.SIP.Advertise, TLSConfig: n.certs.TLS(),
			Shards: c.SIP.Shards, Queue: c.Limits.ShardQueue, WebSocketOrigins: c.Web.Origins, Log: n.log,
			Limits: transport.Limits{
				MessageBytes: c.Limits.MessageBytes, Connections: c.Limits.TCPConnections, PerIP: c.Limits.TCPConnectionsPerIP,
				ReadTimeout: c.SIP.ReadTimeout, WriteTimeout: c.SIP.WriteTimeout, IdleTimeout: streamIdle(c),
			},
		},
		Digest: digest, Registrar: registrar, Location: n.places, Directory: dir, Handler: n.pbx, Events: n.events, Guard: n.guard, Trunks: n.trunks, Edge: n.edge(), CatchUp: n.catchUp(),
		Software: c.SIP.ServerName, TimerC: c.SIP.TimerC, MaxTransactions: c.Limits.Transactions, MaxDialogs: c.Limits.Calls,
		MaxCallTime: c.Limits.CallDuration, TraceBytes: c.Limits.TraceBytes, Recurse: c.SIP.FollowRedirects, Entitled: n.cluster.Entitled, Log: n.log,
	})
	if err != nil {
		return err
	}
	n.pbx.Attach(n.sip)
	return nil
}

// buildPhone makes the phone in a web page.
func (n *Node) buildPhone() (err error) {
	n.phone, err = phone.New(phone.Config{
		Version: Version(), Accounts: n.auth, Plan: n.plan, Guard: n.guard, ICE: n.iceServers,
		HTTPS: func() int {
			_, https := n.WebAddrs()
			if len(https) == 0 {
				return 0
			}
			return portOf(https[0])
		},
	})
	return err
}

func portOf(addr string) int {
	ap, _ := netip.ParseAddrPort(addr) // of a listener, so it parses
	return int(ap.Port())
}

// iceServers are the ways to media besides the direct one: browsers try the direct one first.
func (n *Node) iceServers(tenant, user, host string) []phone.ICEServer {
	if n.turn == nil {
		return nil
	}
	cred := turn.Mint(n.turnSecret(), tenant+"/"+user, time.Now().Add(n.cfg.TURN.Lifetime))
	s := phone.ICEServer{Username: cred.Name, Credential: cred.Password, Expires: cred.Expires.Unix()}
	for _, text := range n.turn.Addrs() {
		way, addr, _ := strings.Cut(text, ":")
		switch way {
		case "udp", "tcp":
			s.URLs = append(s.URLs, fmt.Sprintf("turn:%s:%d?transport=%s", host, portOf(addr), way))
		case "tls":
			s.URLs = append(s.URLs, fmt.Sprintf("turns:%s:%d?transport=tcp", host, portOf(addr)))
		}
	}
	return []phone.ICEServer{s}
}

// playedAt names the places where the dialplan in force plays a prompt. The log asks it, and the dialplan is a machine of the same log.
func (n *Node) playedAt(prompt string) (places []string) {
	for _, s := range n.plan().Sounds() {
		if s.Play == prompt {
			places = append(places, fmt.Sprintf("%s (%s)", s.Node, s.At))
		}
	}
	return places
}

// plan is the dialplan in force.
func (n *Node) plan() *dialplan.Plan { return n.plans.Plan() }

func (n *Node) buildAdmin() (err error) {
	n.admin, err = admin.New(admin.Config{
		Node: n.cfg.Node.Name, Region: n.cfg.Node.Region, Roles: n.cfg.Node.Roles, Version: Version(), Listen: n.cfg.Admin.Listen, Socket: n.cfg.AdminSocket(), Log: n.log,
		Auth: n.auth, Cluster: n.cluster, Dialplan: n.plans, Location: n.places, PBX: n.pbx, Messages: n.boxes, Prompts: n.prompts, Trunks: n.trunks, Secrets: n.secrets, SIP: n.sip, Media: n.media, NG: n.ng, Engines: n.engines, TURN: n.turn, Phone: n.phone, Events: n.events,
		Guard: n.guard, Certs: n.certs, Digest: n.sip.Digest(), Registrar: n.sip.Registrar(), Ready: n.Ready, TakeOver: n.handOver,
		Drain: n.drainage.wish, Drained: n.drainage.state,
	})
	return err
}

// derivedKey is a key for one use, made from the key file: what it signs or seals outlives a restart, and every node with the same
// file takes it.
func derivedKey(use, file string) [32]byte {
	text, _ := os.ReadFile(file) // auth.New has read it before
	return sha256.Sum256(append([]byte(use+"\x00"), text...))
}

// Ready is nil when the node serves, else it says what is missing.
func (n *Node) Ready() error {
	select {
	case <-n.ready:
	default:
		return errors.New("starting")
	}
	if n.draining.Load() {
		return errors.New("draining")
	}
	if n.handing.Load() {
		return errors.New("handing over to another process")
	}
	if st := n.cluster.Status(); !st.Ready {
		return errors.New(strings.Join(st.Words(), " "))
	}
	return nil
}

// Cluster, Plans, Accounts and SIP give the demo and tests their way in.
func (n *Node) Cluster() *cluster.Cluster { return n.cluster }

// Plans is the store of dialplans.
func (n *Node) Plans() *dialplan.Store { return n.plans }

// Accounts is the store of accounts.
func (n *Node) Accounts() *auth.Store { return n.auth }

// SIP is the signalling side.
func (n *Node) SIP() *sip.Server { return n.sip }

// Activity are the SIP requests and RTP packets received since the start.
func (n *Node) Activity() (requests, packets uint64) {
	if n.media != nil {
		packets = n.media.Stats().Packets
	}
	return n.sip.Stats().Requests, packets
}

// Admin is the operators' window.
func (n *Node) Admin() *admin.Server { return n.admin }

// WhenReady is closed once the node serves.
func (n *Node) WhenReady() <-chan struct{} { return n.ready }

// directory joins what the plan and the account table know of users (sip.Directory, dialplan.Directory).
type directory struct {
	plans    *dialplan.Store
	accounts *auth.Store
}

func (d directory) TenantOf(host string) (string, bool) {
	return d.plans.Plan().TenantOf(host)
}

func (d directory) HasTenant(name string) bool { return d.plans.Plan().HasTenant(name) }

func (d directory) User(tenant, name string) (string, bool) {
	if user, ok := d.accounts.User(tenant, name); ok {
		return user, true
	}
	return d.plans.Plan().UserName(tenant, name)
}

// secrets gives the digest what the account table keeps (sip.Secrets).
type secrets struct {
	accounts *auth.Store
	trunks   *sip.Trunks // some call in with credentials
}

func (s secrets) HA1(tenant, name string, sha256 bool) (ha1 [64]byte, n int, user string, ok bool) {
	if ha1, n, user, ok = s.trunks.HA1(tenant, name, sha256); ok {
		return ha1, n, user, ok
	}
	alg := auth.MD5
	if sha256 {
		alg = auth.SHA256
	}
	return s.accounts.HA1(tenant, name, alg)
}

// webListener is one address of the public web side.
type webListener struct {
	net.Listener
	tls bool
}

// listenWeb opens the public HTTP listeners, whose path /ws is SIP over WebSocket (RFC 7118).
func (n *Node) listenWeb() error {
	for i, addr := range append(append([]string(nil), n.cfg.Web.HTTP...), n.cfg.Web.HTTPS...) {
		l, err := n.heir.listen(addr), error(nil)
		if l == nil {
			l, err = net.Listen("tcp", addr)
		}
		if err != nil {
			return fmt.Errorf("web address %s: %w; another process has it, or choose one with web.http / web.https", addr, err)
		}
		n.web = append(n.web, webListener{l, i >= len(n.cfg.Web.HTTP)})
	}
	return nil
}

// WebAddrs are the bound addresses of the web side.
func (n *Node) WebAddrs() (http, https []string) {
	for _, l := range n.web {
		if l.tls {
			https = append(https, l.Addr().String())
		} else {
			http = append(http, l.Addr().String())
		}
	}
	return http, https
}

func (n *Node) webHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/ws", n.sip.Transport().ServeWebSocket)
	mux.Handle("/", n.phone)
	return mux
}

func (n *Node) serveWeb(ctx context.Context, l webListener) error {
	srv := &http.Server{
		Handler: n.webHandler(), ErrorLog: slog.NewLogLogger(n.log.Handler(), slog.LevelDebug), MaxHeaderBytes: 16 << 10,
		ReadHeaderTimeout: 10 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute, // a WebSocket has its own from the upgrade on
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	var err error
	if l.tls {
		srv.TLSConfig = n.certs.TLS()
		srv.TLSConfig.NextProtos = []string{"http/1.1"} // WebSocket needs a connection of its own
		err = srv.ServeTLS(l.Listener, "", "")
	} else {
		err = srv.Serve(l.Listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
