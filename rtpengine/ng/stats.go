package ng

import "sync/atomic"

// commands are those counted by name, in the order of Stats.Commands; the last stands for all others.
var commands = [...]string{
	"ping", "offer", "answer", "delete", "query", "list", "statistics",
	"play media", "stop media", "play DTMF", "block media", "unblock media", "block DTMF", "unblock DTMF", "silence media", "unsilence media",
	"start recording", "stop recording", "pause recording", "other",
}

// Stats are a server's counters since New and gauges of now.
type Stats struct {
	Commands [len(commands)]uint64 // carried out or refused with an error, see CommandName

	Errors    uint64 // requests answered with an error
	Limited   uint64 // offers refused because there are too many sessions or ports, or the node drains
	Repeated  uint64 // requests answered from memory
	Forgotten uint64 // times answers had to be forgotten early for want of room
	Malformed uint64 // messages that are no request
	Refused   uint64 // datagrams and connections of sources that may not command
	Ignored   uint64 // flags and keys of requests that mean nothing here
	Silent    uint64 // sessions ended because no media came any more
	Expired   uint64 // sessions ended because nobody answered or they had lasted too long
	Faults    uint64 // messages that could not be read or sent
	Panics    uint64 // requests that met a program error; each was answered with an error
	Busy      uint64 // requests refused because too many slow ones were under way
	Full      uint64 // connections refused because there were too many
	Slow      uint64 // connections ended because their answers were not read, or half a request was all that came

	Connections int

	Calls, Sessions int
}

// CommandName is the label of an entry of Stats.Commands.
func CommandName(i int) string { return commands[i] }

// counters are written by the server's goroutines and read by anyone.
type counters struct {
	commands [len(commands)]atomic.Uint64

	errors, limited, repeated, forgotten, malformed, refused, ignored, silent, expired, faults, panics, busy, full, slow atomic.Uint64

	calls, sessions atomic.Int64
}

// Stats may be called at any time.
func (s *Server) Stats() Stats {
	c := &s.count
	st := Stats{
		Errors: c.errors.Load(), Limited: c.limited.Load(), Repeated: c.repeated.Load(), Forgotten: c.forgotten.Load(), Malformed: c.malformed.Load(),
		Refused: c.refused.Load(), Ignored: c.ignored.Load(), Silent: c.silent.Load(), Expired: c.expired.Load(), Faults: c.faults.Load(),
		Panics: c.panics.Load(), Busy: c.busy.Load(), Full: c.full.Load(), Slow: c.slow.Load(), Connections: len(s.slots), Calls: int(c.calls.Load()), Sessions: int(c.sessions.Load()),
	}
	for i := range st.Commands {
		st.Commands[i] = c.commands[i].Load()
	}
	return st
}
