package sip

import (
	"strings"

	"tandem/sip/message"
)

// claims are headers by which elements that trust each other tell who a caller is and who pays. A phone is none of them: what
// it says there is dropped, in requests and responses, and P-Preferred-Identity is read as the hint it is (RFC 3325 §5, §6;
// RFC 7315 §6; Remote-Party-ID never became an RFC and says the same).
var claims = [...]message.ID{
	message.PAssertedIdentity, message.PPreferredIdentity, message.RemotePartyID, message.PServedUser, message.PProfileKey, message.PUserDatabase,
	message.PChargingVector, message.PChargingFunctionAddresses, message.PCalledPartyID, message.PVisitedNetworkID, message.PAssertedService,
	message.PPreferredService,
}

func dropClaims(m *message.Message, e *message.Edit) {
	for _, id := range claims {
		if m.Has(id) {
			e.DropAll(m, id)
		}
	}
}

// assertIdentity writes who has sent a request that began something: the user whose credentials it carried, as RFC 3325 §5 has
// it. All peers are phones, which nobody vouches for: the identity stays here when the caller asks for privacy (§7).
func (tx *transaction) assertIdentity(dst []byte) []byte {
	if tx.own != nil && tx.own.Veil != nil {
		return tx.own.Veil.appendCaller(dst)
	}
	if tx.in == nil || tx.in.User == "" || privacyOf(tx.m).withhold {
		return dst
	}
	return message.AppendHeader(dst, "P-Asserted-Identity", "<"+tx.in.identity()+">")
}

// identity is a URI of the user who has sent the request: the one he prefers if it is his (RFC 3325 §6), else that in From, else
// his name in the domain he called.
func (in *Inbound) identity() string {
	m := in.Msg
	preferred, _ := message.CutValue(m.Get(message.PPreferredIdentity))
	for _, v := range [...]string{preferred, m.Get(message.From)} {
		if uri, ok := in.isOwn(v); ok {
			return uri
		}
	}
	return message.URI{Scheme: "sip", User: message.Escape(in.User), Host: in.URI.Host}.String()
}

// isOwn tells whether an address is one of the user's own, and gives its URI without what he could have added to it.
func (in *Inbound) isOwn(v string) (uri string, ok bool) {
	if v == "" {
		return "", false
	}
	a, err := message.ParseAddress(v)
	if err != nil {
		return "", false
	}
	u, err := message.ParseURI(a.URI)
	if err != nil || u.Scheme != "sip" && u.Scheme != "sips" || strings.Contains(u.User, ";") {
		return "", false
	}
	dir := in.sh.srv.cfg.Directory
	tenant, ok := dir.TenantOf(u.Host)
	if !ok || tenant != in.Tenant {
		return "", false
	}
	user, ok := dir.User(tenant, u.UserDecoded())
	return message.URI{Scheme: u.Scheme, User: u.User, Host: u.Host}.String(), ok && user == in.User
}

// privacy is what a caller asks for in Privacy (RFC 3323 §4.2, RFC 3325 §9.3).
type privacy struct {
	withhold bool   // id or user: nobody is told who it is
	unmet    string // what is asked for as critical and not done here, "" when there is nothing
}

func privacyOf(m *message.Message) (p privacy) {
	if !m.Has(message.Privacy) {
		return p
	}
	critical := false
	m.Values(message.Privacy, func(v string) bool {
		for word := range strings.SplitSeq(v, ";") {
			switch word = strings.ToLower(strings.TrimSpace(word)); word {
			case "id":
				p.withhold = true
			case "user": // the phone has made From anonymous, or else wants it to be made so
				p.withhold = true
				if !isAnonymous(m) {
					p.unmet = word
				}
			case "critical":
				critical = true
			case "none", "":
			default: // header, session, history
				p.unmet = word
			}
		}
		return true
	})
	if !critical {
		p.unmet = ""
	}
	return p
}

// isAnonymous tells a From that says nothing (RFC 3323 §4.1.1.3). Its sender is known by his credentials alone.
func isAnonymous(m *message.Message) bool {
	a, _ := message.ParseAddress(m.Get(message.From))
	u, err := message.ParseURI(a.URI)
	return err == nil && u.Host == "anonymous.invalid"
}
