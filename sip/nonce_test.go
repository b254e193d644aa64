package sip

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"math/rand/v2"
	"strconv"
	"testing"
)

// TestANonceIsSignedWithACBCMACOfItsHeadAndTheWholeRealm compares the signature with the standard library's CBC.
func TestANonceIsSignedWithACBCMACOfItsHeadAndTheWholeRealm(t *testing.T) {
	key := [32]byte{1, 2, 3}
	n, err := newNonces(key, 1, nonceShards)
	if err != nil {
		t.Fatal(err)
	}
	head := []byte("serial-6ssue")
	seen := map[[nonceMAC]byte]string{}
	for _, realm := range []string{"", "a", "a\x00", "acme.example", "sixteen.example.", "sixteen.example.\x00", "a realm that is longer than two blocks of AES"} {
		text := append(bytes.Clone(head), 0, 0, 0, byte(len(realm)))
		text = append(text, realm...)
		text = append(text, make([]byte, (16-len(text)%16)%16)...)
		block, err := aes.NewCipher(key[:])
		if err != nil {
			t.Fatal(err)
		}
		cipher.NewCBCEncrypter(block, make([]byte, 16)).CryptBlocks(text, text)
		got := n.sign(head, realm)
		if want := text[len(text)-16:][:nonceMAC]; !bytes.Equal(got[:], want) {
			t.Errorf("realm %q: got %x, want %x", realm, got, want)
		}
		if other, twice := seen[got]; twice {
			t.Errorf("realms %q and %q have one signature", realm, other)
		}
		seen[got] = realm
	}
}

// TestNonceTableAgreesWithANaiveModel adds, finds and forgets serials of two nodes that count through the same range.
func TestNonceTableAgreesWithANaiveModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	for _, limit := range []int{1, 2, 17, 300} {
		var table nonceTable
		table.init(limit)
		var model []nonceUse // oldest first
		counters := [2]uint64{rnd.Uint64(), rnd.Uint64()}
		counters[1] = counters[0] + uint64(rnd.IntN(500))*nonceShards
		for i := range 20_000 {
			switch n := rnd.IntN(10); {
			case n < 6:
				u := nonceUse{serial: counters[n%2], issued: uint32(i), last: rnd.Uint64()}
				counters[n%2] += nonceShards * uint64(1+rnd.IntN(3))
				if table.find(u.serial) != nil {
					continue // the other counter was here
				}
				if len(model) == limit {
					table.forget()
					model = model[1:]
				}
				table.add(u)
				model = append(model, u)
			case n == 6 && len(model) > 0:
				table.forget()
				model = model[1:]
			case len(model) > 0:
				k := rnd.IntN(len(model))
				u := table.find(model[k].serial)
				if u == nil || *u != model[k] {
					t.Fatalf("limit %d, step %d: got %+v, want %+v", limit, i, u, model[k])
				}
				u.top++
				model[k].top++
			}
			if table.live != len(model) || len(model) > 0 && *table.oldest() != model[0] {
				t.Fatalf("limit %d, step %d: %d uses, want %d, or another one is the oldest", limit, i, table.live, len(model))
			}
		}
		known := map[uint64]bool{}
		for _, u := range model {
			known[u.serial] = true
		}
		for back := range uint64(3000) {
			serial := counters[0] - back*nonceShards
			if (table.find(serial) != nil) != known[serial] {
				t.Fatalf("limit %d: serial %d is known: %v, want %v", limit, serial, !known[serial], known[serial])
			}
		}
		if len(table.uses) > limit {
			t.Errorf("room for %d uses, want at most %d", len(table.uses), limit)
		}
	}
}

func TestQuotedParametersEndWhereTheirQuoteDoes(t *testing.T) {
	naive := func(s string) int {
		for i := 1; i < len(s); i++ {
			if s[i] == '\\' {
				i++
			} else if s[i] == '"' {
				return i
			}
		}
		return -1
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 10_000 {
		s := []byte{'"'}
		for range rnd.IntN(8) {
			s = append(s, `a"\`[rnd.IntN(3)])
		}
		if got, want := quoteEnd(string(s)), naive(string(s)); got != want {
			t.Fatalf("%s: got %d, want %d", s, got, want)
		}
	}
}

func TestNonceCountsAreReadAsHexadecimal(t *testing.T) {
	for _, s := range []string{"00000001", "0000000a", "DeadBeef", "ffffffff", "0000000g", "0000000:", "0000000@", "0000000`", "       1", "+0000001"} {
		want, err := strconv.ParseUint(s, 16, 32)
		if got, ok := parseHex32(s); ok != (err == nil) || ok && uint64(got) != want {
			t.Errorf("%s: got %d, %v, want %d, %v", s, got, ok, want, err)
		}
	}
}
