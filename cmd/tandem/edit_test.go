package main

import (
	"strings"
	"testing"
)

func TestBlocksOfThePlanInForceAreChanged(t *testing.T) {
	aNode(t)
	expect(t, 1, "!no dialplan has been applied yet", "", "dialplan", "set", "user.alice", "dnd=true")
	file := write(t, "acme.dialplan.hcl", "# ours\n"+plan)
	expect(t, 0, "version 1 is in force", "", "dialplan", "apply", file)
	expect(t, 0, "version 2 is in force", "", "dialplan", "set", "user.alice", "groups=staff,intl", "forward.busy=echo.test", "--note", "she travels")
	expect(t, 0, "version 3 is in force", "", "dialplan", "put", write(t, "more.hcl", "# new\nuser \"bob\" {\n  extension = \"202\" # his\n}\n"), "--if-version", "2")
	expect(t, 0, "version 4 is in force", "", "dialplan", "remove", "user.alice")
	if r := expect(t, 0, "", "", "dialplan", "show"); r.out != "# ours\n"+strings.Replace(plan, "user \"alice\" { extension = \"201\" }\n", "\n# new\nuser \"bob\" {\n  extension = \"202\" # his\n}\n\n", 1) {
		t.Errorf("the plan is\n%s", r.out)
	}
	if r := expect(t, 0, "!she travels", "", "dialplan", "show", "2"); !strings.Contains(r.out, "forward { busy = echo.test }") {
		t.Errorf("said %s", r.err)
	}
	expect(t, 1, "!there is no block user.bobby (did you mean user.bob?)", "", "dialplan", "set", "user.bobby", "dnd=true")
	expect(t, 1, "!your change is based on version 2, but version 4 was applied by", "", "dialplan", "remove", "user.bob", "--if-version", "2")
	expect(t, 1, "!acme.dialplan.hcl:", "", "dialplan", "set", "user.bob", "forward.busy=ring.sales")
	expect(t, 2, "!is no value to be set", "", "dialplan", "set", "user.bob", "dnd")
	twin := expect(t, 0, `"extension": "202"`, "", "dialplan", "json").out
	expect(t, 0, "nothing to do: version 4", "", "dialplan", "apply", write(t, "same.json", twin))
	bad := func(from, to string) string { return write(t, "bad.json", strings.Replace(twin, from, to, 1)) }
	expect(t, 1, `!echo has no attribute "extensin" (did you mean "extension"?)`, "", "dialplan", "apply", bad(`"extension": "*43"`, `"extensin": "*43"`))
	expect(t, 1, "!extension takes a text in quotes, this is a number", "", "dialplan", "apply", bad(`"202"`, `202`))
	expect(t, 1, "!bad.json:1:3: this is no JSON", "", "dialplan", "apply", write(t, "bad.json", "{ nonsense"))
	expect(t, 0, "version 5", "", "dialplan", "apply", bad(`"*43"`, `"*44"`), "--if-version", "4")
	if r := expect(t, 0, "*44", "", "dialplan", "show"); !strings.Contains(r.out, "202\" # his") {
		t.Errorf("the comments are gone: %s", r.out)
	}
	expect(t, 0, "version 6", "", "dialplan", "rollback", "4")
	expect(t, 0, "nothing to do: version 6 in force", "", "dialplan", "set", "user.bob", "extension=202")
}
