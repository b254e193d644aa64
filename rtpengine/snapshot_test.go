package rtpengine

import (
	"crypto"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unique"
	"unsafe"

	"tandem/rtpengine/srtp"
)

// filler gives every field of a value something, and each its own where there are more than two values.
type filler int

func (f *filler) fill(v reflect.Value) {
	*f++
	switch v.Interface().(type) {
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.AddrFrom4([4]byte{192, 0, 2, byte(*f)})))
		return
	case netip.AddrPort:
		v.Set(reflect.ValueOf(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(*f)}), uint16(*f))))
		return
	case meaning:
		v.Set(reflect.ValueOf(unique.Make(fmt.Sprint("meaning ", *f))))
		return
	case fingerprint:
		v.Set(reflect.ValueOf(fingerprint{crypto.SHA256, strings.Repeat("p", 32)}))
		return
	case *agreement, *srtp.Context: // which are compared where they are used
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString(fmt.Sprint("text ", *f))
	case reflect.Struct:
		for i := range v.NumField() {
			at := v.Field(i)
			f.fill(reflect.NewAt(at.Type(), unsafe.Pointer(at.UnsafeAddr())).Elem())
		}
	case reflect.Array:
		for i := range v.Len() {
			f.fill(v.Index(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		f.fill(v.Index(0))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem())
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	default:
		v.SetUint(1)
	}
}

// Whoever adds something to what is agreed on, or told, adds it to the snapshot: a call must not lose it in a takeover.
func TestASnapshotHoldsAllThatIsAgreedOn(t *testing.T) {
	var in, out snapshot
	var f filler
	for _, v := range []any{&in.exchange, &in.origins, &in.treat, &in.music, &in.wires} {
		f.fill(reflect.ValueOf(v).Elem())
	}
	in.exchange.text, in.exchange.remaking, in.exchange.bargains = 0, remaking{}, []bargain{in.exchange.struck} // no offer is open
	p := &packing{}
	if in.pass(p); p.err != nil {
		t.Fatal(p.err)
	}
	p = &packing{b: p.b, reading: true}
	if out.pass(p); p.err != nil || len(p.b) > 0 {
		t.Fatalf("%v, %d octets are left", p.err, len(p.b))
	}
	if !reflect.DeepEqual(in, out) {
		t.Errorf("it comes back as\n%+v\n%+v %+v\n, was\n%+v\n%+v %+v", out, out.exchange.said[A], out.exchange.said[B], in, in.exchange.said[A], in.exchange.said[B])
	}
}

// What signalling knows beside that is in a snapshot, or it is not because it need not be.
func TestEachFieldMovesAlongOrStays(t *testing.T) {
	for _, c := range []struct {
		of          any
		moves, made string
	}{
		{Session{}, "lines origins latest wires music blocks treat", "engine cfg shard site mu closed exchanges before watch recording courses plays onHold coded"},
		{line{}, "kind legs placed rings numbers", "takes pictures vias"},
		{keyring{}, "offers now level heard", ""},
		{heardKey{}, "key context", ""},
		{ourKey{}, "suite master sender", ""},
		{agreement{}, "theirs ours in out", ""},
		{wires{}, "lines bundle all", "engine shard site call handshake"},
		{wire{}, "transport mid", ""},
		{transport{}, "own generations agreed pairs chosen lost association sources learned", "engine call known legs mid window checks"},
		{generation{}, "ufrag password theirs", ""},
		{icePair{}, "to theirs priority nominated", "seen"},
		{association{}, "active prints name by port keys state done", "engine call over shard to tries in stop flight repeats"},
	} {
		fields := reflect.VisibleFields(reflect.TypeOf(c.of))
		known := append(strings.Fields(c.moves), strings.Fields(c.made)...)
		for _, f := range fields {
			if !slices.Contains(known, f.Name) {
				t.Errorf("%T.%s is new: does a call need it after a takeover? Add it to the snapshot, or say here that it stays", c.of, f.Name)
			}
		}
		if len(known) != len(fields) {
			t.Errorf("%T has %d fields, %d are named here", c.of, len(fields), len(known))
		}
	}
}
