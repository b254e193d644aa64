// Package configs says how one node is set up: the settings with their defaults, the file language they are written
// in (tandem.hcl, HCL version 2 with plain values only), the environment variables that override them, and the checks.
//
// Load reads a file and the environment and reports every mistake at once with its file, line and column. The annotated
// sample, tandem.hcl, lies beside this file: it names every key with its default and a sentence, and a test holds it
// equal to Default. The package imports nothing else of Tandem, opens nothing but the one file, and starts nothing.
package configs

import (
	"path/filepath"
	"slices"
	"time"
)

// Config is the set-up of one node. It is plain data: copy it freely, but treat the slices as read-only.
type Config struct {
	Node      Node
	SIP       SIP
	Media     Media
	Recording Recording
	Voicemail Voicemail
	Cluster   Cluster
	Admin     Admin
	Web       Web
	TURN      TURN
	Dialplan  Dialplan
	Certs     Certs
	Auth      Auth
	Events    Events
	Limits    Limits
	Log       Log
}

// Node says who this node is and where it keeps what must survive a restart.
type Node struct {
	Name    string   // unique in the cluster; letters, digits, "-", "_" and ".", at most 63
	DataDir string   // directory of everything that must survive
	Roles   []string // "signaling", "media", "edge"
	Region  string   // free word, "" = none

	DrainTimeout time.Duration // a node that is to stop waits so long for calls that no other node can go on with
}

// SIP lists where phones and peers reach this node. Addresses are IP:port; port 0 asks the system for a free one.
type SIP struct {
	UDP, TCP, TLS, WS, WSS []string
	Advertise              string        // IP address or host name the world sees; "" = the address a packet came to
	ServerName             string        // Server and User-Agent header; "" = none is sent
	Shards                 int           // signalling shards, 0 = chosen from the number of processors
	ReadTimeout            time.Duration // half a message on a stream may take this long
	WriteTimeout           time.Duration // a peer that does not read is cut off after this long
	IdleTimeout            time.Duration // a stream without registration or call and without traffic is closed after this long
	TimerC                 time.Duration // RFC 3261 §16.6 step 11: a ringing branch ends after this long, more than 3 minutes
	FollowRedirects        bool          // 3xx answers to a domain of ours are followed (RFC 3261 §16.7 step 4)
}

// Media says where RTP and RTCP flow.
type Media struct {
	Address    []string // IP addresses to bind, at most one per family
	Advertise  []string // IP addresses written into SDP, at most one per family; empty = the address the peer's signalling came to
	Ports      PortRange
	Shards     int      // media shards, 0 = chosen from the number of processors
	SinglePort int      // UDP port of all phones that can be told apart there; 0 = each has ports of Ports
	ICEPort    int      // UDP port of all browsers, one more for each further shard; 0 = one of Ports for each shard
	Tier       string   // "auto", "steered" or "sockets": the cheapest way that packets may take
	Interfaces []string // whose packets the kernel may forward; empty = all that have an address of Address
	SRTP       string   // how media is offered as to encryption: "mirror", "off", "preferred" or "required"
	Codecs     []string // only these are offered to the other phone, in this order; a kind of media of which none is named stays as it comes
	CodecsOff  []string // never these
	Transcode  string   // "auto", "always" or "off": whether sides without a common codec are helped
	Transcoded int      // calls at once that are; 0 = by the number of processors
	Keys       bool     // keys are converted between telephone-event and tones where only one side takes telephone-event
	Lengths    bool     // each side gets packets of the length that its a=ptime asks for
	Opus       string   // path of libopus; "" = where the system has it, "none" = without
	Prompts    string   // directory of WAV files that dialplans play by name; "" = <data_dir>/prompts
	SoundBytes int      // memory for all sounds that play
	// QualityAlarm is when a call that sounds bad is an event.
	QualityAlarm QualityAlarm
	NG           []string // IP:port, tcp:IP:port or http:IP:port of NG protocol listeners: the engine serves other proxies; empty = none
	NGAllow      []string // IP addresses and networks that may command it besides loopback
	Engines      []string // IP:port of engines elsewhere that relay the calls of this node, over NG and UDP; empty = the own one
}

// QualityAlarm is "an opinion below MOS for After", written "3.1 for 5s"; MOS 0, written "off", is none.
type QualityAlarm struct {
	MOS   float64 // ITU-T G.107, 1 to 4.4
	After time.Duration
}

// Voicemail says where the messages of mailboxes are and what they may use.
type Voicemail struct {
	Dir          string // "" = <data_dir>/voicemail
	MaxBytes     int    // of all messages on this node; beyond it callers are told that there is no room
	MailboxBytes int    // of the messages in one mailbox
}

// Recording says where recordings of calls go and what they may use.
type Recording struct {
	Dir      string // "" = <data_dir>/recordings
	Format   string // "wav" or "ogg"
	Video    bool   // calls with video are recorded with their pictures
	MaxHours int    // of one recording; then it ends and the call goes on
	MaxBytes int    // of all files in Dir; beyond it recordings end and none begins
	AtOnce   int    // recordings at the same time
}

// PortRange is a range of UDP ports, both ends included. Min is even and Max odd, so that it divides into RTP/RTCP pairs.
type PortRange struct{ Min, Max uint16 }

// Pairs is the number of RTP/RTCP port pairs in the range.
func (r PortRange) Pairs() int { return (int(r.Max) - int(r.Min) + 1) / 2 }

// Cluster says how this node agrees with others.
type Cluster struct {
	Listen           string        // IP:port for the other nodes; "" = nothing is opened, this node is alone
	Advertise        string        // IP:port at which the others reach Listen; "" = the same
	Gossip           string        // IP:port of the gossip protocol; "" = nothing is opened
	Bootstrap        bool          // an empty data directory starts a cluster of its own, unless Join or Token say otherwise
	Join             []string      // IP:port of members that an empty data directory joins, with Token; empty = those that the token names
	Token            string        // from `tandem cluster token`; used once
	TokenEmpty       bool          // TANDEM_CLUSTER_TOKEN is there and says nothing
	CopyWait         time.Duration // longest wait of a caller, once his call is answered, until other nodes could go on with it
	TakeOverAfter    time.Duration // silence after which another node counts as dead, and its calls go on at a survivor
	VirtualAddresses []string      // addresses that this node puts on its interfaces, and that move to a survivor; see VirtualAddress
}

// Admin is the operators' window: API, metrics, health, profiles.
type Admin struct {
	Listen string // IP:port, "" = only the unix socket; without loopback a token is asked for
}

// Web is the public HTTP side: browser phones and SIP over WebSocket at /ws.
type Web struct {
	HTTP, HTTPS []string // IP:port each
	Origins     []string // Origin headers accepted for WebSockets, like https://phone.example; empty = all
}

// TURN is the server through which phones behind firewalls reach the media engine (RFC 8656); STUN is answered there, too.
type TURN struct {
	UDP, TCP, TLS []string      // IP:port each; all empty = none
	PerUser       int           // allocations of one user at once
	Lifetime      time.Duration // of the credentials that are handed out
}

// On reports whether there is a listener.
func (t TURN) On() bool { return len(t.UDP)+len(t.TCP)+len(t.TLS) > 0 }

// Dialplan names the plan files that are applied once, when the cluster has no plan.
type Dialplan struct {
	Files []string // files, or directories of *.dialplan.hcl
}

// Certs says with which key this node speaks TLS.
type Certs struct {
	Dir      string   // where a self-made certificate is kept; "" = <data_dir>/certs
	CertFile string   // PEM chain; "" = a self-made certificate
	KeyFile  string   // PEM key, set exactly when CertFile is
	Hosts    []string // names and addresses in the self-made certificate; empty = host name and local addresses
}

// Auth says how phones prove who they are.
type Auth struct {
	KeyFile       string        // 32 random bytes in hex that seal the stored secrets; "" = <data_dir>/auth.key
	NonceLifetime time.Duration // a digest nonce is stale after this long (RFC 7616 §3.3)
}

// Events says where the record of what happened goes.
type Events struct {
	Dir  string // call records (cdr.jsonl); "" = <data_dir>/events
	Ring int    // events kept in memory for late readers
}

// Limits bounds every table, queue and message. Each has a counter and a SIP answer of its own.
type Limits struct {
	MessageBytes        int           // longest SIP message; longer ones get 513
	BindingsPerAOR      int           // contacts of one user; more get 403
	RegisterMin         time.Duration // shorter Expires get 423
	RegisterDefault     time.Duration // given when a phone names no Expires
	RegisterMax         time.Duration // longer Expires are shortened to this
	ShardQueue          int           // messages waiting in one signalling shard; above three quarters new INVITE and REGISTER get 503
	Transactions        int           // transactions open at once; beyond it new requests get 503
	Calls               int           // calls at once; beyond it new INVITE get 503
	CallsPerUser        int           // calls of one user at once; beyond it new INVITE get 486
	Conferences         int           // at once
	ConferenceMembers   int           // of one conference
	BranchesPerCall     int           // phones rung at once by one call (RFC 5393 Max-Breadth)
	TCPConnections      int           // streams at once (TCP, TLS, WS, WSS); further ones are closed
	TCPConnectionsPerIP int           // streams at once from one address
	RequestsPerIP       int           // requests per second from one address; beyond it they are dropped
	AuthFailures        FailureLimit  // failed authentications of one source before it is banned
	Sources             int           // source addresses remembered by the guard; the oldest is forgotten
	MediaSilence        time.Duration // an answered call without any packet for this long is ended
	CallDuration        time.Duration // no call lives longer
	MemoryBytes         int           // memory at which the collector works harder, 0 = three quarters of what there is
	TraceBytes          int           // memory for the trace of recent messages, 0 keeps none
}

// FailureLimit is "Count failures within Window are followed by a ban of Ban", written "10/min ban 5m".
type FailureLimit struct {
	Count  int
	Window time.Duration
	Ban    time.Duration
}

// Log says what is written to standard error.
type Log struct {
	Level  string // "debug", "info", "warn", "error"
	Format string // "text", "json"
}

// Default is the set-up of a node without any configuration.
func Default() Config {
	return Config{
		Node: Node{Name: "n1", DataDir: "/var/lib/tandem", Roles: []string{"signaling", "media"}, DrainTimeout: 10 * time.Minute},
		SIP: SIP{
			UDP: []string{"0.0.0.0:5060"}, TCP: []string{"0.0.0.0:5060"}, TLS: []string{"0.0.0.0:5061"},
			ServerName:  "Tandem",
			ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 10 * time.Minute,
			TimerC: 185 * time.Second, FollowRedirects: true,
		},
		Media:     Media{Address: []string{"0.0.0.0"}, Ports: PortRange{20000, 29999}, Tier: "auto", SRTP: "mirror", Transcode: "auto", SoundBytes: 64 << 20, QualityAlarm: QualityAlarm{3.1, 5 * time.Second}},
		Voicemail: Voicemail{MaxBytes: 20 << 30, MailboxBytes: 200 << 20},
		Recording: Recording{Format: "wav", MaxHours: 4, MaxBytes: 50 << 30, AtOnce: 500},
		Cluster:   Cluster{Bootstrap: true, CopyWait: 50 * time.Millisecond, TakeOverAfter: time.Second},
		Admin:     Admin{Listen: "127.0.0.1:9090"},
		Web:       Web{HTTP: []string{"0.0.0.0:8080"}, HTTPS: []string{"0.0.0.0:8443"}},
		TURN: TURN{
			UDP: []string{"0.0.0.0:3478"}, TCP: []string{"0.0.0.0:3478"}, PerUser: 20, Lifetime: 12 * time.Hour,
		},
		Dialplan: Dialplan{
			Files: []string{"/etc/tandem/dialplan.d"},
		},
		Auth:   Auth{NonceLifetime: 5 * time.Minute},
		Events: Events{Ring: 8192},
		Limits: defaultLimits(),
		Log:    Log{Level: "info", Format: "text"},
	}
}

func defaultLimits() Limits {
	return Limits{
		MessageBytes:   65535,
		BindingsPerAOR: 10,
		RegisterMin:    time.Minute, RegisterDefault: time.Hour, RegisterMax: time.Hour,
		ShardQueue: 4096, Transactions: 200_000,
		Calls: 20_000, CallsPerUser: 50, BranchesPerCall: 50, Conferences: 200, ConferenceMembers: 100,
		TCPConnections: 10_000, TCPConnectionsPerIP: 2000, RequestsPerIP: 20_000,
		AuthFailures: FailureLimit{Count: 10, Window: time.Minute, Ban: 5 * time.Minute},
		Sources:      65_536,
		MediaSilence: time.Minute, CallDuration: 12 * time.Hour,
		TraceBytes: 32 << 20,
	}
}

// Has tells whether the node has a role.
func (n Node) Has(role string) bool { return slices.Contains(n.Roles, role) }

// AdminSocket is the path of the unix socket that local commands use.
func (c Config) AdminSocket() string { return filepath.Join(c.Node.DataDir, "admin.sock") }

// ClusterDir is where the replicated log and its snapshots lie.
func (c Config) ClusterDir() string { return filepath.Join(c.Node.DataDir, "cluster") }

// CertsDir is Certs.Dir or its place in the data directory.
func (c Config) CertsDir() string { return c.inDataDir(c.Certs.Dir, "certs") }

// AuthKeyFile is Auth.KeyFile or its place in the data directory.
func (c Config) AuthKeyFile() string { return c.inDataDir(c.Auth.KeyFile, "auth.key") }

// EventsDir is Events.Dir or its place in the data directory.
func (c Config) EventsDir() string { return c.inDataDir(c.Events.Dir, "events") }

// PromptsDir is Media.Prompts or its place in the data directory.
func (c Config) PromptsDir() string { return c.inDataDir(c.Media.Prompts, "prompts") }

// VoicemailDir is Voicemail.Dir or its place in the data directory.
func (c Config) VoicemailDir() string { return c.inDataDir(c.Voicemail.Dir, "voicemail") }

// RecordingDir is Recording.Dir or its place in the data directory.
func (c Config) RecordingDir() string { return c.inDataDir(c.Recording.Dir, "recordings") }

func (c Config) inDataDir(given, name string) string {
	if given != "" {
		return given
	}
	return filepath.Join(c.Node.DataDir, name)
}
