package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"tandem/admin"
	"tandem/sip"
)

const (
	timeWidth = 9  // of the first column
	minLane   = 24 // between two columns
	maxLane   = 41
)

// diagram is a ladder being drawn: a column for Tandem and one for every address it spoke to, a row for every message.
type diagram struct {
	columns []column
	margin  int // left of the first column's line
	lane    int // distance between columns
}

type column struct {
	key, who, addr string
}

const tandemColumn = "tandem"

// ladder draws a trace.
func ladder(t admin.Trace) string {
	b := new(strings.Builder)
	title(b, t)
	if len(t.Messages) == 0 {
		return b.String() + "no messages"
	}
	d := layout(t.Messages)
	d.heads(b)
	start := t.Messages[0].At
	seen := make(map[string]bool, len(t.Messages))
	for _, m := range t.Messages {
		key := fmt.Sprint(m.Out, m.Net, m.Remote) + m.Text
		d.row(b, m, m.At.Sub(start), seen[key])
		seen[key] = true
	}
	return strings.TrimRight(b.String(), "\n")
}

func title(b *strings.Builder, t admin.Trace) {
	switch {
	case t.Call != nil:
		fmt.Fprintf(b, "Call %s, %s -> %s, %s\n", t.Call.ID, t.Call.From, t.Call.To, t.Call.State)
	case t.CDR != nil:
		fmt.Fprintf(b, "Call %s, %s -> %s, over: %s", t.CDR.Call, t.CDR.From, t.CDR.To, t.CDR.Result)
		if t.CDR.Duration > 0 {
			fmt.Fprintf(b, ", talked %s", span(t.CDR.Duration))
		}
		b.WriteByte('\n')
	}
	if t.Why != nil {
		fmt.Fprintf(b, "By version %d of the dialplan:\n", t.Why.Version)
		for _, line := range reasons(t.Why.Lines) {
			b.WriteString("  " + line + "\n")
		}
	}
	fmt.Fprintf(b, "Call-ID %s", t.CallID)
	if len(t.Messages) > 0 {
		fmt.Fprintf(b, ", from %s", t.Messages[0].At.UTC().Format("2006-01-02 15:04:05.000 MST"))
	}
	b.WriteString("\n\n")
}

// layout chooses the columns: who began on the left, Tandem, then the others as they come.
func layout(messages []sip.Traced) *diagram {
	d := &diagram{lane: minLane}
	d.add(remoteKey(messages[0]), messages[0])
	d.columns = append(d.columns, column{key: tandemColumn, who: "Tandem", addr: messages[0].Local.String()})
	for _, m := range messages {
		d.add(remoteKey(m), m)
		if m.Local.String() != d.columns[1].addr && d.columns[1].addr != "" {
			d.columns[1].addr = "" // several: none of them names it
		}
		d.lane = max(d.lane, len(label(m.Text))+8)
	}
	for i := range d.columns {
		d.lane = max(d.lane, len(d.columns[i].addr)+2)
	}
	d.lane = min(d.lane, maxLane)
	first := d.columns[0]
	d.margin = min(max(len(first.addr), len(first.who)), d.lane-2)/2 + 1
	return d
}

func remoteKey(m sip.Traced) string { return m.Net + " " + m.Remote.String() }

// add makes a column for the other end of m, or learns who is there.
func (d *diagram) add(key string, m sip.Traced) {
	i := d.index(key)
	if i < 0 {
		i = len(d.columns)
		d.columns = append(d.columns, column{key: key, addr: key})
	}
	if d.columns[i].who != "" {
		return
	}
	if first := firstLine(m.Text); m.Out && !strings.HasPrefix(first, "SIP/2.0 ") {
		d.columns[i].who = uriUser(first)
	} else if !m.Out && !strings.HasPrefix(first, "SIP/2.0 ") {
		d.columns[i].who = uriUser(field(m.Text, "From", "f"))
	}
}

func (d *diagram) index(key string) int {
	for i, c := range d.columns {
		if c.key == key {
			return i
		}
	}
	return -1
}

// at is where a column's line stands.
func (d *diagram) at(i int) int { return timeWidth + d.margin + i*d.lane }

func (d *diagram) heads(b *strings.Builder) {
	for _, text := range []func(column) string{func(c column) string { return c.who }, func(c column) string { return c.addr }} {
		line := blank(d.at(len(d.columns)-1) + d.lane/2)
		for i, c := range d.columns {
			put(line, d.at(i), clip(text(c), d.lane-2))
		}
		b.WriteString(strings.TrimRight(string(line), " ") + "\n")
	}
	b.WriteString(d.lines("") + "\n")
}

// lines is a row with nothing but the columns' lines.
func (d *diagram) lines(when string) string { return strings.TrimRight(string(d.blankRow(when)), " ") }

func (d *diagram) blankRow(when string) []rune {
	line := blank(d.at(len(d.columns)-1) + 1)
	copy(line, []rune(when))
	for i := range d.columns {
		line[d.at(i)] = '│'
	}
	return line
}

// row draws one message.
func (d *diagram) row(b *strings.Builder, m sip.Traced, after time.Duration, again bool) {
	line := d.blankRow(fmt.Sprintf("%8.3f", after.Seconds()))
	from, to := d.index(remoteKey(m)), d.index(tandemColumn)
	if m.Out {
		from, to = to, from
	}
	left, right := d.at(min(from, to))+1, d.at(max(from, to))
	for x := left; x < right; x++ {
		line[x] = '─'
	}
	if from < to {
		line[right-1] = '>'
	} else {
		line[left] = '<'
	}
	text := label(m.Text)
	if again {
		text += " again"
	}
	put(line, (left+right)/2, " "+clip(text, right-left-6)+" ")
	b.WriteString(strings.TrimRight(string(line), " ") + "\n")
}

func blank(n int) []rune { return []rune(strings.Repeat(" ", n)) }

// put writes text with its middle at x.
func put(line []rune, x int, text string) {
	r := []rune(text)
	copy(line[min(max(x-len(r)/2, 0), len(line)):], r)
}

func clip(text string, n int) string {
	r := []rune(text)
	if len(r) <= n {
		return text
	}
	return string(r[:max(n-1, 0)]) + "…"
}

// label is a message in a few words: INVITE (SDP), 180 Ringing, 200 OK (BYE).
func label(text string) string {
	first := firstLine(text)
	sdp := ""
	if strings.HasPrefix(strings.ToLower(field(text, "Content-Type", "c")), "application/sdp") {
		sdp = " (SDP)"
	}
	status, ok := strings.CutPrefix(first, "SIP/2.0 ")
	if !ok {
		method, _, _ := strings.Cut(first, " ")
		return printable(method) + sdp
	}
	if _, method, ok := strings.Cut(field(text, "CSeq", ""), " "); ok && method != "INVITE" {
		status += " (" + strings.TrimSpace(method) + ")"
	}
	return printable(status) + sdp
}

func firstLine(text string) string {
	first, _, _ := strings.Cut(text, "\r\n")
	return first
}

// field is the value of a header field, by its long or its compact name.
func field(text, long, short string) string {
	head, _, _ := strings.Cut(text, "\r\n\r\n")
	for line := range strings.SplitSeq(head, "\r\n") {
		name, value, ok := strings.Cut(line, ":")
		name = strings.TrimSpace(name)
		if ok && (strings.EqualFold(name, long) || short != "" && strings.EqualFold(name, short)) {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// uriUser is the user part of the first SIP URI in text.
func uriUser(text string) string {
	_, rest, ok := strings.Cut(text, ":")
	if !ok {
		return ""
	}
	user, _, ok := strings.Cut(rest, "@")
	if !ok || strings.ContainsAny(user, " <>;") {
		return ""
	}
	return printable(user)
}

// printable makes what a peer sent safe for a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '.'
		}
		return r
	}, text)
}

// messageText is a whole message with where it came from or went to.
func messageText(m sip.Traced) string {
	arrow := "<-"
	if m.Out {
		arrow = "->"
	}
	b := new(strings.Builder)
	fmt.Fprintf(b, "\n%s  %s  %s  %s\n", m.At.Local().Format("15:04:05.000"), m.Local, arrow, remoteKey(m))
	for line := range strings.SplitSeq(strings.TrimRight(m.Text, "\r\n"), "\n") {
		b.WriteString("  " + printable(strings.TrimSuffix(line, "\r")) + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}
