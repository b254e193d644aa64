package mailbox

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
)

// Machine is the name under which an Index stands in the log.
const Machine = "mailbox"

// Index is what all nodes know of messages: a machine of the replicated log. Apply, Snapshot and Restore are the log's; everything else may be
// called from any goroutine.
type Index struct {
	mu       sync.RWMutex
	items    map[string]*Item   // by id; an Item is replaced and never changed
	boxes    map[boxKey][]*Item // messages of a mailbox, the oldest first
	greeting map[boxKey]*Item
	gone     []string // ids removed last: what a slow node still proposes must not come back
	hooks    []func(tenant, box string)
}

type boxKey struct{ tenant, box string }

// mostGone bounds the ids that are remembered after their removal.
const mostGone = 4096

// NewIndex makes an empty one.
func NewIndex() *Index {
	return &Index{items: map[string]*Item{}, boxes: map[boxKey][]*Item{}, greeting: map[boxKey]*Item{}}
}

// command is one change. Do says which; the rest is what that needs.
type command struct {
	V    int      `json:"v"`
	Do   string   `json:"do"` // add, hold, heard, remove
	Item *Item    `json:"item,omitempty"`
	IDs  []string `json:"ids,omitempty"`
	Node string   `json:"node,omitempty"`
}

func (c command) encode() []byte {
	c.V = 1
	b, _ := json.Marshal(c) // plain fields
	return b
}

// OnChange calls hook after each change of the messages of a mailbox, and with no names when all may have changed, from the log's goroutine: it must not
// block. Call it before the log runs.
func (x *Index) OnChange(hook func(tenant, box string)) {
	x.mu.Lock()
	x.hooks = append(x.hooks, hook)
	x.mu.Unlock()
}

// Apply makes one change; its result is nil or an error for the proposer. All changes may be made twice.
func (x *Index) Apply(cmd []byte) any {
	var c command
	if err := json.Unmarshal(cmd, &c); err != nil || c.V != 1 {
		panic(fmt.Sprintf("mailbox: cannot go on: a command of version %d cannot be read: %v", c.V, err))
	}
	x.mu.Lock()
	var touched []boxKey
	var result error
	switch c.Do {
	case "add":
		touched, result = x.add(c.Item)
	case "hold":
		for _, id := range c.IDs {
			x.change(id, func(i *Item) {
				if !slices.Contains(i.Nodes, c.Node) {
					i.Nodes = append(slices.Clone(i.Nodes), c.Node)
				}
			})
		}
	case "heard":
		for _, id := range c.IDs {
			if i := x.change(id, func(i *Item) { i.Heard = true }); i != nil {
				touched = append(touched, boxKey{i.Tenant, i.Box})
			}
		}
	case "remove":
		for _, id := range c.IDs {
			if i := x.remove(id); i != nil {
				touched = append(touched, boxKey{i.Tenant, i.Box})
			}
		}
	default:
		x.mu.Unlock()
		panic(fmt.Sprintf("mailbox: cannot go on: %q is not known", c.Do))
	}
	hooks := x.hooks
	x.mu.Unlock()
	for _, key := range slices.Compact(touched) {
		for _, hook := range hooks {
			hook(key.tenant, key.box)
		}
	}
	if result != nil {
		return result
	}
	return nil
}

var errNoItem = errors.New("the command has no item")

func (x *Index) add(i *Item) (touched []boxKey, err error) {
	if i == nil || !isID(i.ID) {
		return nil, errNoItem
	}
	if x.items[i.ID] != nil || slices.Contains(x.gone, i.ID) {
		return nil, nil
	}
	key := boxKey{i.Tenant, i.Box}
	if i.Kind == Greeting {
		if old := x.greeting[key]; old != nil {
			x.remove(old.ID)
		}
	}
	x.put(i)
	return []boxKey{key}, nil
}

func (x *Index) put(i *Item) {
	key := boxKey{i.Tenant, i.Box}
	x.items[i.ID] = i
	switch i.Kind {
	case Greeting:
		x.greeting[key] = i
	case Message:
		box := x.boxes[key]
		at, _ := slices.BinarySearchFunc(box, i, inOrder)
		x.boxes[key] = slices.Insert(slices.Clone(box), at, i)
	}
}

func inOrder(a, b *Item) int {
	if c := a.Time.Compare(b.Time); c != 0 {
		return c
	}
	return strings.Compare(a.ID, b.ID)
}

// change replaces an item by a copy that fn has changed; nil when there is none.
func (x *Index) change(id string, fn func(*Item)) *Item {
	old := x.items[id]
	if old == nil {
		return nil
	}
	fresh := *old
	fn(&fresh)
	key := boxKey{old.Tenant, old.Box}
	x.items[id] = &fresh
	if x.greeting[key] == old {
		x.greeting[key] = &fresh
	}
	if at := slices.Index(x.boxes[key], old); at >= 0 {
		box := slices.Clone(x.boxes[key])
		box[at] = &fresh
		x.boxes[key] = box
	}
	return &fresh
}

func (x *Index) remove(id string) *Item {
	old := x.items[id]
	if old == nil {
		return nil
	}
	key := boxKey{old.Tenant, old.Box}
	delete(x.items, id)
	if x.greeting[key] == old {
		delete(x.greeting, key)
	}
	if at := slices.Index(x.boxes[key], old); at >= 0 {
		x.boxes[key] = slices.Delete(slices.Clone(x.boxes[key]), at, at+1)
	}
	if len(x.boxes[key]) == 0 {
		delete(x.boxes, key)
	}
	if x.gone = append(x.gone, id); len(x.gone) > mostGone {
		x.gone = slices.Clone(x.gone[len(x.gone)-mostGone:])
	}
	return old
}

// Messages lists those of a mailbox, the oldest first.
func (x *Index) Messages(tenant, box string) []Item {
	x.mu.RLock()
	list := x.boxes[boxKey{tenant, box}]
	x.mu.RUnlock()
	all := make([]Item, len(list))
	for i, m := range list {
		all[i] = *m
	}
	return all
}

// Count tells how many messages of a mailbox are new and how many were heard.
func (x *Index) Count(tenant, box string) (fresh, heard int) {
	x.mu.RLock()
	list := x.boxes[boxKey{tenant, box}]
	x.mu.RUnlock()
	for _, m := range list {
		if m.Heard {
			heard++
		} else {
			fresh++
		}
	}
	return fresh, heard
}

// Greeting is that of a mailbox.
func (x *Index) Greeting(tenant, box string) (Item, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if i := x.greeting[boxKey{tenant, box}]; i != nil {
		return *i, true
	}
	return Item{}, false
}

// Item finds one by its id.
func (x *Index) Item(id string) (Item, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if i := x.items[id]; i != nil {
		return *i, true
	}
	return Item{}, false
}

// all lists every item, in no order.
func (x *Index) all() []*Item {
	x.mu.RLock()
	defer x.mu.RUnlock()
	list := make([]*Item, 0, len(x.items))
	for _, i := range x.items {
		list = append(list, i)
	}
	return list
}

// bytes is how much a mailbox holds.
func (x *Index) bytes(tenant, box string) (n int64) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, i := range x.boxes[boxKey{tenant, box}] {
		n += i.Bytes
	}
	return n
}

// totals counts what all mailboxes hold, and the bytes of what a node does.
func (x *Index) totals(node string) (messages, unheard, boxes int, bytes int64) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, i := range x.items {
		if slices.Contains(i.Nodes, node) {
			bytes += i.Bytes
		}
		if i.Kind == Message {
			messages++
			if !i.Heard {
				unheard++
			}
		}
	}
	return messages, unheard, len(x.boxes), bytes
}

// A snapshot is JSON, one value a line: what was removed last, then the items by their ids.

// Snapshot gives what Restore takes.
func (x *Index) Snapshot() (func(io.Writer) error, error) {
	list := x.all()
	x.mu.RLock()
	gone := slices.Clone(x.gone)
	x.mu.RUnlock()
	return func(w io.Writer) error {
		slices.SortFunc(list, func(a, b *Item) int { return strings.Compare(a.ID, b.ID) })
		out := json.NewEncoder(w)
		if err := out.Encode(gone); err != nil {
			return err
		}
		for _, i := range list {
			if err := out.Encode(i); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// Restore replaces everything.
func (x *Index) Restore(r io.Reader) error {
	fresh := NewIndex()
	in := json.NewDecoder(bufio.NewReader(r))
	if err := in.Decode(&fresh.gone); err != nil {
		return fmt.Errorf("mailbox: read a snapshot: %w", err)
	}
	for {
		var i Item
		err := in.Decode(&i)
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("mailbox: read a snapshot: %w", err)
		}
		fresh.put(&i)
	}
	x.mu.Lock()
	x.items, x.boxes, x.greeting, x.gone = fresh.items, fresh.boxes, fresh.greeting, fresh.gone
	hooks := x.hooks
	x.mu.Unlock()
	for _, hook := range hooks {
		hook("", "")
	}
	return nil
}

// isGone tells whether an item was removed not long ago.
func (x *Index) isGone(id string) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return slices.Contains(x.gone, id)
}

// list gives the items of a mailbox, or of all of a tenant, or of all, in the order of their time.
func (x *Index) list(tenant, box string) (all []Item) {
	for _, i := range x.all() {
		if (tenant == "" || i.Tenant == tenant) && (box == "" || i.Box == box) {
			all = append(all, *i)
		}
	}
	slices.SortFunc(all, func(a, b Item) int { return inOrder(&a, &b) })
	return all
}
