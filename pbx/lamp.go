package pbx

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"tandem/sip"
	"tandem/sip/message"
)

// Lamps tell phones that messages wait (RFC 3842): a phone subscribes to its user's own AOR, or to a mailbox that he opens without PIN. Each node
// tells the phones that have subscribed at it: what is in mailboxes is known on all.

const (
	summaryEvent = "message-summary"
	mostLamps    = 20_000 // of a node; one more gets 503
	lampsOfUser  = 20     // the oldest gives way: phones that were switched off do not say so
)

// lamp is one subscription. box is "" for all mailboxes of the user.
type lamp struct {
	tenant, user, box string
	account           string // URI that was subscribed to
	sub               *sip.Subscription
}

// lamps are the subscriptions at this node.
type lamps struct {
	mu      sync.Mutex
	byUser  map[string][]*lamp // "tenant\x00user", the oldest first
	count   int
	refused uint64
	lost    uint64 // ended because the phone did not take a NOTIFY
}

// subscribes takes a SUBSCRIBE that is for a lamp; the others are for phones.
func (p *PBX) subscribes(in *sip.Inbound) bool {
	event, _, _ := strings.Cut(in.Msg.Get(message.Event), ";")
	if in.Msg.Method != "SUBSCRIBE" || !strings.EqualFold(strings.TrimSpace(event), summaryEvent) {
		return false
	}
	if status, why := p.light(in); status != 0 {
		p.lamps.mu.Lock()
		p.lamps.refused++
		p.lamps.mu.Unlock()
		in.Refuse(status, why)
	}
	return true
}

// light makes a lamp, or says how it is refused.
func (p *PBX) light(in *sip.Inbound) (status int, why string) {
	to, status, why := p.dialled(in)
	if status != 0 {
		return status, why
	}
	k := &lamp{tenant: in.Tenant, user: in.User, account: in.URI.String()}
	if user, ok := p.cfg.Directory.User(in.Tenant, to.name); ok && user != in.User {
		return 403, "these messages are somebody else's"
	} else if !ok {
		box, ok := p.cfg.Plan().Mailbox(in.Tenant, to.name)
		switch {
		case !ok:
			return 404, "no such user or mailbox"
		case box.User != in.User && !slices.Contains(box.Owners, in.User):
			return 403, "these messages are somebody else's"
		}
		k.box = box.Name
	}
	switch {
	case p.cfg.Messages == nil || k.box == "" && len(p.cfg.Plan().MailboxesOf(k.tenant, k.user)) == 0:
		return 404, "the user has no mailbox"
	case !accepts(in.Msg, "application/simple-message-summary"):
		return 406, "only application/simple-message-summary is known here"
	}
	return p.lamps.add(k, p, in)
}

func accepts(m *message.Message, contentType string) bool {
	list := m.List(message.Accept)
	return len(list) == 0 || slices.ContainsFunc(list, func(v string) bool {
		kind, _, _ := strings.Cut(v, ";")
		kind = strings.ToLower(strings.TrimSpace(kind))
		return kind == contentType || kind == "*/*" || kind == "application/*"
	})
}

func (s *lamps) add(k *lamp, p *PBX, in *sip.Inbound) (status int, why string) {
	s.mu.Lock()
	full := s.count >= mostLamps
	s.mu.Unlock()
	if full {
		return 503, "too many phones want to be told"
	}
	sub, err := in.Subscribe(sip.Notifier{State: func() (string, string) { return p.summary(k) }, Ended: func(reason string) { s.remove(k, reason) }})
	if err != nil || sub == nil {
		return 0, ""
	}
	key := k.tenant + "\x00" + k.user
	s.mu.Lock()
	k.sub = sub
	if s.byUser == nil {
		s.byUser = map[string][]*lamp{}
	}
	s.byUser[key] = append(s.byUser[key], k)
	s.count++
	var oldest *lamp
	if list := s.byUser[key]; len(list) > lampsOfUser {
		oldest = list[0]
	}
	s.mu.Unlock()
	if oldest != nil {
		oldest.sub.End("too many subscriptions of this user")
	}
	return 0, ""
}

func (s *lamps) remove(k *lamp, reason string) {
	key := k.tenant + "\x00" + k.user
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.byUser[key], k)
	if i < 0 {
		return
	}
	if s.byUser[key] = slices.Delete(s.byUser[key], i, i+1); len(s.byUser[key]) == 0 {
		delete(s.byUser, key)
	}
	s.count--
	if strings.HasPrefix(reason, "NOTIFY") {
		s.lost++
	}
}

// summary is what a phone is told (RFC 3842 §5.2).
func (p *PBX) summary(k *lamp) (contentType, body string) {
	fresh, heard := 0, 0
	for _, box := range p.cfg.Plan().MailboxesOf(k.tenant, k.user) {
		if k.box == "" || k.box == box.Name {
			n, old := p.cfg.Messages.Count(k.tenant, box.Name)
			fresh, heard = fresh+n, heard+old
		}
	}
	waiting := "no"
	if fresh > 0 {
		waiting = "yes"
	}
	return "application/simple-message-summary", fmt.Sprintf("Messages-Waiting: %s\r\nMessage-Account: %s\r\nVoice-Message: %d/%d (0/0)\r\n", waiting, k.account, fresh, heard)
}

// MailboxChanged tells the phones of those who open a mailbox how things stand; without names, all phones. It is a hook of mailbox.Index and does not
// block.
func (p *PBX) MailboxChanged(tenant, box string) {
	var users []string
	if box != "" {
		m, ok := p.cfg.Plan().Mailbox(tenant, box)
		if !ok {
			return
		}
		users = append(slices.Clone(m.Owners), m.User)
	}
	var told []*lamp
	p.lamps.mu.Lock()
	if box == "" {
		for _, list := range p.lamps.byUser {
			told = append(told, list...)
		}
	}
	slices.Sort(users)
	for _, user := range slices.Compact(users) {
		told = append(told, p.lamps.byUser[tenant+"\x00"+user]...)
	}
	p.lamps.mu.Unlock()
	for _, k := range told {
		k.sub.Notify()
	}
}
