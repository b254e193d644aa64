package tandem

import (
	"context"
	"hash/fnv"

	"tandem/cluster"
	"tandem/pbx"
)

// What joins the queues of this node with those of the others: the agents of a tenant are given away at one node.

// queuesRequest is the kind of what nodes ask each other about queues.
const queuesRequest = "pbx.queues"

// queueFellows are the other nodes to the queues, nil for a node alone.
func (n *Node) queueFellows() pbx.Fellows {
	if n.cfg.Cluster.Listen == "" {
		return nil
	}
	return fellows{n.cluster}
}

// fellows are the nodes of a cluster (pbx.Fellows).
type fellows struct{ cluster *cluster.Cluster }

// Home is chosen by rendezvous: every node comes to the same one of those that live, and only tenants of a node that dies or comes get another.
func (f fellows) Home(tenant string) (node string) {
	members, _, _ := f.cluster.Watch()
	var most uint64
	for _, m := range members {
		if m.Health == cluster.Dead && !m.Self {
			continue
		}
		h := fnv.New64a()
		_, _ = h.Write([]byte(tenant + "\x00" + m.Name))
		if sum := mixed(h.Sum64()); sum >= most {
			if most, node = sum, m.Name; m.Self {
				node = ""
			}
		}
	}
	return node
}

// mixed spreads a sum, whose high bits hardly depend on the last letters of what was summed.
func mixed(sum uint64) uint64 {
	sum ^= sum >> 33
	sum *= 0xff51afd7ed558ccd
	return sum ^ sum>>33
}

// Ask has the other node's PBX answer.
func (f fellows) Ask(ctx context.Context, node string, request []byte) ([]byte, error) {
	return f.cluster.Call(ctx, node, queuesRequest, request)
}

// nodeRequests are what other nodes may ask this one.
func (n *Node) nodeRequests() map[string]cluster.Handler {
	all := n.mailRequests()
	all[queuesRequest] = n.answerQueues
	return all
}

func (n *Node) answerQueues(_ context.Context, _ string, request []byte) ([]byte, error) {
	return n.pbx.FromFellow(request)
}
