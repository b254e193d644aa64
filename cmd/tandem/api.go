package main

import "github.com/spf13/cobra"

// apiCommands are the commands that speak to a node over its API.
func apiCommands() []*cobra.Command { return nil }
