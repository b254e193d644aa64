//go:build linux

package main

import (
	"fmt"
	"strconv"
	"strings"
)

// scenario is one word of the command line: name@rate, hold@rate:count, or pause@seconds.
type scenario struct {
	name  string
	rate  float64
	count int
}

func parseScenario(word string) (s scenario, err error) {
	name, rest, _ := strings.Cut(word, "@")
	rate, count, counted := strings.Cut(rest, ":")
	s.name = name
	switch name {
	case "register", "refresh", "call", "order", "hold", "start", "pause":
	default:
		return s, fmt.Errorf("%q: scenarios are register, refresh, start, call, order, hold and pause", word)
	}
	if s.rate, err = strconv.ParseFloat(rate, 64); err != nil || s.rate <= 0 {
		return s, fmt.Errorf("%q: a rate per second (of pause: seconds) is needed, like %s@1000", word, name)
	}
	if counted {
		s.count, err = strconv.Atoi(count)
	}
	if s.counts() && s.count <= 0 {
		return s, fmt.Errorf("%q: a number of calls is needed, like %s@1000:5000", word, name)
	}
	return s, err
}

// counts reports whether the scenario is a number of calls and not a window of time; such a scenario is played once, not in rounds.
func (s scenario) counts() bool { return s.name == "hold" || s.name == "start" }

// String is the row's name in the tables.
func (s scenario) String() string {
	if s.counts() {
		return fmt.Sprintf("%s %d", s.name, s.count)
	}
	return fmt.Sprintf("%s %g/s", s.name, s.rate)
}
