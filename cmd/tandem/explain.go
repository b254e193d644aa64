package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"tandem/admin"
	"tandem/dialplan"
)

func newPlanExplain(f *apiFlags) *cobra.Command {
	var q admin.CallQuestion
	var given []string
	c := &cobra.Command{
		Use: "explain --from A --to B", Short: "Say where a call would go and why, with the place in the dialplan for every step", Args: cobra.NoArgs,
		Long: "Say where a call would go by the dialplan in force, and why. It is found by the code that routes calls. Without --given every\n" +
			"step is taken for one that nobody answers, so that the whole way is shown.",
	}
	c.Flags().StringVar(&q.From, "from", "", "who calls: a user by name or extension, or a number outside like +442079460000")
	c.Flags().StringVar(&q.To, "to", "", "what is dialled")
	c.Flags().StringVar(&q.At, "at", "", `when, in the tenant's time: "2026-11-23 10:00"; default is now`)
	c.Flags().StringVar(&q.Tenant, "tenant", "", "whose call, when there are several tenants")
	c.Flags().StringSliceVar(&q.Keys, "keys", nil, "what the caller presses in menus, separated by commas")
	c.Flags().StringSliceVar(&given, "given", nil, "what nodes come to, like ring.sales=408, and what apps answer, like app.crm=gold; the way ends where somebody answers")
	c.RunE = f.run(func(ctx context.Context, client *admin.Client, out *output, _ []string) error {
		if q.From == "" || q.To == "" {
			return usageError{fmt.Errorf("--from and --to say which call is meant")}
		}
		for _, g := range given {
			node, status, _ := strings.Cut(g, "=")
			if strings.HasPrefix(node, "app.") && status != "" {
				if q.Answers == nil {
					q.Answers = map[string]string{}
				}
				q.Answers[node] = status
				continue
			}
			n, ok := dialplan.ParseOutcome(status)
			if !ok {
				return usageError{fmt.Errorf("%q is not an answer; write it like ring.sales=408, or of a trunk also =no_reply, =down, =full, =limited", g)}
			}
			if q.Given == nil {
				q.Given = map[string]admin.Outcome{}
			}
			q.Given[node] = admin.Outcome(n)
		}
		e, err := client.Explain(ctx, q)
		if err != nil {
			return err
		}
		return out.object(e, func() {
			out.note("by version %d, on %s", e.Version, e.At.Format("Monday 2006-01-02 15:04 MST"))
			for _, line := range reasons(e.Lines) {
				out.say("%s", line)
			}
		})
	})
	return c
}

// reasons are the lines of an explanation as people read them.
func reasons(lines []admin.Reason) (out []string) {
	for i, l := range lines {
		where := ""
		if l.Line > 0 {
			where = fmt.Sprintf(" (%s:%d:%d)", l.File, l.Line, l.Col)
		}
		out = append(out, fmt.Sprintf("%d. %s%s", i+1, l.Text, where))
	}
	return out
}
