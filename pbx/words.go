package pbx

import (
	"strconv"
	"time"
)

// word is one thing that a caller is told: a prompt, or where there is no such prompt some beeps.
type word struct {
	prompt string
	beeps  int
}

// beepTone is what is heard in place of prompts.
const beepTone = "tone:beep"

// betweenWords is the pause behind a word.
const betweenWords = 200 * time.Millisecond

// digitWords says a number digit by digit; nine beeps are a nine, and a zero is ten.
func digitWords(n int) (words []word) {
	for _, digit := range strconv.Itoa(n) {
		beeps := int(digit - '0')
		if beeps == 0 {
			beeps = 10
		}
		words = append(words, word{prompt(string(digit)), beeps})
	}
	return words
}

// sayWord says the first of words, and tells how long that takes and which are left. It may read a file.
func (l *leg) sayWord(words []word) (length time.Duration, rest []word) {
	first, rest := words[0], words[1:]
	length, err := l.media.Say(first.prompt)
	if err == nil {
		return length + betweenWords, rest
	}
	if first.prompt == beepTone {
		return 0, rest
	}
	beeps := make([]word, first.beeps, first.beeps+len(rest))
	for i := range beeps {
		beeps[i] = word{prompt: beepTone}
	}
	return 0, append(beeps, rest...)
}
