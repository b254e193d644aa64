package rtpengine

import "fmt"

// Tier is a way for packets to reach their shard. Which one serves changes what a packet costs and nothing else.
type Tier string

const (
	// TierAuto steers when rights and kernel allow.
	TierAuto Tier = "auto"
	// TierSockets reads every packet from its port's own socket.
	TierSockets Tier = "sockets"
	// TierSteered has a BPF program hand the packets of all ports to one socket a shard and family, read in
	// batches. The ports' own sockets stay: they hold the port, send, and get what is not steered. It is what
	// TierAuto becomes, and is not asked for by name.
	TierSteered Tier = "steered"
)

// TierStats say which tier serves, and why not a better one.
type TierStats struct {
	Tier   Tier
	Reason string // of TierSockets
}

func (t Tier) check() error {
	if t != TierAuto && t != TierSockets {
		return fmt.Errorf("rtpengine: tier %q: want auto or sockets", string(t))
	}
	return nil
}

// startTier chooses the tier before the shards run. The result takes it down after they have ended.
func (e *Engine) startTier() (end func()) {
	if e.cfg.Tier == TierSockets {
		e.serve(TierSockets, "it is configured so")
		return func() {}
	}
	end, err := e.steer()
	if err != nil {
		e.serve(TierSockets, err.Error())
		e.log.Info("media packets are read from a socket a port, not steered", "reason", err)
		return func() {}
	}
	e.serve(TierSteered, "")
	e.log.Info("media packets are steered into one socket a shard")
	return end
}

func (e *Engine) serve(t Tier, reason string) { e.tier.Store(&TierStats{Tier: t, Reason: reason}) }
