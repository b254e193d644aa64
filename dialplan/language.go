package dialplan

import (
	"sort"
	"strings"
)

// shape is the type an attribute asks for.
type shape uint8

const (
	shapeText       shape = iota + 1
	shapeTexts            // list of texts
	shapeNumber           // whole number
	shapeFlag             // true or false
	shapeDuration         // text like "20s"
	shapeReference        // user.alice, ring.sales ...
	shapeReferences       // list of them
	shapeCall             // { from = user.bob, to = "201" }
	shapeStatuses         // { "ring.sales" = 408 }
	shapeTarget           // a node, or a choice: open("office") ? ring.sales : user.bob
	shapeDelays           // { "user.bob" = "10s" }
	shapeRewriting        // { "+44" = "0", "+" = "00" }
	shapeRates            // "carrier_a.csv", or { "+44" = "0.01" }
	shapeCauses           // [408, 503, "no_reply 4s"]
	shapeVia              // [trunk.carrier_a, trunk.carrier_b], or cheapest(trunk.carrier_a, trunk.carrier_b)
	shapePlaces           // "did", ring.sales, or a list of such
	shapePriorities       // { "vip" = 2, "+44" = 1 }
)

func (s shape) String() string {
	switch s {
	case shapeText:
		return "a text in quotes"
	case shapeTexts:
		return `a list of texts, like ["a", "b"]`
	case shapeNumber:
		return "a whole number"
	case shapeFlag:
		return "true or false"
	case shapeDuration:
		return `a duration in quotes, like "20s"`
	case shapeReference:
		return "a node, like ring.sales"
	case shapeReferences:
		return "a list of nodes, like [user.alice, user.bob]"
	case shapeCall:
		return `a call, like { from = user.bob, to = "201" }`
	case shapeStatuses:
		return `answers of nodes, like { "ring.sales" = 408 }`
	case shapeTarget:
		return `a node, like ring.sales, or a choice, like open("office") ? ring.sales : user.bob`
	case shapeDelays:
		return `users and how much later they ring, like { "user.bob" = "10s" }`
	case shapeRewriting:
		return `how numbers begin and what is put there instead, like { "+44" = "0", "+" = "00" }`
	case shapeRates:
		return `what a minute costs by how numbers begin, like { "+44" = "0.01" }, or the name of a table, like "carrier_a.csv"`
	case shapeCauses:
		return `a list of SIP statuses and of how long to wait, like [503, "no_reply 4s"]`
	case shapeVia:
		return `a list of trunks, like [trunk.carrier_a, trunk.carrier_b], or cheapest(trunk.carrier_a, trunk.carrier_b)`
	case shapePriorities:
		return `groups and beginnings of numbers with their priorities, like { "vip" = 2, "+44" = 1 }`
	case shapePlaces:
		return `a kind of node in quotes, like "did", a node, like ring.sales, or a list of such`
	}
	return "nothing"
}

// blockRule says what a block of one type may contain.
type blockRule struct {
	labels   int // 1: the block has a name
	example  string
	attrs    map[string]attrRule
	blocks   map[string]*blockRule
	required []string
}

type attrRule struct{ shape shape }

// grammar is what the language consists of.
type grammar struct {
	rules map[string]*blockRule // every block that a plan may contain at its top
	kinds []string              // blocks that a call can go to
}

func language() *grammar { return &grammar{blockRules(), nodeKinds()} }

func blockRules() map[string]*blockRule {
	otherwise := &blockRule{
		example: "otherwise { go = ring.sales }", required: []string{"go"},
		attrs: map[string]attrRule{"go": {shape: shapeTarget}},
	}
	forward := &blockRule{
		example: "forward { busy = user.bob }",
		attrs: map[string]attrRule{
			"always": {shape: shapeTarget}, "busy": {shape: shapeTarget}, "no_answer": {shape: shapeTarget}, "unreachable": {shape: shapeTarget},
		},
	}
	rules := map[string]*blockRule{
		"dialplan": {
			labels: 1, example: `dialplan "acme" { ... }`,
			attrs: map[string]attrRule{
				"format": {shape: shapeNumber}, "domains": {shape: shapeTexts}, "timezone": {shape: shapeText}, "country": {shape: shapeText},
				"hold_music": {shape: shapeText}, "srtp": {shape: shapeText},
			},
		},
		"user": {
			labels: 1, example: `user "alice" { ... }`,
			attrs: map[string]attrRule{
				"extension": {shape: shapeText}, "display": {shape: shapeText}, "groups": {shape: shapeTexts}, "record": {shape: shapeFlag},
				"hold_music": {shape: shapeText}, "srtp": {shape: shapeText}, "dnd": {shape: shapeFlag}, "timeout": {shape: shapeDuration},
				"caller": {shape: shapeText}, "voicemail": {shape: shapeFlag},
			},
			blocks: map[string]*blockRule{"forward": forward, "otherwise": otherwise},
		},
		"did": {
			labels: 1, example: `did "+442079460000" { go = ring.sales }`, required: []string{"go"},
			attrs: map[string]attrRule{"label": {shape: shapeText}, "go": {shape: shapeTarget}},
		},
		"feature": {
			labels: 1, example: `feature "night" { ... }`, required: []string{"extension", "go"},
			attrs: map[string]attrRule{"extension": {shape: shapeText}, "go": {shape: shapeTarget}},
		},
		"reject": {
			labels: 1, example: `reject "closed" { ... }`,
			attrs: map[string]attrRule{"extension": {shape: shapeText}, "status": {shape: shapeNumber}, "reason": {shape: shapeText}},
		},
		"calendar": {
			labels: 1, example: `calendar "office" { ... }`,
			attrs: map[string]attrRule{
				"open": {shape: shapeTexts}, "closed": {shape: shapeTexts}, "holidays": {shape: shapeText}, "timezone": {shape: shapeText},
			},
		},
		"ring": {
			labels: 1, example: `ring "sales" { ... }`, required: []string{"members"},
			attrs: map[string]attrRule{
				"extension": {shape: shapeText}, "strategy": {shape: shapeText},
				"members": {shape: shapeReferences}, "timeout": {shape: shapeDuration}, "record": {shape: shapeFlag},
				"delays": {shape: shapeDelays}, "skip_busy": {shape: shapeFlag},
			},
			blocks: map[string]*blockRule{"otherwise": otherwise},
		},
		"echo": {
			labels: 1, example: `echo "test" { ... }`,
			attrs: map[string]attrRule{"extension": {shape: shapeText}, "timeout": {shape: shapeDuration}},
		},
		"music": {
			labels: 1, example: `music "hold" { ... }`,
			attrs: map[string]attrRule{
				"extension": {shape: shapeText}, "play": {shape: shapeText}, "timeout": {shape: shapeDuration},
			},
		},
		"conference": {
			labels: 1, example: `conference "sales" { ... }`,
			attrs: map[string]attrRule{
				"extension": {shape: shapeText}, "max_members": {shape: shapeNumber}, "music": {shape: shapeText},
				"record": {shape: shapeFlag}, "announce": {shape: shapeFlag}, "timeout": {shape: shapeDuration},
				"pin": {shape: shapeText}, "prompt": {shape: shapeText},
			},
			blocks: map[string]*blockRule{"otherwise": otherwise},
		},
		"menu": {
			labels: 1, example: `menu "main" { ... }`,
			attrs: map[string]attrRule{
				"extension": {shape: shapeText}, "play": {shape: shapeText}, "wait": {shape: shapeDuration}, "retries": {shape: shapeNumber},
				"wrong": {shape: shapeText}, "dial": {shape: shapeFlag},
			},
			blocks: map[string]*blockRule{
				"otherwise": otherwise,
				"key": {
					labels: 1, example: `key "1" { go = ring.sales }`, required: []string{"go"}, attrs: map[string]attrRule{"go": {shape: shapeTarget}},
				},
			},
		},
		"voicemail": {
			labels: 1, example: `voicemail "alice" { ... }`,
			attrs: map[string]attrRule{
				"extension": {shape: shapeText}, "mailbox": {shape: shapeReference}, "pin": {shape: shapeText}, "greeting": {shape: shapeText},
				"max_length": {shape: shapeDuration}, "silence": {shape: shapeDuration}, "max_messages": {shape: shapeNumber}, "owners": {shape: shapeReferences},
				"listen": {shape: shapeFlag},
			},
			blocks: map[string]*blockRule{"otherwise": otherwise},
		},
		"trunk": {
			labels: 1, example: `trunk "carrier_a" { ... }`,
			attrs: map[string]attrRule{
				"register": {shape: shapeText}, "expires": {shape: shapeDuration}, "hosts": {shape: shapeTexts}, "transport": {shape: shapeText},
				"user": {shape: shapeText}, "secret": {shape: shapeText}, "ping": {shape: shapeDuration}, "channels": {shape: shapeNumber},
				"srtp": {shape: shapeText}, "codecs": {shape: shapeTexts}, "caller": {shape: shapeText}, "caller_id": {shape: shapeText},
				"rates": {shape: shapeRates}, "shared": {shape: shapeTexts},
			},
			blocks: map[string]*blockRule{
				"in": {
					example: `in { from = ["198.51.100.0/24"] }`,
					attrs: map[string]attrRule{
						"from": {shape: shapeTexts}, "user": {shape: shapeText}, "secret": {shape: shapeText}, "rewrite": {shape: shapeRewriting}, "go": {shape: shapeTarget},
					},
				},
				"out": {example: `out { rewrite = { "+44" = "0" } }`, attrs: map[string]attrRule{"rewrite": {shape: shapeRewriting}}},
			},
		},
		"outbound": {
			labels: 1, example: `outbound "uk" { ... }`,
			attrs: map[string]attrRule{
				"match": {shape: shapeTexts}, "allow": {shape: shapeTexts}, "via": {shape: shapeVia}, "next": {shape: shapeCauses}, "timeout": {shape: shapeDuration},
				"caller": {shape: shapeText}, "caller_id": {shape: shapeText}, "go": {shape: shapeTarget},
			},
			blocks: map[string]*blockRule{"otherwise": otherwise},
		},
		"number": {
			labels: 1, example: `number "alice_mobile" { dial = "+447700900456" }`, required: []string{"dial"},
			attrs:  map[string]attrRule{"extension": {shape: shapeText}, "dial": {shape: shapeText}},
			blocks: map[string]*blockRule{"otherwise": otherwise},
		},
		"emergency": {
			labels: 1, example: `emergency "uk" { ... }`, required: []string{"numbers", "via"},
			attrs: map[string]attrRule{
				"numbers": {shape: shapeTexts}, "via": {shape: shapeReferences}, "location": {shape: shapeText}, "notify": {shape: shapeTexts}, "caller": {shape: shapeText},
			},
		},
		"limits": {
			labels: 1, example: `limits "staff" { ... }`,
			attrs: map[string]attrRule{
				"groups": {shape: shapeTexts}, "to": {shape: shapeReferences}, "each": {shape: shapeFlag}, "calls": {shape: shapeNumber},
				"minutes": {shape: shapeNumber}, "money": {shape: shapeText},
			},
		},
		"never": {
			labels: 1, example: `never "what must not happen" { ... }`, required: []string{"from", "to"},
			attrs: map[string]attrRule{"from": {shape: shapePlaces}, "to": {shape: shapePlaces}},
		},
		"test": {
			labels: 1, example: `test "what should happen" { ... }`, required: []string{"call", "expect"},
			attrs: map[string]attrRule{
				"at": {shape: shapeText}, "call": {shape: shapeCall}, "given": {shape: shapeStatuses}, "keys": {shape: shapeTexts},
				"expect": {shape: shapeReferences}, "dialled": {shape: shapeText}, "caller": {shape: shapeText},
			},
		},
	}
	rules["queue"], rules["agent"] = queueRules(otherwise)
	rules["park"], rules["page"] = parkRule(otherwise), pageRule(otherwise)
	rules["app"] = appRule(otherwise)
	rules["pickup"] = pickupRule(otherwise)
	return rules
}

// nodeKinds are the blocks that a call can go to.
func nodeKinds() []string {
	return []string{
		"user", "ring", "echo", "music", "conference", "did", "feature", "reject", "menu", "voicemail", "number", "outbound", "trunk", "emergency", "queue", "agent", "park", "page", "app", "pickup",
	}
}

// functions are those that can stand in a value.
func functions() []string { return []string{"open", "cheapest"} }

func contains(words []string, word string) bool {
	for _, w := range words {
		if w == word {
			return true
		}
	}
	return false
}

// names of a map in the order of the alphabet, so that messages never depend on map order.
func names[V any](m map[string]V) []string {
	all := make([]string, 0, len(m))
	for name := range m {
		all = append(all, name)
	}
	sort.Strings(all)
	return all
}

// choice lists the words that a message offers.
func (r *blockRule) choice() string {
	return strings.Join(append(names(r.attrs), names(r.blocks)...), ", ")
}

func topChoice(rules map[string]*blockRule) string { return strings.Join(names(rules), ", ") }
