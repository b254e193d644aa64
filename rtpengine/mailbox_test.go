//go:build linux && !portable

package rtpengine

import (
	"testing"
	"testing/synctest"
)

func TestFullMailboxMakesSignallingWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m mailbox
		m.init()
		for range mailboxSize {
			if !m.put(func(*shard) {}) {
				t.Fatal("refused")
			}
		}
		accepted := false
		go func() { accepted = m.put(func(*shard) {}) }()
		synctest.Wait()
		if accepted || m.waits != 1 {
			t.Fatalf("accepted %v, waits %d", accepted, m.waits)
		}
		orders := m.empty()
		m.done(orders)
		synctest.Wait()
		if !accepted || len(orders) != mailboxSize {
			t.Errorf("accepted %v, %d orders", accepted, len(orders))
		}
		m.close()
		if m.put(func(*shard) {}) {
			t.Error("a closed mailbox accepted")
		}
	})
}
