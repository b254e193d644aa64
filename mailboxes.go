package tandem

import (
	"context"
	"errors"
	"time"

	"tandem/cluster"
	"tandem/pbx/mailbox"
)

// What joins the mailboxes of this node with those of the others: their index is a machine of the log, and their sounds go from node to node.

// buildMailboxes makes the store of messages of a node that carries calls.
func (n *Node) buildMailboxes() (err error) {
	c := n.cfg
	if !c.Node.Has("signaling") {
		return nil
	}
	n.boxes, err = mailbox.New(mailbox.Config{
		Index: n.index, Dir: c.VoicemailDir(), Node: c.Node.Name, MaxBytes: int64(c.Voicemail.MaxBytes), BoxBytes: int64(c.Voicemail.MailboxBytes), Log: n.log,
		Propose: func(ctx context.Context, cmd []byte) (any, error) {
			return n.cluster.Propose(ctx, mailbox.Machine, cmd)
		},
		Call: n.cluster.Call, Fellows: n.mailFellows, Measure: n.soundLength,
		Ready: func() bool { return n.cluster.Status().Ready },
		Left:  func(i mailbox.Item) { n.pbx.LeftMessage(i) },
	})
	n.index.OnChange(func(tenant, box string) { n.pbx.MailboxChanged(tenant, box) })
	return err
}

// mailRequests answers what other nodes want of the sounds here.
func (n *Node) mailRequests() map[string]cluster.Handler {
	all := map[string]cluster.Handler{}
	for _, kind := range mailbox.Kinds() {
		all[kind] = func(_ context.Context, from string, payload []byte) ([]byte, error) {
			if n.boxes == nil {
				return nil, errors.New("this node keeps no messages")
			}
			return n.boxes.Serve(kind, from, payload)
		}
	}
	return all
}

// mailFellows are the other nodes that can be given something to keep.
func (n *Node) mailFellows() (names []string) {
	for _, m := range n.cluster.Members() {
		if !m.Self && m.Health == cluster.Alive {
			names = append(names, m.Name)
		}
	}
	return names
}

func (n *Node) soundLength(path string) (time.Duration, error) {
	if n.media == nil {
		return 0, errors.New("this node has no media engine")
	}
	return n.media.SoundLength(path)
}
