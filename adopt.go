package tandem

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tandem/internal/virtualip"
	"tandem/pbx"
	"tandem/rtpengine"
	"tandem/sip/transport"
)

// adopted is what this node does in the place of a dead one.
type adopted struct {
	name  string
	sip   []*transport.StandIn
	media []*rtpengine.StandIn
	moved []virtualip.Address // put on interfaces of this machine
	calls []string            // ids of those that came with it
	web   []net.Listener
	stop  context.CancelFunc // ends the web side
}

// adoptions are all of them, by the dead node's name.
type adoptions struct {
	mu   sync.Mutex
	list map[string][]*adopted
	work sync.WaitGroup // goroutines of all of them
}

// endTime is how long it may take to give addresses back.
const endTime = 5 * time.Second

// adopt goes on with the calls of a dead node: its addresses are put on their interfaces, where they are virtual ones, and bound, and then the calls come,
// with their media at the ports that they had. Only then does this node hear what phones have sent meanwhile, and the segment learns where the addresses are
// now: a BYE that is read before its call is here would be answered 481. An address that cannot be had is an error, and then nothing has been adopted. A
// call that cannot be is ended, and the others go on.
//
// Where the addresses are of another machine, and do not move, the calls come to this node's own, and phones are told.
func (n *Node) adopt(ctx context.Context, from departed) (a *adopted, err error) {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx)) // until the addresses are given back
	a = &adopted{name: from.Name, stop: stop}
	defer func() {
		if err != nil {
			a.end(n)
		}
	}()
	for _, at := range from.Addresses {
		if err := n.standIn(a, at); err != nil {
			return a, err
		}
	}
	arrivals := n.bring(ctx, from, pbx.FromDead)
	for _, arrival := range arrivals {
		a.calls = append(a.calls, arrival.ID())
	}
	for _, s := range a.sip {
		s.Serve()
	}
	for _, at := range from.Addresses {
		for _, w := range at.Web {
			n.standInWeb(serving, a, w)
		}
	}
	if len(a.moved) > 0 {
		n.adopted.work.Go(func() { n.virtual.announce(serving, a.moved) })
	}
	for _, arrival := range arrivals {
		arrival.Resume()
	}
	n.adopted.mu.Lock()
	defer n.adopted.mu.Unlock()
	if n.adopted.list == nil {
		n.adopted.list = map[string][]*adopted{}
	}
	n.adopted.list[from.Name] = append(n.adopted.list[from.Name], a)
	return a, nil
}

// bring takes the calls of a dead node in, several at a time: people hear nothing meanwhile, and half of the work is the kernel's.
func (n *Node) bring(ctx context.Context, from departed, whence pbx.Whence) []*pbx.Arrival {
	arrivals := make([]*pbx.Arrival, len(from.Calls))
	var next atomic.Int64
	var work sync.WaitGroup
	for range min(bringers, len(from.Calls)) {
		work.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(from.Calls)); i = next.Add(1) - 1 {
				arrival, err := n.pbx.Import(ctx, from.Calls[i], whence)
				if err != nil {
					n.log.Error("a call of a dead node cannot be gone on with", "node", from.Name, "error", err)
					continue
				}
				arrival.Settle()
				arrivals[i] = arrival
			}
		})
	}
	work.Wait()
	return slices.DeleteFunc(arrivals, func(a *pbx.Arrival) bool { return a == nil })
}

// bringers is how many calls are taken in at a time.
const bringers = 4

// resettle goes on with the calls of a dead node at this one's own addresses, and tells their phones so.
func (n *Node) resettle(ctx context.Context, from departed) {
	for _, arrival := range n.bring(ctx, from, pbx.FromElsewhere) {
		arrival.Resume()
	}
}

// standIn binds what a node listened on. What it heard at all addresses of its machine is heard at those that have moved.
func (n *Node) standIn(a *adopted, at whereabouts) error {
	if a.name != n.cfg.Node.Name {
		for _, v := range parseVirtual(at.Virtual) {
			if err := n.virtual.raise(v); err != nil {
				return err
			}
			a.moved = append(a.moved, v)
		}
	}
	for _, p := range at.SIP {
		addr, err := netip.ParseAddrPort(p.Addr)
		if err != nil {
			return err
		}
		for _, addr := range spread(addr, a.moved) {
			s, err := n.sip.Transport().StandIn(transport.Foreign{Net: p.Net, Addr: addr, Advertise: at.Advertise})
			if err != nil {
				return err
			}
			a.sip = append(a.sip, s)
		}
	}
	if n.media != nil && len(at.Media) > 0 {
		var f rtpengine.Foreign
		for into, list := range map[*[]netip.Addr][]string{&f.Addrs: at.Media, &f.Advertise: at.Told} {
			for _, text := range list {
				addr, err := netip.ParseAddr(text)
				if err != nil {
					return err
				}
				*into = append(*into, addr)
			}
		}
		s, err := n.media.StandIn(f)
		if err != nil {
			return err
		}
		a.media = append(a.media, s)
	}
	return nil
}

// spread gives the addresses that stand for one: itself, and for all addresses of a machine those that have moved.
func spread(at netip.AddrPort, moved []virtualip.Address) (list []netip.AddrPort) {
	if at.Addr().IsUnspecified() {
		for _, v := range moved {
			if addr := v.Prefix.Addr(); addr.Is4() == at.Addr().Is4() {
				list = append(list, netip.AddrPortFrom(addr, at.Port()))
			}
		}
	}
	if list == nil {
		list = append(list, at)
	}
	return list
}

// standInWeb serves the web side at an address of another node. Calls can do without: their phones come back by any node.
func (n *Node) standInWeb(ctx context.Context, a *adopted, w webAt) {
	if slices.Contains(n.cfg.Web.HTTP, w.Addr) || slices.Contains(n.cfg.Web.HTTPS, w.Addr) {
		return
	}
	l, err := net.Listen("tcp", w.Addr)
	if err != nil {
		n.log.Warn("the web side of a dead node has no address here", "address", w.Addr, "error", err)
		return
	}
	a.web = append(a.web, l)
	n.adopted.work.Go(func() {
		if err := n.serveWeb(ctx, webListener{l, w.TLS}); err != nil && !errors.Is(err, net.ErrClosed) {
			n.log.Error("the web side at an address of another node has failed", "address", w.Addr, "error", err)
		}
	})
}

// end gives the addresses back.
func (a *adopted) end(n *Node) {
	ctx, cancel := context.WithTimeout(context.Background(), endTime)
	defer cancel()
	a.stop()
	for _, l := range a.web { // the server does it as well, but some time later: whoever is back would find the address taken
		_ = l.Close()
	}
	for _, s := range a.sip {
		if err := s.End(ctx); err != nil {
			n.log.Warn("an address of another node is given back late", "node", a.name, "error", err)
		}
	}
	for _, s := range a.media {
		s.End()
	}
	for _, v := range a.moved {
		if err := n.virtual.lower(v); err != nil {
			n.log.Error("a virtual address of another node cannot be taken away; ip addr del does it", "address", v.String(), "error", err)
		}
	}
}

// endAdoptions is the end of this node.
func (n *Node) endAdoptions() {
	n.adopted.mu.Lock()
	for _, list := range n.adopted.list {
		for _, a := range list {
			a.stop()
		}
	}
	n.adopted.list = nil
	n.adopted.mu.Unlock()
	n.adopted.work.Wait()
}

// giveBack lets go of the addresses of a node that has returned, once the calls that came with them are over.
func (n *Node) giveBack(node string) error {
	n.adopted.mu.Lock()
	defer n.adopted.mu.Unlock()
	calls := 0
	for _, a := range n.adopted.list[node] {
		a.calls = slices.DeleteFunc(a.calls, func(id string) bool { _, there := n.pbx.Call(id); return !there })
		calls += len(a.calls)
	}
	if calls > 0 {
		return fmt.Errorf("%d of its calls still go on there", calls)
	}
	for _, a := range n.adopted.list[node] {
		a.end(n)
		n.log.Info("a node is back and has its addresses again", "node", node)
	}
	delete(n.adopted.list, node)
	return nil
}
