//go:build !linux || portable

package rtpengine

import (
	"context"
	"errors"
	"sync/atomic"
)

// bypass is nothing here: packets never go past the shard.
type bypass struct{ why atomic.Uint32 }

type bypasser struct{ flows int }

func (e *Engine) openKernel() (*bypasser, error) {
	return nil, errors.New("the kernel tier needs Linux")
}

func (e *Engine) keepBypass(context.Context, *bypasser) {}

func (*bypasser) Close() {}

func (*bypasser) stats() []InterfaceStats { return nil }

func (l *leg) withdraw(*relay) {}

func (l *leg) returned(*relay) {}

func (l *leg) bypassed() bool { return false }

func (l *leg) counts() counts { return l.shardCounts() }
