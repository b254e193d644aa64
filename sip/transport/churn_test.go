package transport

import (
	"crypto/tls"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestConnectionsComeAndGoWhileShardsSend is for the race detector: peers connect, talk and vanish in the middle of answers, and
// the transport ends while they are at it.
func TestConnectionsComeAndGoWhileShardsSend(t *testing.T) {
	server, client := testTLS(t)
	client.ServerName = "127.0.0.1"
	r := &recorder{}
	var mu sync.Mutex
	var flows []Flow
	r.onMsg = func(s *Shard, p Packet) {
		mu.Lock()
		flows = append(flows[max(0, len(flows)-20):], p.Flow)
		targets := append([]Flow(nil), flows...)
		mu.Unlock()
		for _, f := range targets { // some of them are gone
			_ = s.Send(f, []byte(p.Text))
		}
	}
	tr := start(t, Config{UDP: []string{"127.0.0.1:0"}, TCP: []string{"127.0.0.1:0"}, TLS: []string{"127.0.0.1:0"}, TLSConfig: server, Shards: 4}, r)
	var peers sync.WaitGroup
	for k := range 8 {
		peers.Go(func() {
			for i := range 15 {
				l := tr.Listeners()[(k+i)%3]
				c, err := net.Dial(strings.Replace(l.Net.String(), "tls", "tcp", 1), l.Addr.String())
				if err != nil {
					t.Error(err)
					return
				}
				if l.Net == TLS {
					_ = c.SetDeadline(time.Now().Add(5 * time.Second))
					if tc := tls.Client(c, client); tc.Handshake() == nil {
						c = tc
					}
				}
				for j := range 3 {
					_, _ = c.Write([]byte(request("OPTIONS", fmt.Sprint(k, i, j), 100)))
				}
				if i%2 == 0 {
					_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
					_, _ = c.Read(make([]byte, 100))
				}
				_ = c.Close()
			}
		})
	}
	peers.Wait()
	for deadline := time.Now().Add(10 * time.Second); tr.Stats().Connections > 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are left", tr.Stats().Connections)
		}
	}
	tr.conns.mu.Lock()
	defer tr.conns.mu.Unlock()
	if len(tr.conns.perIP) != 0 || len(tr.conns.byRemote) != 0 {
		t.Errorf("entries are left: %v, %v", tr.conns.perIP, tr.conns.byRemote)
	}
}
