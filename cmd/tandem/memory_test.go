package main

import (
	"os"
	"testing"
)

func TestMemoryIsThatOfTheMachineOrLessInAControlGroup(t *testing.T) {
	for _, test := range []struct {
		machine string
		bytes   uint64
		source  string
	}{
		{"plain", 8_000_000 << 10, "MemTotal"},
		{"v2", 1 << 30, "/sys/fs/cgroup/system.slice/memory.max"},                     // the group says max, the one above it a gigabyte
		{"v2-container", 512 << 20, "/sys/fs/cgroup/memory.max"},                      // a namespace: the path is the root
		{"v1", 2 << 30, "/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes"},     // hybrid, with an empty version 2
		{"v1-unlimited", 8_000_000 << 10, "MemTotal"},                                 // 9223372036854771712
		{"v1-foreign-path", 256 << 20, "/sys/fs/cgroup/memory/memory.limit_in_bytes"}, // the path is the host's
		{"damaged", 0, "MemTotal"},
		{"empty", 0, "MemTotal"},
	} {
		bytes, source := machineMemory(os.DirFS("testdata/memory/" + test.machine))
		if bytes != test.bytes || source != test.source {
			t.Errorf("%s: %d by %s, want %d by %s", test.machine, bytes, source, test.bytes, test.source)
		}
	}
}

func TestMemoryIsGivenBackOnceInEachQuietTime(t *testing.T) {
	const big, small = 1 << 30, 100 << 20
	var c calm
	requests, packets := uint64(0), uint64(0)
	look := func(busy bool, heap, live uint64) bool {
		if busy {
			requests += 100_000
		}
		requests, packets = requests+20, packets+3000
		return c.look(requests, packets, heap, live)
	}
	for i, step := range []struct {
		busy       bool
		heap, live uint64
		want       bool
	}{
		{true, big, small, false},
		{false, big, small, false},
		{false, big, small, false},
		{false, big, small, false},
		{false, big, small, true},
		{false, big, small, false}, // once
		{true, big, small, false},
		{false, big, small, false},
		{false, big, small, false},
		{true, big, small, false}, // not quiet for long enough
		{false, big, small, false},
		{false, big, small, false},
		{false, big, small, false},
		{false, big, big / 2, false}, // nearly all of it lives
	} {
		if got := look(step.busy, step.heap, step.live); got != step.want {
			t.Errorf("look %d: %t, want %t", i, got, step.want)
		}
	}
	packets += 1_000_000
	c.quiet = calmLooks - 1
	if look(false, big, small) {
		t.Error("memory is given back while many packets are relayed")
	}
}
