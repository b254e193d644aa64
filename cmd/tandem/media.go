package main

import (
	"context"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"tandem/admin"
	"tandem/rtpengine/ng"
)

func newMedia(f *apiFlags) *cobra.Command {
	return group("media", "Show and drain the media engines that calls are given to", newMediaList(f), newMediaDrain(f), newMediaUndrain(f))
}

func newMediaList(f *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the media engines elsewhere", Args: cobra.NoArgs,
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, _ []string) error {
			l, err := client.MediaEngines(ctx)
			if err != nil {
				return err
			}
			return list(out, l.Items, l.Total, table.Row{"Engine", "State", "Sessions", "Of others", "Timeouts", "Failures"}, func(e ng.EngineStats) table.Row {
				state := "up"
				switch {
				case !e.Up:
					state = "silent"
				case e.Drained:
					state = "drained"
				}
				return table.Row{e.Addr, state, e.Sessions, e.Others, e.Timeouts, e.Failures}
			})
		}),
	}
}

func newMediaDrain(f *apiFlags) *cobra.Command {
	return drainCommand(f, "drain", "Give media engines no new calls; those on them go on", "%s gets no new calls", true)
}

func newMediaUndrain(f *apiFlags) *cobra.Command {
	return drainCommand(f, "undrain", "Give media engines calls again", "%s gets calls again", false)
}

func drainCommand(f *apiFlags, name, short, done string, on bool) *cobra.Command {
	return &cobra.Command{
		Use: name + " ENGINE...", Short: short, Args: needs("ENGINE", 1, 0),
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			for _, engine := range args {
				if err := client.DrainMediaEngine(ctx, engine, on); err != nil {
					return err
				}
				out.say(done, engine)
			}
			return nil
		}),
	}
}
