package dialplan

import "strconv"

// ParseOutcome reads what a node comes to as plans write it: a final SIP status, or of a trunk "no_reply", "down", "full" or "limited".
func ParseOutcome(text string) (outcome int, ok bool) {
	if outcome, ok = outcomes()[text]; ok {
		return outcome, true
	}
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= 200 && n <= 699
}

// OutcomeWord writes it.
func OutcomeWord(outcome int) string {
	for word, n := range outcomes() {
		if n == outcome {
			return word
		}
	}
	return strconv.Itoa(outcome)
}
