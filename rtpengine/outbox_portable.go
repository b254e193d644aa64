//go:build !linux || portable

package rtpengine

// outbox is of the steered tier, which this twin does not have.
type outbox struct{}

func (r *relay) queue(*leg, *socket, *destination, []byte) bool { return false }
