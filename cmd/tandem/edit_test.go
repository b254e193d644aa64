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
	expect(t, 0, "nothing to do: version 4 in force", "", "dialplan", "set", "user.bob", "extension=202")
}
