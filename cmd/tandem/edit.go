package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"tandem/admin"
)

// editFlags are those of all changes of the dialplan in force.
type editFlags struct {
	tenant, note string
	version      int64
}

// edit makes a command that changes the dialplan in force.
func (e *editFlags) edit(f *apiFlags, c *cobra.Command, edits func(args []string) ([]admin.PlanEdit, error)) *cobra.Command {
	c.Flags().StringVar(&e.tenant, "tenant", "", "whose dialplan, when there are several tenants")
	c.Flags().Int64Var(&e.version, "if-version", 0, "only when this version is in force")
	c.Flags().StringVar(&e.note, "note", "", "why, for the history")
	c.RunE = f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
		list, err := edits(args)
		if err != nil {
			return err
		}
		change := admin.PlanEdits{Tenant: e.tenant, Edits: list, Note: e.note, Author: userName()}
		if c.Flags().Changed("if-version") {
			change.IfVersion = &e.version
		}
		applied, err := client.EditPlan(ctx, change)
		return shownPlan(out, applied, err)
	})
	return c
}

func newPlanJSON(f *apiFlags) *cobra.Command {
	var tenant string
	c := &cobra.Command{
		Use: "json", Short: "Show the dialplan in force as JSON", Args: cobra.NoArgs,
		Long: "Show the dialplan in force as JSON, for programs. `tandem dialplan apply FILE.json` puts it in force again; blocks that say the same\nkeep their text and comments.",
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, _ []string) error {
			text, err := client.PlanJSON(ctx, tenant)
			if err == nil {
				fmt.Fprintf(out.w, "%s\n", text)
			}
			return err
		}),
	}
	c.Flags().StringVar(&tenant, "tenant", "", "whose dialplan, when there are several tenants")
	return c
}

// applyJSON puts a dialplan in force that a JSON document says.
func applyJSON(ctx context.Context, client *admin.Client, out *output, file string, change admin.PlanChange) error {
	text, err := readPlanFile(file)
	if err != nil {
		return err
	}
	applied, err := client.PutPlanJSON(ctx, file, text, change)
	return shownPlan(out, applied, err)
}

const editLong = "\nAll other text stays as it is, with its comments. The dialplan is checked and tested as a whole, and put in force on all nodes at once."

func newPlanSet(f *apiFlags) *cobra.Command {
	return new(editFlags).edit(f, &cobra.Command{
		Use: "set BLOCK NAME=VALUE...", Short: "Set values of a block of the dialplan in force", Args: needs("BLOCK and NAME=VALUE", 2, 0),
		Long: "Set values of a block, like user.alice or 'did[\"+442079460000\"]', of the dialplan in force. A value is written as in a dialplan; quotes and\n" +
			"brackets may be left out where a text or a list is wanted: groups=staff,intl. forward.busy=user.bob and key.1=ring.sales are in blocks\n" +
			"inside. NAME= takes a value away." + editLong,
	}, func(args []string) ([]admin.PlanEdit, error) {
		values := map[string]string{}
		for _, pair := range args[1:] {
			name, value, is := strings.Cut(pair, "=")
			if _, twice := values[name]; !is || name == "" || twice {
				return nil, usageError{fmt.Errorf("%q is no value to be set; write each once, like timeout=20s", pair)}
			}
			values[name] = value
		}
		return []admin.PlanEdit{{Set: args[0], Values: values}}, nil
	})
}

func newPlanPut(f *apiFlags) *cobra.Command {
	return new(editFlags).edit(f, &cobra.Command{
		Use: "put FILE...", Short: "Put blocks into the dialplan in force, in place of those of their names or as new ones", Args: needs("FILE", 1, 0),
		Long: "Put the blocks of files into the dialplan in force, each in place of the one of its kind and name, or as a new one." + editLong,
	}, func(args []string) (edits []admin.PlanEdit, err error) {
		files, err := planFiles(args)
		for _, file := range files {
			edits = append(edits, admin.PlanEdit{Put: file.Text, File: file.Name})
		}
		return edits, err
	})
}

func newPlanRemove(f *apiFlags) *cobra.Command {
	return new(editFlags).edit(f, &cobra.Command{
		Use: "remove BLOCK...", Short: "Take blocks out of the dialplan in force", Args: needs("BLOCK", 1, 0),
		Long: "Take blocks, like ring.old or 'test.nobody answers', out of the dialplan in force, with the comments right above them." + editLong,
	}, func(args []string) (edits []admin.PlanEdit, err error) {
		for _, block := range args {
			edits = append(edits, admin.PlanEdit{Remove: block})
		}
		return edits, nil
	})
}
