//go:build !linux || portable

package rtpengine

import "errors"

func (e *Engine) steer() (end func(), lacks string, err error) {
	return nil, "", errors.New("steering needs Linux")
}
