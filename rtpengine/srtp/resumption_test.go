package srtp

import (
	"bytes"
	"testing"
)

// pass sends a packet of source 7 under an index and wants it taken there.
func pass(t *testing.T, out, in *Context, index int) {
	t.Helper()
	b, err := out.Protect(rtpPacket(7, uint16(index), "speech"))
	if err != nil {
		t.Fatalf("packet %d: %v", index, err)
	}
	if b, err = in.Unprotect(b); err != nil || string(b[12:]) != "speech" {
		t.Fatalf("packet %d: %q, %v", index, b, err)
	}
}

// A node relays a call from one phone to another, under one key from the first and another to the second. It dies some time after its state
// was exported. Whoever goes on must hear the first phone and be heard by the second, who both count on, and repeat no index.
func TestImportedContextsGoOnThoughTheStateIsOld(t *testing.T) {
	each(t, func(t *testing.T, s Suite) {
		for _, c := range []struct {
			name             string
			exported, missed int
		}{
			{"at once", 100, 0},
			{"over a rollover", 65530, 20},
			{"minutes", 1000, 50 * 600},
			{"beyond what the closest index tells", 1000, 40000},
			{"beyond that, and over a rollover", 50000, 40000},
			{"as old as it may be", 131000, resumedAhead - 1},
		} {
			t.Run(c.name, func(t *testing.T) {
				first, in := line(t, s)
				out, second := line(t, s)
				step := max(1, c.exported/5)
				for i := 0; i < c.exported; i += step {
					pass(t, first, in, i)
					pass(t, out, second, i)
				}
				pass(t, first, in, c.exported)
				pass(t, out, second, c.exported)
				states := [2][]byte{in.Export(nil), out.Export(nil)}
				for i := c.exported + 1; i <= c.exported+c.missed; i++ { // the node goes on
					if i%1000 == 0 || i == c.exported+c.missed {
						b, err := first.Protect(rtpPacket(7, uint16(i), "speech"))
						if err != nil {
							t.Fatal(err)
						}
						if _, err := in.Unprotect(b); err != nil {
							t.Fatal(err)
						}
						pass(t, out, second, i)
					}
				}
				in, err := Import(states[0])
				if err != nil {
					t.Fatal(err)
				}
				if out, err = Import(states[1]); err != nil {
					t.Fatal(err)
				}
				next := c.exported + c.missed + 1
				pass(t, first, in, next)
				pass(t, out, second, next)
				if out.sources[0].rtp.highest != uint64(next) || in.sources[0].rtp.highest != uint64(next) {
					t.Errorf("index %d in and %d out, want %d", in.sources[0].rtp.highest, out.sources[0].rtp.highest, next)
				}
				pass(t, first, in, next+2)
				pass(t, first, in, next+1)
			})
		}
	})
}

// What comes first may be a packet that was overtaken, or forged: neither moves the rollover count.
func TestImportedContextIsNotLedAstrayByItsFirstPacket(t *testing.T) {
	each(t, func(t *testing.T, s Suite) {
		first, in := line(t, s)
		out, second := line(t, s)
		late, _ := first.Protect(rtpPacket(7, 490, "late"))
		late = bytes.Clone(late)
		for i := 500; i < 600; i++ {
			pass(t, first, in, i)
			pass(t, out, second, i)
		}
		in, _ = Import(in.Export(nil))
		out, _ = Import(out.Export(nil))
		if _, err := in.Unprotect(late); err != ErrReplay {
			t.Errorf("a late packet: %v", err)
		}
		if _, err := out.Protect(rtpPacket(7, 490, "late")); err != ErrReplay {
			t.Errorf("a late packet, sent: %v", err)
		}
		for _, seq := range []uint16{600, 599, 610, 40000, 65535} {
			forged := append(rtpPacket(7, seq, "forged"), make([]byte, 16)...)
			if _, err := in.Unprotect(forged); err == nil {
				t.Errorf("a forged packet %d passed", seq)
			}
			if _, err := in.Unprotect(append(rtpPacket(8, seq, "forged"), make([]byte, 16)...)); err != ErrAuth {
				t.Errorf("a forged packet of a new source: %v", err)
			}
		}
		pass(t, first, in, 600)
		pass(t, out, second, 600)
	})
}

// A source that began, and perhaps wrapped, after the export.
func TestImportedReceiverHearsSourcesThatBeganSince(t *testing.T) {
	each(t, func(t *testing.T, s Suite) {
		for _, count := range []int{10, 300} {
			first, in := line(t, s)
			state := in.Export(nil)
			for i := range count {
				if _, err := first.Protect(rtpPacket(7, uint16(65400+i), "x")); err != nil {
					t.Fatal(err)
				}
			}
			in, err := Import(state)
			if err != nil {
				t.Fatal(err)
			}
			pass(t, first, in, 65400+count)
			pass(t, first, in, 65400+count+1)
		}
	})
}

func TestNoAllocationPerPacketAfterAnImport(t *testing.T) {
	each(t, func(t *testing.T, s Suite) {
		out, in := line(t, s)
		pass(t, out, in, 1)
		in, _ = Import(in.Export(nil))
		pass(t, out, in, 2)
		seq, packet := uint16(2), make([]byte, 0, 256)
		if n := testing.AllocsPerRun(1000, func() {
			seq++
			packet = append(packet[:0], 0x80, 0, byte(seq>>8), byte(seq), 0, 0, 0, 0, 0, 0, 0, 7, 1, 2, 3)
			b, err := out.Protect(packet)
			if err == nil {
				_, err = in.Unprotect(b)
			}
			if err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}
