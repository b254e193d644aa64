// Package cluster answers one question: what have we agreed on, and who is alive?
//
// A Cluster keeps named machines (accounts, bindings, dialplan versions ...) the same on every node by feeding
// them one log, agreed through Raft and kept on disk.
//
// The life of one change:
//
//	Propose("location", cmd)
//	   -> queue      bounded in items and bytes; full means ErrBusy at once
//	   -> batcher    everything that waits becomes one entry: at once when idle, else when the entry before
//	                 it is done, 10 ms have passed or 16 kB have gathered
//	   -> raft       one fsync an entry (and a majority of voters, when there are more)
//	   -> fsm        on every node: each item goes to its machine, in log order
//	   -> completer  the machine's result goes back to the proposer
//
// A proposer that got a nil error knows that the change survives kill -9 and power loss. One that got ErrUnknown
// does not know: it proposes the same item again, so items must be idempotent.
//
// A Machine is deterministic: it never reads the clock, random numbers, the environment or map order. Times and
// ids stand in the command, put there by the proposer. A command that a machine must know and does not know
// stops the node (panic), because going on would make two truths.
//
// Nodes speak to each other through one port (port.go): a knock that proves a secret of the cluster before anything is
// answered (knock.go), then TLS 1.3 with certificates of the cluster's own authority, and behind it Raft, calls (Call and Send, link.go and call.go),
// pings (ping.go) and newcomers with a token (join.go). Who may be there is agreed in the roster (roster.go), a machine like the others.
//
// Snapshots are taken by bytes of log, not by a count of entries alone. All machines are written into one stream
// of checked sections (snapshot.go draws it). DESIGN.md says why things are as they are.
package cluster
