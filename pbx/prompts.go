package pbx

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tandem/dialplan"
)

// PromptsMachine is the name under which Prompts stand in the log, PromptsSince the version of its commands that brought them.
const (
	PromptsMachine = "prompts"
	PromptsSince   = 4
)

// Bounds of what is uploaded, in octets as it is kept. What does not fit is refused. They are the same on all nodes, or their states would differ.
const (
	PromptBytes       = 4 << 20 // of one: two minutes at 16 kHz, four at 8 kHz
	TenantPromptBytes = 32 << 20
	AllPromptBytes    = 128 << 20
	maxPrompts        = 10_000

	promptPart       = 256 << 10 // of one item of the log: what stands behind it waits
	maxPromptUploads = 16        // that have not come whole
	promptUploadIdle = time.Minute
)

// What the log refuses; the texts are for operators.
var (
	ErrNoPrompt    = errors.New("there is no such prompt")
	ErrPromptRoom  = errors.New("there is no room for the prompt")
	ErrPromptsBusy = errors.New("too many prompts are being uploaded; try again in a minute")
	errPromptParts = errors.New("parts of the prompt are missing; upload it again")
	errPromptName  = errors.New("this is no name of a prompt: write TENANT/NAME of letters, digits or one of . _ + * # -, without the ending of a file")
)

// PromptInUseError: the dialplan in force names it, nothing was changed.
type PromptInUseError struct {
	Name   string
	Places []string // where, as file:line:col and the node
}

func (e *PromptInUseError) Error() string {
	return fmt.Sprintf("%s is played by the dialplan in force: %s", e.Name, strings.Join(e.Places, ", "))
}

// Prompt is a sound that was uploaded. It is never changed in place.
type Prompt struct {
	Name   string        `json:"name" doc:"As play in a dialplan has it: tenant/name."`
	Length time.Duration `json:"length_ns"`
	Rate   int           `json:"rate" doc:"Samples a second."`
	Bytes  int           `json:"bytes" doc:"Of the WAV file that is kept."`
	Sum    string        `json:"sha256"`
	Author string        `json:"author"`
	Time   time.Time     `json:"time" doc:"When it was uploaded."`
}

// Tenant is whose it is.
func (p *Prompt) Tenant() string {
	tenant, _, _ := strings.Cut(p.Name, "/")
	return tenant
}

// Prompts are the sounds that operators have uploaded: a machine of the replicated log, with the sounds in it, so that all nodes have a prompt at the
// place of the log where a plan may begin to name it. DESIGN.md of the mailboxes says why messages are kept otherwise. Apply, Snapshot and Restore are
// the log's; everything else may be called from any goroutine.
type Prompts struct {
	used func(name string) []string // where the plan in force names a prompt

	mu      sync.RWMutex
	kept    map[string]*keptPrompt
	bytes   int
	uploads map[promptUploadKey]*promptUpload

	stored, removed, refused atomic.Uint64
}

type keptPrompt struct {
	Prompt
	wav []byte
}

// promptUploadKey: who uploads the same sound under the same name at the same time, goes on with what is there.
type promptUploadKey struct{ name, sum string }

// promptUpload is a prompt of which not all parts have come.
type promptUpload struct {
	promptPartHead
	wav []byte
}

// promptPartHead says what a part is of. Every part has it, so that they are all alike.
type promptPartHead struct {
	Prompt Prompt    `json:"prompt"`
	Part   int       `json:"part"` // from 0; of an upload: how many have come
	At     time.Time `json:"at"`   // the proposer's clock
	Staged bool      `json:"staged,omitempty"`
}

// PromptOutcome is what became of a command.
type PromptOutcome struct {
	Prompt    Prompt // that is stored, or was removed
	Unchanged bool   // it was there already
	Err       error  // nil, or one of those above: nothing was changed
}

const (
	promptCommandVersion = 1
	promptStore          = 1 // a part of a prompt: uv length of JSON, JSON of promptPartHead, octets
	promptRemove         = 2 // JSON of a Prompt, of which the name counts

	promptsMagic = "tandem/prompts 1\n"
)

// NewPrompts makes an empty table. used names the places where the dialplan in force plays a prompt; it is asked in Apply, so it must depend on nothing
// but the same log. nil: nowhere.
func NewPrompts(used func(name string) []string) *Prompts {
	if used == nil {
		used = func(string) []string { return nil }
	}
	return &Prompts{used: used, kept: map[string]*keptPrompt{}, uploads: map[promptUploadKey]*promptUpload{}}
}

// StoreCommands are the commands that store a prompt, to be proposed in their order; the outcome of the last one counts, and so does that of the first that
// fails. Proposing them again does no harm. p needs Name, Length, Rate, Author and Time.
func (*Prompts) StoreCommands(p Prompt, wav []byte) (cmds [][]byte) {
	sum := sha256.Sum256(wav)
	p.Sum, p.Bytes, p.Time = hex.EncodeToString(sum[:]), len(wav), p.Time.UTC()
	for part := range slices.Chunk(wav, promptPart) {
		head, _ := json.Marshal(promptPartHead{Prompt: p, Part: len(cmds), At: p.Time}) // plain fields
		cmd := binary.AppendUvarint([]byte{promptCommandVersion, promptStore}, uint64(len(head)))
		cmds = append(cmds, append(append(cmd, head...), part...))
	}
	return cmds
}

// RemoveCommand is the command that removes a prompt.
func (*Prompts) RemoveCommand(name string) []byte {
	text, _ := json.Marshal(Prompt{Name: name}) // plain fields
	return append([]byte{promptCommandVersion, promptRemove}, text...)
}

// Apply carries out one command and returns a *PromptOutcome. It panics on a command that this program does not know.
func (p *Prompts) Apply(cmd []byte) any {
	if len(cmd) < 2 || cmd[0] != promptCommandVersion {
		panic("pbx: the log holds a command about prompts that this program does not know: upgrade it")
	}
	out := &PromptOutcome{}
	switch cmd[1] {
	case promptStore:
		head, wav, err := readPromptPart(cmd[2:])
		if err != nil {
			panic(fmt.Errorf("pbx: the log holds a damaged prompt: %w", err))
		}
		*out = p.take(head, wav)
	case promptRemove:
		var which Prompt
		if err := json.Unmarshal(cmd[2:], &which); err != nil {
			panic(fmt.Errorf("pbx: the log holds a damaged command about prompts: %w", err))
		}
		*out = p.remove(which.Name)
	default:
		panic(fmt.Sprintf("pbx: the log holds a command %d about prompts that this program does not know: upgrade it", cmd[1]))
	}
	if out.Err != nil {
		p.refused.Add(1)
	}
	return out
}

func readPromptPart(b []byte) (head promptPartHead, wav []byte, err error) {
	n, width := binary.Uvarint(b)
	if width <= 0 || n > uint64(len(b)-width) {
		return head, nil, errors.New("its head is longer than the command")
	}
	b = b[width:]
	return head, b[n:], json.Unmarshal(b[:n], &head)
}

// take adds a part. When it is the last one the prompt is there, in place of the one that had its name.
func (p *Prompts) take(head promptPartHead, wav []byte) PromptOutcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	name, key := head.Prompt.Name, promptUploadKey{head.Prompt.Name, head.Prompt.Sum}
	if old := p.kept[name]; old != nil && old.Sum == head.Prompt.Sum {
		delete(p.uploads, key)
		return PromptOutcome{Prompt: old.Prompt, Unchanged: true}
	}
	if err := p.fits(head.Prompt); err != nil {
		delete(p.uploads, key)
		return PromptOutcome{Err: err}
	}
	up := p.uploads[key]
	if up == nil {
		if err := p.admit(head.At); err != nil {
			return PromptOutcome{Err: err}
		}
		up = &promptUpload{promptPartHead: promptPartHead{Prompt: head.Prompt, Staged: true}, wav: make([]byte, 0, head.Prompt.Bytes)}
		p.uploads[key] = up
	}
	switch {
	case head.Part < up.Part: // once more
		return PromptOutcome{Prompt: up.Prompt}
	case head.Part > up.Part, len(up.wav)+len(wav) > up.Prompt.Bytes, len(wav) == 0:
		delete(p.uploads, key)
		return PromptOutcome{Err: errPromptParts}
	}
	up.Part, up.At = up.Part+1, head.At
	if up.wav = append(up.wav, wav...); len(up.wav) < up.Prompt.Bytes {
		return PromptOutcome{Prompt: up.Prompt}
	}
	delete(p.uploads, key)
	if sum := sha256.Sum256(up.wav); hex.EncodeToString(sum[:]) != up.Prompt.Sum {
		return PromptOutcome{Err: errPromptParts}
	}
	p.put(&keptPrompt{up.Prompt, up.wav})
	p.stored.Add(1)
	return PromptOutcome{Prompt: up.Prompt}
}

// fits says whether there is room for a prompt, in place of the one that has its name.
func (p *Prompts) fits(fresh Prompt) error {
	switch {
	case !dialplan.IsPromptName(fresh.Name):
		return errPromptName
	case fresh.Bytes <= 0 || fresh.Bytes > PromptBytes:
		return fmt.Errorf("%w: it has %d bytes, %d are the most", ErrPromptRoom, fresh.Bytes, PromptBytes)
	}
	old := p.kept[fresh.Name]
	all, tenants := p.bytes+fresh.Bytes, fresh.Bytes
	for _, k := range p.kept {
		if k.Tenant() == fresh.Tenant() {
			tenants += k.Bytes
		}
	}
	if old != nil {
		all, tenants = all-old.Bytes, tenants-old.Bytes
	}
	switch {
	case tenants > TenantPromptBytes:
		return fmt.Errorf("%w: those of tenant %s would have %d bytes, %d are the most; remove what is not played any more", ErrPromptRoom, fresh.Tenant(), tenants, TenantPromptBytes)
	case all > AllPromptBytes:
		return fmt.Errorf("%w: those of all tenants would have %d bytes, %d are the most; remove what is not played any more", ErrPromptRoom, all, AllPromptBytes)
	case old == nil && len(p.kept) >= maxPrompts:
		return fmt.Errorf("%w: there are %d already; remove what is not played any more", ErrPromptRoom, len(p.kept))
	}
	return nil
}

// admit makes room for one more upload: one that was broken off is forgotten, the longest idle first.
func (p *Prompts) admit(now time.Time) error {
	if len(p.uploads) < maxPromptUploads {
		return nil
	}
	idle := slices.MinFunc(p.staged(), func(a, b *promptUpload) int { return a.At.Compare(b.At) })
	if now.Sub(idle.At) < promptUploadIdle {
		return ErrPromptsBusy
	}
	delete(p.uploads, promptUploadKey{idle.Prompt.Name, idle.Prompt.Sum})
	return nil
}

// staged are the uploads in an order that is the same on all nodes.
func (p *Prompts) staged() []*promptUpload {
	return slices.SortedFunc(maps.Values(p.uploads), func(a, b *promptUpload) int {
		return cmp.Or(strings.Compare(a.Prompt.Name, b.Prompt.Name), strings.Compare(a.Prompt.Sum, b.Prompt.Sum))
	})
}

func (p *Prompts) put(k *keptPrompt) {
	if old := p.kept[k.Name]; old != nil {
		p.bytes -= old.Bytes
	}
	p.kept[k.Name] = k
	p.bytes += k.Bytes
}

func (p *Prompts) remove(name string) PromptOutcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.kept[name]
	if old == nil {
		return PromptOutcome{Err: ErrNoPrompt}
	}
	if places := p.used(name); len(places) > 0 {
		return PromptOutcome{Err: &PromptInUseError{Name: name, Places: places}}
	}
	delete(p.kept, name)
	p.bytes -= old.Bytes
	p.removed.Add(1)
	return PromptOutcome{Prompt: old.Prompt}
}

// Sound gives a prompt as a WAV file, and its checksum (rtpengine.Config.Uploaded). It must not be changed.
func (p *Prompts) Sound(name string) (wav []byte, sum string, ok bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if k := p.kept[name]; k != nil {
		return k.wav, k.Sum, true
	}
	return nil, "", false
}

// List gives the prompts of a tenant, or with "" those of all, by their names.
func (p *Prompts) List(tenant string) []Prompt {
	p.mu.RLock()
	defer p.mu.RUnlock()
	all := []Prompt{}
	for _, k := range p.kept {
		if tenant == "" || k.Tenant() == tenant {
			all = append(all, k.Prompt)
		}
	}
	slices.SortFunc(all, func(a, b Prompt) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// PromptStats are counters since the start and gauges of now.
type PromptStats struct {
	Stored, Removed, Refused uint64 // Refused: uploads and removals that changed nothing
	Prompts, Bytes           int
	Uploads                  int // of which not all has come
}

// Stats may be called from any goroutine.
func (p *Prompts) Stats() PromptStats {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return PromptStats{
		Stored: p.stored.Load(), Removed: p.removed.Load(), Refused: p.refused.Load(), Prompts: len(p.kept), Bytes: p.bytes, Uploads: len(p.uploads),
	}
}

// Snapshot gives a function that writes the prompts of now: magic, and for each a line of JSON (promptPartHead) and as many octets as have come.
func (p *Prompts) Snapshot() (func(io.Writer) error, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var all []promptUpload
	for _, name := range slices.Sorted(maps.Keys(p.kept)) {
		k := p.kept[name]
		all = append(all, promptUpload{promptPartHead{Prompt: k.Prompt}, k.wav})
	}
	for _, up := range p.staged() {
		all = append(all, *up)
	}
	return func(w io.Writer) error {
		out := bufio.NewWriterSize(w, 64<<10)
		_, _ = out.WriteString(promptsMagic) // an error stays until Flush
		for _, up := range all {
			head, err := json.Marshal(up.promptPartHead)
			if err != nil {
				return err
			}
			head = binary.AppendUvarint(append(head, '\n'), uint64(len(up.wav)))
			if _, err := out.Write(append(head, up.wav...)); err != nil {
				return err
			}
		}
		return out.Flush()
	}, nil
}

// Restore replaces all prompts by those of a snapshot. An empty one, of a program that knew none, has none.
func (p *Prompts) Restore(r io.Reader) error {
	fresh := NewPrompts(nil)
	if err := fresh.read(bufio.NewReaderSize(r, 64<<10)); err != nil {
		return fmt.Errorf("pbx: restore prompts: %w", err)
	}
	p.mu.Lock()
	p.kept, p.bytes, p.uploads = fresh.kept, fresh.bytes, fresh.uploads
	p.mu.Unlock()
	return nil
}

func (p *Prompts) read(in *bufio.Reader) error {
	if _, err := in.Peek(1); err == io.EOF {
		return nil
	}
	magic := make([]byte, len(promptsMagic))
	if _, err := io.ReadFull(in, magic); err != nil || string(magic) != promptsMagic {
		return errors.New("this is not a snapshot of prompts, or of another version")
	}
	for {
		line, err := in.ReadSlice('\n')
		if err == io.EOF && len(line) == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("a line that cannot be read: %w", err)
		}
		var up promptUpload
		if err := json.Unmarshal(bytes.TrimSpace(line), &up.promptPartHead); err != nil {
			return err
		}
		n, err := binary.ReadUvarint(in)
		if err != nil || n > PromptBytes {
			return fmt.Errorf("%s has %d bytes", up.Prompt.Name, n)
		}
		up.wav = make([]byte, n)
		if _, err := io.ReadFull(in, up.wav); err != nil {
			return err
		}
		if up.Staged {
			p.uploads[promptUploadKey{up.Prompt.Name, up.Prompt.Sum}] = &up
		} else {
			p.put(&keptPrompt{up.Prompt, up.wav})
		}
	}
}
