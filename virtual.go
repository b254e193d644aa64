package tandem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"tandem/configs"
	"tandem/internal/virtualip"
)

// virtualAddresses are those that this process has put on the interfaces of its machine. A file says which, so that the next process takes away
// what one has left that was killed: an address must not stay where nobody serves it.
type virtualAddresses struct {
	file string
	log  *slog.Logger

	mu     sync.Mutex
	ours   []virtualip.Address // what operators have put there is theirs to take away
	shared bool                // with a process before, which may go on with them
}

const (
	holderTime    = 200 * time.Millisecond // for another machine to say that it has an address
	holderPause   = time.Second
	announcements = 4
	announceEvery = 500 * time.Millisecond // the first time, then twice that and so on
)

func newVirtualAddresses(dir string, log *slog.Logger) *virtualAddresses {
	return &virtualAddresses{file: filepath.Join(dir, "virtual-addresses"), log: log}
}

// parseVirtual reads addresses that the configuration's checks have let pass.
func parseVirtual(list []string) (out []virtualip.Address) {
	for _, text := range list {
		if prefix, on, err := configs.VirtualAddress(text); err == nil {
			out = append(out, virtualip.Address{Prefix: prefix, Interface: on})
		}
	}
	return out
}

// begin takes away what a process before has left, at once: somebody else may have gone on with its addresses, and two must not answer for one.
// shared says that the process before still lives and this one takes its place: then nothing is taken away before inherit.
func (v *virtualAddresses) begin(shared bool) (err error) {
	if v.ours, err = v.left(); err != nil {
		return err
	}
	if v.shared = shared; shared {
		return nil
	}
	return v.keep(nil)
}

// start brings own addresses up. One that another machine answers for is waited for as long as ctx lasts: it is a survivor's, which gives it back.
func (v *virtualAddresses) start(ctx context.Context, own []virtualip.Address) error {
	for _, a := range own {
		if !v.shared {
			if err := v.vacant(ctx, a); err != nil {
				return err
			}
		}
		if err := v.raise(a); err != nil {
			return err
		}
		v.log.Info("virtual address is here", "address", a.String())
	}
	return nil
}

// keep takes away what a process before has left, but for own.
func (v *virtualAddresses) keep(own []virtualip.Address) error {
	v.mu.Lock()
	left := slices.Clone(v.ours)
	v.mu.Unlock()
	for _, a := range left {
		if slices.Contains(own, a) {
			continue
		}
		if err := v.lower(a); err != nil {
			return err
		}
		v.log.Info("a virtual address that a process before has left is taken away", "address", a.String())
	}
	return nil
}

// inherit is the end of sharing: the process before has given its place to this one.
func (v *virtualAddresses) inherit(own []virtualip.Address) {
	v.mu.Lock()
	v.shared = false
	v.mu.Unlock()
	if err := v.keep(own); err != nil {
		v.log.Error("a virtual address cannot be taken away; ip addr del does it", "error", err)
	}
}

// vacant waits until no other machine answers for an address.
func (v *virtualAddresses) vacant(ctx context.Context, a virtualip.Address) error {
	for first := true; ; first = false {
		by, err := a.Holder(holderTime)
		if err != nil || by == nil {
			return err
		}
		if first {
			v.log.Warn("another machine has a virtual address of this node; waiting until it gives it back", "address", a.String(), "machine", by.String())
			if err := v.lower(a); err != nil {
				return err
			}
		}
		select {
		case <-time.After(holderPause):
		case <-ctx.Done():
			return fmt.Errorf("cluster.virtual_addresses: %s is in use by the machine with the hardware address %s", a, by)
		}
	}
}

// raise puts an address on its interface. Nobody is told yet.
func (v *virtualAddresses) raise(a virtualip.Address) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if slices.Contains(v.ours, a) { // by a process before, or twice
		_, err := a.Add()
		return err
	}
	v.ours = append(v.ours, a)
	if err := v.save(); err != nil { // before: whatever becomes of this process, the next one knows
		return err
	}
	had, err := a.Add()
	if had || err != nil {
		v.ours = v.ours[:len(v.ours)-1]
		return errors.Join(err, v.save())
	}
	return nil
}

// lower takes an address away that we have put there.
func (v *virtualAddresses) lower(a virtualip.Address) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	at := slices.Index(v.ours, a)
	if at < 0 {
		return nil
	}
	if err := a.Remove(); err != nil {
		return err
	}
	v.ours = slices.Delete(v.ours, at, at+1)
	return v.save()
}

// end takes away all, unless another process goes on with them.
func (v *virtualAddresses) end() {
	v.mu.Lock()
	ours, shared := slices.Clone(v.ours), v.shared
	v.mu.Unlock()
	if shared {
		return
	}
	for _, a := range ours {
		if err := v.lower(a); err != nil {
			v.log.Error("a virtual address cannot be taken away; ip addr del does it", "address", a.String(), "error", err)
		}
	}
}

// announce tells the segment where addresses are now, more than once, for it may get lost. It returns with ctx at the latest.
func (v *virtualAddresses) announce(ctx context.Context, list []virtualip.Address) {
	pause := announceEvery
	for range announcements {
		for _, a := range list {
			if err := a.Announce(); err != nil {
				v.log.Warn("a virtual address cannot be announced", "address", a.String(), "error", err)
			}
		}
		select {
		case <-time.After(pause):
			pause *= 2
		case <-ctx.Done():
			return
		}
	}
}

// left are the addresses that a process before had.
func (v *virtualAddresses) left() ([]virtualip.Address, error) {
	text, err := os.ReadFile(v.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return parseVirtual(strings.Fields(string(text))), nil
}

// save writes the file; mu is held.
func (v *virtualAddresses) save() error {
	if len(v.ours) == 0 {
		err := os.Remove(v.file)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	}
	var text bytes.Buffer
	for _, a := range v.ours {
		text.WriteString(a.String() + "\n")
	}
	next := v.file + ".new"
	if err := os.WriteFile(next, text.Bytes(), 0o600); err != nil {
		return err
	}
	return os.Rename(next, v.file)
}
