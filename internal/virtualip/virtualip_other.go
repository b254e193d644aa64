//go:build !linux

package virtualip

import (
	"errors"
	"net"
	"time"
)

var errSystem = errors.New("virtual addresses want Linux")

// Add puts the address on its interface.
func (a Address) Add() (had bool, err error) { return false, errSystem }

// Remove takes the address off its interface.
func (a Address) Remove() error { return nil }

// Announce tells everybody on the segment that the address is here now.
func (a Address) Announce() error { return errSystem }

// Holder asks the segment who has the address.
func (a Address) Holder(time.Duration) (net.HardwareAddr, error) { return nil, errSystem }
