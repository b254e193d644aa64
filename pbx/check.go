package pbx

import (
	"context"
	"time"

	"tandem/sip"
)

// A Pulse is what a phone said when it was asked whether it is still in a call.
type Pulse struct {
	Status int           `json:"status" doc:"SIP status: 200 it is, 481 it knows nothing of the call, 408 it did not answer, 480 it cannot be reached. Any other is an answer of a phone that is there."`
	Took   time.Duration `json:"took" doc:"How long it took to answer, in nanoseconds."`
}

// Pulses are those of both phones of a call.
type Pulses struct {
	Caller Pulse `json:"caller"`
	Callee Pulse `json:"callee"`
}

// checkPatience is how long a phone has to answer: several retransmissions, and less than an operator would wait.
const checkPatience = 8 * time.Second

// Check asks both phones of an answered call whether they are still in it, by an OPTIONS inside the dialog, and waits for their answers, but
// not for long. The call goes on whatever they say. Errors: ErrNoCall, ErrNotAnswered, ErrOneParty, that of ctx, and a full shard's.
func (p *PBX) Check(ctx context.Context, id string) (Pulses, error) {
	c := p.find(id)
	if c == nil {
		return Pulses{}, ErrNoCall
	}
	c.mu.Lock()
	dialog, l := c.dialog, c.leg
	c.mu.Unlock()
	switch {
	case l != nil:
		return Pulses{}, ErrOneParty
	case dialog == nil:
		return Pulses{}, ErrNotAnswered
	}
	out := Pulses{Pulse{408, checkPatience}, Pulse{408, checkPatience}}
	type answer struct {
		of *Pulse
		Pulse
	}
	told := make(chan answer, 2)
	began := time.Now()
	for _, of := range [...]*Pulse{&out.Caller, &out.Callee} {
		done := func(r sip.Reply) { told <- answer{of, Pulse{r.Status, time.Since(began)}} }
		if err := dialog.Request(sip.Request{Method: "OPTIONS", ToCaller: of == &out.Caller, Done: done}); err != nil {
			return Pulses{}, err
		}
	}
	patience := time.NewTimer(checkPatience)
	defer patience.Stop()
	for range 2 {
		select {
		case a := <-told:
			*a.of = a.Pulse
		case <-patience.C:
			return out, nil
		case <-ctx.Done():
			return Pulses{}, ctx.Err()
		}
	}
	return out, nil
}
