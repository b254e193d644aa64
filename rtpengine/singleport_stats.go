package rtpengine

import "sync/atomic"

// singleCount is what the single port did since the last wake-up.
type singleCount struct {
	admitted  uint64             // sides of m-lines that were told the port
	detours   [ownReasons]uint64 // and those that got ports of their own
	ambiguous uint64             // datagrams that more than one could own
	strangers uint64             // datagrams from where nobody is expected
	late      uint64             // datagrams of calls that have ended, or moved
	clashes   uint64             // answers that named what another call has, or needs, when it was too late for other ports
	forgotten uint64             // addresses of dead calls for which there was no room
}

// singleTotals are its sums, for everybody.
type singleTotals struct {
	admitted, ambiguous, strangers, late, clashes, forgotten atomic.Uint64
	detours                                                  [ownReasons]atomic.Uint64
	streams, addresses                                       atomic.Int64
}

func (t *singleTotals) add(p *singlePort) {
	if n := int64(len(p.claims)); n != t.streams.Load() {
		t.streams.Store(n)
	}
	if n := int64(len(p.slots)); n != t.addresses.Load() {
		t.addresses.Store(n)
	}
	c := &p.count
	if *c == (singleCount{}) {
		return
	}
	t.admitted.Add(c.admitted)
	t.ambiguous.Add(c.ambiguous)
	t.strangers.Add(c.strangers)
	t.late.Add(c.late)
	t.clashes.Add(c.clashes)
	t.forgotten.Add(c.forgotten)
	for i, n := range c.detours {
		if n > 0 {
			t.detours[i].Add(n)
		}
	}
	*c = singleCount{}
}

// SinglePortStats are those of Config.SinglePort.
type SinglePortStats struct {
	Port      uint16 // 0: there is none
	Streams   int    // sides of m-lines that are heard there
	Addresses int    // remote ones that are known, those of calls that have just ended included

	Admitted  uint64 // sides that were told the port
	Ambiguous uint64 // datagrams that more than one call could own; they went to none
	Strangers uint64 // datagrams from where nobody is expected
	Late      uint64 // datagrams of calls that have ended, or moved
	Clashes   uint64 // answers that named what another call has, or needs, when it was too late for other ports
	Forgotten uint64 // addresses of ended calls for which there was no room
	Overruns  uint64 // datagrams that the kernel dropped because they were not read in time; of Linux

	Detours map[string]uint64 // sides that got ports of their own, by reason
}

// Detours are the keys of SinglePortStats.Detours.
func Detours() []string {
	list := make([]string, 0, ownReasons-1)
	for why := onSingle + 1; why < ownReasons; why++ {
		list = append(list, why.String())
	}
	return list
}

func (e *Engine) singleStats() (st SinglePortStats) {
	st.Port = e.cfg.SinglePort
	if st.Port == 0 {
		return st
	}
	s := e.shards[0]
	t := &s.singled
	st.Streams, st.Addresses = int(t.streams.Load()), int(t.addresses.Load())
	st.Admitted, st.Ambiguous, st.Strangers, st.Late = t.admitted.Load(), t.ambiguous.Load(), t.strangers.Load(), t.late.Load()
	st.Clashes, st.Forgotten, st.Overruns = t.clashes.Load(), t.forgotten.Load(), s.crowdedOut.Load()
	st.Detours = make(map[string]uint64)
	for why := onSingle + 1; why < ownReasons; why++ {
		st.Detours[why.String()] = t.detours[why].Load()
	}
	return st
}
