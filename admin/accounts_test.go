package admin

import (
	"fmt"
	"testing"
)

func TestAnAccountIsAddedChangedListedAndRemoved(t *testing.T) {
	n := newNode(t)
	n.plan(t)
	ctx := t.Context()
	extension, display := "201", "Alice"
	a, err := n.unix.AddAccount(ctx, "acme", "alice", AccountChange{Password: "secret", Extension: &extension, Display: &display})
	if err != nil || a.Extension != "201" || a.Display != "Alice" || a.Disabled {
		t.Fatalf("added: %+v, %v", a, err)
	}
	if _, err = n.unix.AddAccount(ctx, "acme", "alice", AccountChange{Password: "other"}); status(err) != 409 {
		t.Errorf("added twice: %v, want 409", err)
	}
	if _, err = n.unix.SetAccount(ctx, "acme", "bob", AccountChange{Password: "x"}); status(err) != 404 {
		t.Errorf("set of an unknown account: %v, want 404", err)
	}
	off, other := true, "Alice L."
	if a, err = n.unix.SetAccount(ctx, "acme", "201", AccountChange{Display: &other, Disabled: &off}); err != nil || !a.Disabled || a.Display != other || a.Extension != "201" || a.User != "alice" {
		t.Errorf("changed: %+v, %v", a, err)
	}
	list, err := n.unix.Accounts(ctx, "acme", 0)
	if err != nil || list.Total != 1 || len(list.Items) != 1 || list.Items[0].User != "alice" {
		t.Errorf("list: %+v, %v", list, err)
	}
	if err := n.unix.RemoveAccount(ctx, "acme", "alice"); err != nil {
		t.Error(err)
	}
	if _, err = n.unix.Account(ctx, "acme", "alice"); status(err) != 404 {
		t.Errorf("removed account is still shown: %v", err)
	}
}

func TestANewAccountNeedsAPassword(t *testing.T) {
	n := newNode(t)
	_, err := n.unix.AddAccount(t.Context(), "acme", "alice", AccountChange{})
	if status(err) != 422 {
		t.Errorf("got %v, want 422", err)
	}
}

func TestAnImportSetsWhatItCanAndNamesTheRest(t *testing.T) {
	n := newNode(t)
	batch := []NewAccount{{Tenant: "acme", User: "a", Password: "x"}, {Tenant: "acme", User: "not a name", Password: "x"}, {Tenant: "acme", User: "b", Extension: "a", Password: "x"}}
	r, err := n.unix.ImportAccounts(t.Context(), batch)
	if err != nil || r.Added != 1 || len(r.Rejected) != 2 || r.Rejected[0].Index != 1 || r.Rejected[1].Index != 2 {
		t.Fatalf("got %+v, %v", r, err)
	}
	if _, err := n.unix.ImportAccounts(t.Context(), nil); status(err) != 422 {
		t.Errorf("an empty batch: %v, want 422", err)
	}
	var many []NewAccount
	for i := range 501 {
		many = append(many, NewAccount{Tenant: "acme", User: fmt.Sprint(i), Password: "x"})
	}
	if _, err := n.unix.ImportAccounts(t.Context(), many); status(err) != 422 {
		t.Errorf("501 accounts: %v, want 422", err)
	}
}
