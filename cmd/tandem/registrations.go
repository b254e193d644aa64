package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"tandem/admin"
	"tandem/events"
)

func newRegistrations(f *apiFlags) *cobra.Command {
	first := newRegistrationsList(f)
	c := group("registrations", "Show and remove the phones that are registered", first, newWatch(f, "registrations", "registration."), newRegistrationsRemove(f))
	c.Flags().AddFlagSet(first.Flags())
	return c
}

func newRegistrationsList(f *apiFlags) *cobra.Command {
	var aor string
	var limit int
	c := &cobra.Command{
		Use: "list", Short: "List the phones that are registered", Args: cobra.NoArgs,
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, _ []string) error {
			l, err := client.Registrations(ctx, aor, limit)
			if err != nil {
				return err
			}
			now := time.Now()
			return list(out, l.Items, l.Total, table.Row{"User", "Contact", "Transport", "Address", "Expires in", "Phone"}, func(r admin.Registration) table.Row {
				return table.Row{r.User + "@" + r.Tenant, r.Contact, r.Transport, r.Remote, span(r.Expires.Sub(now)), r.UserAgent}
			})
		}),
	}
	c.Flags().StringVar(&aor, "aor", "", "of this user only: user@domain")
	c.Flags().IntVar(&limit, "limit", 1000, "how many to list; 0 for all")
	return c
}

func newRegistrationsRemove(f *apiFlags) *cobra.Command {
	var contact string
	c := &cobra.Command{
		Use: "remove USER@DOMAIN", Short: "Take phones off a user", Args: needs("USER@DOMAIN", 1, 1),
		Long: "Take all phones off a user, or one of them. A phone that refreshes its registration is there again: shut the account out with `tandem account set --disable`.",
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			if err := client.RemoveRegistration(ctx, args[0], contact); err != nil {
				return err
			}
			out.say("removed")
			return nil
		}),
	}
	c.Flags().StringVar(&contact, "contact", "", "this contact only, as it is listed")
	return c
}

// newWatch follows events of some kinds. Ctrl-C is its usual end.
func newWatch(f *apiFlags, what string, kinds ...string) *cobra.Command {
	return &cobra.Command{
		Use: "watch", Short: "Follow what happens to " + what + ", a line each, until Ctrl-C", Args: cobra.NoArgs,
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, _ []string) error {
			var failed error
			err := client.Follow(ctx, kinds, func(e events.Event, lost int) bool {
				if lost > 0 {
					out.note("%d events were lost: too many for this terminal", lost)
				}
				failed = out.line(e, func() { out.say("%s", eventLine(e)) })
				return failed == nil
			})
			switch {
			case errors.Is(err, context.Canceled):
				return nil
			case err != nil:
				return err
			}
			return failed
		}),
	}
}

// eventLine is an event for people.
func eventLine(e events.Event) string {
	b := new(strings.Builder)
	fmt.Fprintf(b, "%s  %-22s", e.Time.Local().Format("15:04:05.000"), e.Kind)
	add := func(format string, v any, there bool) {
		if there {
			fmt.Fprintf(b, "  "+format, v)
		}
	}
	add("%s", e.Call, e.Call != "")
	add("%s", e.AOR+"@"+e.Tenant, e.AOR != "")
	add("%s", e.From+" -> "+e.To, e.From != "")
	add("%s", e.To, e.From == "" && e.To != "")
	add("%s", e.Peer, e.Peer != "")
	add("%d", e.Status, e.Status != 0)
	add("%s", e.Reason, e.Reason != "")
	add("%s", span(e.Duration), e.Duration != 0)
	return strings.TrimRight(b.String(), " ")
}
