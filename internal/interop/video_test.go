//go:build interop

package interop

import (
	"testing"
	"time"
)

// startRate is what a browser sends at before it hears anything of how its packets arrive, in bit/s.
const startRate = 300_000

// loses keeps some pictures from the browser's decoder and waits until it decodes again: it must have asked for a full one.
func (b *browser) loses(t testing.TB) {
	t.Helper()
	before := b.report(t)
	b.commands <- browserCommand{Do: "shut"}
	blind, since := before, time.Now()
	eventually(t, soon, "the browser of "+b.user+" to see nothing for a while", func() bool {
		if now := b.report(t); now.Frames != blind.Frames {
			blind, since = now, time.Now()
		}
		return time.Since(since) > time.Second
	})
	b.commands <- browserCommand{Do: "open"}
	var after browserEvent
	eventually(t, 2*soon, "the browser of "+b.user+" to see again", func() bool {
		after = b.report(t)
		return after.Frames > blind.Frames+5
	})
	if after.Wanted == before.Wanted {
		t.Errorf("the browser of %s asked for no full picture", b.user)
	}
}

// isFed waits until the browser sends faster than at the beginning, which it does when it hears how its packets arrive.
func (b *browser) isFed(t testing.TB) {
	t.Helper()
	var last browserEvent
	if !holds(2*soon, func() bool { last = b.report(t); return last.Rate > startRate*5/4 }) {
		t.Errorf("the browser of %s sends at %d bit/s for ever", b.user, last.Rate)
	}
}

func TestBrowsersThatLosePicturesSeeAgain(t *testing.T) {
	n := startNode(t)
	alice := startBrowserWith(t, n, browserConfig{user: "1000", scheme: "ws", tone: 440, video: true})
	bob := startBrowserWith(t, n, browserConfig{user: "1001", scheme: "ws", tone: 1000, video: true})
	alice.await(t, "registered", 1)
	bob.await(t, "registered", 1)
	alice.dial("sip:1001@" + n.host())
	alice.talks(t)
	bob.talks(t)
	alice.sees(t)
	bob.sees(t)
	began := time.Now()
	alice.isFed(t)
	bob.isFed(t)
	t.Logf("after %v alice sends at %d bit/s, bob at %d", time.Since(began).Round(time.Millisecond), alice.report(t).Rate, bob.report(t).Rate)
	full := alice.report(t).Full
	bob.loses(t)
	if got := alice.report(t).Full; got == full {
		t.Error("alice sent no full picture")
	}
	alice.commands <- browserCommand{Do: "hangup"}
	bob.await(t, "ended", 1)
	n.carries(t, 0)
}

// A desk phone speaks RTP/AVP and what feedback it names with it.
func TestABrowserAndADeskPhoneSeeEachOther(t *testing.T) {
	for _, c := range []struct {
		name   string
		called bool // the browser is
	}{{"the browser calls", false}, {"the desk phone calls", true}} {
		t.Run(c.name, func(t *testing.T) {
			n := startNode(t)
			web := startBrowserWith(t, n, browserConfig{user: "1002", scheme: "ws", tone: 440, video: true})
			bob := startPhone(t, n, phoneConfig{user: "1001", tone: 1000, video: true}).registered(t)
			web.await(t, "registered", 1)
			if c.called {
				bob.dial(t, "1002")
			} else {
				web.dial("sip:1001@" + n.host())
			}
			bob.talks(t, 1)
			web.talks(t)
			web.sees(t)
			eventually(t, 2*soon, "the desk phone to show ten pictures of the browser", func() bool { return bob.pictures(t) >= 10 })
			bob.relayed(t, "audio", "video")
			web.loses(t)
			web.isFed(t)
			bob.hangUp(t)
			web.await(t, "ended", 1)
			n.carries(t, 0)
		})
	}
}
