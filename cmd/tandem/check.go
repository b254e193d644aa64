package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"tandem"
	"tandem/dialplan"
)

func newCheck() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "check --config FILE",
		Short: "Report every mistake in a configuration file, and in the dialplan files that it names",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(cmd.ErrOrStderr(), file)
			if err != nil {
				return err
			}
			diags, err := tandem.CheckPlans(cfg)
			if err != nil {
				return err
			}
			for _, d := range diags {
				fmt.Fprintln(cmd.ErrOrStderr(), d.String())
			}
			if dialplan.Failed(diags) {
				return exitError{code: exitConfig}
			}
			fmt.Fprintln(cmd.OutOrStdout(), "the configuration is fine")
			return nil
		},
	}
	c.Flags().StringVar(&file, "config", "", "configuration file; without it the defaults and the environment are checked")
	return c
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run:   func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), "tandem "+tandem.Version()) },
	}
}
