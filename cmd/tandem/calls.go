package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"tandem/admin"
	"tandem/events"
	"tandem/pbx"
)

func newCalls(f *apiFlags) *cobra.Command {
	first := newCallsList(f)
	c := group("calls", "Show the calls of now and those that are over", first, newWatch(f, "calls", "call."), newCallsHistory(f))
	c.Flags().AddFlagSet(first.Flags())
	return c
}

func newCallsList(f *apiFlags) *cobra.Command {
	var tenant, user string
	c := &cobra.Command{
		Use: "list", Short: "List the calls of now", Args: cobra.NoArgs,
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, _ []string) error {
			l, err := client.Calls(ctx, tenant, user)
			if err != nil {
				return err
			}
			now := time.Now()
			return list(out, l.Items, l.Total, table.Row{"ID", "From", "To", "Answered by", "State", "Node", "Since", "MOS", "Caller's address"}, func(v pbx.View) table.Row {
				since := v.Started
				if !v.Answered.IsZero() {
					since = v.Answered
				}
				return table.Row{v.ID, v.From, v.To, v.Answerer, v.State, v.Node, span(now.Sub(since)), opinion(v.Media), v.Peer}
			})
		}),
	}
	c.Flags().StringVar(&tenant, "tenant", "", "of this tenant only")
	c.Flags().StringVar(&user, "user", "", "from, to or answered by this user only")
	return c
}

// opinion is how both sides sound, the caller first; "-" for what cannot be rated.
func opinion(m *events.Media) string {
	if m == nil || m.Caller.MOS == 0 && m.Callee.MOS == 0 {
		return ""
	}
	return one(m.Caller.MOS) + "/" + one(m.Callee.MOS)
}

// one is an opinion; "-" for none.
func one(mos float64) string {
	if mos == 0 {
		return "-"
	}
	return strconv.FormatFloat(mos, 'f', 1, 64)
}

func newCallsHistory(f *apiFlags) *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use: "history", Short: "List calls that are over, newest first", Args: cobra.NoArgs,
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, _ []string) error {
			l, err := client.CDRs(ctx, limit)
			if err != nil {
				return err
			}
			return list(out, l.Items, l.Total, table.Row{"ID", "From", "To", "Result", "Status", "Route", "Began", "Talked"}, func(r events.CDR) table.Row {
				return table.Row{r.Call, r.From, r.To, r.Result, r.Status, strings.Join(r.Route, " "), clock(r.Started), span(r.Duration)}
			})
		}),
	}
	c.Flags().IntVar(&limit, "limit", 50, "how many to list; 0 for all that are remembered")
	return c
}

func newCall(f *apiFlags) *cobra.Command {
	return group("call", "Hang up, record, dial in, check, rate or trace one call", nil, newCallHangup(f), newCallRecord(f), newCallDial(f), newCallCheck(f), newCallQuality(f), newCallTrace(f))
}

func newCallHangup(f *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "hangup ID...", Short: "Hang up calls, by id or Call-ID", Args: needs("ID", 1, 0),
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			for _, id := range args {
				if err := client.Hangup(ctx, id); err != nil {
					return err
				}
				out.say("call %s is hung up", id)
			}
			return nil
		}),
	}
}

func newCallRecord(f *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "record ID start|stop", Short: "Start or stop recording a call, by id or Call-ID", Args: needs("ID start|stop", 2, 2), ValidArgs: []string{"start", "stop"},
		Long: "Start or stop recording an answered call. The recording is a stereo WAV file on the node, the caller left and the called side right,\n" +
			"in the directory that recording.dir of the node's configuration names. It can be listened to while it grows.",
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			switch id := args[0]; args[1] {
			case "start":
				rec, err := client.Record(ctx, id)
				if err != nil {
					return err
				}
				return out.object(rec, func() { out.say("call %s is being recorded: %s", id, rec.File) })
			case "stop":
				if err := client.StopRecording(ctx, id); err != nil {
					return err
				}
				out.say("call %s is not recorded any more", id)
				return nil
			}
			return usageError{fmt.Errorf("%q is neither start nor stop", args[1])}
		}),
	}
}

func newCallDial(f *apiFlags) *cobra.Command {
	var to string
	c := &cobra.Command{
		Use: "dial ID DIGITS", Short: "Send digits into an answered call, by id or Call-ID", Args: needs("ID DIGITS", 2, 2),
		Long: "Send digits to one side of an answered call: 0-9, *, #, A-D, and commas for pauses of half a second. They go as telephone-event\n" +
			"(RFC 4733) where the phone takes those, else as tones. Between two phones they take the place of what the other says.",
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			if to != "caller" && to != "callee" {
				return usageError{fmt.Errorf("--to %q is neither caller nor callee", to)}
			}
			if err := client.SendDigits(ctx, args[0], args[1], to); err != nil {
				return err
			}
			out.say("%s is sent into call %s", args[1], args[0])
			return nil
		}),
	}
	c.Flags().StringVar(&to, "to", "callee", "who hears them: caller or callee; a call that the node answers has only the caller")
	return c
}

func newCallCheck(f *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "check ID", Short: "Ask both phones of a call whether they are still in it, by id or Call-ID", Args: needs("ID", 1, 1),
		Long: "Ask both phones of an answered call whether they are still in it, with a SIP OPTIONS inside the call. The call goes on whatever they\n" +
			"say. A phone that is gone does not answer, which takes eight seconds; one that has been restarted knows nothing of the call.",
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			p, err := client.CheckCall(ctx, args[0])
			if err != nil {
				return err
			}
			return out.object(p, func() {
				out.say("caller: %s", pulse(p.Caller))
				out.say("callee: %s", pulse(p.Callee))
			})
		}),
	}
}

func pulse(p pbx.Pulse) string {
	switch p.Status {
	case 408:
		return "no answer (408)"
	case 480:
		return "cannot be reached (480)"
	case 481:
		return "knows nothing of this call (481)"
	}
	return fmt.Sprintf("there (%d after %s)", p.Status, short(p.Took))
}

func newCallQuality(f *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "quality ID", Short: "Show how a call sounds, by id or Call-ID", Args: needs("ID", 1, 1),
		Long: "Show how a call of now sounds in each direction: what was lost, how the losses are spread, and what people would say of it\n" +
			"(MOS after ITU-T G.107, 1 to 4.5) over the call, in its worst second and now. -o json gives every second of the last minute.",
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			m, err := client.CallMedia(ctx, args[0])
			if err != nil {
				return err
			}
			return out.object(m, func() {
				t := newTable(out.w, table.Row{"From", "Medium", "Codec", "Packets", "Lost", "Bursts", "Jitter", "RTT", "MOS", "Worst", "Now"})
				for _, d := range m.Directions {
					t.AppendRow(table.Row{
						d.From, d.Kind, d.Codec, d.Packets, d.Lost, d.Bursts.Count, short(d.Jitter), short(d.RTT), one(d.MOS), one(d.MOSWorst), one(d.MOSNow),
					})
				}
				t.Render()
				for _, d := range m.Directions {
					if line := courseLine(d.Course); line != "" {
						out.say("%s over the call: %s", d.From, line)
					}
				}
			})
		}),
	}
}

// courseLine is the opinion of each piece of a call; "" when nothing is rated.
func courseLine(course []pbx.Moment) string {
	rated := false
	words := make([]string, 0, len(course))
	for _, m := range course {
		rated = rated || m.MOS > 0
		words = append(words, one(m.MOS))
	}
	if !rated {
		return ""
	}
	return strings.Join(words, " ")
}

// short is a time in milliseconds; "" for none.
func short(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 1, 64) + " ms"
}

func newCallTrace(f *apiFlags) *cobra.Command {
	var messages bool
	c := &cobra.Command{
		Use: "trace ID", Short: "Draw the SIP messages of a call, by id or Call-ID", Args: needs("ID", 1, 1),
		Long: "Draw the SIP messages of a call of now or of a while ago, a line each between the addresses that sent and got them.\n" +
			"Secrets are masked. -o json gives the messages.",
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			t, err := client.Trace(ctx, args[0])
			if err != nil {
				return err
			}
			return out.object(t, func() {
				out.say("%s", ladder(t))
				if messages {
					for _, m := range t.Messages {
						out.say("%s", messageText(m))
					}
				}
			})
		}),
	}
	c.Flags().BoolVarP(&messages, "messages", "m", false, "show the text of the messages below")
	return c
}
