package srtp

import (
	"bytes"
	"testing"

	pion "github.com/pion/srtp/v3"
)

// TestAgreementWithAnotherImplementation: each side reads what the other writes, over a rollover.
func TestAgreementWithAnotherImplementation(t *testing.T) {
	each(t, func(t *testing.T, s Suite) {
		profile := map[Suite]pion.ProtectionProfile{
			AES128GCM: pion.ProtectionProfileAeadAes128Gcm, AES256GCM: pion.ProtectionProfileAeadAes256Gcm,
			AES128CM80: pion.ProtectionProfileAes128CmHmacSha1_80, AES128CM32: pion.ProtectionProfileAes128CmHmacSha1_32,
		}[s]
		key := master(t, s)
		out, _ := New(s, key, Sender)
		in, _ := New(s, key, Receiver)
		n := table[s].key
		theirs := func() *pion.Context {
			c, err := pion.CreateContext(key[:n], key[n:], profile)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		sender, receiver := theirs(), theirs()
		for i := range 2000 {
			plain := rtpPacket(9, uint16(65000+i), "something to say")
			ours, err := out.Protect(append(make([]byte, 0, 128), plain...))
			if err != nil {
				t.Fatal(err)
			}
			other, err := sender.EncryptRTP(nil, plain, nil)
			if err != nil || !bytes.Equal(ours, other) {
				t.Fatalf("packet %d: ours %x, pion's %x, %v", i, ours, other, err)
			}
			if got, err := receiver.DecryptRTP(nil, ours, nil); err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("packet %d: pion reads %x, %v", i, got, err)
			}
			if got, err := in.Unprotect(other); err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("packet %d: we read %x, %v", i, got, err)
			}
			report := rtcpPacket(9)
			if other, err = sender.EncryptRTCP(nil, report, nil); err != nil {
				t.Fatal(err)
			}
			if got, err := in.UnprotectRTCP(other); err != nil || !bytes.Equal(got, report) {
				t.Fatalf("report %d: we read %x, %v", i, got, err)
			}
			if ours, err = out.ProtectRTCP(append(make([]byte, 0, 128), report...)); err != nil {
				t.Fatal(err)
			}
			if got, err := receiver.DecryptRTCP(nil, ours, nil); err != nil || !bytes.Equal(got, report) {
				t.Fatalf("report %d: pion reads %x, %v", i, got, err)
			}
		}
	})
}
