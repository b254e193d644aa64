package migrate

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// freeswitch is an import from FreeSWITCH. Its extensions are written as steps of Asterisk's, which are then followed in the same way.
type freeswitch struct {
	*asterisk
	root    *element
	vars    map[string]string
	members map[string][]string // of groups
	tolled  map[string][]string // words of toll_allow, by user
}

// FreeSWITCH reads the files of /etc/freeswitch.
func FreeSWITCH(fsys fs.FS, o Options) (*Result, error) {
	m, err := newMaker(o)
	if err != nil {
		return nil, err
	}
	f := &folder{fsys: fsys}
	t := &tree{folder: f, remark: m.unmapped, vars: map[string]string{"domain": "localhost"}}
	root := &element{}
	if f.has("freeswitch.xml") {
		err = t.read("freeswitch.xml", root, 0)
	} else {
		err = t.readParts(root)
	}
	if err != nil {
		return nil, err
	}
	a := newAsterisk(m)
	a.boxes.known = true
	x := &freeswitch{asterisk: a, root: root, vars: t.vars, members: map[string][]string{}, tolled: map[string][]string{}}
	a.globals = maps.Clone(t.vars)
	a.globals["domain_name"] = t.vars["domain"]
	x.directory()
	x.gateways()
	if len(a.endpoints) == 0 && len(x.all("context")) == 0 {
		return nil, fmt.Errorf("%w: the folder has neither a directory of users nor gateways nor a dialplan", errNothing)
	}
	x.callCentre()
	x.fifos()
	x.menus()
	x.dialplan()
	a.prepare()
	a.follow()
	return m.finish()
}

// readParts reads a folder without freeswitch.xml, as it includes its parts.
func (t *tree) readParts(root *element) error {
	for _, pattern := range []string{"vars.xml", "directory/*.xml", "directory/*/*.xml", "sip_profiles/*.xml", "sip_profiles/*/*.xml", "ivr_menus/*.xml", "autoload_configs/callcenter.conf.xml", "autoload_configs/fifo.conf.xml", "dialplan/*.xml", "dialplan/*/*.xml"} {
		files := t.glob("", pattern)
		for _, name := range files {
			if err := t.read(name, root, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// all are the elements of a name.
func (x *freeswitch) all(name string) (list []*element) {
	x.root.each(name, func(e *element) { list = append(list, e) })
	return list
}

// directory makes users, their accounts and their groups.
func (x *freeswitch) directory() {
	var users []*element
	x.root.each("group", func(g *element) {
		g.each("user", func(u *element) {
			if name := g.attr("name"); name != "" && !slices.Contains(x.members[name], u.attr("id")) {
				x.members[name] = append(x.members[name], u.attr("id"))
			}
		})
	})
	var walk func(e *element)
	walk = func(e *element) {
		for _, c := range e.children {
			if c.name == "user" && c.attr("type") != "pointer" {
				users = append(users, c)
				continue
			}
			walk(c)
		}
	}
	walk(x.root)
	for _, u := range users {
		id, what := u.attr("id"), "user "+u.attr("id")
		switch {
		case id == "":
			continue
		case !isName(id) || len(id) > 60:
			x.unmapped(u.at, what, "this cannot be the name of a user here: 1 to 60 letters, digits or one of . _ + * # -")
			continue
		case x.byName[id] != nil:
			if x.byName[id].at != u.at {
				x.unmapped(u.at, what, "there is another user of this name before it; several domains are several tenants: import one at a time")
			}
			continue
		}
		params, vars := u.params("param"), u.params("variable")
		e := &endpoint{section: &section{name: id, at: u.at}, context: cmp.Or(value(vars, "user_context"), "default")}
		n := &node{kind: "user", name: id, at: u.at, what: what}
		e.node = x.add(n, "")
		x.numbers[id] = true
		x.byName[id] = e
		x.endpoints = append(x.endpoints, e)
		if !slices.Contains(x.inside, e.context) {
			x.inside = append(x.inside, e.context)
		}
		display := value(vars, "effective_caller_id_name")
		if display != "" {
			n.set("display", quote(display))
		}
		if full := x.e164(value(vars, "outbound_caller_id_number")); full != "" {
			n.set("caller", quote(full))
		}
		for _, word := range list(value(vars, "toll_allow")) {
			if isName(word) {
				x.tolled[id] = append(x.tolled[id], word)
			}
		}
		password := value(params, "password")
		account := Account{x.Tenant, id, password, "", display}
		if alias := u.attr("number-alias"); isName(alias) && !x.numbers[alias] {
			n.extension, account.Extension = alias, alias
			x.numbers[alias] = true
		}
		became := "user." + id
		if password == "" {
			x.unmapped(u.at, what, "this user has no password in clear: set one with tandem account add")
		} else {
			x.result.Accounts = append(x.result.Accounts, account)
			became += " and an account"
		}
		if !has([]string{"false", "no", "0"}, value(params, "vm-enabled")) {
			x.boxes.byName[id+"@default"] = &mailbox{number: id, at: u.at, what: "mailbox of " + what, pin: value(params, "vm-password"), email: value(params, "vm-mailto"), owner: n}
		}
		if g := vars["callgroup"]; g != nil && g.attr("value") != "" {
			x.check(g.at, "callgroup="+g.attr("value"), "calls of a group cannot be picked up here")
		}
		x.mapped(u.at, what, became)
	}
	for id, words := range x.tolled {
		groups := slices.Clone(words)
		if len(x.inside) > 1 {
			groups = append(groups, name(x.byName[id].context))
		}
		x.byName[id].node.set("groups", quotes(unique(groups)))
	}
	if len(x.inside) > 1 {
		for _, e := range x.endpoints {
			if len(x.tolled[e.name]) == 0 {
				e.node.set("groups", quotes([]string{name(e.context)}))
			}
		}
	}
}

func unique(list []string) (out []string) {
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// gateways makes trunks.
func (x *freeswitch) gateways() {
	profiles := x.all("profile")
	of := func(g *element) string {
		for _, p := range profiles {
			found := false
			p.each("gateway", func(e *element) { found = found || e == g })
			if found {
				context := ""
				p.each("settings", func(s *element) { context = value(s.params("param"), "context") })
				return context
			}
		}
		return ""
	}
	for _, g := range x.all("gateway") {
		id, what := g.attr("name"), "gateway "+g.attr("name")
		p := g.params("param")
		host := strings.ToLower(cmp.Or(value(p, "proxy"), value(p, "realm"), id))
		host, _, _ = strings.Cut(strings.TrimPrefix(host, "sip:"), ";")
		realm := strings.ToLower(cmp.Or(value(p, "from-domain"), value(p, "realm"), hostname(host)))
		user := value(p, "username")
		switch {
		case !isName(id) || len(id) > 60:
			x.unmapped(g.at, what, "this cannot be the name of a trunk here: 1 to 60 letters, digits or one of . _ + * # -")
			continue
		case x.byName[id] != nil:
			x.unmapped(g.at, what, "there is a user or another gateway of this name already")
			continue
		case !isHost(host):
			x.unmapped(g.at, what, "nothing says where this gateway is: neither proxy nor realm is a host")
			continue
		}
		n := &node{kind: "trunk", name: id, at: g.at, what: what, trunk: &trunk{rewrites: map[string]string{}}}
		registers := !has([]string{"false", "no", "0"}, value(p, "register"))
		if registers {
			if !isName(user) || !isHost(realm) {
				x.unmapped(g.at, what, "it registers, and its username or realm is none that can be registered")
				registers = false
			} else {
				n.set("register", quote("sip:"+user+"@"+realm))
			}
		}
		if !registers || host != realm {
			n.set("hosts", quotes([]string{host}))
		}
		if !registers && slices.ContainsFunc(x.nodes, func(o *node) bool { return o.trunk != nil && o.calls(hostname(host)) }) {
			x.unmapped(g.at, what, "another trunk is at the same address: no call could tell which it is")
			continue
		}
		if password := value(p, "password"); user != "" && password != "" {
			n.set("user", quote(user))
			n.set("secret", quote(id))
			x.secret(id, password)
		}
		if t := strings.ToLower(value(p, "register-transport")); has([]string{"udp", "tcp", "tls"}, t) {
			n.set("transport", quote(t))
		}
		if seconds, err := strconv.Atoi(value(p, "expire-seconds")); err == nil && seconds >= 1 && seconds <= 86400 && registers {
			n.set("expires", quote(strconv.Itoa(seconds)+"s"))
		}
		if seconds, err := strconv.Atoi(value(p, "ping")); err == nil && seconds >= 1 && seconds <= 3600 {
			n.set("ping", quote(strconv.Itoa(seconds)+"s"))
		}
		if full := x.e164(cmp.Or(value(p, "from-user"), user)); full != "" {
			n.set("caller", quote(full))
		}
		if has([]string{"true", "yes", "1"}, value(p, "caller-id-in-from")) {
			n.set("caller_id", `"pass"`)
		}
		e := &endpoint{section: &section{name: id, at: g.at}, context: cmp.Or(value(p, "context"), of(g), "public"), isTrunk: true}
		e.node = x.add(n, "")
		x.byName[id] = e
		x.endpoints = append(x.endpoints, e)
		x.mapped(g.at, what, "trunk."+id)
	}
}

// menus writes ivr menus as contexts of their own.
func (x *freeswitch) menus() {
	for _, list := range x.all("menus") {
		list.each("menu", func(menu *element) {
			c := &asteriskContext{name: "ivr " + menu.attr("name"), at: menu.at, byName: map[string]*exten{}, ordered: true}
			if x.contexts[c.name] != nil {
				x.unmapped(menu.at, "menu "+menu.attr("name"), "there is another menu of this name before it")
				return
			}
			x.contexts[c.name] = c
			s := c.begin("s", menu.at)
			shown := fmt.Sprintf("menu %s", menu.attr("name"))
			for _, sound := range []string{menu.attr("greet-long")} {
				if x.isSpoken(sound, menu.at, shown) {
					s.add("Background", sound, shown, menu.at)
				}
			}
			timeout := 5
			if ms, err := strconv.Atoi(menu.attr("timeout")); err == nil {
				timeout = max(1, min(60, ms/1000))
			}
			s.add("WaitExten", strconv.Itoa(timeout), shown, menu.at)
			s.add("Hangup", "", shown, menu.at)
			wrong := c.begin("i", menu.at)
			if sound := menu.attr("invalid-sound"); x.isSpoken(sound, menu.at, shown) {
				wrong.add("Playback", sound, shown, menu.at)
			}
			wrong.add("Goto", c.name+",s,1", shown, menu.at)
			menu.each("entry", func(e *element) { x.menuEntry(c, e) })
		})
	}
}

// isSpoken tells whether a sound is a recording, and says when it is something else.
func (x *freeswitch) isSpoken(sound string, at place, what string) bool {
	if strings.Contains(sound, ":") {
		x.unmapped(at, what, sound+" is no recording: what is spoken or made of tones is left out")
		return false
	}
	return sound != ""
}

func (x *freeswitch) menuEntry(c *asteriskContext, e *element) {
	digits := e.attr("digits")
	what := "entry " + digits
	all := []shapeOf{{pattern: digits}}
	if inner, is := strings.CutPrefix(digits, "/"); is {
		var ok bool
		if all, ok = shapes(strings.TrimSuffix(inner, "/")); !ok {
			x.unmapped(e.at, what, "this expression is more than digits in their places")
			return
		}
	}
	for _, s := range all {
		ext := c.begin(patternName(s.pattern), e.at)
		ext.named = what
		app, param, _ := strings.Cut(e.attr("param"), " ")
		shown := strings.TrimSpace("entry " + digits + " " + e.attr("action") + " " + e.attr("param"))
		switch e.attr("action") {
		case "menu-exec-app":
			x.action(ext, s, app, strings.TrimSpace(param), shown, e.at, &bridging{})
		case "menu-sub":
			ext.add("Goto", "ivr "+e.attr("param")+",s,1", shown, e.at)
		case "menu-top", "menu-back":
			ext.add("Goto", c.name+",s,1", shown, e.at)
			x.check(e.at, shown, "the way back goes to this menu itself")
		case "menu-exit":
			ext.add("Hangup", "", shown, e.at)
		case "menu-play-sound":
			ext.add("Playback", e.attr("param"), shown, e.at)
			ext.add("Goto", c.name+",s,1", shown, e.at)
		default:
			ext.add(cmp.Or(e.attr("action"), "entry"), e.attr("param"), shown, e.at)
		}
	}
}

// patternName is a pattern as extensions of Asterisk write it.
func patternName(p string) string {
	plain := p
	for _, c := range "XxZzNn" { // letters that stand for themselves
		plain = strings.ReplaceAll(plain, fmt.Sprintf("[%c%c]", c, c), string(c))
	}
	if strings.ContainsAny(p, "[!.") && strings.ContainsAny(plain, "[!.") || strings.Contains(p, "X") && !strings.Contains(p, "[XX]") {
		return "_" + p
	}
	return plain
}

// begin adds an extension, several of the same name included.
func (c *asteriskContext) begin(pattern string, at place) *exten {
	ext := &exten{pattern: pattern, at: at, steps: map[int]step{}, labels: map[string]int{}}
	if c.byName[pattern] == nil {
		c.byName[pattern] = ext
	}
	c.extens = append(c.extens, ext)
	return ext
}

func (e *exten) add(app, args, shown string, at place) {
	e.last++
	e.steps[e.last] = step{app: app, args: args, shown: shown, at: at}
}

// dialplan reads contexts.
func (x *freeswitch) dialplan() {
	for _, e := range x.all("context") {
		name := e.attr("name")
		c := x.contexts[name]
		if c == nil {
			c = &asteriskContext{name: name, at: e.at, byName: map[string]*exten{}, ordered: true}
			x.contexts[name] = c
			x.order = append(x.order, c)
		}
		e.each("extension", func(ext *element) { x.extensionOf(c, ext) })
	}
}

// bridging is what set says about a bridge that follows.
type bridging struct {
	timeout string
	onward  string   // continue_on_fail
	paged   []string // whom conference_set_auto_outcall calls
	silent  bool     // and that they are only to hear
}

// extensionOf reads an extension: conditions on the number become patterns, those on times choices.
func (x *freeswitch) extensionOf(c *asteriskContext, e *element) {
	what := "extension " + e.attr("name")
	var number *element
	var conditions []*element
	toll := ""
	for _, cond := range e.children {
		if cond.name != "condition" {
			continue
		}
		field, expression := cond.attr("field"), cond.attr("expression")
		switch {
		case len(cond.all("condition")) > 0 || cond.attr("regex") != "":
			x.unmapped(cond.at, what, "conditions in conditions are not read")
			return
		case strings.Contains(field, "destination_number") && number == nil:
			number = cond
			conditions = append(conditions, cond)
		case strings.Contains(field, "toll_allow"):
			toll = strings.Trim(expression, "^$")
			conditions = append(conditions, cond)
		case field == "" && expression == "":
			conditions = append(conditions, cond)
		case cond.attr("break") == "never":
			x.unmapped(cond.at, what+": "+field+" "+expression, "it is known during a call only: what this condition does is left out")
		default:
			x.unmapped(cond.at, what+": "+field+" "+expression, "it is known during a call only: the extension is left out")
			return
		}
	}
	if number == nil {
		if len(e.all("action")) > 0 {
			x.unmapped(e.at, what, "it is for calls to any number: it is left out")
		}
		return
	}
	all, ok := shapes(number.attr("expression"))
	if !ok {
		x.unmapped(number.at, what+": "+number.attr("expression"), "this expression is more than digits in their places, from ^ on")
		return
	}
	for _, s := range all {
		if s.pattern == "" || s.pattern == "!" {
			continue
		}
		ext := c.begin(patternName(s.pattern), e.at)
		ext.allow, ext.named = toll, fmt.Sprintf("%s: %s", e.attr("name"), number.attr("expression"))
		x.conditions(ext, s, what, conditions, e.attr("continue") == "true")
	}
}

func (e *element) all(name string) (list []*element) {
	e.each(name, func(c *element) { list = append(list, c) })
	return list
}

// conditions writes what an extension does: the actions of its conditions, and behind them where calls go that come at another time.
func (x *freeswitch) conditions(ext *exten, s shapeOf, what string, conditions []*element, goesOn bool) {
	type other struct {
		label string
		cond  *element
	}
	var others []other
	b := &bridging{}
	for i, cond := range conditions {
		if spec, why := x.times(cond); why != "" {
			ext.add("condition", why, what, cond.at)
		} else if spec != "" {
			label := fmt.Sprintf("else%d", i)
			ext.labels[fmt.Sprintf("then%d", i)] = ext.last + 2
			ext.add("GotoIfTime", fmt.Sprintf("%s?then%d:%s", spec, i, label), what, cond.at)
			others = append(others, other{label, cond})
		}
		for _, act := range cond.children {
			if act.name == "action" {
				x.action(ext, s, act.attr("application"), act.attr("data"), "", act.at, b)
			}
		}
	}
	if goesOn {
		ext.add("nextextension", "", what, ext.at)
	} else {
		ext.add("Hangup", "", what, ext.at)
	}
	for _, o := range others {
		ext.labels[o.label] = ext.last + 1
		b := &bridging{}
		did := false
		for _, act := range o.cond.children {
			if act.name == "anti-action" {
				did = true
				x.action(ext, s, act.attr("application"), act.attr("data"), "", act.at, b)
			}
		}
		if did {
			ext.add("Hangup", "", what, o.cond.at)
		} else {
			ext.add("nextextension", "", what, o.cond.at)
		}
	}
}

// times is a condition on the clock as GotoIfTime writes it, "" when there is none.
func (x *freeswitch) times(cond *element) (spec, why string) {
	clock, days, dates, months := "*", "*", "*", "*"
	any := false
	for _, name := range slices.Sorted(maps.Keys(cond.attrs)) {
		v := cond.attrs[name]
		switch name {
		case "field", "expression", "break", "require-nested":
			continue
		case "wday":
			days = dayList(v)
		case "hour":
			from, to, isRange := strings.Cut(v, "-")
			if !isRange {
				to = from
			}
			clock = from + ":00-" + to + ":59"
		case "time-of-day":
			from, to, _ := strings.Cut(v, "-")
			clock = hourMinute(from) + "-" + hourMinute(to)
		case "minute-of-day":
			from, to, _ := strings.Cut(v, "-")
			first, errF := strconv.Atoi(from)
			last, errL := strconv.Atoi(to)
			if errF != nil || errL != nil || first < 0 || last < 0 {
				return "", "its minutes of the day are not understood"
			}
			clock = fmt.Sprintf("%d:%02d-%d:%02d", first/60%24, first%60, last/60%24, last%60)
		case "mday":
			dates = strings.ReplaceAll(v, ",", "&")
		case "mon":
			months = strings.ReplaceAll(v, ",", "&")
		case "tz-offset", "year", "yday", "week", "mweek", "minute", "date-time", "dst":
			return "", name + " is not imported: write a calendar"
		default:
			continue
		}
		any = true
	}
	if !any {
		return "", ""
	}
	return strings.Join([]string{clock, days, dates, months}, ","), ""
}

// hourMinute takes the seconds off a time of day.
func hourMinute(s string) string {
	if parts := strings.Split(s, ":"); len(parts) == 3 {
		return parts[0] + ":" + parts[1]
	}
	return s
}

// dayList turns 1-7, of which 1 is Sunday, into names.
func dayList(v string) string {
	return regexp.MustCompile(`[1-7]`).ReplaceAllStringFunc(strings.ReplaceAll(strings.ToLower(v), ",", "&"), func(d string) string { return dayNames[d[0]-'1'] })
}

// quietApps are applications that need no counterpart.
var quietApps = []string{
	"answer", "pre_answer", "ring_ready", "sleep", "info", "log", "event", "presence", "unset", "set_profile_var", "export", "verbose_events", "start_dtmf",
	"flush_dtmf", "set_audio_level", "hash", "eval",
}

var groupCall = regexp.MustCompile(`\$\{group_call\(([^)@]+)(?:@[^)]*)?\)\}`)

// action writes an application as a step.
func (x *freeswitch) action(ext *exten, s shapeOf, app, data, shown string, at place, b *bridging) {
	shown = cmp.Or(shown, strings.TrimSpace(app+" "+data))
	data = s.references(groupCall.ReplaceAllString(data, "group/$1@"))
	data = strings.ReplaceAll(data, "${destination_number}", "${EXTEN}")
	add := func(app, args string) { ext.add(app, args, shown, at) }
	switch app {
	case "set", "export":
		name, v, _ := strings.Cut(data, "=")
		name = strings.TrimPrefix(name, "nolocal:")
		switch name {
		case "call_timeout", "originate_timeout", "leg_timeout":
			b.timeout = v
		case "conference_auto_outcall_flags":
			b.silent = strings.Contains(v, "mute")
		case "continue_on_fail":
			b.onward = strings.ToUpper(v)
		case "effective_caller_id_number":
			add("Set", "CALLERID(num)="+v)
		case "hangup_after_bridge", "ringback", "transfer_ringback", "ignore_early_media", "instant_ringback", "call_direction", "domain", "bypass_media", "proxy_media", "hold_music", "transfer_fallback_extension", "media_bug_answer_req":
		default:
			if isName(name) {
				add("Set", name+"="+v)
			}
		}
	case "bridge":
		x.bridge(ext, data, shown, at, b)
	case "transfer", "execute_extension":
		words := strings.Fields(data)
		if len(words) == 0 || strings.HasPrefix(words[0], "-") {
			add(app, data)
			return
		}
		context := "${CONTEXT}"
		if len(words) >= 3 {
			context = words[2]
		}
		add("Goto", context+","+words[0]+",1")
	case "ivr":
		add("Goto", "ivr "+data+",s,1")
	case "playback", "endless_playback":
		switch {
		case strings.HasPrefix(data, "local_stream://"):
			add("MusicOnHold", "")
		case x.isSpoken(data, at, shown):
			add("Playback", data)
		}
	case "voicemail":
		x.mailboxOf(ext, data, shown, at)
	case "callcenter":
		add("Queue", x.waitIn(data))
	case "fifo":
		name, rest, _ := strings.Cut(data, " ")
		if does, _, _ := strings.Cut(strings.TrimSpace(rest), " "); does != "in" {
			add(app, data)
			return
		}
		add("Queue", x.waitIn(name))
	case "valet_park":
		x.valet(ext, data, shown, at)
	case "conference_set_auto_outcall":
		for leg := range strings.SplitSeq(data, ",") {
			b.paged = append(b.paged, x.leg(strings.TrimSpace(inBrackets.ReplaceAllString(leg, "")))...)
		}
	case "echo", "delay_echo":
		add("Echo", "")
	case "conference":
		room, _, _ := strings.Cut(data, "@")
		room = strings.TrimSuffix(strings.TrimSuffix(room, "${domain_name}"), "-")
		if len(b.paged) > 0 {
			add("Page", strings.Join(b.paged, "&")+map[bool]string{true: "", false: ",d"}[b.silent])
			x.check(at, shown, "phones answer by themselves here, and the call ends with who has made it")
			return
		}
		add("ConfBridge", room)
	case "hangup":
		add("Hangup", data)
	case "respond":
		switch status, _, _ := strings.Cut(data, " "); status {
		case "404":
			add("Hangup", "1")
		case "486":
			add("Busy", "")
		case "503":
			add("Congestion", "")
		case "603":
			add("Hangup", "21")
		default:
			add("Hangup", "")
		}
	case "record_session":
		add("MixMonitor", "")
	default:
		if !slices.Contains(quietApps, app) {
			if has([]string{"bind_meta_app", "bind_digit_action", "limit", "sched_hangup", "db", "set_user", "enable_heartbeat", "sched_transfer"}, app) {
				x.unmapped(at, shown, "this has no counterpart: it is left out")
				return
			}
			add(cmp.Or(app, "action"), data)
		}
	}
}

// mailboxOf writes voicemail: "default example.com 1000" takes a message, "check default example.com" plays those of who calls.
func (x *freeswitch) mailboxOf(ext *exten, data, shown string, at place) {
	words := strings.Fields(data)
	plays, asks := false, true
	for len(words) > 0 && has([]string{"check", "auth"}, words[0]) {
		plays, asks = plays || words[0] == "check", asks && words[0] != "auth"
		words = words[1:]
	}
	switch {
	case plays && len(words) > 2:
		ext.add("VoiceMailMain", strings.ReplaceAll(words[2], "${caller_id_number}", "${CALLERID(num)}")+map[bool]string{true: "", false: ",s"}[asks], shown, at)
	case plays:
		ext.add("VoiceMailMain", "", shown, at)
	case len(words) == 3:
		ext.add("VoiceMail", words[2]+"@default", shown, at)
	default:
		ext.add("voicemail of a mailbox that is not named", data, shown, at)
	}
}

// valet writes valet_park: "lot auto in 701 720" parks in one of these slots, "lot 701" fetches, or parks, in one.
func (x *freeswitch) valet(ext *exten, data, shown string, at place) {
	words := strings.Fields(data)
	if len(words) == 5 && words[1] == "auto" && words[2] == "in" {
		lot, _, _ := strings.Cut(words[0], "@")
		slots := words[3] + "-" + words[4]
		if known := x.lots[lot]; known == nil {
			x.lots[lot] = &parkingLot{name: lot, at: at, what: shown, slots: slots}
		} else if known.slots != slots {
			x.unmapped(at, shown, "this lot has other slots at "+known.at.String())
		}
		ext.add("Park", lot, shown, at)
		return
	}
	ext.add("ParkedCall", data, shown, at)
}

var inBrackets = regexp.MustCompile(`^\s*(\{[^}]*\}|\[[^\]]*\]|<[^>]*>)+`)

// bridge writes the dial string of a bridge as Dial: "," is at the same time, "|" one after the other.
func (x *freeswitch) bridge(ext *exten, data, shown string, at place, b *bridging) {
	timeout := b.timeout
	if head := inBrackets.FindString(data); head != "" && !strings.HasPrefix(data, "${") {
		for part := range strings.SplitSeq(strings.Trim(head, "{}[]<> "), ",") {
			if name, v, _ := strings.Cut(part, "="); has([]string{"call_timeout", "originate_timeout", "leg_timeout"}, name) {
				timeout = v
			}
		}
		data = data[len(head):]
	}
	for attempt := range strings.SplitSeq(data, "|") {
		var targets []string
		for leg := range strings.SplitSeq(attempt, ",") {
			leg = strings.TrimSpace(inBrackets.ReplaceAllString(leg, ""))
			targets = append(targets, x.leg(leg)...)
		}
		ext.add("Dial", strings.Join(targets, "&")+","+cmp.Or(timeout, "60"), shown, at)
	}
	switch b.onward {
	case "":
		ext.add("Hangup", "", shown, at)
	case "TRUE":
	default:
		x.check(at, shown, "calls go on here whatever the cause, not for "+b.onward+" alone")
	}
}

// leg is one party of a dial string as Dial writes it.
func (x *freeswitch) leg(leg string) []string {
	kind, rest, _ := strings.Cut(leg, "/")
	switch kind {
	case "user":
		user, _, _ := strings.Cut(rest, "@")
		return []string{"PJSIP/" + user}
	case "group":
		group, _, _ := strings.Cut(rest, "@")
		var all []string
		for _, m := range x.members[group] {
			all = append(all, "PJSIP/"+m)
		}
		if all != nil {
			return all
		}
	case "sofia":
		where, number, _ := strings.Cut(rest, "/")
		if where == "gateway" {
			gateway, number, _ := strings.Cut(number, "/")
			return []string{"PJSIP/" + number + "@" + gateway}
		}
		if user, _, is := strings.Cut(number, "%"); is {
			return []string{"PJSIP/" + user}
		}
		if user, host, _ := strings.Cut(number, "@"); host == "${domain_name}" || host != "" && host == x.vars["domain"] {
			return []string{"PJSIP/" + user}
		}
	case "loopback":
		number, context, _ := strings.Cut(rest, "/")
		context, _, _ = strings.Cut(context, "/")
		return []string{"Local/" + number + "@" + cmp.Or(context, "default")}
	}
	return []string{leg}
}
