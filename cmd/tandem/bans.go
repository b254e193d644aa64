package main

import (
	"context"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"tandem/admin"
)

func newBans(f *apiFlags) *cobra.Command {
	return group("bans", "Show and lift the bans of addresses that failed to authenticate", newBansList(f), newWatch(f, "bans", "guard.", "auth.failed"), newBansRemove(f))
}

func newBansList(f *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List banned addresses", Args: cobra.NoArgs,
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, _ []string) error {
			l, err := client.Bans(ctx)
			if err != nil {
				return err
			}
			now := time.Now()
			return list(out, l.Items, l.Total, table.Row{"Address", "Since", "Ends in", "Reason"}, func(b admin.Ban) table.Row {
				return table.Row{b.Source, clock(b.Since), span(b.Until.Sub(now)), b.Reason}
			})
		}),
	}
}

func newBansRemove(f *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "remove ADDRESS...", Short: "Let banned addresses in again", Args: needs("ADDRESS", 1, 0),
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			for _, source := range args {
				if err := client.RemoveBan(ctx, source); err != nil {
					return err
				}
				out.say("%s is let in again", source)
			}
			return nil
		}),
	}
}
