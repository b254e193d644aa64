package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"tandem/admin"
	"tandem/cluster"
)

func newStatus(f *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the state of a node", Args: cobra.NoArgs,
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, _ []string) error {
			st, err := client.Status(ctx)
			if err != nil {
				return err
			}
			return out.object(st, func() { showStatus(out, st) })
		}),
	}
}

func showStatus(out *output, st admin.Status) {
	ready := "yes"
	if !st.Ready {
		ready = "no: " + st.Reason
	}
	plan := "none yet"
	if st.Dialplan > 0 {
		plan = fmt.Sprintf("version %d", st.Dialplan)
	}
	var listeners []string
	for _, l := range st.Listeners {
		listeners = append(listeners, l.Transport+" "+l.Address)
	}
	rows := []table.Row{
		{"Node", st.Node},
		{"Region", cmp.Or(st.Region, "none")},
		{"Roles", strings.Join(st.Roles, ", ")},
		{"Version", st.Version},
		{"Running", span(st.Uptime)},
		{"Ready", ready},
		{"Calls", st.Calls},
		{"Registrations", st.Registrations},
		{"Accounts", st.Accounts},
		{"Dialplan", plan},
		{"Bans", st.Bans},
		{"SIP", strings.Join(listeners, "\n")},
		{"Cluster", clusterLine(st.Cluster)},
	}
	if st.Media != nil {
		rows = append(rows, table.Row{"Media tier", mediaLines(st.Media)})
	}
	if st.Certificate != nil {
		kind := "from files"
		if st.Certificate.SelfSigned {
			kind = "self-signed"
		}
		rows = append(rows, table.Row{"Certificate", kind + ", until " + clock(st.Certificate.NotAfter)})
	}
	fields(out, rows...)
}

// mediaLines say which ways media takes, and why not cheaper ones.
func mediaLines(m *admin.MediaTier) string {
	because := func(what, reason string) string {
		if reason == "" {
			return what
		}
		return what + ": " + reason
	}
	lines := []string{because(m.Tier, m.Reason)}
	if !m.Kernel {
		return strings.Join(append(lines, because("not kernel", m.KernelReason)), "\n")
	}
	for _, in := range m.Interfaces {
		if in.Reason == "" {
			lines = append(lines, "kernel on "+in.Name)
		} else {
			lines = append(lines, because("not kernel on "+in.Name, in.Reason))
		}
	}
	for _, n := range m.Streams {
		lines = append(lines, because(fmt.Sprintf("%d streams %s", n.Streams, n.Tier), n.Reason))
	}
	return strings.Join(lines, "\n")
}

// clusterLine is the cluster in a few words.
func clusterLine(st cluster.Status) string {
	switch st.Leader {
	case "":
		return st.State + ", there is no leader"
	case st.Node:
		return "this node leads"
	}
	return "node " + st.Leader + " leads"
}

func newNodes(f *apiFlags) *cobra.Command {
	return group("nodes", "Show the nodes of the cluster", &cobra.Command{
		Use: "list", Short: "List the nodes of the cluster", Args: cobra.NoArgs,
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, _ []string) error {
			l, err := client.Nodes(ctx)
			if err != nil {
				return err
			}
			return list(out, l.Items, l.Total, table.Row{"Node", "Region", "State", "Ready", "Calls", "Version"}, func(m admin.Member) table.Row {
				return table.Row{m.Name, m.Region, m.State, yes(m.Ready), m.Calls, m.Version}
			})
		}),
	}, newWatch(f, "nodes", "node."))
}
