package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"tandem/admin"
)

const (
	tailEvery = 500 * time.Millisecond
	tailLimit = 2000
)

func newSIP(f *apiFlags) *cobra.Command {
	return group("sip", "Look at SIP messages", nil, newSIPTail(f))
}

func newSIPTail(f *apiFlags) *cobra.Command {
	var user string
	c := &cobra.Command{
		Use: "tail", Short: "Follow SIP messages until Ctrl-C", Args: cobra.NoArgs,
		Long: "Follow SIP messages until Ctrl-C. They come out of a ring of bounded size: on a busy node some are missed. Secrets are masked.",
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, _ []string) error {
			return sipTail(ctx, client, out, user)
		}),
	}
	c.Flags().StringVar(&user, "user", "", "from, to or about this user only")
	return c
}

func sipTail(ctx context.Context, client *admin.Client, out *output, user string) error {
	last := time.Now()
	for {
		began := time.Now()
		l, err := client.Messages(ctx, user, last, tailLimit)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		for _, m := range l.Items {
			if err := out.line(m, func() { out.say("%s", messageText(m)) }); err != nil {
				return err
			}
			last = m.At
		}
		// Looking through the ring costs the node time: rest four times as long.
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(tailEvery, 4*time.Since(began))):
		}
	}
}
