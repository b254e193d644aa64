package admin

import (
	"context"
	"net/http"
	"runtime"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/cluster"
	"tandem/rtpengine"
)

// Status is the state of a node at a glance.
type Status struct {
	Node          string         `json:"node"`
	Region        string         `json:"region,omitempty" doc:"Where the node stands (node.region of its configuration)."`
	Roles         []string       `json:"roles" nullable:"false" doc:"What the node does: signaling, media."`
	Version       string         `json:"version"`
	Started       time.Time      `json:"started"`
	Uptime        time.Duration  `json:"uptime_ns"`
	Ready         bool           `json:"ready"`
	Reason        string         `json:"reason,omitempty" doc:"Why the node is not ready."`
	Calls         int            `json:"calls"`
	Registrations int            `json:"registrations"`
	Accounts      int            `json:"accounts"`
	Bans          int            `json:"bans"`
	Dialplan      uint64         `json:"dialplan_version" doc:"0: there is none yet."`
	Listeners     []Listener     `json:"listeners" nullable:"false"`
	Certificate   *Certificate   `json:"certificate,omitempty"`
	Media         *MediaTier     `json:"media,omitempty" doc:"How media is relayed; absent on a node without that role."`
	Cluster       cluster.Status `json:"cluster"`
}

// Listener is one SIP listener.
type Listener struct {
	Transport string `json:"transport"`
	Address   string `json:"address"`
}

// Certificate is the one the node shows now.
type Certificate struct {
	SelfSigned bool      `json:"self_signed"`
	NotAfter   time.Time `json:"not_after"`
}

// MediaTier is the way that media packets take.
type MediaTier struct {
	Tier   string `json:"tier" doc:"How packets that the kernel does not forward are read: steered or sockets."`
	Reason string `json:"reason,omitempty" doc:"Why it is not the cheaper one."`

	Kernel       bool           `json:"kernel" doc:"The kernel forwards what it can."`
	KernelReason string         `json:"kernel_reason,omitempty" doc:"Why it does not."`
	Interfaces   []MediaLink    `json:"interfaces" nullable:"false" doc:"Those that media may come by, when the kernel forwards."`
	Streams      []MediaStreams `json:"streams" nullable:"false" doc:"Directions of relayed media by the way that they take."`
}

// MediaLink is an interface that media may come by.
type MediaLink struct {
	Name   string `json:"name"`
	Reason string `json:"reason,omitempty" doc:"Why the kernel does not forward what comes by it."`
}

// MediaStreams are directions of media that take one way for one reason.
type MediaStreams struct {
	Tier    string `json:"tier" doc:"kernel, steered or sockets."`
	Reason  string `json:"reason,omitempty" doc:"Why it is not the kernel; docs/media.md explains each."`
	Streams int    `json:"streams"`
}

func mediaTier(st rtpengine.Stats) *MediaTier {
	t := &MediaTier{
		Tier: string(st.Tier.Tier), Reason: st.Tier.Reason, Kernel: st.Tier.Kernel.On, KernelReason: st.Tier.Kernel.Reason,
		Interfaces: []MediaLink{}, Streams: []MediaStreams{},
	}
	for _, in := range st.Tier.Kernel.Interfaces {
		t.Interfaces = append(t.Interfaces, MediaLink(in))
	}
	for _, n := range st.Streams {
		t.Streams = append(t.Streams, MediaStreams{string(n.Tier), n.Reason, n.Streams})
	}
	return t
}

// Build says which program this is.
type Build struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

// Member is one node of the cluster.
type Member struct {
	Name    string `json:"name"`
	State   string `json:"state" doc:"starting, joining, follower, candidate, leader or stopped."`
	Health  string `json:"health" doc:"What the node that was asked hears of it: unknown, alive, suspect or dead."`
	Address string `json:"address,omitempty" doc:"Where the other nodes reach it; absent on a node alone."`
	Region  string `json:"region,omitempty"`
	Leader  bool   `json:"leader"`
	Ready   bool   `json:"ready"`
	Version string `json:"version"`
	Calls   int    `json:"calls" doc:"Of the node that was asked; 0 of others."`
}

// Tenant is what the dialplan in force says about a tenant.
type Tenant struct {
	Name     string   `json:"name"`
	Domains  []string `json:"domains" nullable:"false" doc:"SIP domains."`
	TimeZone string   `json:"time_zone"`
	Users    int      `json:"users" doc:"Users that the plan names."`
	Nodes    int      `json:"nodes"`
	Tests    int      `json:"tests"`
}

func (s *Server) nodeRoutes(api huma.API) {
	route(api, http.MethodGet, "/tenants", "list-tenants", "List the tenants of the dialplan in force", s.listTenants)
	route(api, http.MethodGet, "/status", "get-status", "Show the state of the node", s.getStatus)
	route(api, http.MethodGet, "/version", "get-version", "Show the version of the program", s.getVersion)
	route(api, http.MethodGet, "/cluster", "get-cluster", "Show the node's part in the cluster", s.getCluster)
	route(api, http.MethodGet, "/nodes", "list-nodes", "List the nodes of the cluster", s.listNodes)
}

func (s *Server) getStatus(context.Context, *struct{}) (*answer[Status], error) {
	_, v := s.cfg.Dialplan.Current()
	st := Status{
		Node: s.cfg.Node, Region: s.cfg.Region, Roles: append([]string{}, s.cfg.Roles...), Version: s.cfg.Version, Started: s.started, Uptime: time.Since(s.started), Ready: true,
		Calls: s.cfg.PBX.Stats().Calls, Registrations: s.cfg.Location.Stats().Bindings, Accounts: s.cfg.Auth.Stats().Accounts,
		Dialplan: v.Number, Listeners: []Listener{}, Cluster: s.cfg.Cluster.Status(),
	}
	if err := s.cfg.Ready(); err != nil {
		st.Ready, st.Reason = false, err.Error()
	}
	if s.cfg.Guard != nil {
		st.Bans = s.cfg.Guard.Stats().Bans
	}
	for _, l := range s.cfg.SIP.Transport().Listeners() {
		st.Listeners = append(st.Listeners, Listener{l.Net.String(), l.Addr.String()})
	}
	if s.cfg.Media != nil {
		st.Media = mediaTier(s.cfg.Media.Stats())
	}
	if s.cfg.Certs != nil {
		c := s.cfg.Certs.Stats()
		st.Certificate = &Certificate{c.SelfSigned, c.NotAfter}
	}
	return &answer[Status]{st}, nil
}

func (s *Server) getVersion(context.Context, *struct{}) (*answer[Build], error) {
	return &answer[Build]{Build{Version: s.cfg.Version, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}}, nil
}

func (s *Server) getCluster(context.Context, *struct{}) (*answer[cluster.Status], error) {
	return &answer[cluster.Status]{s.cfg.Cluster.Status()}, nil
}

// listNodes lists the members of the cluster; calls are known of this node only.
func (s *Server) listNodes(context.Context, *struct{}) (*answer[List[Member]], error) {
	st := s.cfg.Cluster.Status()
	out := List[Member]{Items: []Member{}}
	for _, n := range st.Members {
		m := Member{Name: n.Name, State: "follower", Leader: n.Leader, Ready: n.Ready && n.Health == cluster.Alive, Version: n.Program, Address: n.Address, Health: string(n.Health)}
		switch {
		case n.Leader:
			m.State = "leader"
		case !n.Voter:
			m.State = "joining"
		}
		if n.Self {
			m.State, m.Region, m.Ready, m.Version, m.Calls = st.State, s.cfg.Region, s.cfg.Ready() == nil, s.cfg.Version, s.cfg.PBX.Stats().Calls
		}
		out.Items = append(out.Items, m)
	}
	out.Total = len(out.Items)
	return &answer[List[Member]]{out}, nil
}

func (s *Server) listTenants(context.Context, *struct{}) (*answer[List[Tenant]], error) {
	plan, _ := s.cfg.Dialplan.Current()
	out := List[Tenant]{Items: []Tenant{}}
	for _, t := range plan.Tenants() {
		out.Items = append(out.Items, Tenant{
			Name: t.Name, Domains: append([]string{}, t.Domains...), TimeZone: t.TimeZone, Users: len(t.Users), Nodes: t.Nodes, Tests: t.Tests,
		})
	}
	out.Total = len(out.Items)
	return &answer[List[Tenant]]{out}, nil
}
