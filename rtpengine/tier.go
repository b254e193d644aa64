package rtpengine

import "fmt"

// Tier is a way for packets to reach their shard. Which one serves changes what a packet costs and nothing else.
type Tier string

const (
	// TierAuto has the kernel forward what it can, and steers the rest, when rights and kernel allow.
	TierAuto Tier = "auto"
	// TierSockets reads every packet from its port's own socket.
	TierSockets Tier = "sockets"
	// TierSteered has a BPF program hand the packets of all ports to one socket a shard and family, read in
	// batches. The ports' own sockets stay: they hold the port, and serve what is not steered or sent in batches. As
	// Config.Tier it is TierAuto without TierKernel.
	TierSteered Tier = "steered"
	// TierKernel has a BPF program forward plain RTP of locked peers before any socket hears of it. It is chosen for each
	// direction of a call while nobody needs its packets, and is not asked for by name.
	TierKernel Tier = "kernel"
)

// TierStats say which tier serves, and why not a better one.
type TierStats struct {
	Tier   Tier   // of what the kernel does not forward: TierSteered or TierSockets
	Reason string // of TierSockets, and of TierSteered when it cannot send in batches
	Kernel KernelStats
}

func (t Tier) check() error {
	if t != TierAuto && t != TierSteered && t != TierSockets {
		return fmt.Errorf("rtpengine: tier %q: want auto, steered or sockets", string(t))
	}
	return nil
}

// Reasons of tiers that nobody asked for.
const (
	configured = "it is configured so"
	notYet     = "the engine does not run yet"
)

// startTiers chooses the tiers before the shards run. The result takes them down after they have ended.
func (e *Engine) startTiers() (end func()) {
	st := TierStats{Tier: TierSockets, Reason: configured, Kernel: KernelStats{Reason: configured}}
	endSteering, endKernel := func() {}, func() {}
	if e.cfg.Tier != TierSockets {
		st.Tier, st.Reason, endSteering = e.startSteering()
	}
	if e.cfg.Tier == TierAuto {
		st.Kernel, endKernel = e.startKernel()
	}
	e.tier.Store(&st)
	return func() {
		endKernel()
		endSteering()
	}
}

func (e *Engine) startSteering() (tier Tier, reason string, end func()) {
	end, lacks, err := e.steer()
	if err != nil {
		e.log.Info("media packets are read from a socket a port, not steered", "reason", err)
		return TierSockets, err.Error(), func() {}
	}
	if lacks != "" {
		e.log.Info("media packets are steered into one socket a shard, and leave one by one", "reason", lacks)
	} else {
		e.log.Info("media packets are steered into one socket a shard, and leave in batches")
	}
	return TierSteered, lacks, end
}

func (e *Engine) startKernel() (st KernelStats, end func()) {
	b, err := e.openKernel()
	if err != nil {
		e.log.Info("media is not forwarded by the kernel", "reason", err)
		return KernelStats{Reason: err.Error()}, func() {}
	}
	e.bypasser.Store(b)
	for _, in := range b.stats() {
		if in.Reason != "" {
			e.log.Info("media that comes by an interface is not forwarded by the kernel", "interface", in.Name, "reason", in.Reason)
		}
	}
	e.log.Info("plain media of locked peers is forwarded by the kernel")
	return KernelStats{On: true, MaxFlows: b.flows, Interfaces: b.stats()}, func() {
		e.bypasser.Store(nil)
		b.Close()
	}
}
