package tandem

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"tandem/cluster"
	"tandem/internal/virtualip"
	"tandem/sip/transport"
)

// whereabouts are what a node listens on, as it tells the others at its start: whoever goes on with its calls listens there in its place.
type whereabouts struct {
	SIP       []place  `json:"sip,omitempty"`
	Advertise string   `json:"advertise,omitempty"` // in place of those addresses, in headers
	Web       []webAt  `json:"web,omitempty"`
	Media     []string `json:"media,omitempty"`
	Told      []string `json:"told,omitempty"`    // in place of those, in descriptions
	Virtual   []string `json:"virtual,omitempty"` // that go with the node
	Machine   string   `json:"machine,omitempty"`
}

type place struct {
	Net  transport.Net `json:"net"`
	Addr string        `json:"addr"`
}

type webAt struct {
	Addr string `json:"addr"`
	TLS  bool   `json:"tls,omitempty"`
}

// departed is a dead node, and what others know of it.
type departed struct {
	Name      string
	Addresses []whereabouts // its own first, then those of nodes in whose place it stood itself
	Calls     [][]byte      // snapshots of pbx
}

// whereabouts of this node.
func (n *Node) whereabouts() (w whereabouts) {
	c := n.cfg
	for _, l := range []struct {
		net   transport.Net
		addrs []string
	}{{transport.UDP, c.SIP.UDP}, {transport.TCP, c.SIP.TCP}, {transport.TLS, c.SIP.TLS}, {transport.WS, c.SIP.WS}, {transport.WSS, c.SIP.WSS}} {
		for _, a := range l.addrs {
			w.SIP = append(w.SIP, place{l.net, a})
		}
	}
	for _, a := range c.Web.HTTP {
		w.Web = append(w.Web, webAt{Addr: a})
	}
	for _, a := range c.Web.HTTPS {
		w.Web = append(w.Web, webAt{Addr: a, TLS: true})
	}
	w.Advertise, w.Virtual, w.Machine = c.SIP.Advertise, c.Cluster.VirtualAddresses, machine()
	if n.media != nil {
		w.Media, w.Told = c.Media.Address, c.Media.Advertise
	}
	return w
}

// enterCluster tells the others that this node lives, where, and that it can go on with their calls.
func (n *Node) enterCluster() error {
	if n.cluster.Copies() == nil {
		return nil
	}
	text, err := json.Marshal(n.whereabouts())
	if err != nil {
		return err
	}
	return n.cluster.Enter(text, n.media != nil && n.cfg.Node.Has("signaling"))
}

// succession is how this node goes on with what others did.
func (n *Node) succession() cluster.SuccessionConfig {
	return cluster.SuccessionConfig{Take: n.take, Fit: n.fit, Fenced: n.fenced, Release: n.giveBack, After: n.cfg.Cluster.TakeOverAfter}
}

// fit tells how well this node could go on with the calls of another one: where it can be heard at its addresses, nobody can better.
func (n *Node) fit(_ string, infos []cluster.EstateInfo) int {
	if n.draining.Load() {
		return cluster.Unfit
	}
	fit := cluster.Best
	for _, i := range infos {
		var w whereabouts
		if json.Unmarshal(i.Info, &w) != nil {
			return cluster.Unfit
		}
		if !n.canHave(i.Node, &w) {
			fit = cluster.Able
		}
	}
	return fit
}

// canHave tells whether what a node listens on can be had here: it is this one in an earlier life, or of the same machine, or its addresses move.
func (n *Node) canHave(node string, w *whereabouts) bool {
	if node == n.cfg.Node.Name || w.Machine == machine() {
		return true
	}
	virtual := parseVirtual(w.Virtual)
	covered := func(at netip.Addr) bool {
		return slices.ContainsFunc(virtual, func(v virtualip.Address) bool {
			_, err := net.InterfaceByName(v.Interface)
			own := v.Prefix.Addr()
			return err == nil && (at == own || at.IsUnspecified() && at.Is4() == own.Is4())
		})
	}
	for _, p := range w.SIP {
		if at, err := netip.ParseAddrPort(p.Addr); err != nil || !covered(at.Addr()) {
			return false
		}
	}
	for _, text := range w.Media {
		if at, err := netip.ParseAddr(text); err != nil || !covered(at) {
			return false
		}
	}
	return len(w.SIP) > 0
}

// take goes on with the calls of a dead node, at its addresses where they can be had.
func (n *Node) take(ctx context.Context, e cluster.Estate) error {
	if n.draining.Load() {
		return errors.New("this node is draining")
	}
	from, here := departed{Name: e.Node, Calls: e.Copies}, true
	for _, i := range e.Infos {
		var w whereabouts
		if err := json.Unmarshal(i.Info, &w); err != nil {
			return fmt.Errorf("what node %s has told of itself cannot be read: %w", i.Node, err)
		}
		from.Addresses = append(from.Addresses, w)
		here = here && n.canHave(i.Node, &w)
	}
	if e.Node == n.cfg.Node.Name && len(e.Copies) == 0 {
		return nil
	}
	if !here {
		n.resettle(ctx, from)
		return nil
	}
	_, err := n.adopt(ctx, from)
	return err
}

// fenced drops the calls of this node: another one goes on with them since it was taken for dead.
func (n *Node) fenced(taker string) {
	ctx, cancel := context.WithTimeout(context.Background(), moveTime)
	defer cancel()
	dropped, ended := n.pbx.Disown(ctx, "the node was cut off, and taken for dead")
	n.log.Warn("another node goes on with the calls of this one", "node", taker, "dropped", dropped, "ended", ended)
}

const (
	reclaimPause = 500 * time.Millisecond
	reclaimSay   = time.Minute
)

// reclaim waits until whoever stood in this node's place has given its addresses back: calls that go on there end first.
func (n *Node) reclaim(ctx context.Context) error {
	if n.cluster.Copies() == nil {
		return nil
	}
	var said time.Time
	for {
		err := n.cluster.Reclaim(ctx)
		if err == nil {
			return nil
		}
		if time.Since(said) > reclaimSay {
			said = time.Now()
			n.log.Warn("this node waits for its addresses", "reason", err)
		}
		select {
		case <-time.After(reclaimPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
