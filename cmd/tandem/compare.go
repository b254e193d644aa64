package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem/admin"
)

// otherPlan reads which plan is compared with the one in force, or with another version: files, or numbers of versions.
func otherPlan(args []string) (q admin.PlanComparison, err error) {
	if n, err := strconv.ParseUint(args[0], 10, 64); err == nil && n > 0 {
		switch len(args) {
		case 1:
			q.Version = n
			return q, nil
		case 2:
			q.Before = n
			q.Version, err = planNumber(args[1:])
			return q, err
		}
		return q, usageError{errors.New("two versions can be compared, not more")}
	}
	q.Files, err = planFiles(args)
	return q, err
}

const otherPlanWords = "FILE... | VERSION | VERSION VERSION: a dialplan that is not in force yet, as files or directories whose *.dialplan.hcl are\n" +
	"meant; or a version, beside the one in force; or two versions, the earlier first."

func newPlanDiff(f *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "diff FILE...|VERSION", Short: "Say in which way calls would go differently by another dialplan", Args: needs("FILE", 1, 0),
		Long: "Say in which way calls would go differently by another dialplan: what can be dialled, where it leads and when, what happens\n" +
			"there. Another layout of the same plan is no difference. Choices by the clock are compared over the coming year.\n\n" + otherPlanWords,
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			q, err := otherPlan(args)
			if err != nil {
				return err
			}
			d, err := client.DiffPlans(ctx, q)
			if err != nil {
				return refusedComparison(out, err)
			}
			showDiagnostics(out, d.Diagnostics)
			return out.object(d, func() {
				tenants := map[string]bool{}
				for _, x := range d.Differences {
					tenants[x.Tenant] = true
				}
				for _, x := range d.Differences {
					where, who, reach := "", "", ""
					if x.Line > 0 {
						where = fmt.Sprintf(" (%s:%d:%d)", x.File, x.Line, x.Col)
					}
					if len(tenants) > 1 {
						who = x.Tenant + ": "
					}
					if most := 8; len(x.Numbers) > most {
						reach = fmt.Sprintf("\n    met by calls to %s and %d more", strings.Join(x.Numbers[:most], ", "), len(x.Numbers)-most)
					} else if len(x.Numbers) > 0 {
						reach = "\n    met by calls to " + strings.Join(x.Numbers, ", ")
					}
					out.say("%s%s%s%s", who, x.Text, where, reach)
				}
				out.note("%d difference(s) between version %d and %s", len(d.Differences), d.Before, afterWords(d.After))
			})
		}),
	}
}

func afterWords(version uint64) string {
	if version == 0 {
		return "these files"
	}
	return fmt.Sprintf("version %d", version)
}

// refusedComparison shows the mistakes of a plan that cannot be compared.
func refusedComparison(out *output, err error) error {
	var p *admin.Problem
	if errors.As(err, &p) {
		showDiagnostics(out, p.Diagnostics)
	}
	return err
}

func newPlanReplay(f *apiFlags) *cobra.Command {
	days := 7.0
	c := &cobra.Command{
		Use: "replay FILE...|VERSION", Short: "Say which calls of the last days would have gone elsewhere by another dialplan", Args: needs("FILE", 1, 0),
		Long: "Send the calls of the last days, as this node has recorded them, through the dialplan in force and another one, at the time they\n" +
			"were made and with what became of them then, and list those that would have gone another way.\n\n" + otherPlanWords,
	}
	c.Flags().Float64Var(&days, "days", days, "how far back")
	c.RunE = f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
		q, err := otherPlan(args)
		if err != nil {
			return err
		}
		r, err := client.ReplayCalls(ctx, admin.PlanReplay{PlanComparison: q, Days: days})
		if err != nil {
			return refusedComparison(out, err)
		}
		showDiagnostics(out, r.Diagnostics)
		return out.object(r, func() {
			for _, m := range r.Moved {
				out.say("%d call(s) to %s: %s instead of %s; the latest by %s at %s", m.Calls, m.To, wayWords(m.Is), wayWords(m.Was), cmp.Or(m.Last.From, "somebody unknown"), clock(m.Last.Started))
			}
			if r.More > 0 {
				out.say("and %d calls of further kinds", r.More)
			}
			if r.Damaged > 0 {
				out.note("%d line(s) of the records could not be read", r.Damaged)
			}
			out.note("%d of %d call(s) since %s would go elsewhere by %s than by version %d (%s)", r.Elsewhere, r.Calls, clock(r.Since), afterWords(r.After), r.Before, r.Took.Round(time.Millisecond))
		})
	})
	return c
}

func wayWords(nodes []string) string {
	if len(nodes) == 0 {
		return "refused"
	}
	return strings.Join(nodes, " > ")
}
