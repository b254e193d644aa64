// Package admin is the one window into a node: show me, let me.
//
// A Server answers HTTP on two doors. The unix socket in the data directory is for whoever may enter that directory, and
// asks for nothing. The TCP listener asks for a token unless it is bound to a loopback address (access.go). Behind both stands
// the same API, /api/v1, described by /openapi.json; beside it /metrics, /healthz and /readyz, and on TCP /debug/pprof.
//
// What changes something becomes a command of one of the replicated machines and goes through the cluster (propose.go); what
// is read is read from the part that owns it. admin keeps no state of its own but counters.
//
// Errors are problem documents (RFC 9457) whose detail is a sentence for the person who asked, with what to do next.
//
// Client is the other end: what `tandem account`, `tandem calls` and the other commands speak through.
package admin
