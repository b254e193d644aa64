package auth

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// read collects what ReadCSV yields: accounts, and the text of every error.
func read(r io.Reader) (accounts []NewAccount, faults []string) {
	for a, err := range ReadCSV(r) {
		if err != nil {
			faults = append(faults, err.Error())
			continue
		}
		accounts = append(accounts, a)
	}
	return accounts, faults
}

func TestAListIsReadWithItsColumnsInAnyOrder(t *testing.T) {
	list := "\ufeffUser, Tenant ,password,display\r\nalice,acme,\" pw,1 \",\"Alice \"\"A\"\" Arm\"\r\n\r\n# no comment,acme,x,\r\nbob,acme,pw,\r\n"
	accounts, faults := read(strings.NewReader(list))
	want := []NewAccount{
		{Tenant: "acme", User: "alice", Password: " pw,1 ", Display: `Alice "A" Arm`},
		{Tenant: "acme", User: "bob", Password: "pw"},
	}
	if fmt.Sprint(accounts) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", accounts, want)
	}
	if got, want := fmt.Sprint(faults), `[4:1: user has ' ' at character 2; allowed are letters, digits and . _ + * # -]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestEveryBadRowIsNamedByLineAndColumn(t *testing.T) {
	list := `tenant,user,password,extension,display
acme,alice,pw,201,Alice
acme,b b,pw,202,Bob
acme,carol,,203,Carol
acme,dave,pw,204
acme,"erin"x,pw,205,Erin
acme,frank,pw,201,Frank
acme,alice,pw,207,Alice
acme,201,pw,208,
,gina,pw,209,
acme,hal,pw,2 1 0,
acme,ivan,pw,211,Ivan
`
	accounts, faults := read(strings.NewReader(list))
	if len(accounts) != 2 || accounts[1].User != "ivan" {
		t.Errorf("good rows: got %v", accounts)
	}
	want := []string{
		"3:6: user has ' ' at character 2; allowed are letters, digits and . _ + * # -",
		"4:12: password is empty",
		"5:1: 4 columns, the first row has 5",
		`6:11: extraneous or missing " in quoted-field`,
		"7:15: extension 201 is already on line 2",
		"8:6: user alice is already on line 2",
		"9:6: user 201 is already on line 2",
		"10:1: tenant is empty",
		"11:13: extension has ' ' at character 2; allowed are letters, digits and . _ + * # -",
	}
	if got := strings.Join(faults, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

func TestABadHeaderEndsTheList(t *testing.T) {
	for list, want := range map[string]string{
		"":                                "1:1: the list is empty; its first row must be tenant,user,password[,extension][,display]",
		"tenant;user;password\na;b;c\n":   "1:1: the columns must be separated by commas",
		"tenant,user\na,b\n":              `1:1: column "password" is missing; the first row must be tenant,user,password[,extension][,display]`,
		"tenant,user,user,password\n":     `1:13: column "user" stands there twice`,
		"tenant,user,passwort\na,b,c\n":   `1:13: column "passwort" is not known; there are tenant, user, password, extension, display`,
		"tenant,user,password,\"x\na,b,c": `2:6: extraneous or missing " in quoted-field`,
	} {
		accounts, faults := read(strings.NewReader(list))
		if len(accounts) != 0 || len(faults) != 1 || faults[0] != want {
			t.Errorf("%q: got %q, want %q", list, faults, want)
		}
	}
}

func TestAReadErrorEndsTheListAndIsSaid(t *testing.T) {
	broken := errors.New("the disk is gone")
	r := io.MultiReader(strings.NewReader("tenant,user,password\nacme,alice,pw\n"), iotest.ErrReader(broken))
	var last error
	n := 0
	for _, err := range ReadCSV(r) {
		last = err
		n++
	}
	if !errors.Is(last, broken) || n != 2 {
		t.Errorf("got %v after %d rows, want %v after 2", last, n, broken)
	}
}

func FuzzReadCSV(f *testing.F) {
	f.Add("tenant,user,password\nacme,alice,pw\n")
	f.Add("tenant,user,password,extension,display\n\"a\nb\",c,d,e,f\nx\n\"")
	f.Add("\ufeffuser,tenant,password\r\n1,2,3\r\n1,2,3")
	f.Fuzz(func(t *testing.T, list string) {
		rows := 0
		for a, err := range ReadCSV(strings.NewReader(list)) {
			rows++
			if rows > len(list)+1 {
				t.Fatal("more rows than bytes")
			}
			var row *RowError
			switch {
			case err == nil:
				if bad := a.Check(); bad != nil {
					t.Fatalf("yielded %+v: %v", a, bad)
				}
			case !errors.As(err, &row) || row.Line < 1 || row.Col < 1:
				t.Fatalf("an error without a place: %v", err)
			}
		}
	})
}
