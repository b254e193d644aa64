package cluster

import (
	"strings"
	"testing"
)

func TestTheStateOfTheClusterIsToldInWords(t *testing.T) {
	member := func(name string, h Health, voter bool) Member {
		return Member{Name: name, Health: h, Voter: voter, Disk: "ok", Program: "1.0"}
	}
	well := []Member{member("n1", Alive, true), member("n2", Alive, true), member("n3", Alive, true)}
	for _, test := range []struct {
		what string
		s    Status
		want string
	}{
		{"all well", Status{Leader: "n1", Members: well}, "Node n1 leads. 3 of 3 voting nodes answer; one more may fail."},
		{"one dead", Status{Leader: "n1", Members: []Member{well[0], well[1], member("n3", Dead, true)}}, "Node n1 leads. 2 of 3 voting nodes answer; none may fail now. Node n3 is dead."},
		{"a minority", Status{Members: []Member{well[0], member("n2", Dead, true), member("n3", Suspect, true)}}, "There is no leader: 1 of 3 voting nodes answer, 2 are needed."},
		{"an election", Status{Members: well}, "There is no leader at the moment; one is being elected."},
		{"a newcomer", Status{Leader: "n1", Members: []Member{well[0], member("n2", Alive, false)}}, "Node n2 catches up and has no vote yet"},
		{"alone", Status{Leader: "n1", Members: well[:1]}, "Node n1 leads and is alone"},
		{"nowhere yet", Status{}, "not been admitted"},
		{"removed", Status{Removed: true, Members: well}, "This node was removed from the cluster."},
		{"a full disk", Status{Leader: "n1", Members: []Member{well[0], {Name: "n2", Health: Alive, Voter: true, Disk: "full", Program: "1.1"}}}, "The disk of node n2 is nearly full or refuses writes. 2 versions of the program run"},
		{"another state", Status{Leader: "n1", Members: []Member{well[0], {Name: "n2", Health: Alive, Voter: true, Disk: "ok", Diverged: true}}}, "Node n2 holds another state than most: `tandem cluster leave n2`"},
		{"an upgrade", Status{Leader: "n1", Agreed: 3, Members: []Member{{Name: "n1", Health: Alive, Voter: true, Program: "2.0", Speaks: 4}, {Name: "n2", Health: Alive, Voter: true, Program: "1.0", Speaks: 3}}}, "Version 3 of commands is used until all know 4: upgrade n2 (1.0 knows 3)."},
	} {
		if got := strings.Join(test.s.Words(), " "); !strings.Contains(got, test.want) {
			t.Errorf("%s:\ngot  %s\nwant %s", test.what, got, test.want)
		}
	}
}
