package dialplan

import "testing"

func TestUsersPickUpTheCallsOfThoseTheyShareAGroupWith(t *testing.T) {
	p := mustCompile(t, `
dialplan "acme" {}
user "alice" {
  extension = "201"
  groups    = ["sales", "staff"]
}
user "bob" {
  extension = "202"
  groups    = ["sales"]
}
user "carol" { extension = "203" }
user "dave" {
  extension = "204"
  groups    = ["reception"]
}
ring "door" {
  extension = "300"
  members   = [user.bob, user.carol]
  otherwise { go = user.dave }
}
pickup "calls" {
  extension = "*8"
  allow     = ["reception"]
}`)
	step, ok := p.Pickup("acme")
	if !ok || step.Code != "*8" {
		t.Fatalf("pickup: %+v", step)
	}
	for _, c := range []struct {
		user, other string
		may         bool
	}{
		{"alice", "bob", true},
		{"bob", "alice", true},
		{"bob", "carol", true},
		{"alice", "carol", false},
		{"carol", "dave", false},
		{"dave", "carol", true},
		{"dave", "account", true},
		{"account", "dave", false},
		{"bob", "account", false},
	} {
		if got := p.MayPickUp("acme", c.user, c.other, &step); got != c.may {
			t.Errorf("%s picks up a call of %s: %v, want %v", c.user, c.other, got, c.may)
		}
	}
	if p.MayPickUp("other", "alice", "bob", &step) {
		t.Error("a tenant that there is not")
	}
}
