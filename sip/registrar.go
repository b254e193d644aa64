package sip

import (
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"tandem/sip/message"
	"tandem/sip/transport"
)

// RegistrarConfig is what a Registrar needs. Location and Log are required.
type RegistrarConfig struct {
	Location       *Location
	Log            Log
	MinExpires     time.Duration // shorter ones get 423, default 60s
	MaxExpires     time.Duration // longer ones are cut, default 1h
	DefaultExpires time.Duration // without Expires, default MaxExpires
	MaxBindings    int           // per user, default 10
	MaxInFlight    int           // commands under way in the log, default 8192; more get 503
	MaxLease       time.Duration // longest a binding outlives what its phone was told, default 24h
	SweepInterval  time.Duration // of Run, default 1s
	FlowTimer      time.Duration // told to outbound phones on stream connections (RFC 5626 §6), 0 is not
	Node           string        // name of this node
	Epoch          uint64        // of this node's start: tells which stream connections are gone
	GRUUKey        [32]byte      // seals temporary GRUUs; kept over restarts and equal on all nodes, so that they stay good. Zeros: random
	Leads          func() bool   // whether this node leads its cluster, and sweeps for those that are gone as well; nil when it is alone
	Agent          string        // host in Warning headers, default "tandem"
}

func (c *RegistrarConfig) defaults() error {
	if c.Location == nil || c.Log == nil {
		return errors.New("sip: registrar: Location and Log are required")
	}
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&c.MinExpires, time.Minute)
	set(&c.MaxExpires, max(time.Hour, c.MinExpires))
	set(&c.DefaultExpires, c.MaxExpires)
	set(&c.MaxLease, max(24*time.Hour, c.MaxExpires))
	set(&c.SweepInterval, time.Second)
	if c.MaxBindings == 0 {
		c.MaxBindings = 10
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = 8192
	}
	if c.Agent == "" {
		c.Agent = "tandem"
	}
	switch {
	case c.MinExpires < time.Second || c.MaxExpires < c.MinExpires || c.DefaultExpires < c.MinExpires || c.DefaultExpires > c.MaxExpires || c.MaxLease < c.MaxExpires:
		return errors.New("sip: registrar: must be 1s <= MinExpires <= DefaultExpires <= MaxExpires <= MaxLease")
	case c.MaxBindings < 1 || c.MaxBindings > 100 || c.MaxInFlight < 1 || c.SweepInterval < 0:
		return errors.New("sip: registrar: MaxBindings must be 1 to 100, MaxInFlight and SweepInterval positive")
	}
	return nil
}

// Registrar answers REGISTER (RFC 3261 §10). The table it writes to is the Location; what changes there goes through the
// Log and is answered when it is committed. Any goroutine.
type Registrar struct {
	cfg      RegistrarConfig
	seed     maphash.Seed
	gruus    gruus
	bounds   atomic.Pointer[RegistrarConfig] // see SetLimits
	inFlight atomic.Int64
	count    struct{ requests, fetched, refreshed, committed, absorbed, refused, busy, failed atomic.Uint64 }
}

// RegistrarStats are counters since the start; InFlight is now.
type RegistrarStats struct {
	Requests  uint64
	Fetched   uint64 // answered without change: no Contact, or nothing to remove
	Refreshed uint64 // answered inside the lease, without the log
	Committed uint64 // answered after a commit
	Absorbed  uint64 // retransmissions of a request under way, which answers both
	Refused   uint64 // 4xx, and 500 for what came out of order
	Busy      uint64 // 503: too much under way, or the log did not take it
	Failed    uint64 // 503: the log took it and could not say that it is committed
	InFlight  int64
}

// NewRegistrar checks cfg and fills in defaults.
func NewRegistrar(cfg RegistrarConfig) (*Registrar, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	gruus, err := newGRUUs(cfg.GRUUKey)
	if err != nil {
		return nil, err
	}
	r := &Registrar{cfg: cfg, seed: maphash.MakeSeed(), gruus: gruus}
	r.bounds.Store(&cfg)
	cfg.Location.home = cfg.Node
	return r, nil
}

// Stats reads the counters.
func (r *Registrar) Stats() RegistrarStats {
	c := &r.count
	return RegistrarStats{
		Requests: c.requests.Load(), Fetched: c.fetched.Load(), Refreshed: c.refreshed.Load(), Committed: c.committed.Load(), Absorbed: c.absorbed.Load(),
		Refused: c.refused.Load(), Busy: c.busy.Load(), Failed: c.failed.Load(), InFlight: r.inFlight.Load(),
	}
}

// Run sweeps expired bindings until ctx ends.
func (r *Registrar) Run(ctx context.Context) error {
	tick := time.NewTicker(r.cfg.SweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			r.cfg.Location.Sweep(r.cfg.Log, now, r.cfg.Leads == nil || r.cfg.Leads())
		}
	}
}

// RegisterRequest is a REGISTER that was found to be well-formed and to come from its user.
type RegisterRequest struct {
	Msg          *message.Message // validated
	Flow         transport.Flow   // where it came from
	Tenant, User string           // authenticated, and the owner of the To AOR
	Now          time.Time
}

// RegisterReply is what to answer.
type RegisterReply struct {
	Status int
	Reason string // "" for the usual phrase
	Extra  []byte // header lines with CRLF; the receiver's
	Later  bool   // reply runs in the log's goroutine and not inside Register
}

// Register carries out a REGISTER. reply is called exactly once: before Register returns for fetches, errors and refreshes
// inside the lease, else from the log's goroutine, which it must not block. Only a retransmission of a request that is
// under way gets no reply of its own: the one under way will answer both. Msg is not used after reply was called.
func (r *Registrar) Register(req RegisterRequest, reply func(RegisterReply)) {
	r.count.requests.Add(1)
	req.Now = req.Now.Truncate(time.Millisecond)
	w, no := r.readOrder(req.Msg, req.Flow)
	if no != nil {
		reply(r.refuse(no))
		return
	}
	j := registerJob{r: r, req: req, w: w, reply: reply}
	j.cseq, _, _ = req.Msg.CSeq()
	var buf [96]byte
	j.aor = appendAOR(buf[:0], req.Tenant, req.User)
	var one [1]Binding // nearly every request has one contact
	j.collect(one[:0])
	switch {
	case !w.clear && len(w.contacts) == 0:
		r.count.fetched.Add(1)
	case !w.clear && len(j.drops) == 0 && r.cfg.Location.refresh(j.aor, j.puts, req.Now.UnixMilli()):
		r.count.refreshed.Add(1)
	default:
		j.detach().commit()
		return
	}
	reply(j.done(false))
}

// registerJob is one REGISTER on its way.
type registerJob struct {
	r     *Registrar
	req   RegisterRequest
	w     registerOrder
	reply func(RegisterReply)
	cseq  uint32
	aor   []byte
	puts  []Binding   // contacts to keep
	drops []bindingID // contacts to remove
}

// detach copies the job and what it has on Register's stack, to live on until the log answers.
func (j *registerJob) detach() *registerJob {
	h := *j
	h.aor, h.puts = slices.Clone(j.aor), slices.Clone(j.puts)
	return &h
}

// collect sorts the contacts into puts and drops.
func (j *registerJob) collect(puts []Binding) {
	for i := range j.w.contacts {
		c := &j.w.contacts[i]
		if c.expires == 0 {
			j.drops = append(j.drops, c.id)
			continue
		}
		puts = append(puts, Binding{
			Contact: c.id.contact, Flow: j.req.Flow, Path: j.w.path, Instance: c.id.instance, RegID: c.id.regID, Q: c.q,
			CallID: j.req.Msg.CallID(), CSeq: j.cseq, Since: j.req.Now, Expires: j.req.Now.Add(c.expires), Lease: j.r.lease(j.req.Now, c.expires),
			Node: j.r.cfg.Node, Epoch: j.r.cfg.Epoch, UserAgent: userAgent(j.req.Msg),
		})
	}
	j.puts = puts
}

func userAgent(m *message.Message) string {
	ua := m.Get(message.UserAgent)
	return ua[:min(len(ua), maxAgent)]
}

// lease is how long a binding is committed for: long enough for several refreshes to stay inside, short enough that a phone
// that went away while its node was down is forgotten the same day.
func (r *Registrar) lease(now time.Time, expires time.Duration) time.Time {
	return now.Add(max(expires, min(max(3*expires, expires+time.Hour), r.limits().MaxLease)))
}

// command writes the command for the log.
func (j *registerJob) command() []byte {
	cmd := appendRegister(make([]byte, 0, 512), j.req.Tenant, j.req.User, j.req.Now, j.r.limits().MaxBindings)
	cmd = j.r.cfg.Location.appendLapsed(cmd, j.aor, j.req.Now.UnixMilli())
	callID := j.req.Msg.CallID()
	if j.w.clear {
		return appendClear(cmd, callID, j.cseq)
	}
	for i := range j.drops {
		cmd = appendDrop(cmd, &j.drops[i], callID, j.cseq)
	}
	for i := range j.puts {
		cmd = appendPut(cmd, &j.puts[i])
	}
	return cmd
}

// commit carries the request through the log, unless it can be seen here that it would fail or change nothing.
func (j *registerJob) commit() {
	r, loc := j.r, j.r.cfg.Location
	cmd := j.command()
	changes, err := loc.rehearse(j.aor, cmd)
	switch {
	case err != nil:
		j.reply(r.failure(err, false))
		return
	case changes == 0:
		r.count.fetched.Add(1)
		j.reply(j.done(false))
		return
	case r.inFlight.Add(1) > int64(r.cfg.MaxInFlight):
		r.inFlight.Add(-1)
		j.reply(r.failure(errBusy, false))
		return
	}
	id := j.identity()
	if !loc.begin(j.aor, id) {
		r.inFlight.Add(-1)
		r.count.absorbed.Add(1)
		return
	}
	err = r.cfg.Log.ProposeAsync(LocationMachine, cmd, func(result any, err error) { j.committed(id, result, err) })
	if err != nil {
		loc.end(j.aor, id)
		r.inFlight.Add(-1)
		j.reply(r.failure(errBusy, false))
	}
}

// committed answers once the log knows how it went.
func (j *registerJob) committed(id uint64, result any, err error) {
	r, loc := j.r, j.r.cfg.Location
	if refusal, ok := result.(error); ok && err == nil {
		err = refusal
	} else if err != nil {
		err = errUncommitted
	}
	if err == nil {
		loc.tell(j.aor, j.puts)
	}
	loc.end(j.aor, id)
	r.inFlight.Add(-1)
	if err != nil {
		j.reply(r.failure(err, true))
		return
	}
	r.count.committed.Add(1)
	j.reply(j.done(true))
}

// identity is the same for retransmissions of one request.
func (j *registerJob) identity() uint64 {
	var h maphash.Hash
	h.SetSeed(j.r.seed)
	h.WriteString(j.req.Msg.CallID())
	h.WriteByte(0)
	return h.Sum64() ^ maphash.Comparable(j.r.seed, j.req.Flow) ^ uint64(j.cseq)<<32
}

var (
	errBusy        = errors.New("too many registrations under way")
	errUncommitted = errors.New("the registration could not be stored")
)

// failure is the answer to a REGISTER that the table or the log did not take.
func (r *Registrar) failure(err error, later bool) RegisterReply {
	const again = "Retry-After: 5\r\n"
	switch err {
	case ErrOutOfOrder:
		r.count.refused.Add(1)
		return r.warn(500, err.Error(), "", later)
	case ErrTooManyBindings:
		r.count.refused.Add(1)
		return r.warn(403, "this user has as many contacts as allowed", "", later)
	case errBusy:
		r.count.busy.Add(1)
	default:
		r.count.failed.Add(1)
	}
	return r.warn(503, err.Error(), again, later)
}

// refuse is the answer to a REGISTER that asks for what it cannot have.
func (r *Registrar) refuse(no *registerRefusal) RegisterReply {
	r.count.refused.Add(1)
	return r.warn(no.status, no.why, no.extra, false)
}

// warn builds a reply with a Warning that says why (RFC 3261 §20.43).
func (r *Registrar) warn(status int, why, extra string, later bool) RegisterReply {
	return RegisterReply{
		Status: status, Later: later,
		Extra: append(message.AppendHeader(nil, "Warning", "399 "+r.cfg.Agent+" "+message.Quote(why)), extra...),
	}
}

// done builds the 200: all contacts of the user with the time they have left, and the date (RFC 3261 §10.3 step 8), the
// path (RFC 3327 §5.3), and that outbound was understood (RFC 5626 §6).
func (j *registerJob) done(later bool) RegisterReply {
	b := make([]byte, 0, 384)
	b = j.r.cfg.Location.appendContacts(b, j.aor, j.req.Now.UnixMilli(), j.mint())
	if len(j.w.path) > 0 {
		for _, p := range j.w.path {
			b = message.AppendHeader(b, "Path", p)
		}
	}
	b = append(b, "Supported: path, outbound, gruu\r\n"...)
	if j.w.outbound {
		b = append(b, "Require: outbound\r\n"...)
		if j.r.cfg.FlowTimer > 0 && j.req.Flow.Net != transport.UDP {
			b = message.AppendHeader(b, "Flow-Timer", deltaSeconds(j.r.cfg.FlowTimer))
		}
	}
	b = j.req.Now.UTC().AppendFormat(append(b, "Date: "...), "Mon, 02 Jan 2006 15:04:05 GMT")
	return RegisterReply{Status: 200, Extra: append(b, "\r\n"...), Later: later}
}

func deltaSeconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }
