//go:build linux

package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// bridge is the segment: nodes and phones are on it. The driver is in a network namespace of its own, so nothing of it is seen outside.
const bridge = "segment"

func segmentAddr(last int) netip.Addr { return netip.AddrFrom4([4]byte{10, 99, 0, byte(last)}) }

// phonesAt is the last byte of the phones' address.
const phonesAt = 254

// layBridge makes the segment. /run of this mount namespace is emptied, since `ip netns` keeps its names there.
func (c *trio) layBridge() error {
	own, _ := os.Readlink("/proc/self/ns/net")
	if first, err := os.Readlink("/proc/1/ns/net"); err == nil && own == first {
		return fmt.Errorf("-segment changes interfaces: run it in a namespace of its own, unshare --net --mount %s", os.Args[0])
	}
	c.phones = segmentAddr(phonesAt)
	for _, command := range []string{
		"mount -t tmpfs tmpfs /run", "ip link set lo up", "ip link add " + bridge + " type bridge", "ip addr add " + c.phones.String() + "/24 dev " + bridge, "ip link set " + bridge + " up",
	} {
		if err := shell("%s", command); err != nil {
			return err
		}
	}
	return nil
}

// layLink makes the machine of a node: a namespace with one interface on the segment.
func (c *trio) layLink(m *node) error {
	for _, command := range []string{
		"ip netns add " + m.name, "ip link add " + m.link() + " type veth peer name eth0 netns " + m.name, "ip link set " + m.link() + " master " + bridge, "ip link set " + m.link() + " up",
		"ip netns exec " + m.name + " ip link set lo up", "ip netns exec " + m.name + " ip addr add " + m.machine.String() + "/24 dev eth0", "ip netns exec " + m.name + " ip link set eth0 up",
	} {
		if err := shell("%s", command); err != nil {
			return err
		}
	}
	return nil
}

// link is the segment's end of a node's interface.
func (m *node) link() string { return "to-" + m.name }

// mountDisk gives a node a file system of its own.
func (c *trio) mountDisk(m *node) error {
	image := filepath.Join(c.dir, m.name+".image")
	for _, command := range []string{"truncate -s 512M " + image, "mkfs.ext4 -q -F " + image, "mount -o loop " + image + " " + m.dir} {
		if err := shell("%s", command); err != nil {
			return err
		}
	}
	c.undo = append(c.undo, func() {
		_ = shell("fsfreeze -u %s", m.dir) // when it is frozen
		_ = shell("umount %s", m.dir)
		_ = os.Remove(image)
	})
	return nil
}
