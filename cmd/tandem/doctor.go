package main

import (
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"tandem/internal/doctor"
)

func newDoctor() *cobra.Command {
	var file string
	f := &apiFlags{}
	c := &cobra.Command{
		Use:   "doctor --config FILE",
		Short: "Look at this machine: will this configuration work here, how well, and what should be done",
		Long: "Look at this machine: kernel, rights, media tiers, ports, buffers, open files, clock, disks, certificates. Run it as the user that runs\n" +
			"the node, with the same rights. Nothing is changed. The exit status is 1 when there is a problem, and 0 when there are warnings at most.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out, err := f.out(cmd)
			if err != nil {
				return err
			}
			cfg, err := loadConfig(cmd.ErrOrStderr(), file)
			if err != nil {
				return err
			}
			found := doctor.Examine(cmd.Context(), cfg)
			if err := out.object(found, func() { showFindings(out, found) }); err != nil {
				return err
			}
			if doctor.Sick(found) {
				return exitError{code: exitFailed}
			}
			return nil
		},
	}
	c.Flags().StringVar(&file, "config", "", "configuration file; without it the defaults and the environment count")
	c.Flags().StringVarP(&f.output, "output", "o", "table", "table or json")
	return c
}

func showFindings(out *output, found []doctor.Finding) {
	t := newTable(out.w, table.Row{"Check", "State", "Found", "What to do"})
	t.SetColumnConfigs([]table.ColumnConfig{
		{Number: 3, WidthMax: 60, WidthMaxEnforcer: text.WrapSoft}, {Number: 4, WidthMax: 60, WidthMaxEnforcer: text.WrapSoft},
	})
	for _, d := range found {
		t.AppendRow(table.Row{d.Check, d.State, d.Found, d.Advice})
	}
	t.Render()
}
