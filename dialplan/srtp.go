package dialplan

import (
	"fmt"
	"strings"

	"tandem/internal/hcltext"
)

// srtpPolicies are what a plan may say of the encryption of a user's media.
func srtpPolicies() []string {
	return []string{"mirror", "off", "passthrough", "preferred", "required"}
}

// srtp takes the policy of a user, or of a tenant for all its users.
func (d *drafter) srtp(n *node, v value) {
	if n.srtp = v.text; !contains(srtpPolicies(), v.text) {
		d.wrong(v.rng, fmt.Sprintf("there is no srtp %q%s", v.text, hcltext.DidYouMean(v.text, srtpPolicies())), "choose from "+strings.Join(srtpPolicies(), ", "))
	}
	if v.text == "passthrough" && n.record {
		d.wrong(v.rng, fmt.Sprintf("%s is to be recorded, and encrypts end to end", n.ref), `what the phones alone can read cannot be recorded: take another srtp, or remove record = true`)
	}
}

// SRTP is how the media of a user are encrypted, by the word of the plan; "" leaves it to the node. It knows accounts that the plan does not
// name.
func (p *Plan) SRTP(tenant, user string) string {
	if u, ok := p.User(tenant, user); ok && u.SRTP != "" {
		return u.SRTP
	}
	if t := p.tenant(tenant); t != nil {
		return t.public.SRTP
	}
	return ""
}
