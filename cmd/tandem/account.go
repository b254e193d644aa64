package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"tandem/admin"
)

func newAccount(f *apiFlags) *cobra.Command {
	return group("account", "Manage the accounts that phones register with", nil,
		newAccountAdd(f), newAccountSet(f), newAccountList(f), newAccountRemove(f), newAccountImport(f))
}

// accountFlags are those of add and set.
type accountFlags struct {
	tenant, password, extension, display string
	stdin, disable, enable               bool
}

func (a *accountFlags) register(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&a.tenant, "tenant", "", "tenant; may be left out when there is only one, or written USER@TENANT")
	flags.StringVar(&a.password, "password", "", "password; others on this machine may see it, so rather let it be asked for or pipe it in")
	flags.BoolVar(&a.stdin, "password-stdin", false, "read the password from standard input")
	flags.StringVar(&a.extension, "extension", "", "second name, usually a short number")
	flags.StringVar(&a.display, "display", "", "name shown to people")
	flags.BoolVar(&a.disable, "disable", false, "shut the account out: it cannot register or call")
	flags.BoolVar(&a.enable, "enable", false, "let the account in again")
}

// change is what the flags that were given say.
func (a *accountFlags) change(c *cobra.Command) (admin.AccountChange, error) {
	out := admin.AccountChange{Password: a.password}
	switch {
	case a.password != "" && a.stdin:
		return out, usageError{errors.New("--password and --password-stdin say the same; give one of them")}
	case a.enable && a.disable:
		return out, usageError{errors.New("--enable and --disable say different things; give one of them")}
	}
	if c.Flags().Changed("extension") {
		out.Extension = &a.extension
	}
	if c.Flags().Changed("display") {
		out.Display = &a.display
	}
	if a.disable || a.enable {
		out.Disabled = &a.disable
	}
	return out, nil
}

func newAccountAdd(f *apiFlags) *cobra.Command {
	var a accountFlags
	c := &cobra.Command{Use: "add USER[@TENANT]", Short: "Add an account", Args: needs("USER", 1, 1)}
	a.register(c)
	c.RunE = f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
		change, err := a.change(c)
		if err != nil {
			return err
		}
		tenant, user, err := account(ctx, client, args[0], a.tenant)
		if err != nil {
			return err
		}
		if change.Password == "" {
			if change.Password, err = readPassword(ctx, out, user+"@"+tenant); err != nil {
				return err
			}
		}
		added, err := client.AddAccount(ctx, tenant, user, change)
		if err != nil {
			return err
		}
		return out.object(added, func() { out.say("account %s@%s is there", added.User, added.Tenant) })
	})
	return c
}

func newAccountSet(f *apiFlags) *cobra.Command {
	var a accountFlags
	c := &cobra.Command{
		Use: "set USER[@TENANT]", Short: "Change an account", Args: needs("USER", 1, 1),
		Long: "Change an account. What is not given stays as it is. A new extension needs the password again.",
	}
	a.register(c)
	c.RunE = f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
		change, err := a.change(c)
		if err != nil {
			return err
		}
		tenant, user, err := account(ctx, client, args[0], a.tenant)
		if err != nil {
			return err
		}
		if a.stdin {
			if change.Password, err = readPassword(ctx, out, user+"@"+tenant); err != nil {
				return err
			}
		}
		if change == (admin.AccountChange{}) {
			return usageError{fmt.Errorf("nothing to change; see %s --help", c.CommandPath())}
		}
		set, err := client.SetAccount(ctx, tenant, user, change)
		if err != nil {
			return err
		}
		return out.object(set, func() { out.say("account %s@%s is changed", set.User, set.Tenant) })
	})
	return c
}

func newAccountList(f *apiFlags) *cobra.Command {
	var tenant string
	var limit int
	c := &cobra.Command{
		Use: "list", Short: "List accounts", Args: cobra.NoArgs,
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, _ []string) error {
			l, err := client.Accounts(ctx, tenant, limit)
			if err != nil {
				return err
			}
			return list(out, l.Items, l.Total, table.Row{"Tenant", "User", "Extension", "Display", "Disabled", "Changed"}, func(a admin.Account) table.Row {
				return table.Row{a.Tenant, a.User, a.Extension, a.Display, yes(a.Disabled), clock(a.Changed)}
			})
		}),
	}
	c.Flags().StringVar(&tenant, "tenant", "", "accounts of this tenant only")
	c.Flags().IntVar(&limit, "limit", 1000, "how many to list; 0 for all")
	return c
}

func newAccountRemove(f *apiFlags) *cobra.Command {
	var in string
	c := &cobra.Command{
		Use: "remove USER[@TENANT]...", Short: "Remove accounts and their registrations", Args: needs("USER", 1, 0),
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			for _, arg := range args {
				tenant, user, err := account(ctx, client, arg, in)
				if err != nil {
					return err
				}
				if err := client.RemoveAccount(ctx, tenant, user); err != nil {
					return err
				}
				out.say("account %s@%s is removed", user, tenant)
			}
			return nil
		}),
	}
	c.Flags().StringVar(&in, "tenant", "", "tenant; may be left out when there is only one, or written USER@TENANT")
	return c
}

// account finds the tenant and user of an argument. The tenant may be written after an @, by its name or by one of its SIP
// domains, or given as a flag; when there is only one it may be left out.
func account(ctx context.Context, client *admin.Client, arg, tenant string) (string, string, error) {
	user, domain, _ := strings.Cut(strings.TrimPrefix(arg, "sip:"), "@")
	switch {
	case user == "":
		return "", "", usageError{fmt.Errorf("%q names no user", arg)}
	case domain != "" && tenant != "" && domain != tenant:
		return "", "", usageError{fmt.Errorf("%s and --tenant %s say different things", arg, tenant)}
	case tenant != "":
		domain = tenant
	}
	tenants, err := client.Tenants(ctx)
	if err != nil {
		return "", "", err
	}
	for _, t := range tenants.Items {
		if t.Name == domain || slices.Contains(t.Domains, strings.ToLower(domain)) {
			return t.Name, user, nil
		}
	}
	switch {
	case domain != "":
		return domain, user, nil // an account may be there before the dialplan of its tenant is
	case len(tenants.Items) == 1:
		return tenants.Items[0].Name, user, nil
	case len(tenants.Items) == 0:
		return "", "", usageError{errors.New("there is no dialplan and so no tenant yet; say which one is meant with --tenant")}
	}
	var names []string
	for _, t := range tenants.Items {
		names = append(names, t.Name)
	}
	return "", "", usageError{fmt.Errorf("there are several tenants (%s); say which one is meant with --tenant", strings.Join(names, ", "))}
}
