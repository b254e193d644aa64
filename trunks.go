package tandem

import (
	"context"
	"time"

	"tandem/pbx"
)

// trunkLook is how often it is looked whether the plan or a secret has changed.
const trunkLook = time.Second

// feedTrunks gives the signalling side the trunks of the plan in force, with their secrets, until ctx ends.
func (n *Node) feedTrunks(ctx context.Context) error {
	tick := time.NewTicker(trunkLook)
	defer tick.Stop()
	plan, changes := n.plan(), n.secrets.Changes()
	for {
		n.trunks.Set(pbx.SIPTrunks(plan, n.secrets.Get))
		for n.plan() == plan && n.secrets.Changes() == changes {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
		plan, changes = n.plan(), n.secrets.Changes()
	}
}
