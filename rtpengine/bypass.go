package rtpengine

import "sync/atomic"

// detour is why a direction of a call does not go by the kernel.
type detour uint8

const (
	detourNew     detour = iota // nobody has looked yet
	direct                      // there is none
	detourApp                   // an endpoint of ours is the other side
	detourHold                  // nothing may be sent
	detourTapped                // it is recorded
	detourBarred                // it is blocked or silenced, or the other side hears something else
	detourDigits                // keys pressed in it are heard or put in
	detourPlain                 // it is no RTP: fax, floor control
	detourNumbers               // the sides number their codecs differently
	detourSealed                // one of the sides is encrypted
	detourUnheard               // the source has not been locked
	detourFar                   // the other side's has not
	detourFamily                // the sides speak different IP versions
	detourScope                 // a link-local address, of which the program knows no interface
	detourSource                // no program on the interface that leads to the source
	detourRoute                 // no route that the kernel path serves
	detourFull                  // no room for another flow
	detourShared                // one of the sides is heard at the single port
	detourOdd                   // packets kept coming in a way that the program leaves alone
	detourForeign               // its ports are at the address of another engine
	detours
)

var detourNames = [detours]string{
	"new", "", "endpoint", "hold", "tapped", "barred", "digits", "no rtp", "numbers", "encrypted", "unheard", "far side unheard", "ip version", "link-local", "interface", "route", "full", "single port", "odd", "foreign address",
}

func (d detour) String() string { return detourNames[d] }

// KernelStats tell of the kernel tier.
type KernelStats struct {
	On         bool
	Reason     string // why it is not
	Interfaces []InterfaceStats
	MaxFlows   int
}

// InterfaceStats are those of an interface that media may come by.
type InterfaceStats struct {
	Name   string
	Reason string // why the kernel tier does not serve it; "" when it does
}

// StreamCount says how many directions of media a tier serves for one reason.
type StreamCount struct {
	Tier    Tier
	Reason  string // why it is not the kernel tier; "" when it is
	Streams int
}

// census is what a shard counted when it last looked at all of its legs.
type census struct {
	running [detours]int64
	counted [detours]atomic.Int64 // anyone reads
}

// publish ends a round.
func (c *census) publish() {
	for i, n := range c.running {
		c.counted[i].Store(n)
		c.running[i] = 0
	}
}

// streams adds what all shards counted. Without a kernel tier nobody counts.
func (e *Engine) streams() (list []StreamCount) {
	slow := e.tier.Load().Tier
	for why := range detours {
		n := 0
		for _, s := range e.shards {
			n += int(s.census.counted[why].Load())
		}
		if n == 0 {
			continue
		}
		tier := slow
		if why == direct {
			tier = TierKernel
		}
		list = append(list, StreamCount{tier, why.String(), n})
	}
	return list
}

// tell says which tier serves a leg, and why. stats has said so where it is the kernel.
func (e *Engine) tell(st *StreamStats, l *leg) {
	if st.Tier == TierKernel {
		return
	}
	serving := e.tier.Load()
	st.Tier, st.Detour = serving.Tier, serving.Kernel.Reason
	if serving.Kernel.On {
		st.Detour = detour(l.bypass.why.Load()).String()
	}
}

// detour says why what a leg says must come to its shard as it is; direct when it need not. Whoever begins to look at what a leg
// says, or to change it, adds a line here and calls withdraw in the order that begins.
func (l *leg) detour() detour {
	switch {
	case l.app != nil || l.out == nil:
		return detourApp
	case !l.ready || !l.open:
		return detourHold
	case l.heard != nil:
		return detourTapped
	case l.bars != 0:
		return detourBarred
	case l.digits != nil || l.dubs != nil:
		return detourDigits
	case l.cargo == datagrams:
		return detourPlain
	case l.needsPayload():
		return detourNumbers
	case l.shared() || l.out.shared():
		return detourShared
	case l.shield != nil || l.out.shield != nil:
		return detourSealed
	case !l.latch[rtp].locked || !l.quality.started:
		return detourUnheard
	case !l.out.latch[rtp].locked || !l.out.to[rtp].valid():
		return detourFar
	}
	peer, to := l.latch[rtp].source.host(), l.out.to[rtp].addr().Addr()
	switch {
	case peer.Is4() != to.Is4():
		return detourFamily
	case peer.IsLinkLocalUnicast() || to.IsLinkLocalUnicast():
		return detourScope
	}
	return direct
}

// counts are what StreamStats tell of packets, whichever tier counted them.
type counts struct {
	packets, bytes, forwarded uint64
	seen                      int64
	lost                      int64
	jitter, codec             uint32
	direct                    bool // the kernel counts
}

func (l *leg) shardCounts() counts {
	return counts{
		packets: l.tally.packets.Load(), bytes: l.tally.bytes.Load(), forwarded: l.tally.forwarded.Load(), seen: l.tally.lastSeen.Load(),
		lost: l.quality.lost.Load(), jitter: l.quality.jitter16.Load() >> 4, codec: l.quality.codec.Load(),
	}
}
