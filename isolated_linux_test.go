package tandem

import (
	"testing"

	"tandem/internal/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }
