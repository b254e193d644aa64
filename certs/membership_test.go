package certs

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// joined makes a cluster with a second node, as the cluster's port does it.
func joined(t *testing.T) (first, second *Membership) {
	t.Helper()
	key := [32]byte{1}
	first, err := FoundCluster(t.TempDir(), "n1", key, nil)
	if err != nil {
		t.Fatal(err)
	}
	wish, err := NewMembershipWish("whatever it likes to be called")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := first.Certify(wish.Request, "n2", 7)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := first.AuthorityKey()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := wish.Keep(dir, cert, first.Root(), authority, key); err != nil {
		t.Fatal(err)
	}
	second, err = OpenMembership(dir, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	return first, second
}

// meet runs a handshake between two nodes and returns what each end says about it.
func meet(client, server *Membership) (tls.ConnectionState, error, error) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	served := make(chan error, 1)
	go func() {
		err := tls.Server(b, server.TLS()).Handshake()
		b.SetDeadline(time.Now())
		served <- err
	}()
	c := tls.Client(a, client.TLS())
	err := c.Handshake()
	if err != nil {
		a.Close()
	}
	return c.ConnectionState(), err, <-served
}

func TestNodesOfOneClusterKnowEachOtherByNameAndEpoch(t *testing.T) {
	first, second := joined(t)
	if second.Node() != "n2" || second.Epoch() != 7 {
		t.Errorf("second is %s of epoch %d", second.Node(), second.Epoch())
	}
	for _, m := range [][2]*Membership{{first, second}, {second, first}} {
		state, err, served := meet(m[0], m[1])
		if err != nil || served != nil {
			t.Fatalf("%s to %s: %v, %v", m[0].Node(), m[1].Node(), err, served)
		}
		node, epoch, err := m[0].Peer(state.PeerCertificates[0])
		if err != nil || node != m[1].Node() || epoch != m[1].Epoch() || state.Version != tls.VersionTLS13 {
			t.Errorf("got %s %d %v, TLS %x", node, epoch, err, state.Version)
		}
	}
}

func TestNodesOfDifferentClustersRefuseEachOther(t *testing.T) {
	ours, _ := joined(t)
	theirs, _ := joined(t)
	if _, err, served := meet(ours, theirs); err == nil && served == nil {
		t.Error("two clusters met")
	}
	// A stranger whose authority calls itself the same way fails in the chain, whatever its URI says.
	if _, _, err := ours.Peer(theirs.current.Load().Leaf); err == nil {
		t.Error("the certificate of another cluster names a node of ours")
	}
}

func TestTheAuthorityIsOfNoUseWithoutTheAccountKey(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenMembership(dir, [32]byte{1}, nil); !errors.Is(err, ErrNotMember) {
		t.Errorf("an empty directory: %v", err)
	}
	if _, err := FoundCluster(dir, "n1", [32]byte{1}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenMembership(dir, [32]byte{2}, nil); err == nil || !strings.Contains(err.Error(), "auth.key_file") {
		t.Errorf("another key: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, membershipFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestANodeRenewsItsCertificateLongBeforeItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := joined(t)
		ctx := t.Context()
		go func() { _ = second.Run(ctx) }()
		before := second.NotAfter()
		time.Sleep(membershipLifetime - membershipRenew - time.Hour)
		if second.Renewals() != 0 {
			t.Error("renewed too early")
		}
		time.Sleep(3 * time.Hour)
		if second.Renewals() != 1 || !second.NotAfter().After(before) {
			t.Errorf("%d renewals, until %v", second.Renewals(), second.NotAfter())
		}
		if _, err, served := meet(first, second); err != nil || served != nil {
			t.Errorf("after the renewal: %v, %v", err, served)
		}
		again, err := OpenMembership(filepath.Dir(second.path), [32]byte{1}, nil)
		if err != nil || again.NotAfter() != second.NotAfter() || again.Epoch() != 7 {
			t.Errorf("after a restart: %v", err)
		}
	})
}
