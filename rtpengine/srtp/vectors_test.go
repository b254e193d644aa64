package srtp

import (
	"bytes"
	"crypto/aes"
	"encoding/hex"
	"testing"
)

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func expect(t testing.TB, what string, got []byte, want string) {
	t.Helper()
	if !bytes.Equal(got, unhex(t, want)) {
		t.Errorf("%s: got %x, want %s", what, got, want)
	}
}

// RFC 3711 appendix B.3.
func TestSessionKeysAreThoseOfRFC3711(t *testing.T) {
	master, err := aes.NewCipher(unhex(t, "e1f97a0d3e018be0d64fa32c06de4139"))
	if err != nil {
		t.Fatal(err)
	}
	salt := unhex(t, "0ec675ad498afeebb6960b3aabe6")
	expect(t, "cipher key", derive(master, salt, labelCipher, 16), "c61e7a93744f39ee10734afe3ff7a087")
	expect(t, "cipher salt", derive(master, salt, labelSalt, 14), "30cbbc08863d8c85d49db34a9ae1")
	expect(t, "auth key", derive(master, salt, labelAuth, 20), "cebe321f6ff7716b6fd4ab49af256a156d38baa4")
}

// RFC 3711 appendix B.2: SSRC and index are 0, so the counter begins at the salt.
func TestKeyStreamIsThatOfRFC3711(t *testing.T) {
	k := keys{room: &room{}}
	p := table[AES128CM80]
	if err := k.use(&p, unhex(t, "2b7e151628aed2a6abf7158809cf4f3c"), make([]byte, authKeyBytes)); err != nil {
		t.Fatal(err)
	}
	copy(k.salt[:], unhex(t, "f0f1f2f3f4f5f6f7f8f9fafbfcfd"))
	stream := make([]byte, 0xff02*16)
	k.crypt(stream, 0, 0)
	for block, want := range map[int]string{
		0x0000: "e03ead0935c95e80e166b16dd92b4eb4",
		0x0001: "d23513162b02d0f72a43a2fe4a5f97ab",
		0x0002: "41e95b3bb0a2e8dd477901e4fca894c0",
		0xfeff: "ec8cdf7398607cb0f2d21675ea9ea1e4",
		0xff00: "362b7c3c6773516318a077d7fc5073ae",
		0xff01: "6a2cc3787889374fbeb4c81b17ba6c44",
	} {
		expect(t, "block", stream[block*16:][:16], want)
	}
}

// RFC 7714 §16 and §17 give session keys, so the key derivation is left out.
func TestPacketsAreThoseOfRFC7714(t *testing.T) {
	const (
		rtp = "8040f17b8041f8d35501a0b2" +
			"47616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573"
		rtcp = "81c8000d4d617273" +
			"4e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef"
	)
	for _, v := range []struct {
		suite       Suite
		key         string
		srtp, srtcp string
	}{
		{
			AES128GCM, "000102030405060708090a0b0c0d0e0f",
			"8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce",
			"81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4",
		},
		{
			AES256GCM, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
			"8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
			"81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de0476f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4",
		},
	} {
		t.Run(v.suite.String(), func(t *testing.T) {
			session := func(r Role) *Context {
				c, err := New(v.suite, make([]byte, v.suite.KeyBytes()), r)
				if err != nil {
					t.Fatal(err)
				}
				for _, k := range []*keys{&c.rtp, &c.rtcp} {
					if err := k.use(&table[v.suite], unhex(t, v.key), nil); err != nil {
						t.Fatal(err)
					}
					copy(k.salt[:], unhex(t, "517569642070726f2071756f"))
				}
				return c
			}
			out, in := session(Sender), session(Receiver)
			out.sentRTCP = 0x5d4 - 1
			b, err := out.Protect(append(make([]byte, 0, 200), unhex(t, rtp)...))
			if err != nil {
				t.Fatal(err)
			}
			expect(t, "SRTP", b, v.srtp)
			if b, err = in.Unprotect(b); err != nil {
				t.Fatal(err)
			}
			expect(t, "RTP", b, rtp)
			if b, err = out.ProtectRTCP(append(make([]byte, 0, 200), unhex(t, rtcp)...)); err != nil {
				t.Fatal(err)
			}
			expect(t, "SRTCP", b, v.srtcp)
			if b, err = in.UnprotectRTCP(b); err != nil {
				t.Fatal(err)
			}
			expect(t, "RTCP", b, rtcp)
		})
	}
	// §17.3 is tagged and not encrypted, which nobody agreed to here.
	in, _ := New(AES128GCM, make([]byte, 28), Receiver)
	if _, err := in.UnprotectRTCP(unhex(t, rtcp+"841dd9683dd78ec92ae58790125f62b3000005d4")); err != ErrAuth {
		t.Errorf("a packet without the E flag: %v", err)
	}
}
