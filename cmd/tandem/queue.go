package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"tandem/admin"
	"tandem/pbx"
)

func newQueue(f *apiFlags) *cobra.Command {
	first := newQueueList(f)
	return group("queue", "Show queues, log their agents in and out", first, newWatch(f, "queues", "queue.", "agent."),
		newAgentDoes(f, "login", "log_in", "Log agents in", "%s is logged in"), newAgentDoes(f, "logout", "log_out", "Log agents out", "%s is logged out"),
		newAgentDoes(f, "pause", "pause", "Let agents pause", "%s pauses"), newAgentDoes(f, "resume", "resume", "End the pause of agents", "%s takes calls again"))
}

func newQueueList(f *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the queues: who waits, and what the agents do", Args: cobra.NoArgs,
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, _ []string) error {
			l, err := client.Queues(ctx)
			if err != nil {
				return err
			}
			now := time.Now()
			return list(out, l.Items, l.Total, table.Row{"Queue", "Waiting", "Longest", "Estimate", "Callers", "Agents"}, func(q pbx.QueueView) table.Row {
				var callers, agents []string
				waiting, longest := 0, time.Duration(0)
				for _, c := range q.Callers {
					line := c.Caller + " " + c.Stage + " " + span(now.Sub(c.Since))
					if len(c.Agents) > 0 {
						line += ": " + strings.Join(c.Agents, ", ")
					}
					callers = append(callers, line)
					if c.Stage != "talking" {
						waiting, longest = waiting+1, max(longest, now.Sub(c.Since))
					}
				}
				for _, a := range q.Agents {
					agents = append(agents, a.User+" "+strings.ReplaceAll(string(a.State), "_", " "))
				}
				return table.Row{q.Name + "@" + q.Tenant, waiting, spanOr(longest), spanOr(q.Estimate), strings.Join(callers, "\n"), strings.Join(agents, "\n")}
			})
		}),
	}
}

func newPark(f *apiFlags) *cobra.Command {
	first := &cobra.Command{
		Use: "list", Short: "List the calls that are parked at the node", Args: cobra.NoArgs,
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, _ []string) error {
			l, err := client.Parked(ctx)
			if err != nil {
				return err
			}
			now := time.Now()
			return list(out, l.Items, l.Total, table.Row{"Slot", "Caller", "Parked by", "For", "Call"}, func(k pbx.ParkedCall) table.Row {
				return table.Row{k.Slot + "@" + k.Tenant, k.Caller, k.By, span(now.Sub(k.Since)), k.Call}
			})
		}),
	}
	return group("park", "Show parked calls", first, newWatch(f, "parked calls", "park."))
}

// spanOr is a time, "" for none.
func spanOr(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return span(d)
}

// newAgentDoes makes a command that does one thing for agents.
func newAgentDoes(f *apiFlags, use, does, short, done string) *cobra.Command {
	var queues []string
	c := &cobra.Command{
		Use: use + " TENANT/USER...", Short: short, Args: needs("TENANT/USER", 1, 0),
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			for _, name := range args {
				tenant, user, ok := strings.Cut(name, "/")
				if !ok {
					return usageError{fmt.Errorf("%q is no agent; write the tenant and the user, like acme/alice", name)}
				}
				if err := client.CommandAgent(ctx, tenant, user, admin.AgentDoes{Does: does, Queues: queues}); err != nil {
					return err
				}
				out.say(done, name)
			}
			return nil
		}),
	}
	if does == "log_in" || does == "log_out" {
		c.Flags().StringSliceVar(&queues, "queue", nil, "of this queue only; may be given several times")
	}
	return c
}
