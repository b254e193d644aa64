package dialplan

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"tandem/internal/hcltext"
)

const (
	messageLength = 3 * time.Minute  // of a voicemail node that names no max_length
	messagePause  = 10 * time.Second // the same for silence
	mostMessages  = 100              // the same for max_messages
)

// Mailbox is where callers leave messages, and how a node of the plan takes them.
type Mailbox struct {
	Name        string        // of the mailbox; that of a user is his
	User        string        // whose it is, "" = nobody's own
	Number      string        // by which it is asked for from other phones, "" = none
	PIN         string        // that opens it there, "" = nothing does
	Greeting    string        // what callers hear first, "" = words of the program
	MaxLength   time.Duration // of a message
	Silence     time.Duration // that ends a message
	MaxMessages int
	Owners      []string // users whose phones show that there are messages, and who open it without PIN: User among them
}

// String says what callers and operators may know of it.
func (m *Mailbox) String() string {
	if m == nil {
		return "nothing"
	}
	words := fmt.Sprintf("mailbox %s, messages of at most %s, %d of them, over after %s of silence", m.Name, hcltext.Duration(m.MaxLength), m.MaxMessages, hcltext.Duration(m.Silence))
	if m.Greeting != "" {
		words += ", greeting " + m.Greeting
	}
	if m.PIN != "" {
		words += ", with a PIN"
	}
	if others := slices.DeleteFunc(slices.Clone(m.Owners), func(o string) bool { return o == m.User }); len(others) > 0 {
		words += ", shared by " + list(others)
	}
	return words
}

// boxDraft is a voicemail node while its plan is put together.
type boxDraft struct {
	Mailbox
	of     value // another voicemail node whose mailbox it is, shape 0 = its own
	owners []value
	listen bool
}

// voicemail takes a node that answers and records, or that plays to who has a mailbox what was recorded.
func (d *drafter) voicemail(n *node, b block) {
	n.box = &boxDraft{listen: b.attrs["listen"].flag, of: b.attrs["mailbox"]}
	n.box.Mailbox = Mailbox{
		Name: n.name, MaxLength: d.spanFrom(b, "max_length", messageLength, 5*time.Second, time.Hour),
		Silence: d.spanFrom(b, "silence", messagePause, 2*time.Second, time.Minute), MaxMessages: mostMessages,
	}
	if v, set := b.attrs["greeting"]; set {
		d.sound(n, v)
		n.box.Greeting = v.text
	}
	if v, set := b.attrs["max_messages"]; set {
		if v.number < 1 || v.number > 1000 {
			d.wrong(v.rng, fmt.Sprintf("%d is out of range", v.number), "max_messages takes 1 to 1000")
		}
		n.box.MaxMessages = int(v.number)
	}
	if v, set := b.attrs["pin"]; set {
		n.box.PIN = d.pin(v)
	}
	d.owners(n, b.attrs["owners"])
	switch {
	case n.box.listen:
		d.without(n, b, "plays messages and takes none", "greeting", "mailbox", "max_length", "max_messages", "owners", "pin", "silence")
	case n.box.of.shape != 0:
		d.without(n, b, "leaves that to "+n.box.of.ref.String()+", whose mailbox it is", "max_messages", "owners", "pin")
	}
	d.otherwise(n, b)
}

// without refuses attributes that mean nothing to the node.
func (d *drafter) without(n *node, b block, why string, attrs ...string) {
	for _, name := range attrs {
		if v, set := b.attrs[name]; set {
			d.wrong(v.rng, fmt.Sprintf("%s has no use for %s: it %s", n.ref, name, why), "remove the line")
		}
	}
}

func (d *drafter) pin(v value) string {
	switch digits := v.text; {
	case strings.Trim(digits, "0123456789") != "" || len(digits) < 4 || len(digits) > 12:
		d.wrong(v.rng, fmt.Sprintf("%q cannot be a PIN", digits), "a PIN has 4 to 12 digits")
	case strings.Count(digits, digits[:1]) == len(digits) || strings.Contains("01234567890", digits) || strings.Contains("09876543210", digits):
		d.warn(v.rng, "this PIN is the first that anybody would try", "write one whose digits follow no order")
	}
	return v.text
}

func (d *drafter) owners(n *node, list value) {
	for _, v := range list.items {
		if v.ref.kind != "user" {
			d.wrong(v.rng, fmt.Sprintf("%s is not a user", v.ref), "a mailbox belongs to users, like [user.alice]")
			continue
		}
		n.box.owners = append(n.box.owners, v)
	}
}

// boxes joins users with their mailboxes when all nodes are known. A user with voicemail = true has one, whether a node of his name says how or not.
func (d *drafter) boxes(t *draft) {
	for _, n := range slices.Clone(t.nodes) {
		if n.kind != "user" || !n.voicemail.flag {
			continue
		}
		own := ref{"voicemail", n.name}
		if t.byRef[own] == nil {
			box := &node{ref: own, rng: n.voicemail.rng, box: &boxDraft{Mailbox: Mailbox{Name: n.name, MaxLength: messageLength, Silence: messagePause, MaxMessages: mostMessages}}}
			t.nodes = append(t.nodes, box)
			t.byRef[own] = box
		}
		if i := slices.IndexFunc(n.ways, func(w *way) bool { return w.on == onOther }); i >= 0 {
			d.wrong(n.voicemail.rng, fmt.Sprintf("%s says twice where calls go that its phones do not take", n.ref), fmt.Sprintf("keep one of them; calls that find the mailbox full go where the otherwise block of voicemail %q { ... } says", n.name))
			continue
		}
		n.add(onOther, value{shape: shapeReference, ref: own, rng: n.voicemail.rng})
	}
	for _, n := range t.nodes {
		if n.box == nil || n.box.listen {
			continue
		}
		if user := t.byRef[ref{"user", n.name}]; user != nil && n.box.of.shape == 0 {
			n.box.User, n.box.Number, n.box.Owners = user.name, user.extension.text, []string{user.name}
		}
		if n.box.Number == "" {
			n.box.Number = n.extension.text
		}
		for _, v := range n.box.owners {
			t.mentions = append(t.mentions, v)
			if !slices.Contains(n.box.Owners, v.ref.name) {
				n.box.Owners = append(n.box.Owners, v.ref.name)
			}
		}
	}
}

// checkMailboxes looks at nodes that use the mailbox of another.
func (c checker) checkMailboxes() {
	for _, n := range c.nodes {
		if n.box == nil || n.box.of.shape == 0 {
			continue
		}
		of := n.box.of
		to := c.byRef[of.ref]
		switch {
		case of.ref.kind == "user":
			c.wrong(of.rng, of.ref.String()+" is not a mailbox", fmt.Sprintf("a mailbox is written voicemail.%s", of.ref.name))
		case of.ref.kind != "voicemail":
			c.wrong(of.rng, of.ref.String()+" is not a mailbox", "a mailbox is a voicemail node, like voicemail.alice")
		case to == nil:
			c.unknown(of)
		case to == n || to.box.listen || to.box.of.shape != 0:
			c.wrong(of.rng, fmt.Sprintf("%s has no mailbox of its own", to.ref), "name the voicemail node whose mailbox it is")
		default:
			own := n.box.Mailbox
			n.box.Mailbox = to.box.Mailbox
			n.box.Greeting, n.box.MaxLength, n.box.Silence = own.Greeting, own.MaxLength, own.Silence
		}
	}
}

// mailboxesOf lists those of a tenant by their names.
func mailboxesOf(d *draft) (all []*Mailbox) {
	for _, n := range d.nodes {
		if n.box != nil && !n.box.listen && n.box.of.shape == 0 {
			all = append(all, &n.box.Mailbox)
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all
}

// Mailboxes lists those of a tenant in the order of their names. They are shared with calls: read only.
func (p *Plan) Mailboxes(tenant string) []*Mailbox {
	if t := p.tenant(tenant); t != nil {
		return t.mailboxes
	}
	return nil
}

// Mailbox finds one of a tenant by its name, or by the number by which it is asked for.
func (p *Plan) Mailbox(tenant, nameOrNumber string) (*Mailbox, bool) {
	for _, named := range []bool{true, false} {
		for _, m := range p.Mailboxes(tenant) {
			if named && m.Name == nameOrNumber || !named && m.Number == nameOrNumber && nameOrNumber != "" {
				return m, true
			}
		}
	}
	return nil, false
}

// MailboxesOf are those that a user opens without PIN, his own first.
func (p *Plan) MailboxesOf(tenant, user string) (all []*Mailbox) {
	for _, m := range p.Mailboxes(tenant) {
		switch {
		case user == "":
		case m.User == user:
			all = slices.Insert(all, 0, m)
		case slices.Contains(m.Owners, user):
			all = append(all, m)
		}
	}
	return all
}

// taking says what a voicemail node does.
func (s Step) taking() string {
	if s.Mailbox == nil {
		return s.Node + " plays the messages of the caller"
	}
	return fmt.Sprintf("%s takes a message for %s, of at most %s", s.Node, s.Mailbox.Name, hcltext.Duration(s.Mailbox.MaxLength))
}
