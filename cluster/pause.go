package cluster

import (
	"context"
	"errors"
	"time"
)

// pausing is how Run is told to close the log and to open it again.
type pausing struct {
	close  chan chan struct{} // what is sent is closed once the log is
	resume chan struct{}
}

func newPausing() pausing {
	return pausing{close: make(chan chan struct{}), resume: make(chan struct{}, 1)}
}

// ErrPeers is Pause's where the node has peers: they would take its other process for it.
var ErrPeers = errors.New("the node is one of a cluster of several; drain it, and the others carry on")

// Pause closes the log, so that another process can open it, and returns once that is done. What was proposed before is committed first; what
// is proposed meanwhile is refused with ErrClosed. The machines keep what they have. While Run runs; errors: ErrPeers, that of ctx.
func (c *Cluster) Pause(ctx context.Context) error {
	if c.port != nil {
		return ErrPeers
	}
	closed := make(chan struct{})
	select {
	case c.pausing.close <- closed:
	case <-ctx.Done():
		return ctx.Err()
	}
	<-closed
	return nil
}

// Resume opens the log again behind Pause, as soon as the other process has closed it.
func (c *Cluster) Resume() {
	select {
	case c.pausing.resume <- struct{}{}:
	default:
	}
}

// runAndRest is run, and again behind each Pause.
func (c *Cluster) runAndRest(ctx context.Context) error {
	for {
		inner, stop := context.WithCancel(ctx)
		asked := make(chan chan struct{}, 1)
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			select {
			case closed := <-c.pausing.close:
				asked <- closed
				stop()
			case <-inner.Done():
			}
		}()
		err := c.run(inner)
		stop()
		<-watched
		var closed chan struct{}
		select {
		case closed = <-asked:
		default:
			return err
		}
		close(closed)
		if err != nil {
			return err
		}
		c.ready.set(false)
		select {
		case <-c.pausing.resume:
		case <-ctx.Done():
			return nil
		}
		c.reopen()
	}
}

// reopen prepares for another run over the same machines: they have all that is in the log.
func (c *Cluster) reopen() {
	c.fsm.stop.Store(false)
	c.fsm.again.Store(true)
	c.fsm.done.Store(c.fsm.applied.Load())
	c.outbox.reopen()
	c.merger.reopen()
	c.log.Info("the log is opened again", "node", c.cfg.Node)
}

// storeAgain is openStore, but behind a Pause it waits for the other process to let go, for as long as that takes.
func (c *Cluster) storeAgain(ctx context.Context) (*Store, error) {
	for said := false; ; said = true {
		store, err := c.openStore()
		if err == nil || !c.fsm.again.Load() || !errors.Is(err, ErrInUse) {
			return store, err
		}
		if !said {
			c.log.Warn("the log is still in use by the other process; changes are refused until it lets go", "error", err)
		}
		select {
		case <-time.After(storeEvery):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// storeEvery is how often it is looked whether the other process has let go. To look takes a while by itself.
const storeEvery = 50 * time.Millisecond

func (o *outbox) reopen() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = false
}

func (m *merger) reopen() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = false
}
