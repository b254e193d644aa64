package srtp

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"
)

var all = []Suite{AES128GCM, AES256GCM, AES128CM80, AES128CM32}

func master(t testing.TB, s Suite) []byte {
	t.Helper()
	b := make([]byte, s.KeyBytes())
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

// line is both ends of one direction.
func line(t testing.TB, s Suite) (out, in *Context) {
	t.Helper()
	key := master(t, s)
	out, err := New(s, key, Sender)
	if err != nil {
		t.Fatal(err)
	}
	if in, err = New(s, key, Receiver); err != nil {
		t.Fatal(err)
	}
	return out, in
}

func rtpPacket(ssrc uint32, seq uint16, body string) []byte {
	b := append(make([]byte, 0, 64+len(body)+Overhead), 0x80, 0)
	b = binary.BigEndian.AppendUint16(b, seq)
	b = binary.BigEndian.AppendUint32(b, uint32(seq)*160)
	b = binary.BigEndian.AppendUint32(b, ssrc)
	return append(b, body...)
}

func rtcpPacket(ssrc uint32) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 64), 2<<30|1<<24|201<<16|7)
	b = binary.BigEndian.AppendUint32(b, ssrc)
	return append(b, "twenty-four bytes report"...)
}

// each runs a test once per suite.
func each(t *testing.T, test func(t *testing.T, s Suite)) {
	for _, s := range all {
		t.Run(s.String(), func(t *testing.T) { test(t, s) })
	}
}

func TestWhatIsProtectedComesBack(t *testing.T) {
	each(t, func(t *testing.T, s Suite) {
		rapid.Check(t, func(t *rapid.T) {
			key := rapid.SliceOfN(rapid.Byte(), s.KeyBytes(), s.KeyBytes()).Draw(t, "key")
			out, _ := New(s, key, Sender)
			in, _ := New(s, key, Receiver)
			head := []byte{0x80 | byte(rapid.IntRange(0, 15).Draw(t, "csrc")), 96}
			ext := rapid.Bool().Draw(t, "extension")
			plain := append(head, rapid.SliceOfN(rapid.Byte(), 10+4*int(head[0]&15), 10+4*int(head[0]&15)).Draw(t, "header")...)
			if ext {
				plain[0] |= 0x10
				n := rapid.IntRange(0, 3).Draw(t, "words")
				plain = append(append(plain, 0xbe, 0xde, 0, byte(n)), make([]byte, 4*n)...)
			}
			header := len(plain)
			plain = append(plain, rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "body")...)
			b, err := out.Protect(append(make([]byte, 0, len(plain)+Overhead), plain...))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b[:header], plain[:header]) {
				t.Fatalf("the header %x left as %x", plain[:header], b[:header])
			}
			if len(plain) > header+16 && bytes.Contains(b, plain[header:]) {
				t.Fatal("the body left readable")
			}
			if b, err = in.Unprotect(b); err != nil || !bytes.Equal(b, plain) {
				t.Fatalf("%x came back as %x: %v", plain, b, err)
			}
			report := append(plain[:8:8], rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "report")...)
			c, err := out.ProtectRTCP(append(make([]byte, 0, len(report)+Overhead), report...))
			if err != nil {
				t.Fatal(err)
			}
			if c, err = in.UnprotectRTCP(c); err != nil || !bytes.Equal(c, report) {
				t.Fatalf("%x came back as %x: %v", report, c, err)
			}
		})
	})
}

func TestOneChangedBitIsNoticed(t *testing.T) {
	each(t, func(t *testing.T, s Suite) {
		out, in := line(t, s)
		b, err := out.Protect(rtpPacket(1, 1, "hello"))
		if err != nil {
			t.Fatal(err)
		}
		c, err := out.ProtectRTCP(rtcpPacket(1))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 8 * len(b) {
			bad := bytes.Clone(b)
			bad[i/8] ^= 1 << (i % 8)
			if _, err := in.Unprotect(bad); err == nil {
				t.Errorf("bit %d of RTP", i)
			}
		}
		for i := range 8 * len(c) {
			bad := bytes.Clone(c)
			bad[i/8] ^= 1 << (i % 8)
			if _, err := in.UnprotectRTCP(bad); err == nil {
				t.Errorf("bit %d of RTCP", i)
			}
		}
		if len(in.sources) != 0 {
			t.Errorf("%d sources became known by packets that are not authentic", len(in.sources))
		}
		if _, err := in.Unprotect(b); err != nil {
			t.Error("the genuine one after them:", err)
		}
	})
}

func TestAPacketIsTakenOnce(t *testing.T) {
	each(t, func(t *testing.T, s Suite) {
		out, in := line(t, s)
		wire := make([][]byte, 300)
		for i := range wire {
			var err error
			if wire[i], err = out.Protect(rtpPacket(7, uint16(65500+i), "x")); err != nil { // over the rollover
				t.Fatal(err)
			}
		}
		take := func(i int) error { _, err := in.Unprotect(bytes.Clone(wire[i])); return err }
		for _, step := range []struct {
			i    int
			want error
		}{
			{2, nil},
			{2, ErrReplay},
			{0, nil}, // late, not repeated
			{0, ErrReplay},
			{40, nil}, // beyond the rollover
			{35, nil}, // before it, late
			{35, ErrReplay},
			{41, nil},
			{41 - 127, nil},
			{250, nil},
			{250 - 127, nil},
			{250 - 128, ErrReplay}, // too old to know
			{299, nil},
		} {
			if step.i < 0 {
				continue
			}
			if err := take(step.i); err != step.want {
				t.Errorf("packet %d: got %v, want %v", step.i, err, step.want)
			}
		}
		c, _ := out.ProtectRTCP(rtcpPacket(7))
		if _, err := in.UnprotectRTCP(bytes.Clone(c)); err != nil {
			t.Error(err)
		}
		if _, err := in.UnprotectRTCP(c); err != ErrReplay {
			t.Error("RTCP twice:", err)
		}
	})
}

// The window must agree with a plain set of what was used.
func TestWindowAgreesWithASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		used, highest := map[uint64]bool{}, uint64(0)
		for at := uint64(1000); len(used) < 200; {
			at += rapid.Uint64Range(0, 260).Draw(t, "step")
			at -= min(at, 100)
			want := !used[at] && (len(used) == 0 || at+windowBits > highest)
			if got := w.fresh(at); got != want {
				t.Fatalf("%d with highest %d: fresh %v, want %v", at, highest, got, want)
			}
			if want {
				w.use(at)
				used[at], highest = true, max(highest, at)
			} else if rapid.IntRange(0, 50).Draw(t, "stop") == 0 {
				return
			}
		}
	})
}

// A sender that used an index twice would give the key stream away.
func TestSenderUsesNoIndexTwice(t *testing.T) {
	each(t, func(t *testing.T, s Suite) {
		out, in := line(t, s)
		for _, seq := range []uint16{10, 12, 11} {
			b, err := out.Protect(rtpPacket(1, seq, "x"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := in.Unprotect(b); err != nil {
				t.Error(err)
			}
		}
		if _, err := out.Protect(rtpPacket(1, 11, "another body")); err != ErrReplay {
			t.Errorf("got %v", err)
		}
		for i := range maxSent - 1 {
			if _, err := out.Protect(rtpPacket(uint32(100+i), 1, "x")); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := out.Protect(rtpPacket(99, 1, "x")); err != ErrSources {
			t.Errorf("one source too many: %v", err)
		}
		if _, err := out.Protect(rtpPacket(1, 12, "x")); err != ErrReplay {
			t.Errorf("the first source is forgotten: %v", err)
		}
	})
}

func TestReceiverForgetsTheOldestSource(t *testing.T) {
	out, in := line(t, AES128GCM)
	for i := range maxReceived + 1 {
		for _, ssrc := range []uint32{1, uint32(100 + i)} { // 1 speaks all the time
			b, err := out.Protect(rtpPacket(ssrc, uint16(i), "x"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := in.Unprotect(b); err != nil {
				t.Fatal(err)
			}
		}
	}
	if in.find(1) == nil || in.find(100) != nil || len(in.sources) != maxReceived || in.Evicted() != 2 {
		t.Errorf("%d sources, %d evicted", len(in.sources), in.Evicted())
	}
}

func TestKeysEndBeforeTheirIndicesRepeat(t *testing.T) {
	out, _ := line(t, AES128CM80)
	if _, err := out.Protect(rtpPacket(1, 65535, "x")); err != nil {
		t.Fatal(err)
	}
	out.sources[0].rtp.highest = lastIndex
	if _, err := out.Protect(rtpPacket(1, 0, "x")); err != ErrUsedUp {
		t.Errorf("RTP: %v", err)
	}
	out.sentRTCP = lastIndexRTCP
	if _, err := out.ProtectRTCP(rtcpPacket(1)); err != ErrUsedUp {
		t.Errorf("RTCP: %v", err)
	}
}

func TestShortAndForeignPacketsAreErrors(t *testing.T) {
	each(t, func(t *testing.T, s Suite) {
		out, in := line(t, s)
		for n := range 40 {
			for _, first := range []byte{0x00, 0x80, 0x9f, 0xbf} {
				b := make([]byte, n)
				if n > 0 {
					b[0] = first
				}
				if _, err := in.Unprotect(bytes.Clone(b)); err == nil {
					t.Errorf("%x was taken", b)
				}
				if _, err := in.UnprotectRTCP(bytes.Clone(b)); err == nil {
					t.Errorf("%x was taken as RTCP", b)
				}
				if _, err := out.Protect(b[:n:n]); err != ErrMalformed && err != ErrRoom {
					t.Errorf("%x: %v", b, err)
				}
				if _, err := out.ProtectRTCP(b[:n:n]); err != ErrMalformed && err != ErrRoom {
					t.Errorf("%x: %v", b, err)
				}
			}
		}
		if _, err := New(s, make([]byte, 5), Sender); err == nil {
			t.Error("a key of five bytes")
		}
	})
	if _, err := New(suites, nil, Sender); err == nil {
		t.Error("a suite that does not exist")
	}
}

func TestSuitesAreFoundByName(t *testing.T) {
	for _, s := range all {
		if got, ok := ParseSuite(s.String()); !ok || got != s {
			t.Errorf("%s is %v", s, got)
		}
	}
	if _, ok := ParseSuite(suites.String()); ok {
		t.Error("unknown is known")
	}
}

// A call taken over goes on: later packets pass, earlier ones do not, and nothing is sent under an index of before.
func TestImportedContextGoesOnAboveTheExportedIndices(t *testing.T) {
	each(t, func(t *testing.T, s Suite) {
		out, in := line(t, s)
		var first, last []byte
		for i := range 70000 { // over one rollover
			b, err := out.Protect(rtpPacket(3, uint16(i), "x"))
			if err != nil {
				t.Fatal(err)
			}
			if last = bytes.Clone(b); i == 69990 {
				first = last
				continue // lost on the way
			}
			if i > 69990 || i%1000 == 0 {
				if _, err := in.Unprotect(b); err != nil {
					t.Fatal(i, err)
				}
			}
		}
		report, _ := out.ProtectRTCP(rtcpPacket(3))
		if _, err := in.UnprotectRTCP(bytes.Clone(report)); err != nil {
			t.Fatal(err)
		}
		out2, err := Import(out.Export(nil))
		if err != nil {
			t.Fatal(err)
		}
		in2, err := Import(in.Export(nil))
		if err != nil {
			t.Fatal(err)
		}
		if b := out2.Export(nil); len(b) != len(out.Export(nil)) {
			t.Error("exported again it is another")
		}
		for _, old := range [][]byte{first, last} {
			if _, err := in2.Unprotect(bytes.Clone(old)); err != ErrReplay {
				t.Errorf("an old packet: %v", err)
			}
		}
		if _, err := in2.UnprotectRTCP(report); err != ErrReplay {
			t.Errorf("an old report: %v", err)
		}
		for _, seq := range []uint16{uint16(69999 & 0xffff), uint16(69990 & 0xffff)} {
			if _, err := out2.Protect(rtpPacket(3, seq, "y")); err != ErrReplay {
				t.Errorf("an index of before: %v", err)
			}
		}
		b, err := out2.Protect(rtpPacket(3, uint16(70000&0xffff), "z"))
		if err != nil {
			t.Fatal(err)
		}
		if b, err = in2.Unprotect(b); err != nil || string(b[12:]) != "z" {
			t.Errorf("%q, %v", b, err)
		}
		_, _ = out.ProtectRTCP(rtcpPacket(3)) // after the export
		if report, err = out2.ProtectRTCP(rtcpPacket(3)); err != nil || out2.sentRTCP <= out.sentRTCP {
			t.Errorf("SRTCP index %d after %d: %v", out2.sentRTCP, out.sentRTCP, err)
		}
		if _, err := in2.UnprotectRTCP(report); err != nil {
			t.Error(err)
		}
	})
}

func FuzzImport(f *testing.F) {
	for _, s := range all {
		out, _ := line(f, s)
		_, _ = out.Protect(rtpPacket(1, 2, "x"))
		f.Add(out.Export(nil))
	}
	f.Fuzz(func(t *testing.T, state []byte) {
		c, err := Import(state)
		if err != nil {
			return
		}
		again, err := Import(c.Export(nil))
		if err != nil || len(again.sources) != len(c.sources) {
			t.Fatalf("exported again it is refused: %v", err)
		}
	})
}

// Whatever comes must neither panic nor pass, unless it is what the sender wrote.
func FuzzUnprotect(f *testing.F) {
	for i, s := range all {
		out, _ := New(s, make([]byte, s.KeyBytes()), Sender)
		b, _ := out.Protect(rtpPacket(1, 1, "hello"))
		f.Add(byte(i), b)
		c, _ := out.ProtectRTCP(rtcpPacket(1))
		f.Add(byte(i), c)
	}
	f.Fuzz(func(t *testing.T, suite byte, b []byte) {
		s := all[int(suite)%len(all)]
		out, _ := New(s, make([]byte, s.KeyBytes()), Sender)
		in, _ := New(s, make([]byte, s.KeyBytes()), Receiver)
		if plain, err := in.Unprotect(bytes.Clone(b)); err == nil {
			again, err := out.Protect(append(make([]byte, 0, len(b)+Overhead), plain...))
			if err != nil || !bytes.Equal(again, b) {
				t.Fatalf("%x was taken, and is written %x (%v)", b, again, err)
			}
		}
		if plain, err := in.UnprotectRTCP(bytes.Clone(b)); err == nil && len(plain) >= len(b) {
			t.Fatal("RTCP grew")
		}
	})
}

func TestNoAllocationPerPacket(t *testing.T) {
	each(t, func(t *testing.T, s Suite) {
		out, in := line(t, s)
		seq, plain := uint16(0), rtpPacket(1, 0, string(make([]byte, 160)))
		report, b := rtcpPacket(1), make([]byte, 0, 256)
		pass := func() {
			seq++
			binary.BigEndian.PutUint16(plain[2:], seq)
			p, err := out.Protect(append(b[:0], plain...))
			if err == nil {
				_, err = in.Unprotect(p)
			}
			if err != nil {
				t.Error(err)
			}
			if p, err = out.ProtectRTCP(append(b[:0], report...)); err == nil {
				_, err = in.UnprotectRTCP(p)
			}
			if err != nil {
				t.Error(err)
			}
		}
		pass()
		if n := testing.AllocsPerRun(1000, pass); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

func BenchmarkProtect(b *testing.B) {
	for _, s := range all {
		b.Run(s.String(), func(b *testing.B) {
			out, _ := line(b, s)
			plain, buffer := rtpPacket(1, 0, string(make([]byte, 160))), make([]byte, 0, 256)
			b.ReportAllocs()
			for seq := uint16(1); b.Loop(); seq++ {
				binary.BigEndian.PutUint16(plain[2:], seq)
				if _, err := out.Protect(append(buffer[:0], plain...)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkUnprotect(b *testing.B) {
	for _, s := range all {
		b.Run(s.String(), func(b *testing.B) {
			out, in := line(b, s)
			wire, err := out.Protect(rtpPacket(1, 1, string(make([]byte, 160))))
			if err != nil {
				b.Fatal(err)
			}
			buffer := make([]byte, 0, 256)
			b.ReportAllocs()
			for b.Loop() {
				in.sources = in.sources[:0] // or it would be a repetition
				if _, err := in.Unprotect(append(buffer[:0], wire...)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
