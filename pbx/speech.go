package pbx

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// speech is what a caller is told in words. They belong to the leg's shard, but for reading files.
type speech struct {
	turn atomic.Uint64 // changes with whatever is said in place of what was said until then
	one  sync.Mutex    // held while a sound is begun, so that a late one never speaks into the next
}

// tell plays sounds one after the other, in place of all else, and then does what comes next. One that cannot be played is left out.
func (l *leg) tell(sounds []string, then func()) {
	l.stopClock()
	l.tellOn(l.speech.turn.Add(1), sounds, then)
}

// tellWithin is tell in the middle of what a caller hears over and over; behind the sounds that goes on.
func (l *leg) tellWithin(music string, sounds []string) {
	l.stopClock()
	turn := l.speech.turn.Add(1)
	l.tellOn(turn, sounds, func() {
		l.sip.Go(func() func() {
			l.utter(turn, music, func() (time.Duration, error) { return 0, l.play(music) })
			return nil
		})
	})
}

func (l *leg) tellOn(turn uint64, sounds []string, then func()) {
	if l.speech.turn.Load() != turn {
		return
	}
	if len(sounds) == 0 {
		then()
		return
	}
	l.sip.Go(func() func() {
		length := l.utter(turn, sounds[0], func() (time.Duration, error) { return l.media.Say(sounds[0]) })
		return func() {
			if l.speech.turn.Load() == turn {
				l.after(length, func() { l.tellOn(turn, sounds[1:], then) })
			}
		}
	})
}

// utter begins a sound unless something else is said by now. It may read a file.
func (l *leg) utter(turn uint64, sound string, begin func() (time.Duration, error)) time.Duration {
	l.speech.one.Lock()
	defer l.speech.one.Unlock()
	if l.speech.turn.Load() != turn {
		return 0
	}
	length, err := begin()
	if err != nil {
		l.call.pbx.cfg.Log.Warn("a caller does not hear a sound", "call", l.call.id, "sound", sound, "error", err)
	}
	if l.speech.turn.Load() != turn { // hush or cede came in between
		l.media.Hush()
	}
	return length
}

// hush ends what is being told; nothing comes of it.
func (l *leg) hush() {
	l.speech.turn.Add(1)
	l.stopClock()
	l.media.Hush()
}

// cede ends what is being told because the caller hears somebody else from here on: once it returns, no sound that was still being read comes
// in between. Any goroutine.
func (l *leg) cede() {
	l.speech.turn.Add(1)
	l.speech.one.Lock()
	defer l.speech.one.Unlock()
}

// beep says that something is done, or that one may speak.
const beep = "tone:beep"

// prompt is a sound of the program.
func prompt(name string) string { return "tandem/" + name }

func prompts(names ...string) []string {
	all := make([]string, len(names))
	for i, n := range names {
		all[i] = prompt(n)
	}
	return all
}

// spokenNumber is a number in words; from a hundred on its digits.
func spokenNumber(n int) []string {
	switch {
	case n < 0 || n >= 100:
		return spokenDigits(strconv.Itoa(n))
	case n <= 20 || n%10 == 0:
		return []string{prompt(strconv.Itoa(n))}
	}
	return []string{prompt(strconv.Itoa(n - n%10)), prompt(strconv.Itoa(n % 10))}
}

// spokenDigits are those of an extension or number, nil when it is something else.
func spokenDigits(number string) (all []string) {
	plain := strings.TrimPrefix(number, "+")
	if plain == "" || len(plain) > 20 || strings.Trim(plain, "0123456789") != "" {
		return nil
	}
	if plain != number {
		all = append(all, prompt("plus"))
	}
	for _, d := range plain {
		all = append(all, prompt(string(d)))
	}
	return all
}

// spokenTime is when something was, as one says it now.
func spokenTime(at, now time.Time) []string {
	at = at.In(now.Location())
	day := func(t time.Time) time.Time { return time.Date(t.Year(), t.Month(), t.Day(), 12, 0, 0, 0, time.UTC) }
	var all []string
	switch ago := int(day(now).Sub(day(at)).Hours()) / 24; {
	case ago == 0:
		all = prompts("today")
	case ago == 1:
		all = prompts("yesterday")
	case ago > 1 && ago < 7:
		all = prompts(strings.ToLower(at.Weekday().String()))
	default:
		all = append(prompts(strings.ToLower(at.Month().String())), spokenNumber(at.Day())...)
	}
	all = append(append(all, prompt("at")), spokenNumber(at.Hour())...)
	switch m := at.Minute(); {
	case m == 0:
		return append(all, prompt("oclock"))
	case m < 10:
		return append(append(all, prompt("oh")), spokenNumber(m)...)
	default:
		return append(all, spokenNumber(m)...)
	}
}
