//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"tandem/bench/internal/phone"
)

const (
	homeOfCalls = 1 // the node whose calls are looked at: not the one that has made the cluster
	callRate    = 50
)

// survive has calls up at one node, lets something happen to it, and looks what the phones hear, and whether they can hang up.
func (p *plan) survive(c *trio, security string, what fault) error {
	if _, err := c.whole(); err != nil {
		return err
	}
	home := c.nodes[homeOfCalls]
	choir, err := newChoir(c.phones, p.calls, security)
	if err != nil {
		return err
	}
	defer choir.close()
	var faults []error
	fleet, err := phone.NewFleet(phone.Config{
		Server: home.sip, Domain: domain, Users: 2 * p.calls, Host: c.phones, Sockets: 8, MaxCalls: p.calls, Algorithm: phone.MD5, Expires: 3600, Ring: 20 * time.Millisecond, Hold: -1,
		Offer: func(call uint32, out []byte) []byte { return choir.talkers[2*call].describe(out, nil) },
		OnOffer: func(call uint32, sdp []byte) {
			choir.talkers[2*call+1].offered = append([]byte(nil), sdp...)
			faults = append(faults, choir.talkers[2*call+1].learn(sdp, false))
		},
		Answer:     func(call uint32, out []byte) []byte { t := choir.talkers[2*call+1]; return t.describe(out, t.offered) },
		OnAnswered: func(call uint32, sdp []byte) { faults = append(faults, choir.talkers[2*call].learn(sdp, true)) },
	})
	if err != nil {
		return err
	}
	defer fleet.Close()
	r, err := fleet.Run(phone.Load{Kind: phone.Register, Rate: 200, Count: 2 * p.calls}, nil)
	if err != nil || r.Failed > 0 {
		return fmt.Errorf("the phones cannot register: %s, %w", besides(r), err)
	}
	if r, err = fleet.Run(phone.Load{Kind: phone.Call, Rate: callRate, Count: p.calls}, nil); err != nil || r.Failed > 0 || fleet.Held() != p.calls {
		return fmt.Errorf("only %d calls are up: %s, %w, %w", fleet.Held(), besides(r), err, errors.Join(faults...))
	}
	fleet.Settle(p.times.hold / 2)
	choir.marks()
	fleet.Settle(p.times.hold / 2)
	covered := home.metric("tandem_copies_covered")
	quiet, _ := choir.marks()
	choir.late.Store(0)
	if err := what.do(c, home); err != nil {
		return err
	}
	fleet.Settle(p.times.hold)
	gaps, _ := choir.marks()
	_, before := choir.marks()
	fleet.Settle(time.Second)
	_, after := choir.marks()
	hear := 0
	for i := 0; i < len(before); i += 2 {
		if after[i]-before[i] > 40 && after[i+1]-before[i+1] > 40 {
			hear++
		}
	}
	ended, err := fleet.Run(phone.Load{Kind: phone.HangUp, Rate: callRate, Count: p.calls}, nil)
	if err != nil {
		return err
	}
	survived := min(hear, ended.Done)
	undid := what.undo(c, home)
	slices.Sort(quiet)
	slices.Sort(gaps)
	at := func(list []time.Duration, share float64) time.Duration {
		return list[min(int(share*float64(len(list))), len(list)-1)].Round(time.Millisecond)
	}
	bad := 0
	for _, t := range choir.talkers {
		t.mu.Lock()
		bad += t.bad
		if t.failed != nil {
			faults = append(faults, t.failed)
		}
		t.mu.Unlock()
	}
	for _, err := range faults {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	who := fmt.Sprintf("%d answered calls (%s), their node %s", p.calls, security, what.name)
	if err := p.found(figure{
		What: who + ": survive", Promised: "100 %", Measured: fmt.Sprintf("%.1f %%", 100*float64(survived)/float64(p.calls)), Met: survived == p.calls,
		Of: fmt.Sprintf("%d hear each other, %d hung up in order; %.0f calls had copies; %d packets not authentic; %v", hear, ended.Done, covered, bad, ended.Causes),
	}); err != nil {
		return err
	}
	most := 200 * time.Millisecond
	if err := p.found(figure{
		What: who + ": longest time without a packet, p99 of the phones", Promised: "<= 200 ms", Measured: fmt.Sprint(at(gaps, 0.99)), Met: at(gaps, 0.99) <= most,
		Of: fmt.Sprintf("p50 %v, max %v; before it p50 %v, p99 %v, max %v; the driver was late by %v at most", at(gaps, 0.5), at(gaps, 1), at(quiet, 0.5), at(quiet, 0.99), at(quiet, 1),
			time.Duration(choir.late.Load()).Round(time.Millisecond)),
	}); err != nil {
		return err
	}
	return undid
}

// marks begins to look for gaps anew; it gives those until now, a phone each, and how many packets each phone has had.
func (c *choir) marks() (gaps []time.Duration, got []int) {
	for _, t := range c.talkers {
		gap, n := t.mark()
		gaps, got = append(gaps, gap), append(got, n)
	}
	return gaps, got
}
