package ng

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBothEncodingsSayTheSame(t *testing.T) {
	want := dict{"command": "offer", "n": int64(-3), "flags": []any{"a", []any{}}, "inner": dict{"sdp": "v=0\r\n"}}
	for _, text := range []string{
		"d7:command5:offer5:flagsl1:alee5:innerd3:sdp5:v=0\r\ne1:ni-3ee",
		`{"command":"offer","n":-3,"flags":["a",[]],"inner":{"sdp":"v=0\r\n"}}`,
	} {
		got, as, err := decode([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q:\n%s", text, diff)
		}
		if back, _, err := decode(encode(nil, got, as)); err != nil || !cmp.Equal(want, back) {
			t.Errorf("%q: read %v back, %v", text, back, err)
		}
	}
}

func TestADictionaryIsBounded(t *testing.T) {
	for name, text := range map[string]string{
		"deep":            "d1:a" + strings.Repeat("l", 100) + strings.Repeat("e", 101),
		"deep JSON":       `{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "}",
		"wide":            "d1:al" + strings.Repeat("i1e", 2000) + "ee",
		"wide JSON":       `{"a":[1` + strings.Repeat(",1", 2000) + "]}",
		"too long a text": "d1:a9:be",
		"a negative text": "d1:a-1:be",
		"a huge number":   "d1:ai99999999999999999999ee",
		"a key twice":     "d1:ai1e1:ai2ee",
		"a tail":          "d1:ai1eex",
		"a JSON tail":     `{"a":1}{}`,
		"a fraction":      `{"a":1.5}`,
		"no end":          "d1:ai1e",
		"nothing":         "",
	} {
		if d, _, err := decode([]byte(text)); err == nil {
			t.Errorf("%s: read as %v", name, d)
		}
	}
}

func FuzzAnyRequestIsReadWithoutPanicAndWrittenBackTheSame(f *testing.F) {
	f.Add([]byte("d7:command5:offer5:flagsl1:alee5:innerd3:sdp5:v=0\r\ne1:ni-3ee"))
	f.Add([]byte(`{"command":"offer","n":-3,"flags":["a",[]],"t":true,"z":null}`))
	f.Add([]byte("d1:al"))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, as, err := decode(text)
		if err != nil {
			return
		}
		again, _, err := decode(encode(nil, d, as))
		if err != nil || !cmp.Equal(d, again) {
			t.Fatalf("%q was read as %v, written and read again as %v, %v", text, d, again, err)
		}
	})
}

func TestAnswersAreForgottenWhenRoomIsShort(t *testing.T) {
	var m memory
	now := time.Unix(1000, 0)
	big := make([]byte, rememberBytes/2-100)
	early := 0
	for i := range 8 {
		if m.keep(asker{cookie: string(rune('a' + i))}, big, now) {
			early++
		}
	}
	if m.recall(asker{cookie: "a"}, now) != nil || m.recall(asker{cookie: "h"}, now) == nil {
		t.Error("the oldest answer is still there, or the newest is not")
	}
	if kept := len(m.young) + len(m.old); kept > 4 || early == 0 {
		t.Errorf("%d answers of half a generation each are kept, %d times forgotten early", kept, early)
	}
}
