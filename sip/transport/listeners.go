package transport

import "sync/atomic"

// listeners are all listeners by their number in a Flow. A place is never given to another address: what was sent or kept with a number means
// the same as long as the process lives.
type listeners struct {
	list atomic.Pointer[[]*listener]
}

// all is the table of the moment. It is never written to.
func (ls *listeners) all() []*listener { return *ls.list.Load() }

func (ls *listeners) store(list []*listener) { ls.list.Store(&list) }
