// Package rtpengine carries the media of calls: where does each packet go, and is it allowed?
//
// A [Session] stands between the two phones of a call. Signalling hands it every session description
// that passes and sends on what it gets back: the same description, but naming ports of ours. From
// then on a relay takes each side's packets and sends them to the other side.
//
// An [Endpoint] is a phone of our own: it answers an offer itself and echoes, or plays music or a tone.
//
// The [Engine] owns the ports and the shards. A shard is one goroutine, locked to its thread, that
// waits for many sockets with epoll, or for the one that a BPF program steers their packets to, and
// moves packets without allocating, locking, logging or asking for the time. Signalling talks to it through a mailbox of orders, run between two batches. Both
// directions of a session live on one shard, so no packet ever meets another thread.
//
// Who may speak is decided by the latch: only the signalled address, its host, or the host that the
// signalling came from can become a side's peer, after three valid packets in a row; then nobody else
// can, until the next offer/answer. What is dropped is counted by reason ([Drop]).
//
// Media may be encrypted (SRTP with keys in the descriptions). Each side has keys of its own with us: packets are opened when
// they come and sealed when they go, so any phone talks to any ([SRTPPolicy] says what a side is offered).
//
// A relayed call with parallel forks makes one Session, calls Offer once for all branches (again for
// a branch in the other IP family), and Answer for each answer as it comes: the last one is heard.
//
// DESIGN.md says why it is built so. Standards: RFC 3264 and 8866 (SDP), 3550 and 3551 (RTP), 3605
// (a=rtcp), 3711, 4568, 7714 and 8643 (SRTP), 4733 (events), 5761 (rtcp-mux), ITU-T G.711.
package rtpengine
