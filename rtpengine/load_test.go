package rtpengine

import (
	"net/netip"
	"sync"
	"testing"
)

// Calls come and go from many goroutines while media flows; nothing is left afterwards.
func TestManyCallsComeAndGo(t *testing.T) {
	e := startEngine(t, func(c *Config) { c.Shards = 2 })
	var all sync.WaitGroup
	for i := range 8 {
		a, b := newPhone(t, loop4), newPhone(t, loop4)
		all.Go(func() {
			for range 15 {
				s, err := e.NewSession(SessionConfig{})
				if err != nil {
					t.Error(err)
					return
				}
				var echo *Endpoint
				if i%2 == 0 {
					echo, _ = e.NewEndpoint(SessionConfig{})
					echo.Echo()
					_, _ = echo.Answer(a.sdp(), loop4)
					_ = echo.Play("tone:busy")
				}
				offer, err := s.Offer(A, a.sdp(), loop4, loop4)
				if err != nil {
					t.Error(err)
					return
				}
				b.dial(offer)
				answer, err := s.Answer(B, b.sdp(), loop4, loop4)
				if err != nil {
					t.Error(err)
					return
				}
				a.dial(answer)
				for range 5 {
					a.say("x")
					b.say("y")
				}
				s.Stats()
				e.Stats()
				s.Close()
				if echo != nil {
					echo.Close()
				}
			}
		})
	}
	all.Wait()
	for _, sh := range e.shards {
		settle(sh)
	}
	st := e.Stats()
	if st.Sessions != 0 || st.Playing != 0 || st.Ports[0].Used != 0 || st.Shards[0].Sockets != 0 || st.Shards[1].Sockets != 0 {
		t.Errorf("%+v", st)
	}
}

func TestLoadSpreadsOnlyWhenTheFirstShardIsBusy(t *testing.T) {
	e, err := New(Config{Bind: []netip.Addr{loop4}, Shards: 3})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		loads [3]uint64
		want  int
	}{
		{[3]uint64{0, 0, 0}, 0},
		{[3]uint64{shardFull - 1, 0, 0}, 0},
		{[3]uint64{shardFull, 0, 0}, 1},
		{[3]uint64{shardFull, shardFull, 5}, 2},
		{[3]uint64{shardFull + 2, shardFull, shardFull + 1}, 1},
	} {
		for i, load := range c.loads {
			e.shards[i].load.Store(load)
		}
		if got := e.choose(); got != e.shards[c.want] {
			t.Errorf("%v: not shard %d", c.loads, c.want)
		}
	}
}
