package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"tandem"
)

func newCheck() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "check --config FILE",
		Short: "Report every mistake in a configuration file",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := loadConfig(cmd.ErrOrStderr(), file); err != nil {
				return err
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
