package migrate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// parkingLot is one of res_parking.conf or features.conf, or a valet's of FreeSWITCH.
type parkingLot struct {
	name      string
	at        place
	what      string
	extension string
	slots     string // "701-720"
	context   string // that phones include to reach it
	attrs     []attr
	node      *node // once it is made
}

// readParking reads the parking lots of a file.
func (a *asterisk) readParking(f *folder, name string) error {
	sections, err := a.readConf(f, name)
	if err != nil {
		return err
	}
	for _, s := range sections {
		if s.get("parkpos") == "" {
			continue
		}
		l := &parkingLot{name: s.name, at: s.at, what: "[" + s.name + "]", extension: s.get("parkext"), slots: s.get("parkpos"), context: s.get("context")}
		if l.context == "" {
			l.context = "parkedcalls"
		}
		if l.name == "general" { // features.conf of before
			l.name = "default"
		}
		if a.lots[l.name] != nil {
			a.unmapped(l.at, l.what, "this parking lot is there already")
			continue
		}
		seconds := 45
		for _, e := range s.entries {
			value := strings.ToLower(e.value)
			no := has([]string{"", "no", "false", "off", "0"}, value)
			switch strings.ToLower(e.key) {
			case "parkingtime":
				if n, err := strconv.Atoi(value); err == nil && n >= 1 && n <= 86400 {
					seconds = n
				} else {
					a.unmapped(e.at, e.key+"="+e.value, "a call is parked for 1 to 86400 seconds: here for 45")
				}
			case "comebacktoorigin":
				if no {
					l.attrs = setAttr(l.attrs, "back", "false")
					a.unmapped(e.at, e.key+"="+e.value, "calls that nobody fetches end: say where they go, otherwise { go = ... }")
				}
			case "parkedmusicclass":
				if value != "default" {
					a.check(e.at, e.key+"="+e.value, "the music of this class is the usual music here")
				}
			case "courtesytone", "parkedplay", "parkedcalltransfers", "parkedcallreparking", "parkedcallhangup", "parkedcallrecording", "findslot", "parkedplaytopark":
				if !no && value != "first" {
					a.unmapped(e.at, e.key+"="+e.value, "this has no counterpart: it is left out")
				}
			}
		}
		l.attrs = setAttr(l.attrs, "timeout", quote(strconv.Itoa(seconds)+"s"))
		a.lots[l.name] = l
		a.lotNames = append(a.lotNames, l.name)
	}
	return nil
}

// openLots makes the lots that users reach by including their contexts.
func (a *asterisk) openLots() {
	for _, name := range a.lotNames {
		l := a.lots[name]
		for _, inside := range a.inside {
			for _, c := range a.contextsOf(inside) {
				if l.node == nil && (c == l.context || a.contexts[c] != nil && slices.Contains(a.contexts[c].includes, l.context)) {
					if why := a.openLot(l); why != "" {
						a.unmapped(l.at, l.what, why)
					}
				}
			}
		}
	}
}

// listIdleLots names the lots that nobody reaches.
func (a *asterisk) listIdleLots() {
	for _, name := range a.lotNames {
		if l := a.lots[name]; l.node == nil {
			a.unmapped(l.at, l.what, "no context of users includes "+l.context+", and no call is parked here: it is left out")
		}
	}
}

// openLot makes the node of a lot, or says why it cannot be.
func (a *asterisk) openLot(l *parkingLot) (why string) {
	first, last, ok := strings.Cut(strings.ReplaceAll(l.slots, " ", ""), "-")
	from, err := strconv.ParseUint(first, 10, 32)
	end, fault := strconv.ParseUint(last, 10, 32)
	if !ok || err != nil || fault != nil || len(first) != len(last) || end < from || end-from >= 1000 {
		return fmt.Sprintf("%q are no slots: the first and the last number, of as many digits, 1000 at most", clip(l.slots))
	}
	var slots []string
	for i := from; i <= end; i++ {
		slot := fmt.Sprintf("%0*d", len(first), i)
		if a.numbers[slot] || slot == l.extension {
			return "slot " + slot + " is a number already"
		}
		slots = append(slots, slot)
	}
	n := &node{kind: "park", name: name(l.name), at: l.at, what: clip(l.what), attrs: append([]attr{{"slots", quote(first + "-" + last)}}, l.attrs...)}
	l.node = a.add(n, "")
	for _, slot := range slots {
		a.numbers[slot], a.claimed[slot], a.slots[slot] = true, true, l
	}
	a.starts = append(a.starts, start{number: slots[0], to: to(n), at: l.at})
	if isName(l.extension) && !a.numbers[l.extension] {
		n.extension = l.extension
		a.numbers[n.extension], a.claimed[n.extension], a.slots[n.extension] = true, true, l
		a.starts = append(a.starts, start{number: n.extension, to: to(n), at: l.at})
	}
	a.mapped(l.at, l.what, "park."+n.name)
	return ""
}

// park is Park(lot).
func (a *asterisk) park(args []string) (n *node, why string) {
	name := argument(args, 0)
	if name == "" {
		name = "default"
	}
	l := a.lots[name]
	if l == nil {
		return nil, fmt.Sprintf("there is no parking lot %q", clip(name))
	}
	if l.node == nil {
		if why := a.openLot(l); why != "" {
			return nil, why
		}
	}
	return l.node, ""
}

// isSlot tells whether all numbers of an extension are those of parking lots, which then have them already.
func (a *asterisk) isSlot(x *exten) bool {
	numbers := []string{x.pattern}
	if pattern, is := strings.CutPrefix(x.pattern, "_"); is {
		numbers = numbersOf(pattern, mostMatches)
	}
	for _, number := range numbers {
		if a.slots[number] == nil {
			return false
		}
	}
	return len(numbers) > 0
}

// listSlot says what becomes of an extension that isSlot.
func (a *asterisk) listSlot(x *exten) {
	for _, st := range x.steps {
		if has([]string{"park", "parkedcall", "parkandannounce"}, strings.ToLower(st.app)) {
			a.mapped(x.at, x.title(), "a number of a parking lot")
			return
		}
	}
	a.unmapped(x.at, x.title(), "these are numbers of a parking lot")
}

// page is Page(PJSIP/ann&PJSIP/ben,d).
func (a *asterisk) page(s, on callState, args []string, st step, depth int) (*target, error) {
	n := &node{kind: "page", name: named(s)}
	for part := range strings.SplitSeq(argument(args, 0), "&") {
		user, h, why := a.dialled(s, part, depth)
		switch {
		case why != "":
			a.unmapped(st.at, part, why)
		case h != nil:
			a.unmapped(st.at, part, "a page calls users, not numbers outside")
		case len(n.members) == 99:
			a.unmapped(st.at, part, "a page calls at most 99 phones")
		case !slices.Contains(n.members, user):
			n.members = append(n.members, user)
		}
	}
	if len(n.members) == 0 {
		return nil, &lost{st.at, st.String(), "there is nobody to call"}
	}
	if len(n.members) > 50 {
		n.set("max_members", strconv.Itoa(len(n.members)))
	}
	for _, r := range argument(args, 1) {
		switch {
		case r == 'd':
			n.set("talk", "true")
		case r == 's': // who is in a call is left out, as here
		default:
			a.unmapped(st.at, st.String(), fmt.Sprintf("option %c of Page has no counterpart: it is left out", r))
		}
	}
	if next := strings.ToLower(on.at.steps[on.prio].app); !has([]string{"", "hangup", "return", "macroexit", "nextextension"}, next) {
		a.check(st.at, st.String(), "a call ends with its page here: what stands behind it is left out")
	}
	return to(a.make(n, st.at, st.String())), nil
}
