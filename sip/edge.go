package sip

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"tandem/sip/message"
	"tandem/sip/transport"
)

// A phone belongs to the node that holds its flow: a connection, or a hole in a NAT. The call may run on another one. Between them there is no SIP:
// the node where the call runs sends what it has to say as a message of the cluster to the node that holds the flow, which puts it on the wire as it is
// and gives back what the phone says. So there is one transaction, one dialog, one digest, one call record and one Via for each hop that SIP can see.
//
//	phone ── flow ── holder ══ edge.send, edge.heard, edge.gone ══ home of the call ── flow ── phone
//
// Only a node of the cluster can have something put on a flow: its connection has proved who it is. What a phone says is worth no more at
// the home of the call than if it had come there by itself. How it finds home again:
//
//   - responses by the number of the node in the branch of the Via
//   - requests inside a call by a token in Record-Route or Contact that names its home (homeToken)
//   - requests inside a subscription by the flow tokens of RFC 5626 §5.2, which any node understands
//
// A flow that is gone comes back as edge.gone, which is the 430 of RFC 5626 §5.3.1.
const (
	EdgeSend  = "edge.send"  // flow and message: put it on the flow
	EdgeHeard = "edge.heard" // flow and message: it came on the flow
	EdgeGone  = "edge.gone"  // kind of loss and flow: what was sent on it did not go out
)

const (
	lostFlow  = 1 // the connection has ended
	lostQueue = 2 // it is there, but the message found no room
	maxGone   = 8192
)

// EdgeConfig is the way to the other nodes of a cluster.
type EdgeConfig struct {
	Node string   // name of this one
	Key  [32]byte // signs tokens; the same on all nodes
	// Send tells another node something (cluster.Cluster.Send): in order, or not at all. Any goroutine; it does not block.
	Send func(node, kind string, payload []byte) error
	// Serves tells whether another node takes calls. Any goroutine; it does not block. nil: none does while this one drains.
	Serves func(node string) bool
	// Heir names the node that goes on with calls that a node had in an earlier life, "" when there is none. As Serves.
	Heir func(node string) string
}

// A Fellow is another node of the cluster.
type Fellow struct {
	Name string
	Dead bool // it has been silent for long, or nothing listens there: its flows count as gone
}

// edge is a node's part in serving phones of other nodes and having its own served by them.
type edge struct {
	cfg     EdgeConfig
	srv     *Server
	number  uint32
	token   string                            // homeToken of this node
	fellows atomic.Pointer[map[uint32]Fellow] // by number; replaced as a whole

	mu    sync.Mutex
	gone  map[goneFlow]struct{} // connections that their holders have lost; numbers of connections are never used twice
	order []goneFlow            // of gone: a ring
	next  int
	users map[uint64][]uint32 // which nodes have sent on a connection of ours, to be told when it ends

	count edgeCounters
}

type goneFlow struct {
	node uint32
	conn uint64
}

type edgeCounters struct{ sent, carried, strayed, heard, undelivered, lost, malformed, tokens atomic.Uint64 }

// EdgeStats count since the start.
type EdgeStats struct {
	Sent        uint64 // messages for phones of other nodes
	Heard       uint64 // messages of their phones for calls of this one
	Carried     uint64 // messages of other nodes for phones of this one
	Strayed     uint64 // messages of phones here for calls of other nodes
	Undelivered uint64 // messages of any kind that did not find their way
	Lost        uint64 // flows that their holders said to be gone
	Tokens      uint64 // tokens in Route that were refused: forged, or of a flow that is gone
	Malformed   uint64 // messages of other nodes that could not be read
}

func newEdge(cfg *EdgeConfig, s *Server) *edge {
	e := &edge{cfg: *cfg, srv: s, number: transport.NodeNumber(cfg.Node), gone: make(map[goneFlow]struct{}), users: make(map[uint64][]uint32)}
	e.token = e.homeToken(e.number)
	e.fellows.Store(&map[uint32]Fellow{})
	return e
}

func (e *edge) stats() EdgeStats {
	if e == nil {
		return EdgeStats{}
	}
	c := &e.count
	return EdgeStats{
		Sent: c.sent.Load(), Heard: c.heard.Load(), Carried: c.carried.Load(), Strayed: c.strayed.Load(), Undelivered: c.undelivered.Load(), Lost: c.lost.Load(),
		Tokens: c.tokens.Load(), Malformed: c.malformed.Load(),
	}
}

// SetFellows tells which other nodes there are. What waits for a phone of one that has died fails at once. From one goroutine at a time.
func (s *Server) SetFellows(list []Fellow) {
	e := s.edge
	if e == nil {
		return
	}
	now := make(map[uint32]Fellow, len(list))
	for _, f := range list {
		n := transport.NodeNumber(f.Name)
		if other, taken := now[n]; taken || n == e.number {
			s.cfg.Log.Error("the names of two nodes have the same number: phones of one of them cannot be reached from here; rename it", "node", f.Name, "other", other.Name)
			continue
		}
		now[n] = f
	}
	before := *e.fellows.Swap(&now)
	for n, f := range before {
		if is, there := now[n]; !f.Dead && (!there || is.Dead) {
			s.eachShard(func(sh *shard) { sh.fellowLost(func(f transport.Flow) bool { return f.Node == n }) })
		}
	}
}

// eachShard runs fn on each shard. A shard that has too much to do is waited for elsewhere.
func (s *Server) eachShard(fn func(*shard)) {
	for _, sh := range s.shards {
		if sh.post(func() { fn(sh) }) == transport.ErrBusy {
			s.handlers.wg.Go(func() { sh.insist(func() { fn(sh) }) })
		}
	}
}

// fellowLost fails what waits for an answer over flows of other nodes that are gone.
func (sh *shard) fellowLost(gone func(transport.Flow) bool) {
	var waiting []*branch
	for _, b := range sh.branches {
		if gone(b.flow) {
			waiting = append(waiting, b)
		}
	}
	slices.SortFunc(waiting, func(a, b *branch) int { return cmp.Compare(a.id, b.id) })
	for _, b := range waiting {
		b.connectionLost(transport.ErrFlowGone)
	}
}

// fellow is a node that is there.
func (e *edge) fellow(number uint32) (name string, ok bool) {
	f, ok := (*e.fellows.Load())[number]
	return f.Name, ok && !f.Dead
}

// Alive is transport.Fellows.
func (e *edge) Alive(f transport.Flow) bool {
	if _, ok := e.fellow(f.Node); !ok {
		return false
	}
	if f.Conn == 0 {
		return true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	_, gone := e.gone[goneFlow{f.Node, f.Conn}]
	return !gone
}

// SendOn is transport.Fellows.
func (e *edge) SendOn(f transport.Flow, msg []byte) error {
	name, ok := e.fellow(f.Node)
	if !ok {
		e.count.undelivered.Add(1)
		return transport.ErrFlowGone
	}
	if err := e.cfg.Send(name, EdgeSend, append(appendFlow(make([]byte, 0, len(msg)+48), f), msg...)); err != nil {
		e.count.undelivered.Add(1)
		return err
	}
	e.count.sent.Add(1)
	return nil
}

// A flow between nodes is net(1) listener(2) conn(8) and behind its length the remote address.
func appendFlow(dst []byte, f transport.Flow) []byte {
	dst = append(dst, byte(f.Net))
	dst = binary.BigEndian.AppendUint16(dst, f.Listener)
	dst = binary.BigEndian.AppendUint64(dst, f.Conn)
	addr, _ := f.Remote.MarshalBinary() // never fails
	return append(append(dst, byte(len(addr))), addr...)
}

func cutFlow(b []byte) (f transport.Flow, rest []byte, ok bool) {
	if len(b) < 12 || len(b) < 12+int(b[11]) || b[0] > byte(transport.WSS) {
		return f, nil, false
	}
	end := 12 + int(b[11])
	f.Net, f.Listener, f.Conn = transport.Net(b[0]), binary.BigEndian.Uint16(b[1:]), binary.BigEndian.Uint64(b[3:])
	if f.Remote.UnmarshalBinary(b[12:end]) != nil || !f.Remote.IsValid() || (f.Conn == 0) != (f.Net == transport.UDP) {
		return f, nil, false
	}
	return f, b[end:], true
}

// FromFellow takes what another node has sent with EdgeConfig.Send; from is its name, proved. It does not block and keeps nothing of payload.
func (s *Server) FromFellow(from, kind string, payload []byte) {
	e := s.edge
	if e == nil {
		return
	}
	number, loss := transport.NodeNumber(from), byte(0)
	if kind == EdgeGone && len(payload) > 0 {
		loss, payload = payload[0], payload[1:]
	}
	f, text, ok := cutFlow(payload)
	if !ok {
		e.count.malformed.Add(1)
		return
	}
	switch kind {
	case EdgeSend:
		e.carry(from, number, f, text)
	case EdgeHeard:
		f.Node = number
		e.count.heard.Add(1)
		s.net.Inject(f, text)
	case EdgeGone:
		f.Node = number
		e.lost(f, loss)
	}
}

// carry puts a message of another node on a flow of ours, and tells it when that is gone.
func (e *edge) carry(from string, number uint32, f transport.Flow, text []byte) {
	e.use(f, number)
	e.count.carried.Add(1)
	e.srv.net.Carry(f, text, func(err error) {
		loss := byte(lostFlow)
		if errors.Is(err, transport.ErrBusy) {
			loss = lostQueue
		} else {
			e.forget(f)
		}
		e.tellLost(from, loss, f)
	})
}

// use notes that a node is to be told when a connection ends. forget is its end.
func (e *edge) use(f transport.Flow, number uint32) {
	if f.Conn == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if list := e.users[f.Conn]; !slices.Contains(list, number) {
		e.users[f.Conn] = append(list, number)
	}
}

func (e *edge) forget(f transport.Flow) (users []uint32) {
	if f.Conn == 0 {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	users = e.users[f.Conn]
	delete(e.users, f.Conn)
	return users
}

func (e *edge) tellLost(to string, loss byte, f transport.Flow) {
	e.count.undelivered.Add(1)
	_ = e.cfg.Send(to, EdgeGone, appendFlow([]byte{loss}, f))
}

// closed is the end of a connection of this node.
func (e *edge) closed(f transport.Flow) {
	for _, number := range e.forget(f) {
		if name, ok := e.fellow(number); ok {
			_ = e.cfg.Send(name, EdgeGone, appendFlow([]byte{lostFlow}, f))
		}
	}
}

// lost fails what waits for an answer on a flow of another node, which has said that it is gone.
func (e *edge) lost(f transport.Flow, loss byte) {
	if loss == lostFlow && f.Conn != 0 {
		e.bury(goneFlow{f.Node, f.Conn})
	}
	e.count.lost.Add(1)
	switch {
	case f.Conn != 0:
		e.srv.eachShard(func(sh *shard) { sh.FlowClosed(f, transport.ErrFlowGone) })
	case loss == lostFlow: // over UDP what found no room is sent again
		e.srv.eachShard(func(sh *shard) { sh.fellowLost(func(o transport.Flow) bool { return o == f }) })
	}
}

// bury remembers that a connection is gone, for as long as not too many others are.
func (e *edge) bury(g goneFlow) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, there := e.gone[g]; there {
		return
	}
	e.gone[g] = struct{}{}
	if len(e.order) < maxGone {
		e.order = append(e.order, g)
		return
	}
	delete(e.gone, e.order[e.next])
	e.order[e.next] = g
	e.next = (e.next + 1) % maxGone
}

// A home token is "n" and, in base64, the number of a node(4) and a MAC over it(10). It says where a call runs, which is no secret, and lets
// nobody do what he could not do at that node itself; the MAC keeps anybody from having nodes pass his messages about.
const homeTokenText = 1 + (4+10)*4/3 + 1

func (e *edge) homeToken(number uint32) string {
	b := binary.BigEndian.AppendUint32(nil, number)
	return "n" + base64.RawURLEncoding.EncodeToString(append(b, e.sealHome(b)...))
}

func (e *edge) sealHome(b []byte) []byte {
	mac := hmac.New(sha256.New, e.cfg.Key[:])
	mac.Write([]byte("home"))
	mac.Write(b)
	return mac.Sum(nil)[:10]
}

// home is the node that a home token names, 0 when it is none.
func (e *edge) home(token string) uint32 {
	switch {
	case e == nil || len(token) != homeTokenText || token[0] != 'n':
		return 0
	case token == e.token:
		return e.number
	}
	b, err := base64.RawURLEncoding.DecodeString(token[1:])
	if err != nil || !hmac.Equal(b[4:], e.sealHome(b[:4])) {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// homeOf is the node where the call of a request runs, 0 when the request does not say.
func (e *edge) homeOf(m *message.Message) (number uint32) {
	if !m.Has(message.Route) {
		return e.home(routeUser(m.URI))
	}
	m.Values(message.Route, func(v string) bool {
		a, err := message.ParseAddress(v)
		if err != nil {
			return false
		}
		number = e.home(routeUser(a.URI))
		return number == 0 && e.srv.isLocalURI(a.URI)
	})
	if number == 0 { // behind a strict router
		number = e.home(routeUser(m.URI))
	}
	return number
}

// strays gives a request inside a call to the node where the call runs. It tells whether that was done; nothing that another node has heard is
// given on, so that nothing goes round in circles.
func (sh *shard) strays(m *message.Message, p transport.Packet) bool {
	e := sh.srv.edge
	if e == nil || p.Flow.Node != 0 || m.ToTag() == "" || m.Method == "REGISTER" {
		return false
	}
	home := e.homeOf(m)
	if home == 0 || home != e.number && e.stray(home, p) {
		return home != 0
	}
	if heir := e.heirOf(home); heir != 0 && heir != e.number {
		if d, _ := sh.findDialog(m); d == nil {
			return e.stray(heir, p)
		}
	}
	return false
}

// heirOf is the node that goes on with the calls that a home had before it died, 0 when there is none.
func (e *edge) heirOf(home uint32) uint32 {
	if e.cfg.Heir == nil {
		return 0
	}
	name := e.cfg.Node
	if home != e.number {
		name = (*e.fellows.Load())[home].Name
	}
	if heir := e.cfg.Heir(name); name != "" && heir != "" {
		return transport.NodeNumber(heir)
	}
	return 0
}

// stray gives a message of a phone to another node.
func (e *edge) stray(home uint32, p transport.Packet) bool {
	name, ok := e.fellow(home)
	if !ok {
		e.count.undelivered.Add(1)
		return false
	}
	e.use(p.Flow, home)
	if e.cfg.Send(name, EdgeHeard, append(appendFlow(make([]byte, 0, len(p.Text)+48), p.Flow), p.Text...)) != nil {
		e.count.undelivered.Add(1)
		return false
	}
	e.count.strayed.Add(1)
	return true
}

// homeUser is the user part of URIs of ours by which requests inside a call come back.
func (s *Server) homeUser() string {
	if s.edge == nil {
		return ""
	}
	return s.edge.token
}

// isOurHop tells whether a Route or Record-Route value is this node's, or of the node that held the flow of a call that runs here.
func (s *Server) isOurHop(uri string) bool {
	u, err := message.ParseURI(uri)
	if err != nil || u.Scheme != "sip" && u.Scheme != "sips" {
		return false
	}
	if s.net.IsLocal(u.Host, u.Port) {
		return true
	}
	if s.edge == nil || u.User == "" {
		return false
	}
	_, flow := s.openFlow(u.User)
	return flow || s.edge.home(u.User) != 0
}

// reachesToo tells whether the phone at the end of a flow of another node, that has no way any more, may be reached from here by its contact: it is
// behind no NAT, which is to say that its contact is where it sends from. A phone that is connected to a dead node has noticed, and comes back
// over another one; to wait for a connection to it would keep the caller waiting.
func (s *Server) reachesToo(f transport.Flow, contact netip.AddrPort) bool {
	at := f.Remote
	if f.Net == transport.UDP {
		return contact == netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	}
	if s.edge == nil {
		return false
	}
	_, there := s.edge.fellow(f.Node)
	return there && contact.Addr() == at.Addr().Unmap()
}
