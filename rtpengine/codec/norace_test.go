//go:build !race

package codec

// raceDetector is 1 when the tests run under it.
const raceDetector = 0.0
