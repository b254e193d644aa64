package dialplan

import "testing"

func TestSRTPIsTheUsersElseTheTenants(t *testing.T) {
	plan, faults := Compile([]Source{{Name: "acme.hcl", Text: []byte(`
dialplan "acme" { srtp = "preferred" }
user "alice" {
  extension = "201"
  srtp      = "required"
}
user "bob" {}
`)}})
	if plan == nil {
		t.Fatal(faults)
	}
	for user, want := range map[string]string{"alice": "required", "201": "required", "bob": "preferred", "an account of no plan": "preferred"} {
		if got := plan.SRTP("acme", user); got != want {
			t.Errorf("srtp of %s is %q, want %q", user, got, want)
		}
	}
	if got := plan.SRTP("other", "alice"); got != "" {
		t.Errorf("srtp of another tenant is %q", got)
	}
}
