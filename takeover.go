package tandem

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"tandem/admin"
	"tandem/internal/handover"
	"tandem/pbx"
	"tandem/sip"
	"tandem/sip/transport"
)

// A new process takes the place of a running one, with its calls. They talk over the admin socket:
//
//	new                              running
//	hello                        ->
//	                             <-  sockets     every one that phones come to; both hold them now
//	                                             what begins something is kept back
//	                             <-  log free    the log of the cluster is closed
//	opens the log, is ready      ->
//	                                             nothing is handled any more, all that comes is kept back
//	                             <-  call        one by one; its media end in one process and go on in the other
//	                             <-  calls end
//	taken                        ->
//	                             <-  yours       from here on there is no way back
//	                             <-  held        what was kept back
//	                             <-  sip over    the new process begins to read
//	                             <-  media over  for ports that calls share
//	                             <-  end of the connection: the process is gone
//
// Until "yours" an end of the connection means that nothing came of it: the running process takes its calls back, opens its log again,
// handles what it kept back, and goes on.
const (
	frameHello    = 'H'
	frameRefused  = 'R'
	frameSocket   = 'S'
	frameLogFree  = 'L'
	frameReady    = 'Y'
	frameCall     = 'C'
	frameCallsEnd = 'E'
	frameTaken    = 'T'
	frameYours    = 'K'
	frameHeld     = 'P'
	frameSIPOver  = 'F'
	frameMedia    = 'M'
)

// takeOverVersion is that of what the processes say to each other.
const takeOverVersion = 1

const (
	helloTime   = 10 * time.Second
	startTime   = 2 * startTimeout // for the new process to read the log
	moveTime    = 15 * time.Second // for all calls
	partingTime = 10 * time.Second // for the old process to end
)

type hello struct {
	Version int    `json:"version"`
	Node    string `json:"node"`
	Program string `json:"program"`
}

// socketInfo is what a socket is for.
type socketInfo struct {
	Web  bool           `json:"web,omitempty"` // an address of the web side
	Net  transport.Net  `json:"net"`
	Addr netip.AddrPort `json:"addr"`
}

// halting ends the parts of a node one by one, for a successor.
type halting struct {
	sip, media, all context.CancelFunc
	mediaOver       chan struct{}
	phonesOver      chan struct{} // no listener of signalling or the web side is left
}

// handOver has this process give its place, its sockets and its calls to the one at the other end of c, which must be of the same user. Run
// returns when that is done; when nothing comes of it the node goes on as before.
func (n *Node) handOver(c *net.UnixConn) {
	conn, err := handover.New(c)
	if err != nil {
		n.log.Error("somebody else wants to take this node over and is refused", "error", err)
		_ = c.Close()
		return
	}
	if !n.handing.CompareAndSwap(false, true) {
		_ = conn.Send(frameRefused, []byte("another process is taking over already"), nil)
		conn.Close()
		return
	}
	began := time.Now()
	calls, err := n.offer(conn)
	if err != nil {
		conn.Close()
		n.handing.Store(false)
		n.log.Error("nothing came of the take-over; this process goes on", "error", err)
		return
	}
	n.log.Info("another process takes over", "calls", calls, "took", time.Since(began).Round(time.Millisecond))
	n.leave(conn)
}

// offer hands everything over up to the point of no return. On an error all is as it was before.
func (n *Node) offer(conn *handover.Conn) (calls int, err error) {
	conn.Within(helloTime)
	if err := n.heed(conn); err != nil {
		_ = conn.Send(frameRefused, []byte(err.Error()), nil)
		return 0, err
	}
	if err := n.sendSockets(conn); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime+moveTime)
	defer cancel()
	n.sip.Hold()
	var departure *pbx.Departure
	defer func() {
		if err == nil {
			return
		}
		conn.Close() // so that the other process lets go of log and ports
		if departure != nil {
			departure.Return()
		}
		n.cluster.Resume()
		err = errors.Join(err, n.sip.Thaw(context.Background()))
	}()
	n.pbx.GiveBack(ctx)
	if err := n.cluster.Pause(ctx); err != nil {
		return 0, err
	}
	if err := conn.Send(frameLogFree, nil, nil); err != nil {
		return 0, err
	}
	conn.Within(startTime)
	if err := await(conn, frameReady); err != nil {
		return 0, err
	}
	conn.Within(moveTime)
	if refused, ended := n.pbx.Prepare(); refused+ended > 0 {
		n.log.Warn("calls that cannot be handed over are ended", "ringing", refused, "with_the_node", ended)
	}
	if err := n.sip.Freeze(ctx); err != nil {
		return 0, err
	}
	if departure, err = n.pbx.Depart(ctx, func(snapshot []byte) error { return conn.Send(frameCall, snapshot, nil) }); err != nil {
		return 0, err
	}
	if err := conn.Send(frameCallsEnd, nil, nil); err != nil {
		return 0, err
	}
	if err := await(conn, frameTaken); err != nil {
		return 0, err
	}
	if err := conn.Send(frameYours, nil, nil); err != nil {
		return 0, err
	}
	departure.Complete()
	return departure.Calls(), nil
}

// heed reads who asks and says why not.
func (n *Node) heed(conn *handover.Conn) error {
	kind, payload, _, err := conn.Receive()
	var h hello
	switch {
	case err != nil:
		return err
	case kind != frameHello || json.Unmarshal(payload, &h) != nil:
		return handover.ErrFrame
	case h.Version != takeOverVersion:
		return fmt.Errorf("the running process (%s) and the new one (%s) do not understand each other: stop the node and start it anew", Version(), h.Program)
	case h.Node != n.cfg.Node.Name:
		return fmt.Errorf("the running node is called %q, the new one %q", n.cfg.Node.Name, h.Node)
	}
	select {
	case <-n.ready:
	default:
		return errors.New("the running node is still starting")
	}
	if n.draining.Load() {
		return errors.New("the running node is draining: it ends by itself")
	}
	if n.ng != nil {
		if sessions := n.ng.Stats().Sessions; sessions > 0 {
			return fmt.Errorf("the running node carries %d media sessions of other proxies, which cannot be handed over: drain it with SIGTERM", sessions)
		}
	}
	return nil
}

// sendSockets gives copies of what phones come to.
func (n *Node) sendSockets(conn *handover.Conn) error {
	sockets, err := n.sip.Transport().Sockets()
	if err != nil {
		return err
	}
	defer func() {
		for _, s := range sockets {
			_ = s.File.Close()
		}
	}()
	for _, s := range sockets {
		if err := sendSocket(conn, socketInfo{Net: s.Net, Addr: s.Addr}, s.File); err != nil {
			return err
		}
	}
	for _, l := range n.web {
		tl, ok := l.Listener.(*net.TCPListener)
		if !ok {
			continue
		}
		f, err := tl.File()
		if err != nil {
			return err
		}
		err = sendSocket(conn, socketInfo{Web: true, Addr: tl.Addr().(*net.TCPAddr).AddrPort()}, f)
		_ = f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func sendSocket(conn *handover.Conn, info socketInfo, f *os.File) error {
	b, err := json.Marshal(info)
	if err != nil {
		return err
	}
	return conn.Send(frameSocket, b, f)
}

// await reads one frame of a kind.
func await(conn *handover.Conn, want byte) error {
	kind, payload, _, err := conn.Receive()
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("the other process has given up")
	case err != nil:
		return err
	case kind == frameRefused:
		return errors.New(string(payload))
	case kind != want:
		return fmt.Errorf("%w: %q instead of %q", handover.ErrFrame, kind, want)
	}
	return nil
}

// heldChunk is how many messages one frame carries: each is at most 64 kB, and 6 times that in JSON.
const heldChunk = 8

// leave ends what the successor needs first, and then the node. Errors change nothing any more: the calls are the other's.
func (n *Node) leave(conn *handover.Conn) {
	n.parting = conn // Run closes it as the last thing
	conn.Within(partingTime)
	n.halt.sip()
	<-n.sip.Transport().Ended()
	held := n.sip.Held()
	for len(held) > 0 {
		chunk := held[:min(len(held), heldChunk)]
		held = held[len(chunk):]
		if b, err := json.Marshal(chunk); err == nil {
			_ = conn.Send(frameHeld, b, nil)
		}
	}
	_ = conn.Send(frameSIPOver, nil, nil)
	n.halt.media()
	<-n.halt.mediaOver
	_ = conn.Send(frameMedia, nil, nil)
	n.halt.all()
}

// inheritance is what a node gets from the process whose place it takes.
type inheritance struct {
	conn     *handover.Conn
	taken    func()
	sip      []transport.Socket
	web      map[netip.AddrPort]*os.File
	arrivals []*pbx.Arrival
}

// TakeOver has Run take the place of the process that runs this node now, with its calls. taken is called as soon as they are here, while that
// process still lives. Before Run.
func (n *Node) TakeOver(taken func()) {
	n.heir = &inheritance{taken: taken, web: make(map[netip.AddrPort]*os.File)}
}

// greet asks the running process to hand over, and returns when the log is free.
func (n *Node) greet(ctx context.Context) error {
	c, err := admin.DialTakeOver(ctx, n.cfg.AdminSocket())
	if err != nil {
		return err
	}
	if n.heir.conn, err = handover.New(c); err != nil {
		_ = c.Close()
		return err
	}
	conn := n.heir.conn
	conn.Within(startTime)
	b, err := json.Marshal(hello{takeOverVersion, n.cfg.Node.Name, Version()})
	if err != nil {
		return err
	}
	if err := conn.Send(frameHello, b, nil); err != nil {
		return err
	}
	for {
		kind, payload, file, err := conn.Receive()
		switch {
		case err != nil:
			return fmt.Errorf("the running process does not hand over: %w", err)
		case kind == frameSocket:
			if err := n.heir.socket(payload, file); err != nil {
				return err
			}
		case kind == frameLogFree:
			n.sip.Transport().Adopt(n.heir.sip)
			return nil
		case kind == frameRefused:
			return fmt.Errorf("the running process refuses: %s", payload)
		default:
			return handover.ErrFrame
		}
	}
}

func (h *inheritance) socket(payload []byte, file *os.File) error {
	var info socketInfo
	if file == nil || json.Unmarshal(payload, &info) != nil {
		return handover.ErrFrame
	}
	if info.Web {
		h.web[info.Addr] = file
	} else {
		h.sip = append(h.sip, transport.Socket{Net: info.Net, Addr: info.Addr, File: file})
	}
	return nil
}

// listen gives the adopted listener of a web address; nil when there is none.
func (h *inheritance) listen(addr string) net.Listener {
	want, err := netip.ParseAddrPort(addr)
	if h == nil || err != nil {
		return nil
	}
	for at, f := range h.web {
		if at.Port() != want.Port() || at.Addr().Unmap() != want.Addr().Unmap() {
			continue
		}
		delete(h.web, at)
		l, err := net.FileListener(f)
		_ = f.Close()
		if err == nil {
			return l
		}
	}
	return nil
}

// inherit takes the calls over. The media engine runs and the listeners are there; signalling runs behind it.
func (n *Node) inherit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, moveTime)
	defer cancel()
	conn := n.heir.conn
	conn.Within(moveTime)
	if err := conn.Send(frameReady, nil, nil); err != nil {
		return err
	}
	for done := false; !done; {
		kind, payload, _, err := conn.Receive()
		switch {
		case err != nil:
			return fmt.Errorf("the running process stopped handing over: %w", err)
		case kind == frameCall:
			a, err := n.pbx.Import(ctx, payload, pbx.FromProcess)
			if err != nil {
				return fmt.Errorf("a call cannot be taken over: %w", err) // the running process keeps them all
			}
			n.heir.arrivals = append(n.heir.arrivals, a)
		case kind == frameCallsEnd:
			done = true
		default:
			return handover.ErrFrame
		}
	}
	if err := conn.Send(frameTaken, nil, nil); err != nil {
		return err
	}
	if err := await(conn, frameYours); err != nil {
		return err
	}
	n.heir.taken()
	n.virtual.inherit(parseVirtual(n.cfg.Cluster.VirtualAddresses))
	for _, a := range n.heir.arrivals {
		a.Settle()
	}
	conn.Within(partingTime)
	n.sip.Receive(n.awaitHeld())
	return nil
}

// awaitHeld reads what the other process has kept back, until it has stopped reading. What it does not say any more is lost with it.
func (n *Node) awaitHeld() (held []sip.Held) {
	for {
		kind, payload, _, err := n.heir.conn.Receive()
		if err != nil || kind != frameHeld {
			return held
		}
		var chunk []sip.Held
		if json.Unmarshal(payload, &chunk) == nil {
			held = append(held, chunk...)
		}
	}
}

// succeed waits for the end of the other process, and for what it still held on the way. Signalling runs.
func (n *Node) succeed() {
	if err := await(n.heir.conn, frameMedia); err != nil {
		n.log.Warn("the process before ended without a word", "error", err)
	}
	for _, a := range n.heir.arrivals {
		a.Resume()
	}
	if _, _, _, err := n.heir.conn.Receive(); !errors.Is(err, io.EOF) {
		n.log.Warn("the process before has not ended yet", "error", err)
	}
	n.log.Info("took over from the process before", "calls", len(n.heir.arrivals))
	n.heir.arrivals = nil
}

// release lets go of what was not needed.
func (h *inheritance) release() {
	for _, f := range h.web {
		_ = f.Close()
	}
	if h.conn != nil {
		h.conn.Close()
	}
}
