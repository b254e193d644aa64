// Command tandem is the whole of Tandem in one binary: the node (serve, demo), its checks, and the operators' commands,
// which speak to a node over its API. One file per verb.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"tandem/cluster"
	"tandem/sip/transport"
)

// Exit codes of the operator contract.
const (
	exitFailed = 1  // it was tried and did not work
	exitUsage  = 2  // the command line is wrong
	exitRetry  = 75 // EX_TEMPFAIL: a port or directory is busy, try again
	exitConfig = 78 // EX_CONFIG: the configuration is wrong
)

// exitError carries an exit code to main. A nil cause says nothing more: the message was printed already.
type exitError struct {
	code  int
	cause error
}

func (e exitError) Error() string {
	if e.cause == nil {
		return ""
	}
	return e.cause.Error()
}

func (e exitError) Unwrap() error { return e.cause }

func main() {
	os.Exit(run(context.Background(), os.Args[1:]))
}

func run(ctx context.Context, args []string) int {
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(os.Stderr, "tandem: "+text)
	}
	return exitCode(err)
}

func exitCode(err error) int {
	var coded exitError
	switch {
	case errors.As(err, &coded):
		return coded.code
	case errors.Is(err, transport.ErrPortTaken), errors.Is(err, cluster.ErrInUse), errors.Is(err, errPortTaken):
		return exitRetry
	case errors.As(err, new(usageError)):
		return exitUsage
	}
	return exitFailed
}

// usageError is a mistake on the command line.
type usageError struct{ error }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "tandem",
		Short:         "Voice and video over SIP: registrar, proxy, media relay and dialplan in one binary",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
	})
	root.AddCommand(newDemo(), newServe(), newCheck(), newDoctor(), newImport(), newVersion())
	root.AddCommand(apiCommands()...)
	wrapArgs(root)
	return root
}

// wrapArgs makes every complaint about arguments a usage error.
func wrapArgs(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		wrapArgs(sub)
	}
}
