//go:build linux

package kernel

import (
	"testing"
	"unsafe"
)

func TestAPacketOfIPv4NeedsTwoLinesOfItsRecord(t *testing.T) {
	const line = 64
	if at := unsafe.Offsetof(record{}.ends6); at != 2*line {
		t.Errorf("what IPv4 needs takes %d octets", at)
	}
	if at := unsafe.Offsetof(record{}.nextHopFamily); at != line {
		t.Errorf("what a packet must agree with takes %d octets", at)
	}
	if recordBytes%(2*line) != 0 {
		t.Errorf("a record has %d octets: the next one begins in the middle of a pair of lines", recordBytes)
	}
}
