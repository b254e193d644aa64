package pbx

import (
	"tandem/dialplan"
	"tandem/sip"
)

// What a node refuses because it does not know a number or a phone may have become known on another node a moment ago: news of what is agreed
// travel for 10 to 20 ms. So before such an answer the node asks whether it lags, once for a request, and looks again.

// lookAgain has then looked at a request once more, which would be refused with status, when the node has caught up. lags tells whether it
// could not. False: there is nobody to ask, or nothing would change.
func (p *PBX) lookAgain(in *sip.Inbound, status int, then func(lags bool)) bool {
	if status != 404 && status != 480 || !p.sig.MayLag() {
		return false
	}
	in.Go(func() func() {
		err := p.sig.CatchUp()
		return func() {
			if !in.Gone() {
				then(err != nil)
			}
		}
	})
	return true
}

// lookAgain is that of a call, which does it once.
func (c *Call) lookAgain(then func(lags bool)) bool {
	if c.looked || !c.pbx.sig.MayLag() || c.answeredHere() != nil {
		return false
	}
	c.looked = true
	in := c.in
	in.Go(func() func() {
		err := c.pbx.sig.CatchUp()
		return func() {
			defer c.recovered()
			switch {
			case in.Gone():
				c.end(487, c.whyEnded())
			case !c.isOver():
				if c.gruu {
					c.findPhone()
				}
				then(err != nil)
			}
		}
	})
	return true
}

// unknown tells whether the number is refused because nobody has it, and not by a node of the plan.
func (c *Call) unknown() bool {
	step := c.walk.Step()
	return step == nil || step.Kind == dialplan.StepReject && step.Node == ""
}

// findPhone looks the phone of a GRUU up once more.
func (c *Call) findPhone() {
	if to, status, _ := c.pbx.dialled(c.in); status == 0 {
		c.phone = to.phone
	}
}

// refuseUnsure says that it is not known whether there is such a number: a 404 would be believed.
func refuseUnsure(in *sip.Inbound) {
	in.Respond(503, "", []byte("Retry-After: 2\r\nWarning: 399 tandem \"this node lags behind the others, which may know this number\"\r\n"))
}
