package dialplan

import (
	"fmt"
	"strings"
	"testing"
)

const editedPlan = `# The plan of Acme.

dialplan "acme" {
  format   = 1
  timezone = "Europe/London" # and of the warehouse
}

# The people.
user "alice" { extension = "201" }
user "bob" {} # on the second floor
user "carol" {
  extension = "203"
  groups    = ["staff"] # since May
  # asked for in March
  dnd = true

  forward {
    busy = user.bob
  }
  otherwise { go = ring.sales }
}

# Nobody calls this any more.
ring "old" { members = [user.alice] }

did "+442079460000" { go = ring.sales }

menu "main" {
  extension = "0"
  key "1" { go = ring.sales } # most want this
  otherwise { go = user.alice }
}

ring "sales" {
  extension = "300"
  members = [
    user.alice, # she is here at eight
    user.bob,
  ]
}

test "sales" {
  call   = { from = user.bob, to = "300" }
  expect = [ring.sales]
}
`

// The golden file has every step with what it changes of the plan before: the lines with - and +.
func TestEditsKeepWhatTheyDoNotChange(t *testing.T) {
	put := func(text string) Edit { return Edit{Put: Source{Name: "new.hcl", Text: []byte(text)}} }
	set := func(block string, pairs ...string) Edit {
		e := Edit{Set: block, Values: map[string]string{}}
		for _, p := range pairs {
			name, value, _ := strings.Cut(p, "=")
			e.Values[name] = value
		}
		return e
	}
	var b strings.Builder
	for _, step := range []struct {
		name  string
		edits []Edit
	}{
		{"a value that is there", []Edit{set("user.carol", "groups=staff,intl")}},
		{"a value that is new, before the blocks inside", []Edit{set("user.carol", "display=Carol Smith", "timeout=20s")}},
		{"a value that goes with its comment", []Edit{set("user.carol", "dnd=")}},
		{"a block of one line gets more", []Edit{set("user.alice", "groups=[\"staff\"]")}},
		{"an empty block of one line", []Edit{set("user.bob", "extension=202")}},
		{"the only value of a block of one line", []Edit{set("user.alice", "extension=")}},
		{"one value of a block of one line for another", []Edit{set("user.alice", "extension=", "dnd=true")}},
		{"one changes and one comes to a block of one line", []Edit{set("user.alice", "extension=211", "dnd=true")}},
		{"blocks inside", []Edit{set("user.carol", "forward.busy=ring.sales", "forward.no_answer=user.alice", "otherwise=user.bob")}},
		{"a block inside that is new", []Edit{set("user.bob", "forward.busy=user.alice", "forward.no_answer=user.alice"), set("ring.sales", "otherwise=user.alice")}},
		{"a block inside that goes", []Edit{set("user.carol", "forward=", "otherwise=")}},
		{"keys of a menu", []Edit{set("menu.main", "key.1=ring.sales", "key.2=user.bob", "key.*.go=user.alice")}},
		{"a choice by the clock", []Edit{put("calendar \"office\" {\n  open = [\"mon-fri\"]\n}"), set(`did["+442079460000"]`, `go=open("office") ? ring.sales : user.alice`)}},
		{"a list of nodes", []Edit{set("ring.sales", "members=user.alice, user.carol", "skip_busy=true")}},
		{"a text with quotes", []Edit{set("user.alice", `display=Alice "A" ${x}`)}},
		{"a block in place of another", []Edit{put("ring \"sales\" {\nextension=\"300\"\nmembers=[user.alice]\n}")}},
		{"a block that brings its comment", []Edit{put("# They left.\nring \"old\" { members = [user.bob] } # all of them")}},
		{"new blocks", []Edit{put("user \"dave\" {}\n\n# A room.\nconference \"room\" {\n  extension = \"8000\"\n}\n\nring \"more\" {\n  members = [user.dave]\n  extension = \"301\"\n}\n")}},
		{"a block that goes", []Edit{{Remove: "ring.old"}}},
		{"several at once", []Edit{{Remove: "ring.old"}, {Remove: "test.sales"}, set("user.bob", "dnd=true")}},
		{"settings of the tenant", []Edit{set("dialplan.acme", "country=44")}},
	} {
		before := []Source{{Name: "acme.hcl", Text: []byte(editedPlan)}}
		after, diags := Change(before, "", step.edits)
		if after == nil {
			t.Errorf("%s: %s", step.name, render(diags))
			continue
		}
		if plan, diags := Compile(after); plan == nil {
			t.Errorf("%s: %s\n%s", step.name, after[0].Text, render(diags))
		}
		if formatted := Format(after[0].Text); string(formatted) != string(after[0].Text) {
			t.Errorf("%s: the layout is not canonical:\n%s", step.name, after[0].Text)
		}
		fmt.Fprintf(&b, "== %s\n%s\n", step.name, lineChanges(editedPlan, string(after[0].Text)))
	}
	golden(t, "testdata/edits.golden", b.String())
}

// lineChanges lists the lines that are gone and new, by their longest common sequence.
func lineChanges(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	long := make([][]int, len(x)+1)
	for i := range long {
		long[i] = make([]int, len(y)+1)
	}
	for i := len(x) - 1; i >= 0; i-- {
		for j := len(y) - 1; j >= 0; j-- {
			if long[i][j] = max(long[i+1][j], long[i][j+1]); x[i] == y[j] {
				long[i][j] = long[i+1][j+1] + 1
			}
		}
	}
	var out strings.Builder
	for i, j := 0, 0; i < len(x) || j < len(y); {
		switch {
		case i < len(x) && j < len(y) && x[i] == y[j]:
			i, j = i+1, j+1
		case j == len(y) || i < len(x) && long[i+1][j] >= long[i][j+1]:
			fmt.Fprintf(&out, "%3d -|%s\n", i+1, x[i])
			i++
		default:
			fmt.Fprintf(&out, "%3d +|%s\n", j+1, y[j])
			j++
		}
	}
	return out.String()
}

func TestEditsThatCannotBeMadeChangeNothing(t *testing.T) {
	plan := []Source{{Name: "acme.hcl", Text: []byte(editedPlan)}, {Name: "more.hcl", Text: []byte("never \"a\" {\n  from = \"did\"\n  to = user.carol\n}\n")}}
	set := func(block, name, value string) Edit { return Edit{Set: block, Values: map[string]string{name: value}} }
	for _, c := range []struct {
		want  string
		edits []Edit
	}{
		{"there is no block user.alicia (did you mean user.alice?)", []Edit{{Remove: "user.alicia"}}},
		{`"alice" is not the name of a block`, []Edit{{Remove: "alice"}}},
		{`user has no attribute "grups" (did you mean "groups"?)`, []Edit{set("user.alice", "grups", "staff")}},
		{"known: go", []Edit{set("user.alice", "otherwise.to", "user.bob")}},
		{"dnd of user cannot be yes = 1", []Edit{set("user.alice", "dnd", "yes = 1")}},
		{"it takes a list of nodes", []Edit{set("ring.sales", "members", "user.alice]\nx = [1")}},
		{"forward of user is a block: set what is in it, like forward.always", []Edit{set("user.alice", "forward", "user.bob")}},
		{"key of menu has no name", []Edit{set("menu.main", "key", "user.bob")}},
		{"user.alice is changed twice", []Edit{set("user.alice", "dnd", "true"), {Remove: "user.alice"}}},
		{"user.bob is changed twice", []Edit{{Remove: "user.bob"}, {Put: Source{Name: "new.hcl", Text: []byte("user \"bob\" {}\n")}}}},
		{"new.hcl:2:6: ", []Edit{{Put: Source{Name: "new.hcl", Text: []byte("user \"x\" {\n  a b\n}\n")}}}},
		{"new.hcl:1:1: this user has no name", []Edit{{Put: Source{Name: "new.hcl", Text: []byte("user {}\n")}}}},
		{`new.hcl:1:1: "x" cannot stand outside of a block`, []Edit{{Put: Source{Name: "new.hcl", Text: []byte("x = 1\n")}}}},
		{"there is no block to be put", []Edit{{Put: Source{Name: "new.hcl", Text: []byte("# nothing\n")}}}},
		{"it is not said what is to change of user.alice", []Edit{{Set: "user.alice"}}},
	} {
		after, diags := Change(plan, "", c.edits)
		if after != nil || !strings.Contains(render(diags), c.want) {
			t.Errorf("want %q, got %s", c.want, render(diags))
		}
	}
	for tenant, want := range map[string]string{"acm": `there is no tenant "acm" (did you mean "acme"?)`} {
		if after, diags := Change(plan, tenant, []Edit{{Remove: "user.alice"}}); after != nil || !strings.Contains(render(diags), want) {
			t.Errorf("want %q, got %s", want, render(diags))
		}
	}
	if after, diags := Change(nil, "", []Edit{{Remove: "user.alice"}}); after != nil || !strings.Contains(render(diags), "there is no dialplan") {
		t.Errorf("no plan: %s", render(diags))
	}
	if after, diags := Change(plan, "", []Edit{{Remove: "never.a"}}); len(after) != 1 {
		t.Errorf("a file without a block stays: %v %s", after, render(diags))
	}
}

func TestEditsOfOneTenantLeaveTheOthersAlone(t *testing.T) {
	plan := []Source{
		{Name: "a.hcl", Text: []byte("dialplan \"a\" {\n domains=[\"a.example\"]\n}\nuser \"x\" {}\n")},
		{Name: "b.hcl", Text: []byte("dialplan \"b\" {\n domains=[\"b.example\"]\n}\nuser \"x\" {}\n")},
	}
	if after, diags := Change(plan, "", []Edit{{Remove: "user.x"}}); after != nil || !strings.Contains(render(diags), "which tenant is meant: there are a, b") {
		t.Errorf("got %s", render(diags))
	}
	after, diags := Change(plan, "b", []Edit{{Set: "user.x", Values: map[string]string{"dnd": "true"}}})
	if after == nil || string(after[0].Text) != string(plan[0].Text) {
		t.Fatalf("%v %s", after, render(diags))
	}
	// A layout that was nobody's but the author's stays that.
	if want := "dialplan \"b\" {\n domains=[\"b.example\"]\n}\nuser \"x\" {\n  dnd = true\n}\n"; string(after[1].Text) != want {
		t.Errorf("got %q, want %q", after[1].Text, want)
	}
}
