package sip

import (
	"context"
	"errors"
	"fmt"

	"tandem/sip/message"
	"tandem/sip/transport"
)

// A call that rings when its node dies begins anew at another one: the caller's INVITE is what it was, his server transaction is made of it again, and the
// handler finds the phones as they are registered now. He hears that it rings a second time, and then the answer, with another tag than before,
// as of a call that has forked (RFC 3261 §13.2.2.4). The phones that rang for the dead node are told to stop, for what they were promised of its media is gone:
// a CANCEL to each, and whoever has picked up at this moment gets ACK and BYE. They ring again a moment later under the next number, for an INVITE that had
// all the same names would be a merged one (RFC 3261 §8.2.2.2). A snapshot of such a call is
//
//	version(1) raised caller's-place tenant user trunk Request-URI INVITE count { place heard INVITE-without-all-that-a-CANCEL-lacks }
const ringingVersion = 1

// maxRings is how many phones of a call are told to stop; limits.max_branches is below it as a rule.
const maxRings = 256

// A ringingSnapshot is one as it is read.
type ringingSnapshot struct {
	raised              uint32
	place               transport.Place
	tenant, user, trunk string
	uri                 message.URI
	invite              *message.Message
	rings               []ring
}

// ring is a phone that an INVITE has gone to.
type ring struct {
	place transport.Place
	heard bool // it has answered something: it may be told to stop
	id    uint64
	loop  uint32
	text  string
}

// ExportRinging gives a call without an answer as Revive makes it go on in another process. Any goroutine that is not a shard's. Errors: ErrNotMovable when nothing
// rings or the call was answered, that of ctx.
func (in *Inbound) ExportRinging(ctx context.Context) ([]byte, error) {
	var out []byte
	if err := in.sh.ask(ctx, func() { out = in.ringing() }); err != nil {
		return nil, err
	}
	if out == nil {
		return nil, ErrNotMovable
	}
	return out, nil
}

// ringing is the snapshot now, nil when nothing rings. From the shard.
func (in *Inbound) ringing() []byte {
	tx := in.tx
	f := tx.fork
	if tx.m == nil || tx.state != txProceeding || tx.own != nil || f == nil || f.done || f.cancelling {
		return nil
	}
	net := in.sh.srv.net
	w := snapshotWriter{b: []byte{ringingVersion}}
	w.uint(uint64(in.raise))
	w.place(net.PlaceOf(in.Flow))
	for _, s := range [...]string{in.Tenant, in.User, in.Trunk, in.URI.String(), tx.m.Raw()} {
		w.text(s)
	}
	var live []*branch
	for _, b := range f.all {
		if b.state <= branchProceeding && b.out != nil && len(live) < maxRings {
			live = append(live, b)
		}
	}
	w.uint(uint64(len(live)))
	for _, b := range live {
		w.place(net.PlaceOf(b.flow))
		w.uint(uint64(b.state))
		w.text(string(b.derive("INVITE", "", nil)))
	}
	return w.b
}

// readRinging reads what ringing has written. It may come from anywhere.
func readRinging(b []byte) (*ringingSnapshot, error) {
	if len(b) == 0 {
		return nil, ErrSnapshot
	}
	if b[0] != ringingVersion {
		return nil, fmt.Errorf("%w: %d, and this one knows %d", ErrSnapshotVersion, b[0], ringingVersion)
	}
	r := snapshotReader{b: b[1:]}
	s := &ringingSnapshot{raised: r.uint32(), place: r.place()}
	s.tenant, s.user, s.trunk = r.text(), r.text(), r.text()
	var err error
	if s.uri, err = message.ParseURI(r.text()); err != nil {
		r.fail()
	}
	s.invite = r.request()
	n := r.uint()
	if n > maxRings {
		r.fail()
	}
	for range min(n, maxRings) {
		k := ring{place: r.place(), heard: r.uint() != uint64(branchCalling)}
		if m := r.request(); m != nil {
			via, _ := m.TopVia()
			var ok bool
			if k.id, k.loop, _, ok = branchNumber(via.Branch); !ok {
				r.fail()
			}
			k.text = m.Raw()
		}
		s.rings = append(s.rings, k)
	}
	if r.bad || len(r.b) > 0 || s.raised > lastOwn {
		return nil, ErrSnapshot
	}
	return s, nil
}

// request reads an INVITE that begins a call; nil when it is none.
func (r *snapshotReader) request() *message.Message {
	m := new(message.Message)
	if m.Parse(r.octets()) != nil || m.Validate() != nil || m.Method != "INVITE" || m.ToTag() != "" {
		r.fail()
		return nil
	}
	return m
}

// Revive has a call go on that rang at a node that is dead: the phones there stop, and the handler gets the INVITE of the caller, with Again set to name. Errors:
// ErrSnapshot, ErrSnapshotVersion, one of a shard that has ended; and when the INVITE is here already, because the caller has sent it again. Any
// goroutine that is not a shard's, while the server runs.
func (s *Server) Revive(ctx context.Context, snapshot []byte, name string) error {
	r, err := readRinging(snapshot)
	if err != nil {
		return err
	}
	sh := s.shards[s.net.Shard(r.invite.CallID()).Index()]
	err = errors.New("sip: the call could not be begun again")
	if asked := sh.io.Do(ctx, func() { sh.safely(func() { err = sh.revive(r, name) }) }); asked != nil {
		return asked
	}
	return err
}

func (sh *shard) revive(r *ringingSnapshot, name string) error {
	sh.stopRinging(r)
	srv, m := sh.srv, r.invite
	via, _ := m.TopVia()
	key := sh.transactionKey(m, &via)
	if sh.txs[key] != nil || sh.byKey(key) {
		return errors.New("sip: the caller has begun the call again himself")
	}
	p := transport.Packet{Text: m.Raw(), Flow: srv.net.FlowAt(r.place), At: sh.now()}
	tx := sh.newTransaction(m, p, key)
	if tx == nil {
		return errors.New("sip: too many transactions")
	}
	tx.routed = srv.route(m)
	in := newInbound(tx, p.Flow, r.uri, r.tenant, r.user)
	in.Again, in.raise, in.Trunk = name, r.raised+1, r.trunk
	if r.trunk != "" {
		in.Login = srv.loginOf(&TrunkName{r.tenant, r.trunk})
	}
	tx.in = in
	sh.count.pending.Add(1)
	if !srv.net.Alive(tx.flow) {
		sh.awaitCaller(tx)
	}
	sh.serve(in, func() { srv.cfg.Handler.ServeInvite(in) })
	return nil
}

// stopRinging tells phones to stop that rang for another node. What they answer finds no call: theirs is a fork that was given up before.
func (sh *shard) stopRinging(r *ringingSnapshot) {
	f := &fork{sh: sh, tx: &transaction{sh: sh, invite: true, state: txCompleted}, cancelling: true, abandoned: true, done: true, told: true}
	for _, k := range r.rings {
		if sh.branches[k.id] != nil {
			continue
		}
		b := &branch{sh: sh, fork: f, id: k.id, loop: k.loop, method: "INVITE", flow: sh.srv.net.FlowAt(k.place), state: branchCalling, out: []byte(k.text)}
		f.live++
		sh.branches[b.id] = b
		if k.heard {
			b.state = branchProceeding
		}
		b.until = sh.now().Add(timerB)
		sh.arm(&b.timer, b, timerB)
		b.cancel(elsewhere) // else it waits for the first word of the phone
		if m := new(message.Message); m.Parse(k.text) == nil && m.CallID() != r.invite.CallID() {
			sh.srv.net.House(m.CallID(), sh.io)
			sh.vacate(m.CallID())
		}
	}
	sh.count.branches.Store(int64(len(sh.branches)))
}

// Drop forgets a call without an answer, without a word to anybody: another node has begun it anew. Any goroutine that is no shard's.
func (in *Inbound) Drop(ctx context.Context) error {
	return in.sh.io.Do(ctx, func() { in.sh.safely(in.drop) })
}

func (in *Inbound) drop() {
	tx := in.tx
	if tx.m == nil || tx.state != txProceeding {
		return
	}
	if f := tx.fork; f != nil && !f.done {
		f.done, f.told = true, true
		f.sh.timers.stop(&f.timer)
		for _, b := range f.all {
			if b.state != branchEnded {
				b.end()
			}
		}
		f.sh.dropEarly(f)
		if f.relay.Media != nil {
			f.relay.Media.Close()
		}
	}
	tx.state = txCompleted
	tx.end()
}
