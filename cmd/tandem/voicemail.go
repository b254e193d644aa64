package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"tandem/admin"
	"tandem/pbx/mailbox"
)

func newVoicemail(f *apiFlags) *cobra.Command {
	first := newVoicemailList(f)
	c := group("voicemail", "Show, fetch and delete the messages in mailboxes", first, newWatch(f, "messages", "voicemail."), newVoicemailFetch(f), newVoicemailDelete(f))
	c.Flags().AddFlagSet(first.Flags())
	return c
}

func newVoicemailList(f *apiFlags) *cobra.Command {
	var tenant string
	c := &cobra.Command{
		Use: "list [MAILBOX]", Short: "List the messages in a mailbox, or in all", Args: cobra.MaximumNArgs(1),
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			box := ""
			if len(args) > 0 {
				box = args[0]
			}
			l, err := client.Voicemail(ctx, tenant, box)
			if err != nil {
				return err
			}
			return list(out, l.Items, l.Total, table.Row{"Message", "Mailbox", "From", "When", "Length", "State"}, func(i mailbox.Item) table.Row {
				state := "new"
				if i.Heard {
					state = "heard"
				}
				if i.Kind != mailbox.Message {
					state = string(i.Kind)
				}
				return table.Row{i.ID, i.Box + "@" + i.Tenant, i.From, i.Time.Local().Format("2006-01-02 15:04:05"), i.Length.Round(time.Second), state}
			})
		}),
	}
	c.Flags().StringVar(&tenant, "tenant", "", "of this tenant only")
	return c
}

func newVoicemailFetch(f *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "fetch MESSAGE FILE", Short: "Write the sound of a message into a file, which must not be there yet", Args: cobra.ExactArgs(2),
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			file, err := os.OpenFile(args[1], os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if err != nil {
				return fmt.Errorf("the message is not fetched: %w", err)
			}
			if err := errors.Join(client.VoicemailSound(ctx, args[0], file), file.Close()); err != nil {
				_ = os.Remove(args[1])
				return err
			}
			out.say("message %s is in %s", args[0], args[1])
			return nil
		}),
	}
}

func newVoicemailDelete(f *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "delete MESSAGE...", Short: "Delete messages, or recorded greetings", Args: needs("MESSAGE", 1, 0),
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			for _, id := range args {
				if err := client.DeleteVoicemail(ctx, id); err != nil {
					return err
				}
				out.say("message %s is deleted", id)
			}
			return nil
		}),
	}
}
