package rtpengine

import (
	"runtime"
	"testing"
)

func TestEqualClocksAreOneTableAndLeaveWithTheirLastCall(t *testing.T) {
	var tables clockTables
	first := tables.share(&clocks{0: 8000, 101: 8000})
	if again := tables.share(&clocks{0: 8000, 101: 8000}); again != first {
		t.Error("equal clocks are two tables")
	}
	if other := tables.share(&clocks{0: 8000}); other == first || other[101] != 0 {
		t.Error("other clocks are the same table")
	}
	runtime.KeepAlive(first)
	count := func() int {
		tables.mu.Lock()
		defer tables.mu.Unlock()
		return len(tables.live)
	}
	for range 1000 { // the runtime's cleanups run in a goroutine of its own
		if count() == 0 {
			return
		}
		runtime.GC()
		runtime.Gosched()
	}
	t.Errorf("%d tables are kept for nobody", count())
}
