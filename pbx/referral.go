package pbx

import (
	"time"

	"tandem/sip/message"
)

// referral is somebody's phone having been asked by who talked with it to call a number: a REFER that passed between two phones (RFC 3515).
type referral struct {
	by, to string
	until  time.Time
}

// referralTime is how long a phone may take to make the call that it was asked for.
const referralTime = 30 * time.Second

// Refers remembers who sends whom where (sip.ReferEvents).
func (c *Call) Refers(fromCaller bool, to message.URI) {
	c.mu.Lock()
	by, sent := c.from, c.answerer
	c.mu.Unlock()
	if !fromCaller {
		by, sent = sent, by
	}
	c.pbx.refers(c.tenant, sent, referral{by, to.UserDecoded(), time.Now().Add(referralTime)})
}

// refers keeps the latest referral of a user. It forgets one or two that came to nothing, so that the table never holds more than those of
// half a minute.
func (p *PBX) refers(tenant, user string, r referral) {
	p.mu.Lock()
	defer p.mu.Unlock()
	looked := 0
	for key, old := range p.referrals {
		if time.Now().After(old.until) {
			delete(p.referrals, key)
		}
		if looked++; looked == 2 {
			break
		}
	}
	p.referrals[tenant+"\x00"+user] = r
}

// referrer is who has sent a caller to the number that he calls: who was seen to, else who his phone says (Referred-By, RFC 3892). "" when
// nobody has.
func (p *PBX) referrer(c *Call) string {
	if c.trunk != nil { // what the world says of us is not to be believed
		return ""
	}
	key := c.tenant + "\x00" + c.from
	p.mu.Lock()
	r := p.referrals[key]
	sent := r.to == c.to && time.Now().Before(r.until)
	if sent {
		delete(p.referrals, key)
	}
	p.mu.Unlock()
	if sent {
		return r.by
	}
	value := ""
	if in := c.in; in != nil {
		value, _ = in.Msg.Lookup("Referred-By")
	}
	a, err := message.ParseAddress(value)
	if err != nil {
		return ""
	}
	uri, err := message.ParseURI(a.URI)
	if err != nil {
		return ""
	}
	by, _ := p.cfg.Directory.User(c.tenant, uri.UserDecoded())
	return by
}
