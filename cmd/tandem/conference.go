package main

import (
	"context"
	"strconv"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"tandem/admin"
	"tandem/pbx"
)

func newConference(f *apiFlags) *cobra.Command {
	first := newConferenceList(f)
	return group("conference", "Show conferences, mute and remove their members", first, newWatch(f, "conferences", "conference."),
		newMute(f, "mute", "Keep members from being heard", "call %s is muted", (*admin.Client).Mute),
		newMute(f, "unmute", "Let members be heard again", "call %s is heard again", (*admin.Client).Unmute),
		newMute(f, "kick", "Hang up members", "call %s is hung up", (*admin.Client).Kick))
}

func newConferenceList(f *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the conferences of now and who is in them", Args: cobra.NoArgs,
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, _ []string) error {
			l, err := client.Conferences(ctx)
			if err != nil {
				return err
			}
			if out.json {
				return list(out, l.Items, l.Total, nil, func(pbx.Conference) table.Row { return nil })
			}
			now, rows := time.Now(), []table.Row(nil)
			for _, c := range l.Items {
				for _, m := range c.Members {
					rows = append(rows, table.Row{c.Name + "@" + c.Tenant, m.User, m.Call, span(now.Sub(m.Since)), voice(m), strconv.FormatFloat(m.Level, 'f', 0, 64)})
				}
			}
			return list(out, rows, len(rows), table.Row{"Conference", "Member", "Call", "Since", "Voice", "dB"}, func(r table.Row) table.Row { return r })
		}),
	}
}

func voice(m pbx.Attendee) string {
	switch {
	case m.Muted:
		return "muted"
	case m.Talking:
		return "talks"
	}
	return "listens"
}

// newMute makes a command that does one thing to members, each named by its call.
func newMute(f *apiFlags, use, short, done string, do func(*admin.Client, context.Context, string) error) *cobra.Command {
	return &cobra.Command{
		Use: use + " CALL...", Short: short + ", by the id or Call-ID of their calls", Args: needs("CALL", 1, 0),
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			for _, id := range args {
				if err := do(client, ctx, id); err != nil {
					return err
				}
				out.say(done, id)
			}
			return nil
		}),
	}
}
