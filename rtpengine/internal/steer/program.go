//go:build linux

package steer

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// Offsets in struct bpf_sk_lookup. Addresses are in network order, the local port in the host's.
const (
	atFamily    = 8
	atProtocol  = 12
	atLocalIP4  = 40
	atLocalIP6  = 44
	atLocalPort = 60
)

// program is, for the addresses a and b:
//
//	if protocol == UDP
//	  if      local is a: line = 0
//	  else if local is b: line = count
//	  else pass
//	  if port-low < count && n = ports[line + port-low], n > 0
//	    if sk = sockets[n-1]: assign it
//	pass
//
// "pass" goes on with the kernel's own look-up, unless a socket was assigned.
func program(addrs []netip.Addr, low uint16, count, ports, sockets int) asm.Instructions {
	code := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R2, asm.R6, atProtocol, asm.Word),
		asm.JNE.Imm(asm.R2, unix.IPPROTO_UDP, "pass"),
		asm.LoadMem(asm.R2, asm.R6, atFamily, asm.Word),
	}
	for i, addr := range addrs {
		other := fmt.Sprintf("after-%d", i)
		code = append(code, unlessLocal(addr, other)...)
		code = append(
			code,
			asm.Mov.Imm(asm.R7, int32(i*count)),
			asm.Ja.Label("ours"),
			asm.Mov.Imm(asm.R7, 0).WithSymbol(other),
		)
	}
	return append(
		code,
		asm.Ja.Label("pass"),

		asm.LoadMem(asm.R2, asm.R6, atLocalPort, asm.Word).WithSymbol("ours"),
		asm.Sub.Imm(asm.R2, int32(low)),
		asm.JGE.Imm(asm.R2, int32(count), "pass"), // unsigned: a lower port is a huge number
		asm.Add.Reg(asm.R2, asm.R7),
		asm.StoreMem(asm.RFP, -4, asm.R2, asm.Word),
		asm.LoadMapPtr(asm.R1, ports),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "pass"),
		asm.LoadMem(asm.R2, asm.R0, 0, asm.Word),
		asm.JEq.Imm(asm.R2, 0, "pass"),

		asm.Sub.Imm(asm.R2, 1),
		asm.StoreMem(asm.RFP, -4, asm.R2, asm.Word),
		asm.LoadMapPtr(asm.R1, sockets),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "pass"),
		asm.Mov.Reg(asm.R7, asm.R0),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Reg(asm.R2, asm.R7),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnSkAssign.Call(), // when it fails, another program was first: the packet goes the usual way
		asm.Mov.Reg(asm.R1, asm.R7),
		asm.FnSkRelease.Call(),

		asm.Mov.Imm(asm.R0, 1).WithSymbol("pass"), // SK_PASS
		asm.Return(),
	)
}

// unlessLocal jumps when the packet is for another address; R2 is its family.
func unlessLocal(addr netip.Addr, other string) (code asm.Instructions) {
	family, at := int32(unix.AF_INET6), int16(atLocalIP6)
	if addr.Is4() {
		family, at = unix.AF_INET, atLocalIP4
	}
	code = append(code, asm.JNE.Imm(asm.R2, family, other))
	if addr.IsUnspecified() {
		return code
	}
	for word := addr.AsSlice(); len(word) > 0; word, at = word[4:], at+4 {
		code = append(
			code,
			asm.LoadMem(asm.R3, asm.R6, at, asm.Word),
			asm.JNE.Imm32(asm.R3, int32(binary.NativeEndian.Uint32(word)), other),
		)
	}
	return code
}
