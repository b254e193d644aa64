package pbx

import "tandem/rtpengine"

// Media encryption is a matter of each user: the plan says for whom it is required, and each leg of a call is as its own user's policy says.
// When phones of several users ring, each is offered what its user's policy says, and its answer is judged by that. So a ring group may have
// members that must encrypt and members that cannot, and nobody's demand is softened by who else rings.

// Terms are a user's policy in one number (sip.Media). 0 leaves it to an engine elsewhere, where the plan says nothing.
func (m *relayMedia) Terms(tenant, user string) uint8 {
	p := m.call.pbx
	if m.out != nil && user == "" {
		return p.trunkPolicy(m.out)
	}
	policy, planned := rtpengine.ParseSRTPPolicy(p.cfg.Plan().SRTP(tenant, user))
	switch {
	case planned:
	case p.cfg.Relay != nil || p.cfg.Media == nil:
		return 0
	default:
		policy = p.cfg.Media.SRTP()
	}
	return uint8(policy) + 1
}

// srtp is the policy of one side, terms being the callee's.
func (m *relayMedia) srtp(ofCaller bool, terms uint8) *rtpengine.SRTPPolicy {
	switch {
	case ofCaller && m.own:
		terms = 0
	case ofCaller && m.call.trunk != nil:
		terms = m.call.pbx.trunkPolicy(m.call.trunk)
	case ofCaller:
		terms = m.Terms(m.call.tenant, m.call.from)
	}
	if terms == 0 {
		return nil
	}
	policy := rtpengine.SRTPPolicy(terms - 1)
	return &policy
}
