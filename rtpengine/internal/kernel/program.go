//go:build linux

package kernel

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// Offsets in struct __sk_buff.
const (
	skbLen      = 0
	skbType     = 4
	skbProtocol = 16
	skbVLAN     = 20
	skbIfindex  = 40
	skbData     = 76
	skbDataEnd  = 80
	skbGSOSize  = 176
)

// Verdicts of a TCX program. next lets other programs look, and then the stack.
const (
	verdictNext = -1
	verdictDrop = 2
)

// Flags of bpf_l4_csum_replace. The kernel then knows what to do with a checksum that a network card, or a virtual
// one's sender, has left to be completed.
const (
	pseudoHeader = 0x10 // the change is in the pseudo header, too
	zeroIsNone   = 0x20 // a UDP checksum of 0 stays 0
	overIPv6     = 0x80 // since Linux 6.16, and later versions of older ones
)

// Places on the program's stack.
const (
	stackKey  = -4
	stackPart = -8  // a few octets that were looked up
	stackNeed = -16 // how long the packet has to be so far
	stackNow  = -24
)

// The RTP header's second octet where RTCP is: RFC 5761 §4.
const (
	rtcpLow  = 192
	rtcpHigh = 223
)

const (
	ethernet   = 14 // octets of header; the loopback interface has them, too
	udpBytes   = 8
	rtpBytes   = 12
	second     = 1000 // ms
	maxDropout = 3000 // RFC 3550 A.1
	maxReorder = 100
)

// family is where things are in a packet of one IP version.
type family struct {
	name                string // ends labels
	index               int    // in the table of ports
	header              int16  // octets without options
	protocol, life      int16  // offsets in the packet of the transport's number and the time to live
	source, destination int16
	addr                int16 // octets of an address
	ends                int16 // offset in the record of four addresses: local, remote, from, to
}

var (
	ipv4 = family{name: "4", index: 0, header: 20, protocol: ethernet + 9, life: ethernet + 8, source: ethernet + 12, destination: ethernet + 16, addr: 4, ends: atEnds4}
	ipv6 = family{name: "6", index: 1, header: 40, protocol: ethernet + 6, life: ethernet + 7, source: ethernet + 8, destination: ethernet + 24, addr: 16, ends: atEnds6}
)

func (f *family) udp() int16            { return ethernet + f.header }
func (f *family) rtp() int16            { return f.udp() + udpBytes }
func (f *family) label(s string) string { return s + f.name }

// plan is what the program is assembled from.
type plan struct {
	low          uint16 // first port
	count        int    // ports of one family
	rate         int    // packets of one flow a second
	tos          byte   // of what we send
	epoch        int64  // CLOCK_MONOTONIC at the engine's 0, ns
	ports, flows int    // descriptors of the maps
}

// program forwards a packet that is its flow's in every respect and leaves all others to the stack, untouched:
//
//	look at the Ethernet type -> IP and UDP header -> port, flow -> addresses -> RTP header -> sequence -> rate
//	then checksums, rewrite, counters, redirect.
//
// It keeps the context in R6, the flow in R7, the packet in R8 and the IP packet's length in R9.
func (p *plan) program() asm.Instructions {
	var code asm.Instructions
	add := func(parts ...asm.Instructions) {
		for _, part := range parts {
			code = append(code, part...)
		}
	}
	add(p.begin())
	for _, f := range []*family{&ipv4, &ipv6} {
		add(p.recognise(f), p.find(f), f.match(), f.measure(), f.rtpHeader(), f.sequence(), p.pace(f), f.checksums(), p.rewrite(f), f.account(), f.send())
	}
	add(asm.Instructions{
		asm.Mov.Imm(asm.R0, verdictDrop).WithSymbol("drop"),
		asm.Return(),
		asm.Mov.Imm(asm.R0, verdictNext).WithSymbol("next"),
		asm.Return(),
	})
	return code
}

// begin sorts by Ethernet type. Packets to other hosts, with a VLAN tag or put together from several are not ours.
func (p *plan) begin() asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R2, asm.R6, skbType, asm.Word),
		asm.JNE.Imm(asm.R2, unix.PACKET_HOST, "next"),
		asm.LoadMem(asm.R2, asm.R6, skbVLAN, asm.Word),
		asm.JNE.Imm(asm.R2, 0, "next"),
		asm.LoadMem(asm.R2, asm.R6, skbGSOSize, asm.Word),
		asm.JNE.Imm(asm.R2, 0, "next"),
		asm.LoadMem(asm.R2, asm.R6, skbProtocol, asm.Word),
		asm.JEq.Imm(asm.R2, int32(network(unix.ETH_P_IP)), ipv4.label("recognise")),
		asm.JEq.Imm(asm.R2, int32(network(unix.ETH_P_IPV6)), ipv6.label("recognise")),
		asm.Ja.Label("next"),
	}
}

// reach loads the packet and makes sure that its headers up to RTP's may be read; where they lie in several pieces, they are
// pulled together once.
func (f *family) reach(name, otherwise string) asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R8, asm.R6, skbData, asm.Word).WithSymbol(f.label(name)),
		asm.LoadMem(asm.R2, asm.R6, skbDataEnd, asm.Word),
		asm.Mov.Reg(asm.R3, asm.R8),
		asm.Add.Imm(asm.R3, int32(f.rtp()+rtpBytes)),
		asm.JGT.Reg(asm.R3, asm.R2, otherwise),
	}
}

// recognise wants a whole UDP packet without IP options that may go one hop further.
func (p *plan) recognise(f *family) asm.Instructions {
	code := f.reach("recognise", f.label("pull"))
	code = append(
		code,
		asm.Ja.Label(f.label("whole")),
		asm.Mov.Reg(asm.R1, asm.R6).WithSymbol(f.label("pull")),
		asm.Mov.Imm(asm.R2, int32(f.rtp()+rtpBytes)),
		asm.FnSkbPullData.Call(),
	)
	code = append(code, f.reach("pulled", "next")...)
	code = append(
		code,
		asm.LoadMem(asm.R2, asm.R8, f.protocol, asm.Byte).WithSymbol(f.label("whole")),
		asm.JNE.Imm(asm.R2, unix.IPPROTO_UDP, "next"),
		asm.LoadMem(asm.R2, asm.R8, f.life, asm.Byte),
		asm.JLE.Imm(asm.R2, 1, "next"),
		asm.LoadMem(asm.R2, asm.R8, ethernet, asm.Byte),
	)
	if f == &ipv6 {
		return append(code, asm.RSh.Imm(asm.R2, 4), asm.JNE.Imm(asm.R2, 6, "next"))
	}
	return append(
		code,
		asm.JNE.Imm(asm.R2, 0x45, "next"),
		asm.LoadMem(asm.R2, asm.R8, ethernet+6, asm.Half),
		asm.And.Imm(asm.R2, int32(network(0x3fff))), // a fragment, and not the only one
		asm.JNE.Imm(asm.R2, 0, "next"),
	)
}

// find leads from the port to the flow.
func (p *plan) find(f *family) asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.R8, f.udp()+2, asm.Half),
		asm.HostTo(asm.BE, asm.R2, asm.Half),
		asm.Sub.Imm(asm.R2, int32(p.low)),
		asm.JGE.Imm(asm.R2, int32(p.count), "next"), // unsigned: a lower port is a huge number
		asm.Add.Imm(asm.R2, int32(f.index*p.count)),
		asm.LSh.Imm(asm.R2, 1),
		asm.LoadMapValue(asm.R1, p.ports, 0),
		asm.Add.Reg(asm.R1, asm.R2),
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Half),
		asm.JEq.Imm(asm.R2, 0, "next"),

		asm.Sub.Imm(asm.R2, 1),
		asm.StoreMem(asm.RFP, stackKey, asm.R2, asm.Word),
		asm.LoadMapPtr(asm.R1, p.flows),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, stackKey),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "next"),
		asm.Mov.Reg(asm.R7, asm.R0),
	}
}

// match wants the flow's own source, destination and interface.
func (f *family) match() asm.Instructions {
	code := asm.Instructions{
		asm.LoadMem(asm.R2, asm.R6, skbIfindex, asm.Word),
		asm.LoadMem(asm.R3, asm.R7, atIngress, asm.Word),
		asm.JNE.Reg(asm.R2, asm.R3, "next"),
		asm.LoadMem(asm.R2, asm.R8, f.udp(), asm.Half),
		asm.LoadMem(asm.R3, asm.R7, atRemotePort, asm.Half),
		asm.JNE.Reg(asm.R2, asm.R3, "next"),
	}
	for i := int16(0); i < f.addr; i += 4 {
		code = append(
			code,
			asm.LoadMem(asm.R2, asm.R8, f.source+i, asm.Word),
			asm.LoadMem(asm.R3, asm.R7, f.ends+f.addr+i, asm.Word),
			asm.JNE.Reg(asm.R2, asm.R3, "next"),
			asm.LoadMem(asm.R2, asm.R8, f.destination+i, asm.Word),
			asm.LoadMem(asm.R3, asm.R7, f.ends+i, asm.Word),
			asm.JNE.Reg(asm.R2, asm.R3, "next"),
		)
	}
	return code
}

// measure reads the IP packet's length and wants it to agree with UDP's and with what has come, and to fit into what leaves.
func (f *family) measure() (code asm.Instructions) {
	if f == &ipv6 {
		code = asm.Instructions{
			asm.LoadMem(asm.R9, asm.R8, ethernet+4, asm.Half),
			asm.HostTo(asm.BE, asm.R9, asm.Half),
			asm.Add.Imm(asm.R9, int32(f.header)),
			asm.LoadMem(asm.R2, asm.R8, f.udp()+6, asm.Half), // RFC 8200 §8.1: there is always a checksum
			asm.JEq.Imm(asm.R2, 0, "next"),
		}
	} else {
		code = asm.Instructions{
			asm.LoadMem(asm.R9, asm.R8, ethernet+2, asm.Half),
			asm.HostTo(asm.BE, asm.R9, asm.Half),
		}
	}
	return append(
		code,
		asm.LoadMem(asm.R2, asm.R7, atLongest, asm.Half),
		asm.JGT.Reg(asm.R9, asm.R2, "next"),
		asm.JLT.Imm(asm.R9, int32(f.header+udpBytes+rtpBytes), "next"),
		asm.LoadMem(asm.R2, asm.R8, f.udp()+4, asm.Half),
		asm.HostTo(asm.BE, asm.R2, asm.Half),
		asm.Add.Imm(asm.R2, int32(f.header)),
		asm.JNE.Reg(asm.R2, asm.R9, "next"),
		asm.LoadMem(asm.R2, asm.R6, skbLen, asm.Word),
		asm.Mov.Reg(asm.R3, asm.R9),
		asm.Add.Imm(asm.R3, ethernet),
		asm.JLT.Reg(asm.R2, asm.R3, "next"),
	)
}

// rtpHeader checks what parseRTP checks: version, payload type, source and that extension and padding fit.
func (f *family) rtpHeader() asm.Instructions {
	fits := func(name string) asm.Instructions { // the length in R5
		return asm.Instructions{asm.JGT.Reg(asm.R5, asm.R9, "next").WithSymbol(f.label(name))}
	}
	code := asm.Instructions{
		asm.LoadMem(asm.R4, asm.R8, f.rtp(), asm.Byte), // V 2 | P 1 | X 1 | CC 4
		asm.Mov.Reg(asm.R2, asm.R4),
		asm.RSh.Imm(asm.R2, 6),
		asm.JNE.Imm(asm.R2, 2, "next"),

		asm.LoadMem(asm.R2, asm.R8, f.rtp()+1, asm.Byte), // M 1 | PT 7
		asm.JLT.Imm(asm.R2, rtcpLow, f.label("type")),
		asm.JLE.Imm(asm.R2, rtcpHigh, "next"),
		asm.And.Imm(asm.R2, 0x7f).WithSymbol(f.label("type")),
		asm.Mov.Reg(asm.R3, asm.R2),
		asm.RSh.Imm(asm.R3, 6),
		asm.LSh.Imm(asm.R3, 3),
		asm.Add.Reg(asm.R3, asm.R7),
		asm.LoadMem(asm.R3, asm.R3, atPayloads, asm.DWord),
		asm.And.Imm(asm.R2, 63),
		asm.RSh.Reg(asm.R3, asm.R2),
		asm.And.Imm(asm.R3, 1),
		asm.JEq.Imm(asm.R3, 0, "next"),

		asm.LoadMem(asm.R2, asm.R8, f.rtp()+8, asm.Word),
		asm.LoadMem(asm.R3, asm.R7, atSSRC, asm.Word),
		asm.JNE.Reg(asm.R2, asm.R3, "next"),

		asm.Mov.Reg(asm.R5, asm.R4),
		asm.And.Imm(asm.R5, 0x0f),
		asm.LSh.Imm(asm.R5, 2),
		asm.Add.Imm(asm.R5, int32(f.header+udpBytes+rtpBytes)),
		asm.And.Imm(asm.R4, 0x30),
		asm.JEq.Imm(asm.R4, 0, f.label("fits")),

		// The rare two. R4 is lost in a call, so the first octet is read again.
		asm.StoreMem(asm.RFP, stackNeed, asm.R5, asm.DWord),
		asm.And.Imm(asm.R4, 0x10),
		asm.JEq.Imm(asm.R4, 0, f.label("padding")),
		asm.Mov.Reg(asm.R2, asm.R5), // RFC 3550 §5.3.1: two octets, then the length in words
		asm.Add.Imm(asm.R2, ethernet),
	}
	code = append(code, look(4)...)
	code = append(
		code,
		asm.LoadMem(asm.R5, asm.RFP, stackPart+2, asm.Half),
		asm.HostTo(asm.BE, asm.R5, asm.Half),
		asm.LSh.Imm(asm.R5, 2),
		asm.Add.Imm(asm.R5, 4),
		asm.LoadMem(asm.R2, asm.RFP, stackNeed, asm.DWord),
		asm.Add.Reg(asm.R5, asm.R2),
		asm.StoreMem(asm.RFP, stackNeed, asm.R5, asm.DWord),
		asm.LoadMem(asm.R4, asm.R8, f.rtp(), asm.Byte).WithSymbol(f.label("padding")),
		asm.And.Imm(asm.R4, 0x20),
		asm.LoadMem(asm.R5, asm.RFP, stackNeed, asm.DWord),
		asm.JEq.Imm(asm.R4, 0, f.label("fits")),
		asm.Mov.Reg(asm.R2, asm.R9), // the last octet says how much
		asm.Add.Imm(asm.R2, ethernet-1),
	)
	code = append(code, look(1)...)
	code = append(
		code,
		asm.LoadMem(asm.R2, asm.RFP, stackPart, asm.Byte),
		asm.JEq.Imm(asm.R2, 0, "next"),
		asm.LoadMem(asm.R5, asm.RFP, stackNeed, asm.DWord),
		asm.Add.Reg(asm.R5, asm.R2),
	)
	return append(code, fits("fits")...)
}

// look copies n octets from the packet's offset in R2.
func look(n int32) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, stackPart),
		asm.Mov.Imm(asm.R4, n),
		asm.FnSkbLoadBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, "next"),
	}
}

// sequence leaves a jump of the sequence number to the stack: RFC 3550 A.1 wants a second look at the next packet.
func (f *family) sequence() asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.R8, f.rtp()+2, asm.Half),
		asm.HostTo(asm.BE, asm.R2, asm.Half),
		asm.LoadMem(asm.R3, asm.R7, atHighest, asm.Word),
		asm.Sub.Reg(asm.R2, asm.R3),
		asm.And.Imm(asm.R2, 0xffff),
		asm.JLT.Imm(asm.R2, maxDropout, f.label("pace")),
		asm.JLE.Imm(asm.R2, 65535-maxReorder, "next"),
	}
}

// pace counts the packet in its second; one too many is the stack's to drop and count.
func (p *plan) pace(f *family) asm.Instructions {
	return asm.Instructions{
		asm.FnKtimeGetNs.Call().WithSymbol(f.label("pace")),
		asm.LoadImm(asm.R2, p.epoch, asm.DWord),
		asm.Sub.Reg(asm.R0, asm.R2),
		asm.StoreMem(asm.RFP, stackNow, asm.R0, asm.DWord),
		asm.Div.Imm(asm.R0, int32(time.Millisecond)),
		asm.LoadMem(asm.R2, asm.R7, atWindowAt, asm.Word),
		asm.Mov.Reg(asm.R3, asm.R0),
		asm.Sub.Reg32(asm.R3, asm.R2),
		asm.JSLT.Imm32(asm.R3, second, f.label("same")),
		asm.StoreMem(asm.R7, atWindowAt, asm.R0, asm.Word),
		asm.StoreImm(asm.R7, atWindow, 0, asm.Half),
		asm.LoadMem(asm.R2, asm.R7, atWindow, asm.Half).WithSymbol(f.label("same")),
		asm.JGE.Imm(asm.R2, int32(min(p.rate, math.MaxUint16)), "next"),
		asm.Add.Imm(asm.R2, 1),
		asm.StoreMem(asm.R7, atWindow, asm.R2, asm.Half),
	}
}

// checksums has the kernel change the UDP checksum: from here on the packet is ours.
func (f *family) checksums() asm.Instructions {
	replace := func(diff int16, flags int32) asm.Instructions {
		return asm.Instructions{
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Mov.Imm(asm.R2, int32(f.udp()+6)),
			asm.Mov.Imm(asm.R3, 0),
			asm.LoadMem(asm.R4, asm.R7, diff, asm.Word),
			asm.Mov.Imm(asm.R5, flags),
			asm.FnL4CsumReplace.Call(),
		}
	}
	var code asm.Instructions
	if f == &ipv6 {
		code = append(code, replace(atAddrChange, pseudoHeader|zeroIsNone|overIPv6)...)
		code = append(code, asm.JEq.Imm(asm.R0, 0, f.label("ports")))
	}
	code = append(code, replace(atAddrChange, pseudoHeader|zeroIsNone)...)
	code = append(code, asm.JNE.Imm(asm.R0, 0, "next"), asm.Mov.Imm(asm.R0, 0).WithSymbol(f.label("ports")))
	code = append(code, replace(atPortChange, zeroIsNone)...)
	return append(code, asm.JNE.Imm(asm.R0, 0, "drop"))
}

// rewrite puts our address and the peer's in, lowers the time to live and marks the packet as the sockets mark theirs.
func (p *plan) rewrite(f *family) asm.Instructions {
	code := f.reach("rewrite", "drop")
	if f == &ipv6 {
		code = append(
			code,
			asm.StoreImm(asm.R8, ethernet, int64(int32(network32(6<<28|uint32(p.tos)<<20))), asm.Word),
			asm.LoadMem(asm.R2, asm.R8, f.life, asm.Byte),
			asm.Sub.Imm(asm.R2, 1),
			asm.StoreMem(asm.R8, f.life, asm.R2, asm.Byte),
		)
	} else {
		hop := int32(1) // of the word that has the time to live in its first octet
		if !littleEndian {
			hop = 0x100
		}
		mark := int32(network(0x4500 | uint16(p.tos)))
		code = append(
			code,
			asm.LoadMem(asm.R2, asm.R8, ethernet+10, asm.Half), // the header's checksum, RFC 1624: ~(~HC + ~m + m')
			asm.Xor.Imm(asm.R2, 0xffff),
			asm.LoadMem(asm.R3, asm.R7, atAddrChange, asm.Word),
			asm.Add.Reg(asm.R2, asm.R3),
			asm.LoadMem(asm.R3, asm.R8, ethernet, asm.Half),
			asm.Xor.Imm(asm.R3, 0xffff),
			asm.Add.Reg(asm.R2, asm.R3),
			asm.Add.Imm(asm.R2, mark),
			asm.LoadMem(asm.R3, asm.R8, f.life, asm.Half),
			asm.Mov.Reg(asm.R4, asm.R3),
			asm.Sub.Imm(asm.R4, hop),
			asm.Xor.Imm(asm.R3, 0xffff),
			asm.Add.Reg(asm.R2, asm.R3),
			asm.Add.Reg(asm.R2, asm.R4),
			asm.StoreMem(asm.R8, f.life, asm.R4, asm.Half),
			asm.StoreImm(asm.R8, ethernet, int64(mark), asm.Half),
		)
		for range 2 {
			code = append(
				code,
				asm.Mov.Reg(asm.R3, asm.R2),
				asm.RSh.Imm(asm.R3, 16),
				asm.And.Imm(asm.R2, 0xffff),
				asm.Add.Reg(asm.R2, asm.R3),
			)
		}
		code = append(code, asm.Xor.Imm(asm.R2, 0xffff), asm.StoreMem(asm.R8, ethernet+10, asm.R2, asm.Half))
	}
	for i := int16(0); i < f.addr; i += 4 {
		code = append(
			code,
			asm.LoadMem(asm.R2, asm.R7, f.ends+2*f.addr+i, asm.Word),
			asm.StoreMem(asm.R8, f.source+i, asm.R2, asm.Word),
			asm.LoadMem(asm.R2, asm.R7, f.ends+3*f.addr+i, asm.Word),
			asm.StoreMem(asm.R8, f.destination+i, asm.R2, asm.Word),
		)
	}
	return append(
		code,
		asm.LoadMem(asm.R2, asm.R7, atFromPort, asm.Half),
		asm.StoreMem(asm.R8, f.udp(), asm.R2, asm.Half),
		asm.LoadMem(asm.R2, asm.R7, atToPort, asm.Half),
		asm.StoreMem(asm.R8, f.udp()+2, asm.R2, asm.Half),
	)
}

// account does what quality.packet does. Packets of one flow come to one processor at a time as a rule, so only what must
// add up is added atomically.
func (f *family) account() asm.Instructions {
	return asm.Instructions{
		asm.Mov.Imm(asm.R2, 1),
		asm.AddAtomic.Mem(asm.R7, asm.R2, asm.DWord, atPackets),
		asm.Mov.Reg(asm.R2, asm.R9),
		asm.Sub.Imm(asm.R2, int32(f.header+udpBytes)),
		asm.AddAtomic.Mem(asm.R7, asm.R2, asm.DWord, atBytes),

		asm.LoadMem(asm.R2, asm.R8, f.rtp()+2, asm.Half),
		asm.HostTo(asm.BE, asm.R2, asm.Half),
		asm.LoadMem(asm.R3, asm.R7, atHighest, asm.Word),
		asm.Sub.Reg(asm.R2, asm.R3),
		asm.And.Imm(asm.R2, 0xffff),
		asm.JGE.Imm(asm.R2, maxDropout, f.label("late")),
		asm.Add.Reg(asm.R3, asm.R2),
		asm.StoreMem(asm.R7, atHighest, asm.R3, asm.Word),

		asm.LoadMem(asm.R2, asm.R8, f.rtp()+1, asm.Byte).WithSymbol(f.label("late")),
		asm.And.Imm(asm.R2, 0x7f),
		asm.JGT.Imm(asm.R2, lastStatic, f.label("transit")),
		asm.JEq.Imm(asm.R2, comfortNoise, f.label("transit")),
		asm.Add.Imm(asm.R2, 1),
		asm.StoreMem(asm.R7, atCodec, asm.R2, asm.Half),

		// A.8: transit = now in RTP units - timestamp; D is how far it moved; J += |D| - (J + 8)/16, J kept times 16.
		asm.LoadMem(asm.R2, asm.RFP, stackNow, asm.DWord).WithSymbol(f.label("transit")),
		asm.StoreMem(asm.R7, atSeen, asm.R2, asm.DWord),
		asm.Div.Imm(asm.R2, 1000),
		asm.LoadMem(asm.R3, asm.R7, atClock, asm.Word),
		asm.Mul.Reg(asm.R2, asm.R3),
		asm.Div.Imm(asm.R2, 1_000_000),
		asm.LoadMem(asm.R3, asm.R8, f.rtp()+4, asm.Word),
		asm.HostTo(asm.BE, asm.R3, asm.Word),
		asm.Sub.Reg32(asm.R2, asm.R3),
		asm.LoadMem(asm.R3, asm.R7, atTransit, asm.Word),
		asm.StoreMem(asm.R7, atTransit, asm.R2, asm.Word),
		asm.Sub.Reg32(asm.R2, asm.R3),
		asm.JSGE.Imm32(asm.R2, 0, f.label("jitter")),
		asm.Neg.Imm32(asm.R2, 0),
		asm.LoadMem(asm.R3, asm.R7, atJitter16, asm.Word).WithSymbol(f.label("jitter")),
		asm.Add.Reg32(asm.R2, asm.R3),
		asm.Add.Imm32(asm.R3, 8),
		asm.RSh.Imm32(asm.R3, 4),
		asm.Sub.Reg32(asm.R2, asm.R3),
		asm.StoreMem(asm.R7, atJitter16, asm.R2, asm.Word),
	}
}

// send gives the packet to the neighbour that the route leads to; the kernel finds its Ethernet address, and asks for it when need be.
// Over the loopback the kernel takes the route itself.
func (f *family) send() asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R1, asm.R7, atEgress, asm.Word),
		asm.Mov.Imm(asm.R2, 0),
		asm.Mov.Imm(asm.R3, 0),
		asm.Mov.Imm(asm.R4, 0),
		asm.LoadMem(asm.R5, asm.R7, atNextHop, asm.Word),
		asm.JEq.Imm(asm.R5, 0, f.label("send")),
		asm.Mov.Reg(asm.R2, asm.R7),
		asm.Add.Imm(asm.R2, int32(atNextHop)),
		asm.Mov.Imm(asm.R3, redirNeighBytes),
		asm.FnRedirectNeigh.Call(),
		asm.Return(),
		asm.FnRedirectNeigh.Call().WithSymbol(f.label("send")),
		asm.Return(),
	}
}

// Static payload types of audio, RFC 3551 §6.
const (
	comfortNoise = 13
	lastStatic   = 18
)

// network gives a number in network order as the machine loads it.
func network(n uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], n)
	return binary.NativeEndian.Uint16(b[:])
}

func network32(n uint32) uint32 {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return binary.NativeEndian.Uint32(b[:])
}
