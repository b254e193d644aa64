package cluster

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// talkTo says something as a stranger and returns what comes back until the connection is closed.
func talkTo(t *testing.T, from Network, to string, say []byte) []byte {
	t.Helper()
	conn, err := from.Dial(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := conn.Write(say); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the connection was held for a minute")
	}
	return answer
}

func TestAStrangerOnTheClusterPortIsToldNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginThree(t)
		stranger := hostNetwork{c.net.Host("10.9.0.1")}
		good, err := knock(knockMember, ticket{}, newKnockKeys(testKey).member)
		if err != nil {
			t.Fatal(err)
		}
		foreign, err := knock(knockMember, ticket{}, newKnockKeys([32]byte{8}).member)
		if err != nil {
			t.Fatal(err)
		}
		keys := newKnockKeys(testKey)
		old := ticket{until: time.Now().Unix() - 1}
		expired, err := knock(knockJoin, old, keys.secret(old))
		if err != nil {
			t.Fatal(err)
		}
		noise := make([]byte, 4000)
		rand.Read(noise)
		twisted := append([]byte(nil), good...)
		twisted[30]++
		before := c.nodes[0].Status().Port
		says := map[string][]byte{
			"nothing": nil, "a browser": []byte("GET / HTTP/1.1\r\nHost: n1\r\n\r\n" + strings.Repeat("x", 100)), "noise": noise, "half a knock": good[:40],
			"a knock of another cluster": foreign, "a twisted knock": twisted, "a token that has expired": expired,
		}
		for name, say := range says {
			if answer := talkTo(t, stranger, address(0)+":7000", say); len(answer) > 0 {
				t.Errorf("%s was answered with %d bytes", name, len(answer))
			}
		}
		after := c.nodes[0].Status().Port
		if got := after.Strangers - before.Strangers; got != uint64(len(says)) {
			t.Errorf("%d strangers were counted, want %d", got, len(says))
		}
	})
}

func TestACertificateOfAnotherAuthorityGetsNowhereEvenWithTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginThree(t)
		foreign := newAuthority(t).member(t, "n2", 1)
		p := newPort(Config{Identity: foreign, Key: testKey, Network: hostNetwork{c.net.Host("10.9.0.1")}})
		if _, err := p.askOnce(t.Context(), address(0)+":7000", kindHello, []byte("{}")); err == nil {
			t.Error("it was answered")
		}
		// The same without looking at the server's certificate, as an attacker would.
		first, _ := knock(knockMember, ticket{}, p.keys.member)
		cfg := foreign.TLS()
		cfg.VerifyConnection, cfg.NextProtos = nil, []string{protoCall}
		conn, err := dialSecure(t.Context(), p.network, address(0)+":7000", first, cfg)
		if err == nil {
			_, err = converse(t.Context(), conn, kindHello, []byte("{}"))
		}
		if err == nil {
			t.Error("it was answered")
		}
		if got := c.nodes[0].Status().Port.Refused; got == 0 {
			t.Error("it was not counted")
		}
	})
}

// withCalls starts three nodes of which each answers and receives.
func withCalls(t *testing.T) (c *three, received func(i int) []string) {
	t.Helper()
	c = newThree(t, 1)
	var mu sync.Mutex
	got := make([][]string, 3)
	for i := range 3 {
		c.cfgs[i].Requests = map[string]Handler{
			"echo": func(_ context.Context, from string, payload []byte) ([]byte, error) {
				return []byte(from + ":" + string(payload)), nil
			},
			"busy": func(context.Context, string, []byte) ([]byte, error) { return nil, fmt.Errorf("no room: %w", ErrBusy) },
			"fail": func(context.Context, string, []byte) ([]byte, error) { panic("a mistake") },
			"wait": func(ctx context.Context, _ string, _ []byte) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() },
		}
		c.cfgs[i].Messages = map[string]Receiver{"note": func(from string, payload []byte) {
			mu.Lock()
			defer mu.Unlock()
			got[i] = append(got[i], from+":"+string(payload))
		}}
		c.nodes[i] = launch(t, c.cfgs[i])
	}
	for _, n := range c.nodes {
		if err := n.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return c, func(i int) []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), got[i]...)
	}
}

func TestNodesAskAndTellEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, received := withCalls(t)
		ctx := t.Context()
		answer, err := c.nodes[0].Call(ctx, "n2", "echo", []byte("hello"))
		if err != nil || string(answer) != "n1:hello" {
			t.Errorf("got %q, %v", answer, err)
		}
		large := strings.Repeat("x", MaxPayload-10)
		if answer, err := c.nodes[0].Call(ctx, "n3", "echo", []byte(large)); err != nil || len(answer) != len(large)+3 {
			t.Errorf("a large one: %d bytes, %v", len(answer), err)
		}
		for name, want := range map[string]error{"busy": ErrBusy, "unheard of": ErrNoHandler} {
			if _, err := c.nodes[0].Call(ctx, "n2", name, nil); !errors.Is(err, want) {
				t.Errorf("%s: got %v", name, err)
			}
		}
		if _, err := c.nodes[0].Call(ctx, "n2", "fail", nil); err == nil {
			t.Error("a handler that panics answered")
		}
		if _, err := c.nodes[0].Call(ctx, "n9", "echo", nil); !errors.Is(err, ErrNoNode) {
			t.Errorf("an unknown node: %v", err)
		}
		if _, err := c.nodes[0].Call(ctx, "n2", "echo", make([]byte, MaxPayload+1)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("too much: %v", err)
		}
		for i := range 1000 {
			if err := c.nodes[2].Send("n1", "note", fmt.Append(nil, i)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		notes := received(0)
		for i, note := range notes {
			if note != fmt.Sprintf("n3:%d", i) {
				t.Fatalf("note %d is %q", i, note)
			}
		}
		if len(notes) != 1000 {
			t.Errorf("%d notes arrived", len(notes))
		}
	})
}

func TestACallEndsWithItsContextAndWithTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := withCalls(t)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := c.nodes[0].Call(ctx, "n2", "wait", nil); !errors.Is(err, ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		ended := make(chan error)
		go func() {
			_, err := c.nodes[0].Call(t.Context(), "n2", "wait", nil)
			ended <- err
		}()
		synctest.Wait()
		c.nodes[1].stop()
		if err := <-ended; !errors.Is(err, ErrUnreachable) {
			t.Errorf("got %v", err)
		}
		if err := c.nodes[0].Send("n2", "note", nil); !errors.Is(err, ErrUnreachable) {
			t.Errorf("a note to a node that is down: %v", err)
		}
	})
}

func TestMoreRequestsThanOneNodeMayAskAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := withCalls(t)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var mu sync.Mutex
		busy := 0
		for range maxRequests + 10 {
			wg.Go(func() {
				if _, err := c.nodes[0].Call(ctx, "n2", "wait", nil); errors.Is(err, ErrBusy) {
					mu.Lock()
					busy++
					mu.Unlock()
				}
			})
		}
		time.Sleep(time.Second)
		cancel()
		wg.Wait()
		if busy != 10 {
			t.Errorf("%d were refused, want 10", busy)
		}
	})
}

func TestEveryNodeSeesWhoLivesAndWhoLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginThree(t)
		time.Sleep(2 * time.Second)
		lead := c.leader(t, -1)
		away := (lead + 1) % 3
		other := (lead + 2) % 3
		members, leader, changed := c.nodes[other].Watch()
		if leader != c.cfgs[lead].Node || len(members) != 3 {
			t.Fatalf("leader %q, members %+v", leader, members)
		}
		for i, m := range members {
			if m.Name != c.cfgs[i].Node || m.Health != Alive || !m.Voter || m.Self != (i == other) || m.Leader != (i == lead) || m.Program != "test" || !m.Ready || m.Behind != 0 {
				t.Errorf("member %+v", m)
			}
		}
		select {
		case <-changed:
			t.Error("something has changed though nothing has")
		default:
		}
		c.cut(away)
		start := time.Now()
		<-changed
		members, _, changed = c.nodes[other].Watch()
		if took := time.Since(start); members[away].Health != Suspect || took > 300*time.Millisecond {
			t.Errorf("%v after the cut: %+v", took, members[away])
		}
		<-changed
		if members, _, changed = c.nodes[other].Watch(); members[away].Health != Dead {
			t.Errorf("then: %+v", members[away])
		}
		c.heal()
		<-changed
		if members, _, _ = c.nodes[other].Watch(); members[away].Health != Alive {
			t.Errorf("after all: %+v", members[away])
		}
	})
}

// join takes a new machine into the cluster of c, as an operator would, and starts it.
func (c *three) join(t *testing.T, name string, token Token) (*node, error) {
	t.Helper()
	key, req := request(t)
	at := fmt.Sprintf("10.0.1.%d", len(c.hosts)+1)
	c.hosts = append(c.hosts, c.net.Host(at))
	host := hostNetwork{c.hosts[len(c.hosts)-1]}
	a, err := Join(t.Context(), host, token, nil, name, req)
	if err != nil {
		return nil, err
	}
	if string(a.Share) != "the secrets" {
		t.Errorf("share %q", a.Share)
	}
	cfg := Config{
		Node: name, Listen: at + ":7000", Network: host, Identity: c.authority.with(key, a.Certificate, a.Epoch), Key: testKey,
		Store: MemoryStore(), Seeds: a.Addresses,
	}
	c.cfgs = append(c.cfgs, cfg)
	return launch(t, cfg), nil
}

func TestANodeJoinsWithATokenCatchesUpAndVotes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t, 1)
		for i := range c.cfgs {
			c.cfgs[i].Share = func() ([]byte, error) { return []byte("the secrets"), nil }
		}
		c.cfgs[0].Voters = nil // n1 begins alone
		n1 := begin(t, c.cfgs[0])
		for i := range 500 {
			n1.set(t, "a", fmt.Sprint(i), strings.Repeat("x", 100))
		}
		token, err := n1.NewToken(time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if token, err = ParseToken(token.String()); err != nil {
			t.Fatal(err)
		}
		n4, err := c.join(t, "n4", token)
		if err != nil {
			t.Fatal(err)
		}
		if err := n4.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if _, changes := n4.a.state(); changes != 500 {
			t.Errorf("%d changes, want 500", changes)
		}
		members := n1.Members()
		if len(members) != 2 || members[1].Name != "n4" || !members[1].Voter || members[1].Health != Alive {
			t.Errorf("members %+v", members)
		}
		for what, wish := range map[string]struct {
			name  string
			token Token
			want  string
		}{
			"the same token again":    {"n5", token, "used already"},
			"a name that is in use":   {"n1", must(n1.NewToken(time.Hour)), "is a member"},
			"a name of another kind":  {"../n5", must(n1.NewToken(time.Hour)), "cannot be the name"},
			"a token that is too old": {"n5", Token{ticket: ticket{until: 1}, Addresses: token.Addresses}, "expired"},
			"a token that was made up": {
				"n5",
				Token{ticket: ticket{until: time.Now().Unix() + 60}, secret: make([]byte, ticketSecret), fingerprint: token.fingerprint, Addresses: token.Addresses},
				"closes the door",
			},
			"a token of another cluster": {
				"n5", Token{ticket: must(n1.NewToken(time.Hour)).ticket, secret: must(n1.NewToken(time.Hour)).secret, Addresses: token.Addresses}, "",
			},
		} {
			if _, err := c.join(t, wish.name, wish.token); err == nil || !strings.Contains(err.Error(), wish.want) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if _, err := n1.NewToken(30 * 24 * time.Hour); err == nil {
			t.Error("a token for a month was made")
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestANodeThatWasReplacedUnderItsNameIsFenced(t *testing.T) {
	r := newRoster()
	for _, cmd := range []rosterCommand{{Do: "hello", Node: "n2", Epoch: 1}, {Do: "remove", Node: "n2"}} {
		r.Apply(cmd.encode())
	}
	if err := r.admits(peer{"n2", 1}); !errors.Is(err, ErrFenced) {
		t.Errorf("a removed node: %v", err)
	}
	if epoch := r.Apply(enrolment("n2", ticket{until: 100}, nil, time.Unix(1, 0))); epoch != uint64(2) {
		t.Errorf("it was taken in again as %v", epoch)
	}
	if err, _ := r.Apply(rosterCommand{Do: "hello", Node: "n2", Epoch: 1}.encode()).(error); !errors.Is(err, ErrFenced) {
		t.Errorf("the old one says hello: %v", err)
	}
	if err := r.admits(peer{"n2", 1}); !errors.Is(err, ErrFenced) {
		t.Errorf("the old one: %v", err)
	}
	if err := r.admits(peer{"n2", 2}); err != nil {
		t.Errorf("the new one: %v", err)
	}
}

func FuzzKnock(f *testing.F) {
	good, _ := knock(knockMember, ticket{}, newKnockKeys(testKey).member)
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		newcomer, _, err := newKnockKeys(testKey).readKnock(strings.NewReader(string(b)), time.Unix(0, 0))
		if err == nil && (newcomer || string(b[:5]) != string(good[:5])) {
			t.Error("a knock without the secret was let in")
		}
	})
}

// TestTokensAreParsedWithoutHarm gives ParseToken what people paste.
func TestTokensAreParsedWithoutHarm(t *testing.T) {
	good := Token{secret: make([]byte, ticketSecret), Addresses: []string{"10.0.0.1:7000"}}.String()
	for _, text := range []string{"", "x", tokenPrefix, good[:len(good)/2], strings.ToUpper(good), tokenPrefix + strings.Repeat("A", 10_000)} {
		if _, err := ParseToken(text); err == nil {
			t.Errorf("%q was read", text)
		}
	}
	if got, err := ParseToken(" " + good + "\n"); err != nil || len(got.Addresses) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestTheClusterPortSpeaksTLS13Only(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginThree(t)
		host := hostNetwork{c.net.Host("10.9.0.1")}
		first, _ := knock(knockMember, ticket{}, newKnockKeys(testKey).member)
		cfg := c.authority.member(t, "n3", 1).TLS()
		cfg.MinVersion, cfg.MaxVersion, cfg.NextProtos = tls.VersionTLS12, tls.VersionTLS12, []string{protoCall}
		if _, err := dialSecure(t.Context(), host, address(0)+":7000", first, cfg); err == nil {
			t.Error("TLS 1.2 was accepted")
		}
	})
}
