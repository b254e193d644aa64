package tandem

import (
	"context"

	"tandem/cluster"
	"tandem/sip"
)

// What joins the signalling of this node with that of the others: phones are reached through the node that they have registered at.

// edge is the way of the signalling to the other nodes, nil for a node alone.
func (n *Node) edge() *sip.EdgeConfig {
	if n.cfg.Cluster.Listen == "" {
		return nil
	}
	return &sip.EdgeConfig{Node: n.cfg.Node.Name, Key: derivedKey("tandem edge", n.cfg.AuthKeyFile()), Send: n.cluster.Send, Serves: n.cluster.Serves, Heir: n.cluster.HeirOf}
}

// edgeMessages take what other nodes have to say about phones.
func (n *Node) edgeMessages() map[string]cluster.Receiver {
	all := make(map[string]cluster.Receiver)
	for _, kind := range []string{sip.EdgeSend, sip.EdgeHeard, sip.EdgeGone} {
		all[kind] = func(from string, payload []byte) { n.sip.FromFellow(from, kind, payload) }
	}
	return all
}

// catchUp is how the signalling asks whether this node lags, nil for a node alone.
func (n *Node) catchUp() func(context.Context) error {
	if n.cfg.Cluster.Listen == "" {
		return nil
	}
	return n.cluster.CatchUp
}

// leads tells whether what one node of the cluster does for all is this node's to do: registering at carriers, forgetting what has expired.
func (n *Node) leads() bool { return n.cluster.Presides() }

// tellFellows tells the signalling which nodes there are, until ctx ends.
func (n *Node) tellFellows(ctx context.Context) error {
	for {
		members, _, changed := n.cluster.Watch()
		var list []sip.Fellow
		for _, m := range members {
			if !m.Self {
				list = append(list, sip.Fellow{Name: m.Name, Dead: m.Health == cluster.Dead})
			}
		}
		n.sip.SetFellows(list)
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}
