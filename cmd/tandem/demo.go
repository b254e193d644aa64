package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"tandem"
	"tandem/configs"
	"tandem/dialplan"
	"tandem/sip/transport"
)

// errPortTaken says that no free port was found near the one asked for.
var errPortTaken = errors.New("no free port")

// demoUsers are the accounts of the demo dialplan; user and extension are the same.
var demoUsers = []string{"1000", "1001", "1002", "1003"}

const demoTenant = "demo"

type demoFlags struct {
	dir, listen, mediaPorts, password, output string
	sipPort, httpPort, nodes                  int
}

func newDemo() *cobra.Command {
	var f demoFlags
	c := &cobra.Command{
		Use:   "demo",
		Short: "Run a node with four accounts and a dialplan, nothing to configure",
		Long: "Run a node with four accounts, an echo test, music, a conference and a ring group, and print what to enter in a softphone.\n" +
			"Ports that are taken move to the next free ones, which is said.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	c.Flags().StringVar(&f.dir, "dir", "", "data directory; default is a new temporary one")
	c.Flags().StringVar(&f.listen, "listen", "127.0.0.1", "IP address to listen on")
	c.Flags().IntVar(&f.sipPort, "sip-port", 5060, "SIP port for UDP and TCP; TLS takes the next one")
	c.Flags().IntVar(&f.httpPort, "http-port", 8080, "port for web and WebSocket; HTTPS takes port 8443 or the next free one")
	c.Flags().StringVar(&f.mediaPorts, "media-ports", "20000-29999", "UDP ports for media, first-last")
	c.Flags().StringVar(&f.password, "password", "", "one password for all demo accounts; default is a random one each")
	c.Flags().IntVar(&f.nodes, "nodes", 1, "number of nodes: more than one are processes of their own on --listen and the addresses after it")
	c.Flags().StringVarP(&f.output, "output", "o", "table", "table, or json: one line once the node is ready")
	return c
}

// demoReport is the line of -o json.
type demoReport struct {
	Nodes    []demoNode    `json:"nodes"`
	Domain   string        `json:"domain"`
	Accounts []demoAccount `json:"accounts"`
}

type demoNode struct {
	Name    string  `json:"name"`
	PID     int     `json:"pid"`
	DataDir string  `json:"data_dir"`
	SIP     demoSIP `json:"sip"`
	HTTP    string  `json:"http"`
	Admin   string  `json:"admin"`
}

type demoSIP struct {
	UDP string `json:"udp"`
	TCP string `json:"tcp"`
	TLS string `json:"tls"`
	WS  string `json:"ws"`
	WSS string `json:"wss"`
}

type demoAccount struct {
	User      string `json:"user"`
	Extension string `json:"extension"`
	Password  string `json:"password"`
}

func (f *demoFlags) run(cmd *cobra.Command) error {
	switch {
	case f.nodes < 1 || f.nodes > 5:
		return usageError{errors.New("--nodes takes 1 to 5")}
	case f.output != "table" && f.output != "json":
		return usageError{fmt.Errorf("--output %s is neither table nor json", f.output)}
	case f.nodes > 1:
		return f.runCluster(cmd)
	}
	cfg, err := f.config(cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	cfg.Log = configs.Log{Level: "warn", Format: "text"}
	log := newLogger(cmd.ErrOrStderr(), cfg.Log, new(slog.LevelVar))
	n, err := tandem.New(cfg, log)
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	ctx, stop := context.WithCancel(cmd.Context())
	defer stop()
	go func() {
		err := f.populate(ctx, n, cfg, cmd.OutOrStdout())
		if err != nil && ctx.Err() == nil {
			failed <- err
			stop()
		}
	}()
	limitMemory(log, cfg.Limits.MemoryBytes)
	err = runNode(ctx, n, log, onSignals{})
	select {
	case populateErr := <-failed:
		return populateErr
	default:
		return err
	}
}

// config is the demo's configuration: free ports on one address, data in one directory.
func (f *demoFlags) config(notes io.Writer) (configs.Config, error) {
	cfg := configs.Default()
	ip, err := netip.ParseAddr(f.listen)
	if err != nil {
		return cfg, usageError{fmt.Errorf("--listen %s is not an IP address", f.listen)}
	}
	if cfg.Media.Ports, err = configs.ParsePorts(f.mediaPorts); err != nil {
		return cfg, usageError{fmt.Errorf("--media-ports: %w", err)}
	}
	if f.dir == "" {
		if f.dir, err = os.MkdirTemp("", "tandem-demo-"); err != nil {
			return cfg, err
		}
	}
	cfg.Node.DataDir = f.dir
	p := ports{ip: ip, notes: notes}
	sipPort := p.free("SIP", f.sipPort, 2, true)
	httpPort := p.free("web", f.httpPort, 1, false)
	httpsPort := p.free("", f.httpPort+363, 1, false) // 8080 -> 8443
	adminPort := p.free("", 9090, 1, false)
	turnPort := p.free("", 3478, 1, true)
	if p.err != nil {
		return cfg, p.err
	}
	cfg.SIP.UDP, cfg.SIP.TCP, cfg.SIP.TLS = []string{p.at(sipPort)}, []string{p.at(sipPort)}, []string{p.at(sipPort + 1)}
	cfg.Media.Address = []string{ip.String()}
	cfg.Web.HTTP, cfg.Web.HTTPS = []string{p.at(httpPort)}, []string{p.at(httpsPort)}
	cfg.Admin.Listen = p.at(adminPort)
	cfg.TURN.UDP, cfg.TURN.TCP = []string{p.at(turnPort)}, []string{p.at(turnPort)}
	cfg.Dialplan.Files = nil
	cfg.Certs.Hosts = []string{"localhost", ip.String()}
	return cfg, nil
}

// ports looks for free ports and says when one moved.
type ports struct {
	ip    netip.Addr
	notes io.Writer
	err   error
}

func (p *ports) at(port int) string {
	return netip.AddrPortFrom(p.ip, uint16(port)).String()
}

// free finds the first of count free ports in a row, for TCP and where wanted UDP.
func (p *ports) free(what string, want, count int, udp bool) int {
	for port := want; p.err == nil && port < want+200 && port+count <= 65536; port += count {
		if p.isFree(port, count, udp) {
			if port != want && what != "" {
				fmt.Fprintf(p.notes, "note: %s port %d is taken, using %d\n", what, want, port)
			}
			return port
		}
	}
	if p.err == nil {
		p.err = fmt.Errorf("%w near %d on %s; choose another with --sip-port or --http-port, or another address with --listen", errPortTaken, want, p.ip)
	}
	return 0
}

func (p *ports) isFree(port, count int, udp bool) bool {
	for i := range count {
		l, err := net.Listen("tcp", p.at(port+i))
		if err != nil {
			return false
		}
		_ = l.Close()
		if !udp {
			continue
		}
		c, err := net.ListenPacket("udp", p.at(port+i))
		if err != nil {
			return false
		}
		_ = c.Close()
	}
	return true
}

// populate gives a new node its dialplan and accounts and reports.
func (f *demoFlags) populate(ctx context.Context, n *tandem.Node, cfg configs.Config, out io.Writer) error {
	select {
	case <-n.WhenReady():
	case <-ctx.Done():
		return nil
	}
	if _, v := n.Plans().Current(); v.Number == 0 {
		if err := n.ApplyPlan(ctx, []dialplan.Source{dialplan.Demo(f.listen)}, "demo", "the demo dialplan"); err != nil {
			return err
		}
	}
	report := demoReport{Nodes: []demoNode{f.node(n, cfg)}, Domain: f.listen}
	for _, user := range demoUsers {
		a, err := f.account(ctx, n, user)
		if err != nil {
			return fmt.Errorf("account %s: %w", user, err)
		}
		report.Accounts = append(report.Accounts, a)
	}
	if f.output == "json" {
		return json.NewEncoder(out).Encode(report)
	}
	report.print(out)
	return nil
}

// account makes one demo account. In a directory that has it already the password stays, and is shown as such, unless one
// is given.
func (f *demoFlags) account(ctx context.Context, n *tandem.Node, user string) (demoAccount, error) {
	a := demoAccount{User: user, Extension: user, Password: f.password}
	if _, exists := n.Accounts().Account(demoTenant, user); exists && f.password == "" {
		a.Password = "(as before)"
		return a, nil
	}
	if a.Password == "" {
		a.Password = strings.ToLower(rand.Text()[:12])
	}
	cmd, err := n.Accounts().SetCommand(demoTenant, user, a.Password, user, "Demo "+user, time.Now())
	if err != nil {
		return a, err
	}
	result, err := n.Cluster().Propose(ctx, "auth", cmd)
	if err != nil {
		return a, err
	}
	if refused, ok := result.(error); ok {
		return a, refused
	}
	return a, nil
}

func (f *demoFlags) node(n *tandem.Node, cfg configs.Config) demoNode {
	d := demoNode{Name: cfg.Node.Name, PID: os.Getpid(), DataDir: cfg.Node.DataDir}
	for _, l := range n.SIP().Transport().Listeners() {
		switch l.Net {
		case transport.UDP:
			d.SIP.UDP = l.Addr.String()
		case transport.TCP:
			d.SIP.TCP = l.Addr.String()
		case transport.TLS:
			d.SIP.TLS = l.Addr.String()
		}
	}
	http, https := n.WebAddrs()
	d.HTTP, d.SIP.WS, d.SIP.WSS = "http://"+http[0], "ws://"+http[0]+"/ws", "wss://"+https[0]+"/ws"
	d.Admin = "http://" + n.Admin().Addr()
	return d
}

// page is the web address where browsers give a page the microphone: on this machine any, elsewhere the encrypted one.
func (n demoNode) page() string {
	if addr, err := netip.ParseAddrPort(strings.TrimPrefix(n.HTTP, "http://")); err == nil && addr.Addr().IsLoopback() {
		return n.HTTP
	}
	return "https://" + strings.TrimSuffix(strings.TrimPrefix(n.SIP.WSS, "wss://"), "/ws")
}

// print writes what a person with a softphone needs.
func (r *demoReport) print(out io.Writer) {
	n := r.Nodes[0]
	fmt.Fprintf(out, "Tandem is ready. Point a softphone at it:\n\n")
	t := table.NewWriter()
	t.SetOutputMirror(out)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"User", "Password", "SIP address"})
	for _, a := range r.Accounts {
		t.AppendRow(table.Row{a.User, a.Password, "sip:" + a.User + "@" + r.Domain})
	}
	t.Render()
	fmt.Fprintf(out, "\n  domain     %s\n  server     %s (UDP, TCP), %s (TLS)\n  WebSocket  %s\n  admin      %s\n  data       %s\n\n",
		r.Domain, n.SIP.UDP, n.SIP.TLS, n.SIP.WS, n.Admin, n.DataDir)
	first, second := r.Accounts[0], r.Accounts[1]
	fmt.Fprintf(out, "Or be the phone in a browser, in one click:\n\n  %s/#%s:%s\n  %s/#%s:%s   (a second one)\n\n",
		n.page(), first.User, first.Password, n.page(), second.User, second.Password)
	fmt.Fprintf(out, "Dial 1000-1003 to ring each other, 1999 to ring all, *43 for the echo test, *98 for music, 8000 for the conference. Ctrl-C ends.\n")
}
