// Package interop proves a Tandem node against phones nobody here wrote:
// baresip, linphonec and sipp, as Debian packages them, and JsSIP in Chromium.
//
// Everything lives in tests behind the build tag interop, because it needs
// those programs and real sockets and clocks:
//
//	go test -tags interop ./internal/interop/... -count=1
//
// Each test owns a node: the binary is built once, started as `tandem demo` on
// a loopback address of its own with a temporary data directory, and stopped
// by its process id. Phones need neither a sound card nor a display: they play
// a tone of their own from a file and record what they hear, and the test
// looks for the other side's tone in the recording's spectrum.
//
// The browser opens a page that the test itself serves; it takes the test's
// commands from there and tells it what happens. Nothing but loopback is asked.
//
// TANDEM_BIN names a binary to test instead of building one. A missing peer
// program skips its tests with the name of the Debian package; with CI=true it
// fails them.
package interop
