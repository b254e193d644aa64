package main

import (
	"context"
	"errors"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"tandem/admin"
)

func newToken(f *apiFlags) *cobra.Command {
	return group("token", "Manage the tokens that let others use the API", nil, newTokenCreate(f), newTokenList(f), newTokenRevoke(f))
}

func newTokenCreate(f *apiFlags) *cobra.Command {
	var ttl time.Duration
	c := &cobra.Command{
		Use: "create NAME", Short: "Make a token and show it, this once", Args: needs("NAME", 1, 1),
		Long: "Make a token and show it, this once. NAME says whose it is or what for; changes made with it are attributed to it.",
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			if ttl < 0 {
				return usageError{errors.New("--ttl must not be negative")}
			}
			t, err := client.CreateToken(ctx, args[0], ttl)
			if err != nil {
				return err
			}
			return out.object(t, func() {
				out.note("token %s for %s; it is not shown again", t.ID, t.Name)
				out.say("%s", t.Secret)
			})
		}),
	}
	c.Flags().DurationVar(&ttl, "ttl", 0, "how long it is good, such as 720h; default is for ever")
	return c
}

func newTokenList(f *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List tokens", Args: cobra.NoArgs,
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, _ []string) error {
			l, err := client.Tokens(ctx)
			if err != nil {
				return err
			}
			return list(out, l.Items, l.Total, table.Row{"ID", "Name", "Created", "Expires"}, func(t admin.Token) table.Row {
				return table.Row{t.ID, t.Name, clock(t.Created), clock(t.Expires)}
			})
		}),
	}
}

func newTokenRevoke(f *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID...", Short: "Revoke tokens", Args: needs("ID", 1, 0),
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			for _, id := range args {
				if err := client.RevokeToken(ctx, id); err != nil {
					return err
				}
				out.say("token %s is revoked", id)
			}
			return nil
		}),
	}
}
