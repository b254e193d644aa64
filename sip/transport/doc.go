// Package transport moves SIP messages between the network and the shards that understand them: UDP, TCP, TLS, WebSocket and
// secure WebSocket, IPv4 and IPv6 (RFC 3261 §18, RFC 5626, RFC 7118). It reads no more of a message than it must to pick a
// shard: the method, the Call-ID, whether To has a tag.
//
//	UDP socket ─ recvmmsg ─┐                                    ┌─ outbox ─ sendmmsg ─ UDP socket
//	UDP socket ─ recvmmsg ─┤ intake: guard, keep-alives, STUN   │
//	                       ├─ hash(Call-ID) ─ inbox ─ shard ────┤
//	TCP TLS ─ framer ──────┤                   one goroutine    └─ write queue ─ writer ─ connection
//	WS WSS ─ messages ─────┘
//
// # Order
//
// All messages of one Call-ID go to one shard, and messages of one source and Call-ID get there in the order they arrived: a
// source always meets the same socket of a SO_REUSEPORT group, a socket has one reader, an inbox is a queue, a shard runs one
// round at a time. With a goroutine a message, BYE overtook ACK in 12-19 % of calls (measured on sipgo); here it cannot.
//
// # A round
//
// A shard takes up to 128 messages, gives them to its Handler, runs what was posted, wakes the Handler when its instant has
// come and then sends what all that produced: one sendmmsg a socket instead of a system call a message. An idle shard sleeps in
// a select. A UDP reader that finds it idle and has time runs the round itself, and so does a caller of Do: waking a goroutine,
// often on another processor, costs more than a message does. Readers with full batches only wake the shard, so that in an
// overload the queue and its policy decide what is dropped, not the kernel.
//
// # Flows
//
// A Flow is the way back to where a message came from. It is a plain value; handlers keep it and compare it. Stream flows carry
// a connection number that starts from the clock and is never used twice, so a flow kept over a restart, or of a connection
// that has ended, leads nowhere (ErrFlowGone) and never to somebody else. Number, transport and remote address must agree.
// Listener numbers follow the configuration, so UDP flows stay valid over a restart with the same configuration.
//
// UDP sends from the socket the flow's listener is bound to, never from another port: phones behind NAT hear nothing else. On a
// listener bound to all addresses the flow also says which of them the peer talks to, when the routing table would answer from
// another one; SentBy and the source address follow it.
//
// # In another's place
//
// Listeners are those of the configuration, and those of nodes that have died (StandIn). Phones go on to send where they have sent before;
// a Flow names the listener, so answers and requests of calls leave from the address that the phone knows, and that address counts as
// ours in Route and Via. Nothing of our own begins there as long as a listener of ours will do.
//
// # Bounds
//
// Everything a peer can make grow has a limit, a policy and a counter in Stats:
//
//	what                     limit                       then
//	shard queue              Config.Queue                at 3/4 new requests get 503 + Retry-After; when full datagrams drop, streams wait
//	posts to a shard         Config.Queue                ErrBusy
//	message                  Limits.MessageBytes         UDP: dropped; streams: 513 and the end; WebSocket: closed
//	headers on a stream      32 KiB                      513 and the end
//	connections              Limits.Connections, PerIP   closed at once; WebSocket: HTTP 503
//	a slow reader            Limits.WriteQueue           the connection ends
//	half a message           Limits.ReadTimeout          the connection ends
//	a silent connection      Limits.FirstMessage, Idle   the connection ends
//	sources                  Guard                       rate by source and bans, in a table of fixed size
//
// ACK, BYE, CANCEL, PRACK, requests inside a dialog and responses are never shed: in an overload, what ends a call makes room.
// Nothing is remembered about the source of a datagram but a slot in the Guard's table, which spoofed sources can only share.
//
// # Goroutines
//
// Run owns all of them: one a shard, one a UDP socket, one a stream listener, one a connection (it reads; a second one exists
// while there is something to write). At the end listeners stop first, then shards handle and send what they have, then
// connections write what they hold; Run returns when all have ended. A web server's goroutines in ServeWebSocket belong to that
// server, but Run waits until they have left this package.
package transport
