package pbx

import (
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"tandem/events"
)

// shelf keeps copies as another node would, and says so when a test lets it.
type shelf struct {
	mu     sync.Mutex
	copies map[string]callSnapshot
	texts  map[string][]byte
	times  map[string]int
	after  time.Duration // until it says that it has a copy; negative is never
	none   bool          // there is nobody to have it
	ended  int
}

func (s *shelf) Keep(id string, content []byte, done func(bool)) {
	snap, err := readCall(content)
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.copies == nil {
		s.copies, s.texts, s.times = map[string]callSnapshot{}, map[string][]byte{}, map[string]int{}
	}
	s.copies[id], s.texts[id] = snap, content
	s.times[id]++
	if done != nil && s.after >= 0 {
		held := !s.none
		time.AfterFunc(s.after, func() { done(held) })
	}
}

func (s *shelf) Forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.copies, id)
	delete(s.texts, id)
	s.ended++
}

// all gives what there is, in the order of names.
func (s *shelf) all() (texts [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(s.texts)) {
		texts = append(texts, s.texts[id])
	}
	return texts
}

// only gives the one copy there is, and how often it was made.
func (s *shelf) only(t *testing.T) (snap callSnapshot, times int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.copies) != 1 {
		t.Fatalf("%d copies", len(s.copies))
	}
	for id, c := range s.copies {
		snap, times = c, s.times[id]
	}
	return snap, times
}

// office has the calls of an office copied.
func (s *shelf) office(c *Config) { c.Copies, c.CopyWait = s, 50*time.Millisecond }

func TestCallerHearsOfTheAnswerWhenOthersHaveTheCall(t *testing.T) {
	s := &shelf{after: 20 * time.Millisecond}
	work(t, s.office, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		o.phone("bob", atOnce)
		began := time.Now()
		call := alice.Call("bob", description("alice"))
		call.MustAnswer()
		if took := time.Since(began); took < 20*time.Millisecond || took > 45*time.Millisecond {
			t.Errorf("the answer took %v", took)
		}
		time.Sleep(time.Second)
		snap, before := s.only(t)
		expect(t, "record", snap.CDR.Answerer, "bob")
		expect(t, "caller", snap.From, "alice")
		expect(t, "hold", call.Reinvite(description("alice")).Status(), 200)
		time.Sleep(time.Second)
		if _, times := s.only(t); times <= before {
			t.Error("a re-INVITE was not copied")
		}
		expect(t, "BYE", call.Bye().Status(), 200)
		o.awaitKind(events.CallEnded)
		expect(t, "forgotten", len(s.copies), 0)
		expect(t, "in time", o.pbx.CopyStats().InTime, uint64(1))
		expect(t, "uncopied", o.events.CDRs(1)[0].Uncopied, false)
	})
}

func TestCallGoesOnWhenNobodyHasItInTime(t *testing.T) {
	for what, s := range map[string]*shelf{"late": {after: time.Second}, "there is nobody": {none: true}} {
		work(t, s.office, func(t *testing.T, o *office) {
			alice := o.phone("alice", rings)
			o.phone("bob", atOnce)
			began := time.Now()
			call := alice.Call("bob", description("alice"))
			call.MustAnswer()
			took := time.Since(began)
			if slow := took > 45*time.Millisecond; slow != (s.after > 0) || took > 80*time.Millisecond {
				t.Errorf("%s: the answer took %v", what, took)
			}
			time.Sleep(2 * time.Second)
			call.Bye()
			o.awaitKind(events.CallEnded)
			expect(t, "late", o.pbx.CopyStats().Late, uint64(1))
			expect(t, "uncopied", o.events.CDRs(1)[0].Uncopied, true)
		})
	}
}

func TestLostCopiesAreMadeAgain(t *testing.T) {
	s := &shelf{}
	work(t, s.office, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		o.phone("bob", atOnce)
		call := alice.Call("bob", description("alice"))
		call.MustAnswer()
		time.Sleep(time.Second)
		snap, before := s.only(t)
		o.pbx.CopyAgain([]string{snap.ID, "nobody's"})
		time.Sleep(100 * time.Millisecond)
		if _, times := s.only(t); times != before+1 {
			t.Errorf("copied %d times, then %d", before, times)
		}
		call.Bye()
	})
}

func TestCallsThatAnotherNodeHasAreDroppedWithoutAWord(t *testing.T) {
	s := &shelf{}
	work(t, s.office, func(t *testing.T, o *office) {
		alice, bob := o.phone("alice", rings), o.phone("bob", atOnce)
		call := alice.Call("bob", description("alice"))
		call.MustAnswer()
		time.Sleep(time.Second)
		dropped, ended := o.pbx.Disown(t.Context(), "another node has it")
		expect(t, "dropped", dropped, 1)
		expect(t, "ended", ended, 0)
		time.Sleep(5 * time.Second)
		expect(t, "BYE to alice", len(alice.Requests("BYE")), 0)
		expect(t, "BYE to bob", len(bob.Requests("BYE")), 0)
		expect(t, "records", len(o.events.CDRs(10)), 0)
		expect(t, "open records", o.events.Stats().OpenCalls, 0)
		expect(t, "copies", len(s.copies), 0)
		expect(t, "BYE", call.Bye().Status(), 481)
	})
}
