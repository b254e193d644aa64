package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"tandem/admin"
	"tandem/auth"
)

func newTrunks(f *apiFlags) *cobra.Command {
	return group("trunks", "Show the trunks of the dialplan, and keep their secrets", newTrunksList(f), newWatch(f, "trunks", "trunk."), newTrunksSecret(f))
}

func newTrunksList(f *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List trunks: whether they are up, and registered", Args: cobra.NoArgs,
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, _ []string) error {
			l, err := client.Trunks(ctx)
			if err != nil {
				return err
			}
			now := time.Now()
			return list(out, l.Items, l.Total, table.Row{"Trunk", "State", "Channels", "Registration", "Addresses", "Fault"}, func(t admin.Trunk) table.Row {
				return table.Row{t.Name + "@" + t.Tenant, upOrDown(t.Up), channels(t), registration(t, now), addresses(t), fault(t)}
			})
		}),
	}
}

func upOrDown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

func channels(t admin.Trunk) string {
	if t.Most == 0 {
		return fmt.Sprint(t.Channels)
	}
	return fmt.Sprintf("%d of %d", t.Channels, t.Most)
}

func registration(t admin.Trunk, now time.Time) string {
	switch r := t.Registration; {
	case r == nil:
		return ""
	case r.State == "registered":
		return "registered, " + span(r.Until.Sub(now)) + " left"
	default:
		return r.State
	}
}

func addresses(t admin.Trunk) string {
	var all []string
	for _, a := range t.Addresses {
		all = append(all, a.Transport+" "+a.Address+" "+upOrDown(a.Up))
	}
	return strings.Join(all, "\n")
}

func fault(t admin.Trunk) string {
	var all []string
	if t.Registration != nil && t.Registration.Fault != "" {
		all = append(all, t.Registration.Fault)
	}
	if t.Fault != "" {
		all = append(all, t.Fault)
	}
	for _, a := range t.Addresses {
		if a.Fault != "" {
			all = append(all, a.Address+": "+a.Fault)
		}
	}
	return strings.Join(all, "\n")
}

func newTrunksSecret(f *apiFlags) *cobra.Command {
	return group("secret", "Keep the secrets that carriers and the servers of apps are given; the dialplan names them", nil, newSecretSet(f), newSecretList(f), newSecretRemove(f))
}

const secretTenant = "tenant; may be left out when there is only one, or written NAME@TENANT"

func newSecretSet(f *apiFlags) *cobra.Command {
	var in string
	c := &cobra.Command{
		Use: "set NAME[@TENANT]", Short: "Set a secret, asked for or read from standard input", Args: needs("NAME", 1, 1),
		Long: "Set a secret. It is asked for, or read from standard input, sealed at once and never shown again. Trunks that use it take it within a second.",
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			tenant, name, err := account(ctx, client, args[0], in)
			if err != nil {
				return err
			}
			text, err := readPassword(ctx, out, "secret "+name+"@"+tenant)
			if err != nil {
				return err
			}
			if err := client.SetSecret(ctx, tenant, name, text); err != nil {
				return err
			}
			out.say("secret %s@%s is set", name, tenant)
			return nil
		}),
	}
	c.Flags().StringVar(&in, "tenant", "", secretTenant)
	return c
}

func newSecretList(f *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the names of secrets", Args: cobra.NoArgs,
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, _ []string) error {
			l, err := client.Secrets(ctx)
			if err != nil {
				return err
			}
			return list(out, l.Items, l.Total, table.Row{"Tenant", "Name", "Changed"}, func(s auth.Secret) table.Row {
				return table.Row{s.Tenant, s.Name, clock(s.Changed)}
			})
		}),
	}
}

func newSecretRemove(f *apiFlags) *cobra.Command {
	var in string
	c := &cobra.Command{
		Use: "remove NAME[@TENANT]", Short: "Remove a secret", Args: needs("NAME", 1, 1),
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			tenant, name, err := account(ctx, client, args[0], in)
			if err != nil {
				return err
			}
			if err := client.RemoveSecret(ctx, tenant, name); err != nil {
				return err
			}
			out.say("secret %s@%s is removed", name, tenant)
			return nil
		}),
	}
	c.Flags().StringVar(&in, "tenant", "", secretTenant)
	return c
}
