package tandem

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tandem/auth"
	"tandem/certs"
	"tandem/cluster"
	"tandem/configs"
)

// A node that is to join others must never begin a cluster of its own instead because its token did not arrive.
func TestANodeWithPeersAndWithoutATokenDoesNotBeginAClusterOfItsOwn(t *testing.T) {
	peers := []string{"10.0.0.2:7000"}
	for name, test := range map[string]struct {
		change func(*configs.Cluster)
		says   string
	}{
		"no token":           {func(c *configs.Cluster) { c.Join = peers }, "tandem cluster token"},
		"an empty variable":  {func(c *configs.Cluster) { c.TokenEmpty = true }, "unset it"},
		"both":               {func(c *configs.Cluster) { c.Join, c.TokenEmpty = peers, true }, "tandem cluster token"},
		"a token of nothing": {func(c *configs.Cluster) { c.Join, c.Token = peers, " \n" }, "tandem cluster token"},
	} {
		c := configs.Default()
		c.Node.DataDir = filepath.Join(t.TempDir(), "data")
		c.Cluster.Listen = "10.0.0.1:7000"
		test.change(&c.Cluster)
		if err := Join(t.Context(), c, slog.New(slog.DiscardHandler)); !errors.Is(err, ErrNoToken) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(c.Node.DataDir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the data directory was made: %v", name, err)
		}
	}
	c := configs.Default()
	c.Node.DataDir, c.Cluster.Listen, c.Cluster.Join, c.Cluster.Token = t.TempDir(), "10.0.0.1:7000", peers, "nonsense"
	if err := Join(t.Context(), c, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "no join token") {
		t.Errorf("nonsense: %v", err)
	}
}

func TestADirectoryThatHasAClusterDoesNotJoinAnother(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	alone := configs.Default()
	alone.Node.DataDir, alone.Cluster.Listen = t.TempDir(), "10.0.0.1:7000"
	if err := os.MkdirAll(alone.ClusterDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(alone.ClusterDir(), "raft.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	alone.Cluster.TokenEmpty = true
	if err := Join(t.Context(), alone, quiet); err != nil {
		t.Errorf("a node that goes on alone, with an empty variable: %v", err)
	}
	alone.Cluster.Join = []string{"10.0.0.2:7000"}
	if err := Join(t.Context(), alone, quiet); !errors.Is(err, ErrHasCluster) || !strings.Contains(err.Error(), alone.Node.DataDir) {
		t.Errorf("a node with a cluster of its own: %v", err)
	}

	member := configs.Default()
	member.Node.DataDir, member.Node.Name, member.Cluster.Listen = t.TempDir(), "n1", "10.0.0.1:7000"
	if _, err := auth.New(auth.Config{KeyFile: member.AuthKeyFile()}); err != nil {
		t.Fatal(err)
	}
	if _, err := certs.FoundCluster(member.ClusterDir(), "n1", sealKey(member), quiet); err != nil {
		t.Fatal(err)
	}
	member.Cluster.Join, member.Cluster.Token = alone.Cluster.Join, "used long ago"
	if err := Join(t.Context(), member, quiet); err != nil {
		t.Errorf("a member, with its old settings: %v", err)
	}
	member.Cluster.Token = cluster.Token{Addresses: []string{"10.0.0.7:7000", "10.0.0.8:7000", "10.0.0.9:7000"}}.String() // of no authority that there is
	if err := Join(t.Context(), member, quiet); !errors.Is(err, ErrHasCluster) || !strings.Contains(err.Error(), "another cluster") {
		t.Errorf("a member, with the token of another cluster: %v", err)
	}
}
