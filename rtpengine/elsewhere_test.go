package rtpengine

import (
	"errors"
	"net/netip"
	"testing"
)

// resettled has an engine that cannot be heard where a session was go on with it, and tells the phones.
func resettled(t *testing.T, s *Session, a, b *phone, change func(*Config)) *Session {
	t.Helper()
	snapshot := exported(t, s)
	vanish(s)
	e := startEngine(t, func(c *Config) {
		c.Bind = []netip.Addr{netip.MustParseAddr("127.0.0.3"), loop6}
		if change != nil {
			change(c)
		}
	})
	if _, err := e.Import(SessionConfig{ID: t.Name()}, snapshot); !errors.Is(err, ErrForeignAddress) {
		t.Fatalf("Import at another address: %v", err)
	}
	again, err := e.ImportElsewhere(SessionConfig{ID: t.Name()}, snapshot)
	if err != nil {
		t.Fatal(err)
	}
	settle(again.shard)
	renew(t, again, a, b)
	return again
}

func TestACallGoesOnAtAnEngineThatCannotHaveItsAddresses(t *testing.T) {
	for name, change := range map[string]func(*Config){"": nil, "with a single port": func(c *Config) { c.SinglePort, c.Shards = 30500, 1 }} {
		t.Run(name, func(t *testing.T) {
			a, b := newPhone(t, loop4), newPhone(t, loop4)
			s := call(t, startEngine(t, nil), a, b)
			chat(t, a, b, 4)
			was := a.to
			s = resettled(t, s, a, b, change)
			if a.to == was {
				t.Errorf("the phone is still sent to %v", a.to)
			}
			chat(t, a, b, 4)
			if st := calm(s).Stats().Media[0].Sides; st[A].Packets != 8 || st[B].Packets != 8 {
				t.Errorf("it has counted %+v", st)
			}
			renew(t, s, a, b)
			chat(t, a, b, 4)
		})
	}
}
