package rtpengine

import "maps"

// WebRTCStats are counters and gauges of ICE and DTLS: browsers, and phones that speak either.
type WebRTCStats struct {
	Transports int // on the ICE port: one for each side that bundles its m-lines
	Connected  int // with a pair whose consent is fresh

	Answered  uint64 // connectivity checks answered with success
	Strangers uint64 // checks for nobody here, or from nobody expected
	Unproved  uint64 // checks with a wrong password
	Floods    uint64 // checks beyond a transport's share, and DTLS beyond a handshake's ring
	Conflicts uint64 // checks of who believes that we lead
	Garbage   uint64 // neither STUN nor DTLS nor RTP, or broken
	Hellos    uint64 // DTLS from where no check was proved, or that nobody waits for
	Lost      uint64 // consent that ended
	Restored  uint64 // and came back

	Handshaking      int               // DTLS handshakes that run
	Handshakes       uint64            // that succeeded
	HandshakesBusy   uint64            // that had to wait because there were too many
	HandshakesFailed map[string]uint64 // by reason: fingerprint, timeout, protocol, ended
}

// HandshakeFailures are the keys of HandshakesFailed.
func HandshakeFailures() []string { return []string{"fingerprint", "timeout", "protocol", "ended"} }

func (e *Engine) webRTC() (st WebRTCStats) {
	for _, s := range e.shards {
		st.Transports += int(s.iced.transports.Load())
		st.Connected += int(s.iced.connected.Load())
		st.Answered += s.iced.answered.Load()
		st.Strangers += s.iced.strangers.Load()
		st.Unproved += s.iced.unproved.Load()
		st.Floods += s.iced.floods.Load()
		st.Conflicts += s.iced.conflicts.Load()
		st.Garbage += s.iced.garbage.Load()
		st.Hellos += s.iced.hellos.Load()
		st.Lost += s.iced.lost.Load()
		st.Restored += s.iced.restored.Load()
	}
	h := &e.handshakes
	h.mu.Lock()
	defer h.mu.Unlock()
	st.Handshaking, st.Handshakes, st.HandshakesBusy, st.HandshakesFailed = h.now, h.done, h.busy, maps.Clone(h.failed)
	return st
}
