package migrate

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// mailbox is one of voicemail.conf, or that of a user of FreeSWITCH's directory.
type mailbox struct {
	number string
	at     place
	what   string // without its PIN
	pin    string
	email  string
	owner  *node  // whose it is, nil = nobody's own
	attrs  []attr // how its node works
	node   *node  // once a call leads to it
}

// mailboxes are those of the old system by number and context: "201@default".
type mailboxes struct {
	byName map[string]*mailbox
	known  bool // they are all that there are
}

// readMailboxes reads voicemail.conf, behind the endpoints, which say whose mailboxes are.
func (a *asterisk) readMailboxes(f *folder, name string) error {
	sections, err := a.readConf(f, name)
	if err != nil {
		return err
	}
	a.boxes.byName, a.boxes.known = map[string]*mailbox{}, f.has(name)
	general := map[string]string{}
	defer a.listUnknownBoxes()
	for _, s := range sections {
		switch s.name {
		case "general":
			for _, e := range s.entries {
				general[strings.ToLower(e.key)] = e.value
				a.boxSetting(e)
			}
		case "zonemessages":
		default:
			for _, e := range s.entries {
				a.readMailbox(s.name, e, general)
			}
		}
	}
	return nil
}

// listUnknownBoxes names mailboxes that endpoints have and voicemail.conf has not.
func (a *asterisk) listUnknownBoxes() {
	for _, x := range a.endpoints {
		e := x.entry("mailboxes")
		for _, name := range list(e.value) {
			if !strings.Contains(name, "@") {
				name += "@default"
			}
			if a.boxes.byName[name] == nil {
				a.unmapped(e.at, "mailboxes="+name, "voicemail.conf has no mailbox of this name")
			}
		}
	}
}

// boxSetting lists what voicemail.conf says of all mailboxes and plans have no word for.
func (a *asterisk) boxSetting(e entry) {
	key := strings.ToLower(e.key)
	switch {
	case has([]string{"externnotify", "externpass", "externpassnotify", "externpasscheck", "imapserver", "odbcstorage", "pollmailboxes", "aliasescontext", "smdiport"}, key):
		a.unmapped(e.at, e.key+"="+e.value, "this has no counterpart: it is left out")
	case has([]string{"operator", "forcename", "forcegreetings", "delete", "deletevoicemail", "sendvoicemail", "usedirectory"}, key) && has([]string{"yes", "true", "on", "1"}, e.value):
		a.unmapped(e.at, e.key+"="+e.value, "this has no counterpart: it is left out")
	}
}

// readMailbox reads 201 => 4711,Ann,ann@acme.example,,maxmsg=20|delete=yes.
func (a *asterisk) readMailbox(context string, e entry, general map[string]string) {
	fields := strings.Split(e.value, ",")
	for i := range fields {
		fields[i] = strings.TrimSpace(fields[i])
	}
	b := &mailbox{number: e.key, at: e.at, what: "mailbox " + e.key + "@" + context, pin: strings.TrimPrefix(argument(fields, 0), "-"), email: argument(fields, 2)}
	name := b.number + "@" + context
	switch {
	case !isName(b.number):
		a.unmapped(b.at, b.what, "this cannot be the name of a mailbox here: 1 to 64 letters, digits or one of . _ + * # -")
		return
	case a.boxes.byName[name] != nil:
		a.unmapped(b.at, b.what, "this mailbox is there already")
		return
	}
	settings := maps.Clone(general)
	for _, option := range strings.Split(argument(fields, 4), "|") {
		key, value, _ := strings.Cut(strings.TrimSpace(option), "=")
		switch key = strings.ToLower(key); key {
		case "", "tz", "locale", "attach", "attachfmt", "serveremail", "fromstring", "volgain", "emailbody", "emailsubject":
		case "maxmsg", "maxsecs", "maxmessage", "maxsilence":
			settings[key] = value
		default:
			a.unmapped(b.at, b.what+": "+option, "this option of a mailbox has no counterpart")
		}
	}
	b.limits(settings)
	a.boxes.byName[name] = b
	for _, x := range a.endpoints {
		if x.node == nil || x.isTrunk {
			continue
		}
		for _, own := range list(x.get("mailboxes")) {
			if own == name || own == b.number && context == "default" {
				b.owner = x.node
			}
		}
	}
	if x := a.byName[b.number]; b.owner == nil && x != nil && !x.isTrunk {
		b.owner = x.node
	}
}

// limits takes how long and how many messages are, as far as plans allow it.
func (b *mailbox) limits(settings map[string]string) {
	within := func(name string, least, most int, keys ...string) {
		for _, key := range keys {
			if n, err := strconv.Atoi(settings[key]); err == nil && n > 0 {
				value := strconv.Itoa(max(least, min(most, n)))
				if name != "max_messages" {
					value = quote(value + "s")
				}
				b.attrs = append(b.attrs, attr{name, value})
				return
			}
		}
	}
	within("max_length", 5, 3600, "maxsecs", "maxmessage")
	within("silence", 2, 60, "maxsilence")
	within("max_messages", 1, 1000, "maxmsg")
}

// voicemail is VoiceMail(201@default&202@default,u). on is behind it.
func (a *asterisk) voicemail(args []string, on callState, st step) (n *node, why string) {
	names := strings.Split(argument(args, 0), "&")
	if len(names) > 1 {
		a.unmapped(st.at, st.String(), "a message goes into one mailbox here: the first; the others are left out")
	}
	for _, r := range argument(args, 1) {
		if !strings.ContainsRune("ubsg()0123456789", r) {
			a.unmapped(st.at, st.String(), fmt.Sprintf("option %c of VoiceMail has no counterpart: it is left out", r))
		}
	}
	name := strings.TrimSpace(names[0])
	switch {
	case isOpen(name):
		return nil, "the mailbox depends on what is dialled"
	case strings.Trim(name, "@") == "":
		return nil, "it does not say which mailbox"
	}
	if !strings.Contains(name, "@") {
		name += "@default"
	}
	b := a.boxes.byName[name]
	if b == nil {
		number, _, _ := strings.Cut(name, "@")
		if a.boxes.known || !isName(number) {
			return nil, fmt.Sprintf("there is no mailbox %s", clip(name))
		}
		b = &mailbox{number: number, at: st.at, what: "mailbox " + name}
		if x := a.byName[number]; x != nil && !x.isTrunk {
			b.owner = x.node
		}
		a.boxes.byName[name] = b
		a.check(st.at, b.what, "no file says anything of this mailbox: it has no PIN")
	}
	if next := strings.ToLower(on.at.steps[on.prio].app); !has([]string{"", "hangup", "return", "macroexit", "nextextension"}, next) {
		a.check(st.at, st.String(), "a call ends with its message here: what stands behind it, for a full mailbox, is left out")
	}
	if b.node == nil {
		b.node = a.makeBox(b)
	}
	return b.node, ""
}

// makeBox makes the node of a mailbox. That of a user is called like him, which makes it his.
func (a *asterisk) makeBox(b *mailbox) *node {
	n := &node{kind: "voicemail", name: b.number, at: b.at, what: b.what, attrs: slices.Clone(b.attrs)}
	if b.owner != nil {
		n.name = b.owner.name
	}
	became := "voicemail." + n.name
	switch digits := strings.Trim(b.pin, "0123456789") == ""; {
	case b.pin == "":
		a.check(b.at, b.what, "it has no PIN: it opens from the phones of its owners alone")
	case !digits || len(b.pin) < 4 || len(b.pin) > 12:
		a.unmapped(b.at, b.what, "its PIN is none of 4 to 12 digits: it has none here, and opens from the phones of its owners alone")
	default:
		n.set("pin", quote(b.pin))
		became += " with its PIN, which stands in the plan"
	}
	if b.owner == nil {
		a.check(b.at, b.what, "it belongs to nobody: say whose phones open it, owners = [...]")
	}
	if b.email != "" {
		a.unmapped(b.at, b.what+": "+b.email, "messages are not sent by e-mail")
	}
	a.check(b.at, b.what, "messages and greetings are not imported: only the mailbox is")
	a.mapped(b.at, b.what, became)
	return a.add(n, "")
}

// listen is VoiceMailMain of the caller's own mailbox. raw are its arguments as they stand there: whose number is the caller's is known during a
// call only, and it is his mailbox that plans open.
func (a *asterisk) listen(raw string, st step) (n *node, why string) {
	args := arguments(raw)
	box, _, _ := strings.Cut(argument(args, 0), "@")
	own := box == ""
	for _, caller := range []string{"${CALLERID(num)}", "${CALLERID(number)}", "${CHANNEL(endpoint)}", "${CDR(src)}"} {
		own = own || strings.EqualFold(strings.ReplaceAll(box, " ", ""), caller)
	}
	if !own {
		return nil, "a node that plays messages plays those of whoever calls it, not of a certain mailbox"
	}
	if box != "" && !strings.Contains(argument(args, 1), "s") {
		a.check(st.at, st.String(), "who calls from his own phone is not asked for his PIN here")
	}
	for _, r := range argument(args, 1) {
		if r != 's' {
			a.unmapped(st.at, st.String(), fmt.Sprintf("option %c of VoiceMailMain has no counterpart: it is left out", r))
		}
	}
	return &node{kind: "voicemail", name: "messages", attrs: []attr{{"listen", "true"}}}, ""
}

// listIdleBoxes names mailboxes that no call leads to.
func (a *asterisk) listIdleBoxes() {
	for _, name := range slices.Sorted(maps.Keys(a.boxes.byName)) {
		if b := a.boxes.byName[name]; b.node == nil && b.owner == nil {
			a.unmapped(b.at, b.what, "no call leads to this mailbox: it is left out")
		}
	}
}
