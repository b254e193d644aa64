package cluster

import (
	"fmt"
	"strings"
)

// Quorum says how many nodes with a vote there are, how many of them answer, and how many are needed to agree on anything.
func (s Status) Quorum() (voters, alive, needed int) {
	for _, m := range s.Members {
		if !m.Voter {
			continue
		}
		voters++
		if m.Health == Alive {
			alive++
		}
	}
	return voters, alive, voters/2 + 1
}

// Words are sentences about the state of the cluster for an operator, the most important first.
func (s Status) Words() []string {
	voters, alive, needed := s.Quorum()
	var lines []string
	switch {
	case s.Removed:
		lines = append(lines, "This node was removed from the cluster. To bring it back, remove its data directory and join with a new token.")
	case s.Leader == "" && voters == 0:
		lines = append(lines, "This node has not been admitted to a cluster yet.")
	case s.Leader == "" && alive < needed:
		lines = append(lines, fmt.Sprintf("There is no leader: %d of %d voting nodes answer, %d are needed. Calls go on, also new ones between phones that are known here; registrations and changes wait.", alive, voters, needed))
	case s.Leader == "":
		lines = append(lines, "There is no leader at the moment; one is being elected.")
	case voters == 1:
		lines = append(lines, fmt.Sprintf("Node %s leads and is alone: when it fails, nothing can be changed.", s.Leader))
	default:
		lines = append(lines, fmt.Sprintf("Node %s leads. %d of %d voting nodes answer; %s.", s.Leader, alive, voters, spare(alive-needed)))
	}
	if s.Unserviceable != "" {
		lines = append(lines, fmt.Sprintf("This node is not ready: %s.", s.Unserviceable))
	}
	versions, newest := map[string]bool{}, 0
	for _, m := range s.Members {
		newest = max(newest, m.Speaks)
		if m.Program != "" {
			versions[m.Program] = true
		}
		switch {
		case m.Health != Alive:
			lines = append(lines, fmt.Sprintf("Node %s is %s.", m.Name, m.Health))
		case m.Diverged:
			lines = append(lines, fmt.Sprintf("Node %s holds another state than most: `tandem cluster leave %s`, empty its data directory, and let it join anew.", m.Name, m.Name))
		case m.Disk == "stuck":
			lines = append(lines, fmt.Sprintf("The disk of node %s does not answer.", m.Name))
		case m.Disk == "full":
			lines = append(lines, fmt.Sprintf("The disk of node %s is nearly full or refuses writes.", m.Name))
		case !m.Voter:
			lines = append(lines, fmt.Sprintf("Node %s catches up and has no vote yet: %d changes to go.", m.Name, m.Behind))
		case m.Behind > 1000:
			lines = append(lines, fmt.Sprintf("Node %s is %d changes behind.", m.Name, m.Behind))
		}
	}
	if old := s.olderThan(newest); len(old) > 0 {
		lines = append(lines, fmt.Sprintf("Version %d of commands is used until all know %d: upgrade %s.", s.Agreed, newest, strings.Join(old, ", ")))
	}
	if len(versions) > 1 {
		lines = append(lines, fmt.Sprintf("%d versions of the program run, which is fine during an upgrade.", len(versions)))
	}
	return lines
}

// olderThan names the members whose program does not know a version of commands, with that program.
func (s Status) olderThan(version int) (old []string) {
	for _, m := range s.Members {
		if m.Speaks > 0 && m.Speaks < version {
			old = append(old, fmt.Sprintf("%s (%s knows %d)", m.Name, m.Program, m.Speaks))
		}
	}
	return old
}

func spare(n int) string {
	switch {
	case n < 0:
		return "that is too few to agree on changes"
	case n == 0:
		return "none may fail now"
	case n == 1:
		return "one more may fail"
	}
	return fmt.Sprintf("%d more may fail", n)
}
