package dialplan

import (
	"fmt"
	"strings"
	"testing"
)

func TestCoverageNamesWhatNoTestGoesTo(t *testing.T) {
	sources := readSources(t, "testdata/good/office.hcl")
	sources[0].Text = append(sources[0].Text, `
test "in the morning" {
  at     = "2026-11-23 10:00"
  call   = { from = "+447700900456", to = "+442079460000" }
  given  = { "ring.sales" = 486 }
  expect = [ring.sales, reject.closed]
}
test "alice is busy" {
  at     = "2026-11-23 10:00"
  call   = { from = user.dave, to = "201" }
  given  = { "user.alice" = 486 }
  expect = [user.alice, user.bob]
}
`...)
	c := compiled(t, sources...).Coverage()
	var b strings.Builder
	for _, m := range c.Missed {
		fmt.Fprintf(&b, "%s: %s\n", m.At, m.Text)
	}
	fmt.Fprintf(&b, "%d of %d nodes, %d of %d ways\n", c.NodesReached, c.Nodes, c.WaysTaken, c.Ways)
	golden(t, "testdata/coverage.golden", b.String())
}
