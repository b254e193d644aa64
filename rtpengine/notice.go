package rtpengine

import "context"

// notice is something that a shard found in a packet and that somebody wants to know. It is rare: a digit, a wish for a picture.
type notice struct {
	to      *SessionConfig
	digit   Digit // of Key 0: none
	picture bool  // a full one is wanted
	side    Side  // of whom
}

// Notices wait in two bounded places: with the shard until its batch is over, then before the one goroutine that tells them. What finds no
// room is lost and counted.
const (
	maxNoticed = 32
	maxNotices = 1024
)

// tell notes something to be told. Shard only.
func (r *relay) tell(n notice) {
	if r.noticed == len(r.notices) {
		r.count.untold++
		return
	}
	r.notices[r.noticed] = n
	r.noticed++
}

// pass hands on what a batch brought.
func (r *relay) pass() {
	for i := range r.notices[:r.noticed] {
		select {
		case r.board <- r.notices[i]:
		default:
			r.count.untold++
		}
		r.notices[i] = notice{}
	}
	r.noticed = 0
}

// tellAll runs the callbacks that shards ask for, one after the other and with no lock held.
func (e *Engine) tellAll(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-e.board:
			e.tellOne(&n)
		}
	}
}

func (e *Engine) tellOne(n *notice) {
	if n.digit.Key != 0 {
		e.digits[n.digit.Via].Add(1)
		n.to.OnDigit(n.digit)
	}
	if n.picture {
		n.to.OnPicture(n.side)
	}
}
