// Package events answers one question: what happened?
//
// Every part of Tandem says what it did with Publish: a call began, a phone registered, a source was banned. From
// there an event goes four ways, all of them bounded:
//
//	Publish -> ring         the newest few thousand, for Recent; the oldest are overwritten
//	        -> subscribers  the live stream of the admin API; a slow reader loses its own events, counted
//	        -> fold         call.* events of one call become one call detail record (CDR)
//	                          -> the newest few thousand, for CDRs
//	                          -> cdr.jsonl, one JSON object a line, written by Run once a second and at the end
//
// Publish stands on the path of every call, so it never blocks, never writes to a disk and allocates only when more
// calls are open than ever before. A full disk costs no call: records wait in memory (bounded, counted) until there is space.
// Killing the process (kill -9) loses the records of at most the last second.
package events
