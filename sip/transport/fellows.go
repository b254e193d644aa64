package transport

import (
	"bytes"
	"hash/fnv"
	"net/netip"
	"strconv"
	"time"
)

// Fellows is the way to flows that other nodes of the cluster hold (Flow.Node). Any goroutine; nothing blocks.
type Fellows interface {
	// SendOn has the node that holds f send a message on it, and keeps no reference to it. An error says that it was not even handed over.
	SendOn(f Flow, msg []byte) error
	// Alive tells whether the node that holds f is there and has not said that f is gone.
	Alive(f Flow) bool
}

// NodeNumber is what stands for a node's name in Flow.Node: a hash, the same on every node, never 0.
func NodeNumber(name string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return max(h.Sum32(), 1)
}

// What SentBy gives for a flow of another node. Only that node knows by which address it talks to the peer (it may listen on all of them), so it
// writes its own name in place of this one, see Carry. The name is one that nobody can have (RFC 6761 §6.4).
const (
	holderHost = "holder.invalid"
	holderPort = 9
)

var holderText = []byte(holderHost + ":" + strconv.Itoa(holderPort))

// Carry sends a message of another node on a flow of this one, in the order of the calls for one Call-ID. failed, which may run on a shard, is told
// when it could not be sent. Any goroutine; it does not block.
func (t *Transport) Carry(f Flow, msg []byte, failed func(error)) {
	if t.bound() == nil {
		failed(ErrClosed)
		return
	}
	it, shard := t.itemOf(msg, f, time.Time{})
	s := t.shards[shard]
	err := s.Post(func() {
		if err := s.Send(f, t.named(f, []byte(it.Text))); err != nil {
			failed(err)
		}
	})
	if err != nil {
		failed(err)
	}
}

// named writes who this node is to the peer of f into the header of a message.
func (t *Transport) named(f Flow, msg []byte) []byte {
	end := bytes.Index(msg, []byte("\r\n\r\n"))
	if end < 0 || !bytes.Contains(msg[:end], holderText) {
		return msg
	}
	host, port := t.SentBy(f)
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() {
		host = "[" + host + "]"
	}
	own := []byte(host + ":" + strconv.Itoa(port))
	return append(bytes.ReplaceAll(msg[:end], holderText, own), msg[end:]...)
}

// Inject hands a message to its shard that another node has received on a flow of its own. It goes the way of a datagram: what finds no room is
// dropped and counted. Any goroutine; it does not block.
func (t *Transport) Inject(f Flow, msg []byte) {
	if t.bound() == nil {
		return
	}
	now := time.Now()
	it, shard := t.itemOf(msg, f, now)
	items := [1]item{it}
	if short := t.shards[shard].in.put(items[:], now); short != (shortage{}) {
		t.overloaded(shard, short, now)
	}
	signal(t.shards[shard].in.wake)
}
