package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"tandem"
	"tandem/admin"
	"tandem/cluster"
	"tandem/configs"
)

func newCluster(f *apiFlags) *cobra.Command {
	return group("cluster", "Show and change the nodes that agree with each other", newClusterStatus(f), newClusterToken(f), newClusterJoin(), newClusterLeave(f), newClusterTransfer(f), newClusterRecover())
}

func newClusterStatus(f *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show who leads, who lives, who lags", Args: cobra.NoArgs,
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, _ []string) error {
			st, err := client.Cluster(ctx)
			if err != nil {
				return err
			}
			return out.object(st, func() { showCluster(out, st) })
		}),
	}
}

// showCluster says in words what an operator wants to know first, then the members, then this node's numbers.
func showCluster(out *output, st cluster.Status) {
	for _, line := range st.Words() {
		out.say("%s", line)
	}
	t := newTable(out.w, table.Row{"Node", "Address", "Role", "Health", "Behind", "Disk", "Free", "Version"})
	for _, m := range st.Members {
		t.AppendRow(table.Row{m.Name + here(m), m.Address, roleWord(m), m.Health, m.Behind, m.Disk, bytesWord(m.Free), m.Program})
	}
	t.Render()
	fields(out,
		table.Row{"Node", st.Node}, table.Row{"State", st.State}, table.Row{"Leader", st.Leader}, table.Row{"Ready", yes(st.Ready)}, table.Row{"Term", st.Term},
		table.Row{"Last, agreed, applied", fmt.Sprintf("%d, %d, %d", st.Last, st.Commit, st.Applied)},
		table.Row{"Log", fmt.Sprintf("%d entries, %d bytes since the last snapshot", st.LogEntries, st.LogBytes)},
		table.Row{"Snapshot", fmt.Sprintf("at %d, %d bytes", st.Snapshot.Index, st.Snapshot.Bytes)},
		table.Row{"Commands", fmt.Sprintf("version %d in use, %d known", st.Agreed, st.Speaks)},
		table.Row{"Compared", comparedWord(st.Comparison)},
		table.Row{"Waiting", fmt.Sprintf("%d of %d changes", st.Queue.Items, st.Queue.Capacity)},
		table.Row{"Calls elsewhere", copiesWord(st.Copies)},
		table.Row{"Taken over", takenWord(st.Succession)},
		table.Row{"Limits", sharesWord(st.Shares)},
		table.Row{"Held for others", fmt.Sprintf("%d calls, %d bytes", st.Copies.Held, st.Copies.Bytes)},
	)
}

// copiesWord says how well the calls of a node are kept on others.
func copiesWord(st cluster.CopiesStatus) string {
	switch {
	case st.Own == 0:
		return "none to keep"
	case st.Alone == st.Own:
		return fmt.Sprintf("none of %d: there is no other node", st.Own)
	}
	return fmt.Sprintf("%d of %d, %s behind", st.Covered, st.Own, st.Lag.Round(time.Millisecond))
}

// comparedWord says whether a node holds what the others hold.
func comparedWord(st cluster.ComparisonStatus) string {
	switch {
	case len(st.Differs) > 0:
		return "another state than most: " + strings.Join(st.Differs, ", ")
	case st.Done == 0:
		return "not yet"
	}
	return fmt.Sprintf("the same as the others, at %s", clock(st.Last))
}

// sharesWord says how limits are divided among the nodes.
func sharesWord(st cluster.SharesStatus) string {
	if st.Pools == 0 {
		return "nothing of one is used"
	}
	word := fmt.Sprintf("%d in use, a share of %d held here; %d calls waited for one, %d in vain", st.Pools, st.Held, st.Lent+st.Late, st.Late)
	if st.Orphans > 0 {
		word += fmt.Sprintf("; those of %d dead nodes are not free yet", st.Orphans)
	}
	return word
}

// takenWord says whose calls a node has gone on with.
func takenWord(st cluster.SuccessionStatus) string {
	word := "nothing"
	if st.Takes > 0 {
		word = fmt.Sprintf("%d times, the last from %s in %s", st.Takes, st.Last, st.Took.Round(time.Millisecond))
	}
	if st.Failures > 0 {
		word += fmt.Sprintf("; %d times in vain", st.Failures)
	}
	if !st.Entitled {
		word += "; no majority hears this node, so it ends no call by itself"
	}
	return word
}

func here(m cluster.Member) string {
	if m.Self {
		return " (this node)"
	}
	return ""
}

func roleWord(m cluster.Member) string {
	switch {
	case m.Leader:
		return "leads"
	case m.Voter:
		return "votes"
	}
	return "catches up"
}

func bytesWord(n uint64) string {
	switch {
	case n == 0:
		return "unknown"
	case n < 1<<30:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

func newClusterToken(f *apiFlags) *cobra.Command {
	var ttl time.Duration
	c := &cobra.Command{
		Use: "token", Short: "Make a token with which one node can join, and show it, this once", Args: cobra.NoArgs,
		Long: "Make a token with which one node can join the cluster, and show it, this once. It is used up by the node that joins with it.",
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, _ []string) error {
			if ttl <= 0 {
				return usageError{errors.New("--ttl must be more than nothing")}
			}
			t, err := client.NewJoinToken(ctx, ttl)
			if err != nil {
				return err
			}
			return out.object(t, func() {
				out.note("good until %s, for one node: tandem cluster join --token TOKEN --name NAME --listen IP:7000 --data-dir DIR", clock(t.Expires))
				out.say("%s", t.Token)
			})
		}),
	}
	c.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long it is good, at most 168h")
	return c
}

// newClusterJoin speaks to the cluster port of a member, not to an API: the node it is for does not run yet.
func newClusterJoin() *cobra.Command {
	var file, name, listen, token string
	c := &cobra.Command{
		Use: "join [ADDRESS...] --token TOKEN", Short: "Make a new node a member of a cluster, before it is started",
		Long: "Make a new node a member of a cluster: its data directory gets a certificate and the keys of the cluster, nothing is started. Then start it with\n" +
			"`tandem serve` and the same name, data directory and cluster.listen. ADDRESS is IP:port of the cluster port of a member; without it those that\n" +
			"the token names are asked. The same happens at the start of a node that has cluster.join or cluster.token in its configuration.",
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadConfig(cmd.ErrOrStderr(), file)
			if err != nil {
				return err
			}
			dir, _ := cmd.Flags().GetString("data-dir")
			cfg.Node.DataDir, cfg.Node.Name = cmp.Or(dir, cfg.Node.DataDir), cmp.Or(name, cfg.Node.Name)
			cfg.Cluster.Listen, cfg.Cluster.Token = cmp.Or(listen, cfg.Cluster.Listen), cmp.Or(token, cfg.Cluster.Token)
			if len(args) > 0 {
				cfg.Cluster.Join = args
			}
			for _, a := range append([]string{cfg.Cluster.Listen}, cfg.Cluster.Join...) {
				if _, err := netip.ParseAddrPort(a); err != nil {
					return usageError{fmt.Errorf("%q is not IP:port; --listen is where the other nodes will reach this one, ADDRESS where a member answers", a)}
				}
			}
			if cfg.Cluster.Token == "" {
				return usageError{errors.New("--token is missing; `tandem cluster token` on a member makes one")}
			}
			if _, err := os.Stat(cfg.ClusterDir() + "/cluster.pem"); err == nil {
				return fmt.Errorf("%w: %s belongs to a member of a cluster; use another --data-dir", tandem.ErrHasCluster, cfg.Node.DataDir)
			}
			if err := os.MkdirAll(cfg.Node.DataDir, 0o700); err != nil {
				return err
			}
			log := newLogger(cmd.ErrOrStderr(), configs.Log{Level: "warn", Format: "text"}, new(slog.LevelVar))
			if err := tandem.Join(cmd.Context(), cfg, log); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Node %s is a member now. Start it:\n\n  TANDEM_NODE_NAME=%s TANDEM_NODE_DATA_DIR=%s TANDEM_CLUSTER_LISTEN=%s tandem serve%s\n",
				cfg.Node.Name, cfg.Node.Name, cfg.Node.DataDir, cfg.Cluster.Listen, configFlag(file))
			return nil
		},
	}
	c.Flags().StringVar(&file, "config", "", "configuration file of the new node")
	c.Flags().StringVar(&name, "name", "", "name of the new node; default is node.name of its configuration")
	c.Flags().StringVar(&listen, "listen", "", "IP:port for the other nodes; default is cluster.listen of its configuration")
	// The flag --token of the other commands is that of the API.
	c.Flags().StringVar(&token, "token", "", "join token; default is $TANDEM_CLUSTER_TOKEN")
	return c
}

func configFlag(file string) string {
	if file == "" {
		return ""
	}
	return " --config " + strings.ReplaceAll(file, " ", "\\ ")
}

func newClusterLeave(f *apiFlags) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use: "leave [NODE]", Short: "Take a node out of the cluster, the one that is asked when none is named", Args: cobra.MaximumNArgs(1),
		Long: "Take a node out of the cluster: it loses its vote and its certificate no longer counts. Only a new token brings it back, with an empty data\n" +
			"directory. It is refused when too few of the others answer to agree on anything afterwards. A leader gives its office away first.",
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			node := ""
			if len(args) > 0 {
				node = args[0]
			}
			left, err := client.LeaveCluster(ctx, node, force)
			if err != nil {
				return err
			}
			out.say("node %s has left the cluster", left)
			return nil
		}),
	}
	c.Flags().BoolVar(&force, "force", false, "even when too few of the others answer now")
	return c
}

func newClusterTransfer(f *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "transfer [NODE]", Short: "Let another node lead, the one that is furthest when none is named", Args: cobra.MaximumNArgs(1),
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			to := ""
			if len(args) > 0 {
				to = args[0]
			}
			if err := client.TransferLeadership(ctx, to); err != nil {
				return err
			}
			out.say("leadership is given to %s", cmp.Or(to, "another node"))
			return nil
		}),
	}
}

// newClusterRecover works on the directory of a node that does not run.
func newClusterRecover() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "recover", Short: "Make a stopped node the only one of its cluster, when most others are lost for good", Args: cobra.NoArgs,
		Long: "Make a stopped node the only one of its cluster, when most others are lost for good. It keeps all it knows; what the others had agreed on and it\n" +
			"had not heard of is lost. Choose the node with the largest applied index in `tandem cluster status`. The others do not come back by\n" +
			"themselves: empty their data directories and let them join with new tokens. While most nodes can be started again, start them instead.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(cmd.ErrOrStderr(), file)
			if err != nil {
				return err
			}
			dir, _ := cmd.Flags().GetString("data-dir")
			cfg.Node.DataDir = cmp.Or(dir, cfg.Node.DataDir)
			n, err := tandem.New(cfg, newLogger(cmd.ErrOrStderr(), configs.Log{Level: "warn", Format: "text"}, new(slog.LevelVar)))
			if err != nil {
				return err
			}
			if err := n.Cluster().Recover(); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Node %s is the only one of its cluster now. Start it, then let the others join anew.\n", cfg.Node.Name)
			return nil
		},
	}
	c.Flags().StringVar(&file, "config", "", "configuration file of the node")
	return c
}
