//go:build race

package codec

// raceDetector is 1 when the tests run under it.
const raceDetector = 1.0
