package cluster

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

func TestRaftSpeaksThroughSlogAtOurLevels(t *testing.T) {
	var out bytes.Buffer
	handler := slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo})
	peers, alone := newRaftLog(slog.New(handler), false), newRaftLog(slog.New(handler), true)
	peers.Named("net").With("peer", "n2").Warn("no contact", "servers", hclog.Fmt("%d of %d", 1, 3))
	alone.Warn("heartbeat timeout reached")
	alone.Info("entering leader state")
	alone.Error("failed to commit logs")
	got := out.String()
	for _, want := range []string{"level=INFO msg=\"raft.net: no contact\" peer=n2 servers=\"1 of 3\"", "level=ERROR msg=\"raft: failed to commit logs\""} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if n := strings.Count(got, "\n"); n != 2 {
		t.Errorf("%d lines, want 2:\n%s", n, got)
	}
}
