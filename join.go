package tandem

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"tandem/auth"
	"tandem/certs"
	"tandem/cluster"
	"tandem/configs"
)

// share is what a node that joins is given besides its certificate, over its encrypted connection.
type share struct {
	AccountKey []byte `json:"account_key"` // text of the file auth.key_file
	Authority  []byte `json:"authority"`   // key of the cluster's authority, so that the newcomer can take in others
}

func (n *Node) clusterShare() ([]byte, error) {
	key, err := os.ReadFile(n.cfg.AuthKeyFile())
	if err != nil {
		return nil, fmt.Errorf("the account key cannot be read: %w", err)
	}
	authority, err := n.member.AuthorityKey()
	if err != nil {
		return nil, err
	}
	return json.Marshal(share{key, authority})
}

// sealKey seals the key of the cluster's authority on the disk.
func sealKey(c configs.Config) [32]byte {
	return derivedKey("tandem cluster authority", c.AuthKeyFile())
}

// hasLog tells whether the data directory holds an agreed log.
func hasLog(c configs.Config) bool {
	_, err := os.Stat(filepath.Join(c.ClusterDir(), "raft.db"))
	return err == nil
}

// membership is how this node proves to the others who it is. A node that has a cluster of its own, or is to begin one, founds its authority.
func (n *Node) membership() (*certs.Membership, error) {
	c := n.cfg
	m, err := certs.OpenMembership(c.ClusterDir(), sealKey(c), n.log)
	if errors.Is(err, certs.ErrNotMember) {
		if !c.Cluster.Bootstrap && !hasLog(c) {
			return nil, errors.New("this node belongs to no cluster yet: join one with `tandem cluster join`, or set cluster.bootstrap to begin one")
		}
		m, err = certs.FoundCluster(c.ClusterDir(), c.Node.Name, sealKey(c), n.log)
	}
	if err != nil {
		return nil, err
	}
	if m.Node() != c.Node.Name {
		return nil, fmt.Errorf("%w: %s is of node %q and this node is called %q; set node.name back or use another data_dir", cluster.ErrWrongNode, c.ClusterDir(), m.Node(), c.Node.Name)
	}
	return m, nil
}

// ErrHasCluster means that a data directory cannot join a cluster, because it has one.
var ErrHasCluster = errors.New("the data directory has a cluster already")

// ErrNoToken means that a node is to join a cluster and was given no token. It does not begin one of its own instead.
var ErrNoToken = errors.New("a join token is missing")

// sameCluster refuses the token of another cluster than the one that a directory belongs to. One that was used, has ended or cannot be read is of no
// interest any more: the settings may stay where they are.
func sameCluster(c configs.Config, given string, log *slog.Logger) error {
	token, err := cluster.ParseToken(given)
	if err != nil {
		return nil
	}
	m, err := certs.OpenMembership(c.ClusterDir(), sealKey(c), log)
	if err != nil {
		return err
	}
	if !token.Of(m.Root()) {
		return fmt.Errorf("%w: %s belongs to a node of another cluster than the token is of; use another node.data_dir to join that one, or take the token out to go on in this one", ErrHasCluster, c.Node.DataDir)
	}
	return nil
}

// Join makes the node of a configuration a member of the cluster whose token it names, before New. It does nothing when no token or address is
// configured, and nothing when the directory belongs to a member already: the settings may stay where they are.
func Join(ctx context.Context, c configs.Config, log *slog.Logger) error {
	given := strings.TrimSpace(c.Cluster.Token)
	if given == "" && len(c.Cluster.Join) == 0 && !c.Cluster.TokenEmpty {
		return nil
	}
	if _, err := os.Stat(filepath.Join(c.ClusterDir(), "cluster.pem")); err == nil {
		return sameCluster(c, given, log)
	}
	if hasLog(c) {
		if given == "" && len(c.Cluster.Join) == 0 {
			return nil // an empty variable changes nothing for a node that has its cluster
		}
		return fmt.Errorf("%w: %s holds the state of a node alone, which joining would give up; use another node.data_dir, or take cluster.join and cluster.token out", ErrHasCluster, c.Node.DataDir)
	}
	switch {
	case given == "" && len(c.Cluster.Join) > 0:
		return fmt.Errorf("%w: cluster.join names members, so this node is not to begin a cluster of its own: make a token with `tandem cluster token` on one of them, and set it as TANDEM_CLUSTER_TOKEN or cluster.token", ErrNoToken)
	case given == "":
		return fmt.Errorf("%w: TANDEM_CLUSTER_TOKEN is set and empty, as when `tandem cluster token` has failed: set it to a token of the cluster that this node shall join, or unset it to begin a new one", ErrNoToken)
	}
	token, err := cluster.ParseToken(given)
	if err != nil {
		return err
	}
	wish, err := certs.NewMembershipWish(c.Node.Name)
	if err != nil {
		return err
	}
	a, err := cluster.Join(ctx, nil, token, c.Cluster.Join, c.Node.Name, wish.Request)
	if err != nil {
		return err
	}
	var received share
	if err := json.Unmarshal(a.Share, &received); err != nil {
		return fmt.Errorf("what the cluster has given to this node cannot be read: %w", err)
	}
	if err := auth.KeepKey(c.AuthKeyFile(), received.AccountKey); err != nil {
		return err
	}
	if err := cluster.KeepSeeds(c.ClusterDir(), a.Addresses); err != nil {
		return err
	}
	if err := wish.Keep(c.ClusterDir(), a.Certificate, a.Root, received.Authority, sealKey(c)); err != nil {
		return err
	}
	log.Info("this node has joined the cluster", "node", c.Node.Name, "epoch", a.Epoch, "members", a.Addresses)
	return nil
}
