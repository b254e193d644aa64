//go:build !linux || !(amd64 || arm64) || static

package codec

import "errors"

// openOpus is for systems that the library is not called on, and for a binary that must need no library at all (-tags static).
func openOpus(string) (*libopus, error) {
	return nil, errors.New("this binary was built without it")
}

// opusCalls have nothing to call.
type (
	opusCalls struct{}
	frame     struct{}
)

func (*opusCalls) encoderSize() int                                   { return 0 }
func (*opusCalls) decoderSize() int                                   { return 0 }
func (*opusCalls) encoderInit(*frame, []uint64, int) int              { return -1 }
func (*opusCalls) decoderInit(*frame, []uint64, int) int              { return -1 }
func (*opusCalls) encoderSet(*frame, []uint64, int, int) int          { return -1 }
func (*opusCalls) encode(*frame, []uint64, []int16, []byte) int       { return -1 }
func (*opusCalls) decode(*frame, []uint64, []byte, []int16, bool) int { return -1 }
