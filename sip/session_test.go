package sip

import (
	"testing"
	"time"

	"tandem/internal/fakephone"
)

// A caller that can refresh and a callee that knows no session timers: the node asks, and tells the caller to refresh (RFC 4028 §8.2).
func TestNodeAsksForASessionTimer(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice"), s.registered("bob")
		bob.OnInvite(func(c *fakephone.Call) { c.Answer(sdpOf("bob"), "Require: 100rel") })
		begin := time.Now()
		call := alice.Call("bob", sdpOf("alice"), "k: timer")
		ok := call.MustAnswer()
		expect(t, "Session-Expires at bob", only(t, "INVITE", bob.Requests("INVITE")).Header("Session-Expires"), "1800")
		expect(t, "Session-Expires at alice", ok.Header("Session-Expires"), "1800;refresher=uac")
		expect(t, "Require at alice", len(ok.Headers("Require")), 2)
		expect(t, "the second", ok.Headers("Require")[1], "timer")
		time.Sleep(20 * time.Minute)
		refresh := call.Request("UPDATE", "", "Supported: timer").Final()
		expect(t, "refresh", refresh.Header("Session-Expires"), "1800;refresher=uac")
		expect(t, "ended on the caller's side", call.WaitEnded(12*time.Hour), true)
		expect(t, "ended on the callee's side", bob.Calls()[0].WaitEnded(time.Second), true)
		expect(t, "lasted", time.Since(begin).Round(time.Second), 50*time.Minute+sessionGrace)
		expect(t, "counted", s.srv.Stats().SessionsExpired, 1)
	})
}

func TestSessionTimerOfTheCalleeAloneCounts(t *testing.T) {
	play(t, func(c *Config) { c.SessionInterval = 10 * time.Minute }, func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice"), s.registered("bob")
		bob.OnInvite(func(c *fakephone.Call) { c.Answer(sdpOf("bob"), "Session-Expires: 300;refresher=uas") })
		begin := time.Now()
		call := alice.Call("bob", sdpOf("alice"))
		ok := call.MustAnswer()
		expect(t, "Session-Expires at bob", only(t, "INVITE", bob.Requests("INVITE")).Header("Session-Expires"), "600")
		expect(t, "Session-Expires at alice", ok.Header("Session-Expires"), "300;refresher=uas")
		expect(t, "Require at alice", ok.Has("Require"), false)
		expect(t, "ended", call.WaitEnded(time.Hour), true)
		expect(t, "lasted", time.Since(begin).Round(time.Second), 5*time.Minute+sessionGrace)
	})
}

func TestCallOfPhonesWithoutSessionTimersGoesOn(t *testing.T) {
	for interval, want := range map[time.Duration]string{0: "1800", -1: ""} {
		play(t, func(c *Config) { c.SessionInterval = interval }, func(t *testing.T, s *stage) {
			alice, bob := s.pair()
			call := alice.Call("bob", sdpOf("alice"))
			ok := call.MustAnswer()
			expect(t, "Session-Expires at bob", only(t, "INVITE", bob.Requests("INVITE")).Header("Session-Expires"), want)
			expect(t, "Session-Expires at alice", ok.Header("Session-Expires"), "")
			expect(t, "ended", call.WaitEnded(3*time.Hour), false)
			call.Bye()
		})
	}
}

func TestSessionIntervalKeepsToWhatTheCallerAsks(t *testing.T) {
	for _, c := range []struct {
		headers        []string
		status         int
		expires, least string // at the callee
	}{
		{[]string{"Supported: timer", "Session-Expires: 89"}, 422, "", ""},
		{[]string{"Require: timer", "x: 30;refresher=uac", "Min-SE: 20"}, 422, "", ""},
		{[]string{"Supported: timer", "Session-Expires: 90"}, 200, "90", ""},
		{[]string{"Session-Expires: 30"}, 200, "90", "90"},
		{[]string{"Session-Expires: 30", "Min-SE: 20"}, 200, "90", "90"},
		{[]string{"Session-Expires: 30", "Min-SE: 120"}, 200, "120", "120"},
		{[]string{"Supported: timer", "Min-SE: 3600"}, 200, "3600", "3600"},
		{[]string{"Supported: timer", "Session-Expires: soon"}, 200, "soon", ""},
	} {
		play(t, nil, func(t *testing.T, s *stage) {
			alice, bob := s.registered("alice"), s.registered("bob")
			bob.OnInvite(func(c *fakephone.Call) { c.Answer(sdpOf("bob")) })
			call := alice.Call("bob", sdpOf("alice"), c.headers...)
			m := call.Final()
			expect(t, "status", m.Status(), c.status)
			if c.status != 200 {
				expect(t, "Min-SE", m.Header("Min-SE"), "90")
				expect(t, "INVITEs at bob", len(bob.Requests("INVITE")), 0)
				return
			}
			invite := only(t, "INVITE", bob.Requests("INVITE"))
			expect(t, "Session-Expires at bob", invite.Header("Session-Expires"), c.expires)
			expect(t, "Min-SE at bob", invite.Header("Min-SE"), c.least)
			time.Sleep(time.Second)
			expect(t, "short re-INVITE", call.Reinvite(sdpOf("alice"), "Supported: timer", "Session-Expires: 10").Status(), 422)
			expect(t, "INVITEs at bob", len(bob.Requests("INVITE")), 1)
			call.Bye()
		})
	}
}

func TestShortSessionWithTheNodeIsRefused(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		s.answering()
		alice := s.registered("alice")
		expect(t, "INVITE", alice.Call("echo", sdpOf("alice"), "Supported: timer", "Session-Expires: 60").Final().Status(), 422)
		call := alice.Call("echo", sdpOf("alice"))
		call.MustAnswer()
		expect(t, "re-INVITE", call.Reinvite(sdpOf("alice"), "Supported: timer", "Session-Expires: 60").Status(), 422)
		call.Bye()
	})
}
