package pbx

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// promptsAt is a table of prompts that a test speaks to as the log does.
type promptsAt struct {
	*testing.T
	*Prompts
	now    time.Time
	played []string // by the plan in force
}

func newPromptsAt(t *testing.T) *promptsAt {
	p := &promptsAt{T: t, now: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)}
	p.Prompts = NewPrompts(func(name string) []string {
		if slices.Contains(p.played, name) {
			return []string{"menu.main (acme.hcl:3:10)"}
		}
		return nil
	})
	return p
}

func (p *promptsAt) commands(name string, wav []byte) [][]byte {
	return p.StoreCommands(Prompt{Name: name, Length: time.Second, Rate: 16000, Author: "carol", Time: p.now}, wav)
}

// upload gives the last outcome.
func (p *promptsAt) upload(name string, wav []byte) (out *PromptOutcome) {
	for _, cmd := range p.commands(name, wav) {
		if out = p.Apply(cmd).(*PromptOutcome); out.Err != nil {
			break
		}
	}
	return out
}

func (p *promptsAt) state() []byte {
	p.Helper()
	write, err := p.Snapshot()
	if err != nil {
		p.Fatal(err)
	}
	var b bytes.Buffer
	if err := write(&b); err != nil {
		p.Fatal(err)
	}
	return b.Bytes()
}

func noise(seed uint64, n int) []byte {
	r, b := rand.New(rand.NewPCG(seed, 1)), make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestAPromptIsThereWhenItHasComeWhole(t *testing.T) {
	p := newPromptsAt(t)
	long := noise(1, 3*promptPart/2)
	cmds := p.commands("acme/welcome", long)
	if len(cmds) != 2 {
		t.Fatalf("%d parts", len(cmds))
	}
	p.Apply(cmds[0])
	if _, _, ok := p.Sound("acme/welcome"); ok {
		t.Error("half a prompt can be played")
	}
	p.Apply(cmds[0]) // its outcome was not known
	restored := newPromptsAt(t)
	if err := restored.Restore(bytes.NewReader(p.state())); err != nil || !bytes.Equal(restored.state(), p.state()) {
		t.Fatalf("restored in the middle of an upload: %v", err)
	}
	for _, q := range []*promptsAt{p, restored} {
		if out := q.Apply(cmds[1]).(*PromptOutcome); out.Err != nil || out.Unchanged || out.Prompt.Name != "acme/welcome" {
			t.Errorf("the last part: %+v", out)
		}
		if wav, sum, ok := q.Sound("acme/welcome"); !ok || !bytes.Equal(wav, long) || len(sum) != 64 {
			t.Errorf("%d bytes, sum %q, %v", len(wav), sum, ok)
		}
		if out := q.upload("acme/welcome", long); out.Err != nil || !out.Unchanged {
			t.Errorf("the same again: %+v", out)
		}
		if st := q.Stats(); st.Prompts != 1 || st.Bytes != len(long) || st.Uploads != 0 {
			t.Errorf("%+v", st)
		}
	}
	if !bytes.Equal(restored.state(), p.state()) {
		t.Error("two nodes hold different states")
	}
	short := noise(2, 100)
	if out := p.upload("acme/welcome", short); out.Err != nil || out.Unchanged {
		t.Errorf("another sound: %+v", out)
	}
	if wav, _, _ := p.Sound("acme/welcome"); !bytes.Equal(wav, short) {
		t.Error("the old sound is still there")
	}
}

func TestAPartThatIsMissingIsNoticed(t *testing.T) {
	p := newPromptsAt(t)
	cmds := p.commands("acme/a", noise(1, 3*promptPart))
	p.Apply(cmds[0])
	if out := p.Apply(cmds[2]).(*PromptOutcome); !errors.Is(out.Err, errPromptParts) {
		t.Errorf("got %+v", out)
	}
	if st := p.Stats(); st.Uploads != 0 || st.Prompts != 0 || st.Refused != 1 {
		t.Errorf("%+v", st)
	}
}

func TestAPromptThatIsPlayedStays(t *testing.T) {
	p := newPromptsAt(t)
	p.upload("acme/welcome", noise(1, 10))
	p.played = []string{"acme/welcome"}
	out := p.Apply(p.RemoveCommand("acme/welcome")).(*PromptOutcome)
	var used *PromptInUseError
	if !errors.As(out.Err, &used) || !strings.Contains(out.Err.Error(), "menu.main (acme.hcl:3:10)") {
		t.Errorf("got %v", out.Err)
	}
	p.played = nil
	if out := p.Apply(p.RemoveCommand("acme/welcome")).(*PromptOutcome); out.Err != nil || len(p.List("")) != 0 || p.Stats().Bytes != 0 {
		t.Errorf("removed: %+v, left %v", out, p.List(""))
	}
	if out := p.Apply(p.RemoveCommand("acme/welcome")).(*PromptOutcome); !errors.Is(out.Err, ErrNoPrompt) {
		t.Errorf("removed again: %v", out.Err)
	}
}

func TestARoomFullOfPromptsRefusesOneMore(t *testing.T) {
	p := newPromptsAt(t)
	for i := range TenantPromptBytes / PromptBytes {
		if out := p.upload(fmt.Sprint("acme/", i), noise(uint64(i), PromptBytes)); out.Err != nil {
			t.Fatal(out.Err)
		}
	}
	if out := p.upload("acme/more", noise(9, 10)); !errors.Is(out.Err, ErrPromptRoom) || !strings.Contains(out.Err.Error(), "tenant acme") {
		t.Errorf("one more: %v", out.Err)
	}
	if out := p.upload("acme/0", noise(10, PromptBytes)); out.Err != nil {
		t.Errorf("in place of another: %v", out.Err)
	}
	if out := p.upload("other/more", noise(9, 10)); out.Err != nil {
		t.Errorf("of another tenant: %v", out.Err)
	}
	if out := p.upload("acme/big", noise(9, PromptBytes+1)); !errors.Is(out.Err, ErrPromptRoom) {
		t.Errorf("too big: %v", out.Err)
	}
	for _, name := range []string{"welcome", "acme/a/b", "acme/..", "../etc", "/etc/passwd", "acme/a.wav", "acme/", "acme/a b", "acme/" + strings.Repeat("x", 300)} {
		if out := p.upload(name, noise(1, 10)); !errors.Is(out.Err, errPromptName) {
			t.Errorf("%q: %v", name, out.Err)
		}
	}
}

func TestUploadsThatWereBrokenOffMakeRoom(t *testing.T) {
	p := newPromptsAt(t)
	for i := range maxPromptUploads {
		p.Apply(p.commands(fmt.Sprint("acme/", i), noise(uint64(i), 2*promptPart))[0])
	}
	if out := p.upload("acme/small", noise(1, 10)); !errors.Is(out.Err, ErrPromptsBusy) {
		t.Errorf("while others upload: %v", out.Err)
	}
	p.now = p.now.Add(promptUploadIdle)
	if out := p.upload("acme/small", noise(1, 10)); out.Err != nil {
		t.Errorf("a minute later: %v", out.Err)
	}
	if st := p.Stats(); st.Uploads != maxPromptUploads-1 || st.Prompts != 1 {
		t.Errorf("%+v", st)
	}
}

func TestADamagedSnapshotOfPromptsIsRefused(t *testing.T) {
	p := newPromptsAt(t)
	p.upload("acme/a", noise(1, 1000))
	state := p.state()
	for n := 1; n < len(state); n += 7 {
		q := newPromptsAt(t)
		if err := q.Restore(bytes.NewReader(state[:n])); err == nil && n != len(promptsMagic) {
			t.Errorf("cut at %d of %d: taken, with %d prompts", n, len(state), len(q.List("")))
		}
	}
	if err := newPromptsAt(t).Restore(strings.NewReader("")); err != nil {
		t.Errorf("of a program that knew none: %v", err)
	}
}
