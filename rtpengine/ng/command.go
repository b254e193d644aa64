package ng

import (
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"time"

	"tandem/rtpengine"
)

// Bounds on what names a call. SIP's own are of the size of a line.
const (
	maxName     = 1024
	listDefault = 32 // Call-IDs that `list` gives when nobody says how many, as rtpengine does
	listMost    = 1000
)

// failure is the answer that says why not. Proxies write the reason into their logs.
func failure(reason string) dict { return dict{"result": "error", "error-reason": reason} }

// unavailable are commands of rtpengine that this engine has nothing for. They get an answer of their own, so that an operator does not look
// for a spelling mistake.
var unavailable = map[string]bool{
	"start forwarding": true, "stop forwarding": true, "publish": true, "subscribe request": true,
	"subscribe answer": true, "unsubscribe": true, "inject start": true, "inject stop": true, "transform": true, "connect": true,
	"create": true, "create answer": true, "mesh": true, "cli": true,
}

// carryOut answers one request, or gives what is left to do and may take long: later, for which the loop does not wait.
func (s *Server) carryOut(ask dict, now time.Time) (reply dict, later func() dict) {
	s.count.commands[commandIndex(ask.text("command"))].Add(1)
	ask, err := normal(ask)
	if err != nil {
		s.count.errors.Add(1)
		return failure(err.Error()), nil
	}
	reply = s.guarded(ask, func() (reply dict) {
		reply, later = s.command(ask.text("command"), ask, now)
		return reply
	})
	if later == nil {
		return reply, nil
	}
	slow := later
	return nil, func() dict { return s.guarded(ask, slow) }
}

// guarded runs a part of a request and counts how it ended. A program error in it costs that request, not the calls of the node.
func (s *Server) guarded(ask dict, part func() dict) (reply dict) {
	defer func() {
		if problem := recover(); problem != nil {
			s.count.panics.Add(1)
			s.log.Error("a program error in an NG request", "command", ask.text("command"), "call", ask.text("call-id"), "problem", problem, "stack", string(debug.Stack()))
			reply = failure("internal error")
		}
		if reply["result"] == "error" {
			s.count.errors.Add(1)
			s.log.Debug("an NG request failed", "command", ask.text("command"), "call", ask.text("call-id"), "reason", reply["error-reason"])
		}
	}()
	return part()
}

func (s *Server) command(command string, ask dict, now time.Time) (reply dict, later func() dict) {
	switch command {
	case "ping":
		return dict{"result": "pong"}, nil
	case "list":
		return s.list(ask), nil
	case "statistics":
		return dict{"result": "ok", "statistics": s.statistics()}, nil
	case "":
		return failure("Dictionary contains no key \"command\""), nil
	case "pause recording":
		return failure(noPause), nil
	}
	switch {
	case unavailable[command]:
		return failure(command + " is not available in Tandem"), nil
	case commandIndex(command) == len(commands)-1:
		return failure("Unrecognized command"), nil
	}
	n, missing := namesOf(ask, command)
	if missing != "" {
		return failure(missing), nil
	}
	switch command {
	case "offer":
		return s.offer(ask, n, now), nil
	case "answer":
		return s.answer(ask, n, now), nil
	case "delete":
		return s.delete(ask, n, now), nil
	}
	c := s.calls[n.call]
	switch {
	case c == nil:
		return failure("Unknown call-id"), nil
	case command == "query":
		return c.report(c.dialogues), nil
	}
	return s.intervene(command, ask, c)
}

func commandIndex(name string) int {
	if i := slices.Index(commands[:], name); i >= 0 {
		return i
	}
	return len(commands) - 1
}

// names are what a request says about whom it means.
type names struct {
	call, from, to, branch string
}

// namesOf reads the names; missing says which one a command cannot do without.
func namesOf(ask dict, command string) (n names, missing string) {
	n = names{ask.text("call-id"), ask.text("from-tag"), ask.text("to-tag"), ask.text("via-branch")}
	speaks := command == "offer" || command == "answer"
	switch {
	case n.call == "":
		return n, "No call-id in message"
	case speaks && n.from == "":
		return n, "No from-tag in message"
	case command == "answer" && n.to == "":
		return n, "No to-tag in message"
	case speaks && ask.text("sdp") == "":
		return n, "No SDP body in message"
	}
	for _, name := range [...]string{n.call, n.from, n.to, n.branch} {
		if len(name) > maxName {
			return n, fmt.Sprintf("a call-id, tag or branch is longer than %d bytes", maxName)
		}
	}
	return n, ""
}

// offer gives a description to the session that stands between the offerer and the other side, and begins one when there is none.
func (s *Server) offer(ask dict, n names, now time.Time) dict {
	o, wrong := s.options(ask)
	if wrong != "" {
		return failure(wrong)
	}
	sdp := ask.text("sdp")
	if o.loopProtect && carries(sdp, s.mark) {
		return dict{"result": "ok", "sdp": sdp} // it has been here before: a second session would send media in a circle
	}
	c := s.calls[n.call]
	if o.fragment {
		if c == nil {
			return failure("Unknown call-id")
		}
		return dict{"result": "ok"} // a lite agent is found, whatever candidates the other side learns of later (RFC 8445 §2.5)
	}
	var d *dialogue
	side := rtpengine.A
	if c != nil {
		d, side = c.forOffer(n)
	}
	fresh := d == nil
	if fresh {
		if s.draining.Load() {
			return s.overload(o, drained)
		}
		if c != nil && len(c.dialogues) >= maxDialogues {
			return failure(fmt.Sprintf("the call has %d dialogues already", len(c.dialogues)))
		}
		var err error
		if d, err = s.begin(n, now); err != nil {
			return s.refusal(o, err)
		}
	}
	d.hear(side, n, o, now)
	o.treatment(d, side)
	o.wishes.Lend = &o.lent // none without a word, as proxies expect
	out, err := d.session.OfferWith(side, o.before(sdp), d.sources[side], o.destination(d.sources[side.Other()], d.sources[side]), o.wishes)
	if err != nil {
		if fresh {
			d.session.Close()
		}
		return s.refusal(o, err)
	}
	if fresh {
		s.enter(n.call, c, d, now)
	}
	d.describe(side, ask, sdp)
	o.apply(s.calls[n.call], d, side)
	d.offerer, d.ptime = side, o.reverse
	return o.reply(o.afterOffer(out), s.mark)
}

// answer gives a description to the session whose offer it answers.
func (s *Server) answer(ask dict, n names, now time.Time) dict {
	o, wrong := s.options(ask)
	if wrong != "" {
		return failure(wrong)
	}
	sdp := ask.text("sdp")
	if o.loopProtect && carries(sdp, s.mark) {
		return dict{"result": "ok", "sdp": sdp}
	}
	c := s.calls[n.call]
	if c == nil {
		return failure("Unknown call-id")
	}
	d := c.forAnswer(n)
	if d == nil {
		return failure("Unknown tags: no offer of this call is from " + n.from)
	}
	side := d.offerer.Other()
	d.hear(side, names{from: n.to, to: n.from}, o, now)
	o.treatment(d, side)
	out, err := d.session.Answer(side, o.before(sdp), d.sources[side], o.destination(d.sources[d.offerer]))
	if err != nil {
		return s.refusal(o, err)
	}
	d.answered = true
	d.noise()
	d.describe(side, ask, sdp)
	o.ptime = d.ptime
	o.apply(c, d, side)
	return o.reply(o.afterAnswer(out), s.mark)
}

// Why a full engine takes no more. These are rtpengine's words: a proxy that says nothing of "load limit", as OpenSIPS, knows by them that another
// engine may do it.
const (
	tooMany = "Parallel session limit reached"
	noPorts = "Ran out of ports"
	drained = "Load limit exceeded"
)

// refusal puts an error of the engine into words. Proxies that say so understand "load limit" as "ask another engine".
func (s *Server) refusal(o *options, err error) dict {
	var reject *rtpengine.RejectError
	switch {
	case errors.Is(err, rtpengine.ErrBusy):
		return s.overload(o, tooMany)
	case errors.Is(err, rtpengine.ErrNoPorts):
		return s.overload(o, noPorts)
	case errors.As(err, &reject):
		return failure(fmt.Sprintf("this description gets %d, Warning: %s", reject.Status, reject.Warning))
	case errors.Is(err, rtpengine.ErrNoOffer):
		return failure("there is no offer of the other side to answer")
	}
	return failure(err.Error())
}

func (s *Server) overload(o *options, reason string) dict {
	s.count.limited.Add(1)
	if o.loadLimit {
		return dict{"result": "load limit", "message": reason}
	}
	return failure(reason)
}

// delete ends what the names mean, now or after delete-delay. What nobody knows is no error, as with rtpengine: a proxy deletes on CANCEL and
// on the answer to it.
func (s *Server) delete(ask dict, n names, now time.Time) dict {
	c := s.calls[n.call]
	var chosen []*dialogue
	if c != nil {
		chosen = c.forDelete(n)
	}
	if len(chosen) == 0 {
		if slices.Contains(ask.words("flags"), "fatal") {
			return failure("Call-ID not found or tags didn't match")
		}
		return dict{"result": "ok", "warning": "Call-ID not found or tags didn't match"}
	}
	reply := dict{"result": "ok"}
	if !ask.wants("fast") {
		reply = c.report(chosen)
	}
	delay, _ := ask.number("delete-delay")
	if delay <= 0 {
		s.end(c, chosen)
		return reply
	}
	for _, d := range chosen {
		d.endAt = now.Add(time.Duration(min(delay, 3600)) * time.Second)
	}
	return reply
}

func (s *Server) list(ask dict) dict {
	limit, ok := ask.number("limit")
	if !ok {
		limit = listDefault
	}
	if limit <= 0 {
		return failure("invalid limit, must be greater than zero")
	}
	ids := []any{}
	for _, id := range slices.Sorted(maps.Keys(s.calls)) {
		if int64(len(ids)) == min(limit, listMost) {
			break
		}
		ids = append(ids, id)
	}
	return dict{"result": "ok", "calls": ids}
}

// statistics are what rtpengine calls so, as far as this engine counts it.
func (s *Server) statistics() dict {
	st, media := s.Stats(), s.cfg.Engine.Stats()
	var dropped uint64
	for _, n := range media.Drops {
		dropped += n
	}
	return dict{
		"currentstatistics": dict{"sessionstotal": int64(st.Calls), "sessionsown": int64(st.Calls), "sessionsforeign": int64(0), "mediasessions": int64(media.Sessions)},
		"totalstatistics": dict{
			"timeoutsessions": int64(st.Expired), "silenttimeoutsessions": int64(st.Silent), "rejectedsessions": int64(st.Limited),
			"relayedpackets": int64(media.Forwarded), "relayedbytes": int64(media.Bytes), "relayedpacketerrors": int64(dropped),
			"offers": int64(st.Commands[commandIndex("offer")]), "answers": int64(st.Commands[commandIndex("answer")]),
			"deletes": int64(st.Commands[commandIndex("delete")]), "errors": int64(st.Errors),
		},
	}
}
