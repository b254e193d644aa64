package sip

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tandem/sip/transport"
)

// Where a carrier is, and whether it answers.

const (
	lookupPatience = 5 * time.Second
	lookupEvery    = time.Minute // the system's resolver tells no time to live; it keeps names by itself
	mostAddresses  = 16          // of one host

	pingPatience = 4 * time.Second  // how long an address has to answer OPTIONS
	downAfter    = 3                // OPTIONS in a row without an answer
	upAfter      = 2                // with one
	pingDown     = 10 * time.Second // how often one that is down is asked, when that is more often than as a rule
)

// A carrierHost is a host of a carrier and the addresses it has.
type carrierHost struct {
	text      string // as the operator wrote it
	host      string
	port      int    // 0 = none written
	net       string // "" = as DNS says
	registrar bool   // no calls go there
	addrs     []*carrierAddr
	next      time.Time // when to look it up
	looking   bool
	failures  int
	fault     string
}

// A carrierAddr is one address of a host.
type carrierAddr struct {
	net  transport.Net
	addr netip.AddrPort
	host string // for the Request-URI and the certificate
	port int    // likewise; 0 = none written

	up      bool
	row     int // answers in a row, or missing ones, that speak against up
	since   time.Time
	took    time.Duration
	fault   string
	next    time.Time // when to ask, or to give an answer up
	asked   time.Time // zero = no answer is awaited
	serial  uint32
	callID  string
	fromTag string
}

func newCarrierHost(text, transport string, now time.Time) *carrierHost {
	h := &carrierHost{text: text, host: text, net: transport, next: now}
	if host, port, err := net.SplitHostPort(text); err == nil {
		h.host = host
		h.port, _ = strconv.Atoi(port)
	}
	h.host = strings.Trim(h.host, "[]")
	return h
}

// due looks the host up when its time has come.
func (h *carrierHost) due(t *Trunks, now time.Time) chore {
	if h.looking || now.Before(h.next) {
		return nil
	}
	if list, ok := h.literal(); ok {
		h.found(t, list, now)
		h.next = time.Time{}
		h.looking = true // for ever
		return nil
	}
	select {
	case t.lookups <- struct{}{}:
	default: // too many at once
		h.next = now.Add(time.Second)
		return nil
	}
	h.looking, h.next = true, time.Time{}
	return func(ctx context.Context, wg *sync.WaitGroup) {
		wg.Go(func() {
			defer func() { <-t.lookups }()
			ctx, cancel := context.WithTimeout(ctx, lookupPatience)
			defer cancel()
			list, err := t.resolve(ctx, h.host, h.port, h.net)
			t.mu.Lock()
			h.looked(t, list, err, time.Now())
			t.mu.Unlock()
			t.stir()
		})
	}
}

// literal is the one address of a host that is written as one.
func (h *carrierHost) literal() ([]carrierAddr, bool) {
	ip, err := netip.ParseAddr(h.host)
	if err != nil {
		return nil, false
	}
	n, _ := transport.ParseNet(cmp.Or(h.net, "udp"))
	return []carrierAddr{{net: n, addr: netip.AddrPortFrom(ip.Unmap(), uint16(cmp.Or(h.port, defaultPort(n))))}}, true
}

func defaultPort(n transport.Net) int {
	if n == transport.TLS {
		return 5061
	}
	return 5060
}

// looked takes what a look-up has brought. One that failed leaves the addresses that are known.
func (h *carrierHost) looked(t *Trunks, list []carrierAddr, err error, now time.Time) {
	h.looking = false
	if err != nil {
		t.count.lookupFailed.Add(1)
		h.failures++
		h.fault = err.Error()
		h.next = now.Add(min(time.Duration(h.failures)*5*time.Second, lookupEvery))
		return
	}
	h.failures, h.fault, h.next = 0, "", now.Add(lookupEvery)
	h.found(t, list, now)
}

// found keeps the addresses in their order, with what is known of those that were there before.
func (h *carrierHost) found(t *Trunks, list []carrierAddr, now time.Time) {
	var addrs []*carrierAddr
	for _, a := range list[:min(len(list), mostAddresses)] {
		a.host, a.port = h.host, h.port
		i := slices.IndexFunc(h.addrs, func(o *carrierAddr) bool { return o.net == a.net && o.addr == a.addr })
		if i >= 0 {
			addrs = append(addrs, h.addrs[i])
			continue
		}
		a.up, a.since, a.next, a.callID, a.fromTag = true, now, now, rand.Text(), rand.Text()
		addrs = append(addrs, &a)
	}
	h.addrs = addrs
	t.rebuildPeers()
}

// resolve finds the addresses of a host (RFC 3263 §4): with a port its A and AAAA records, else what its SRV records say, else A and AAAA.
// NAPTR records are not asked for: a transport that is not written is the first that has SRV records, of UDP, TCP and TLS in this order.
func (t *Trunks) resolve(ctx context.Context, host string, port int, network string) ([]carrierAddr, error) {
	t.count.lookups.Add(1)
	nets := []transport.Net{transport.UDP, transport.TCP, transport.TLS}
	if n, ok := transport.ParseNet(network); ok {
		nets = []transport.Net{n}
	}
	if port == 0 {
		for _, n := range nets {
			service, proto := "sip", n.String()
			if n == transport.TLS {
				service, proto = "sips", "tcp"
			}
			_, records, err := t.cfg.Resolver.LookupSRV(ctx, service, proto, host)
			if err != nil || len(records) == 0 {
				continue
			}
			var all []carrierAddr
			for _, r := range records { // the resolver has sorted them by priority and weight (RFC 2782)
				list, err := t.addresses(ctx, r.Target, int(r.Port), n)
				if err == nil {
					all = append(all, list...)
				}
			}
			if len(all) > 0 {
				return all, nil
			}
		}
	}
	return t.addresses(ctx, host, cmp.Or(port, defaultPort(nets[0])), nets[0])
}

func (t *Trunks) addresses(ctx context.Context, host string, port int, n transport.Net) ([]carrierAddr, error) {
	ips, err := t.cfg.Resolver.LookupNetIP(ctx, "ip", host)
	if err == nil && len(ips) == 0 {
		err = errors.New("it has no address")
	}
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", host, err)
	}
	slices.SortStableFunc(ips, func(a, b netip.Addr) int { return cmp.Compare(a.Unmap().BitLen(), b.Unmap().BitLen()) })
	list := make([]carrierAddr, 0, len(ips))
	for _, ip := range ips {
		list = append(list, carrierAddr{net: n, addr: netip.AddrPortFrom(ip.Unmap(), uint16(port))})
	}
	return list, nil
}

// due asks an address whether it is alive, or gives an answer up.
func (a *carrierAddr) due(t *Trunks, c *carrier, now time.Time) chore {
	if c.Ping <= 0 {
		a.next = time.Time{}
		return nil
	}
	if now.Before(a.next) {
		return nil
	}
	if !a.asked.IsZero() {
		a.heard(t, c, Reply{Status: 408}, now)
		if now.Before(a.next) {
			return nil
		}
	}
	a.asked, a.next = now, now.Add(pingPatience)
	a.serial++
	serial := a.serial
	return func(context.Context, *sync.WaitGroup) {
		err := t.ping(a, c, serial, func(r Reply) {
			t.mu.Lock()
			if a.serial == serial && !a.asked.IsZero() {
				a.heard(t, c, r, time.Now())
			}
			t.mu.Unlock()
			t.stir()
		})
		if err != nil {
			t.mu.Lock()
			a.heard(t, c, Reply{Status: 480}, time.Now())
			t.mu.Unlock()
		}
	}
}

// ping sends OPTIONS (RFC 3261 §11).
func (t *Trunks) ping(a *carrierAddr, c *carrier, serial uint32, done func(Reply)) error {
	srv := t.srv.Load()
	if srv == nil {
		return transport.ErrClosed
	}
	f, err := srv.net.FlowTo(a.net, a.addr)
	if err != nil {
		return err
	}
	t.count.pings.Add(1)
	own := string(srv.appendOwnURI(nil, f, "", false))
	uri := a.uri("")
	return t.ask(ownRequest{
		method: "OPTIONS", to: party{contact: uri, value: "<" + uri + ">", flow: f, login: c.Login}, from: "<" + own + ">;tag=" + a.fromTag, callID: a.callID, cseq: serial,
		extra: []byte("Contact: <" + own + ">\r\nAccept: application/sdp\r\n"), done: done,
	})
}

// heard takes an answer to OPTIONS. Any answer of the other side shows that it is there, but for 503: it does not want calls now.
func (a *carrierAddr) heard(t *Trunks, c *carrier, r Reply, now time.Time) {
	alive := r.Status != 408 && r.Status != 480 && r.Status != 503
	if alive {
		a.took = now.Sub(a.asked)
	}
	a.asked = time.Time{}
	a.next = now.Add(between(c.Ping*9/10, c.Ping*11/10))
	if !alive {
		t.count.pingFailed.Add(1)
		a.fault = map[int]string{408: "it does not answer", 480: "it cannot be reached", 503: "it answers 503"}[r.Status]
	} else {
		a.fault = ""
	}
	if alive == a.up {
		a.row = 0
		if !alive {
			a.next = now.Add(min(c.Ping, pingDown))
		}
		return
	}
	a.row++
	switch {
	case alive && a.row < upAfter:
		a.next = now.Add(min(c.Ping, time.Second))
	case !alive && a.row < downAfter:
		a.next = now.Add(min(c.Ping, time.Second))
	default:
		a.up, a.row, a.since = alive, 0, now
		if !alive {
			a.next = now.Add(min(c.Ping, pingDown))
		}
	}
}
