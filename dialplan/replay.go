package dialplan

import "slices"

// Given says how the steps of a finished call must have ended, as Call.Given wants it: tried are the nodes that the call was at, status what it
// came to. Which failure led from one node to the next is found by going the same way through the plan. Where that is not possible, because the
// plan was another one then or a caller pressed keys in a menu, the rest is left out. Apps answer as c.Answers says; c.Given and c.Keys do not count. d may
// be nil.
func (p *Plan) Given(c Call, d Directory, tried []string, status int) map[string]int {
	given := map[string]int{}
	w := p.Begin(c, d)
	for i, node := range tried {
		if s := w.Step(); s == nil || s.Node != node {
			break
		}
		if i == len(tried)-1 {
			given[node] = status
			break
		}
		if w.Step().Kind == StepApp {
			w.Answered(c.Answers[node])
			continue
		}
		causes := [...]int{408, 480, 486, 500}
		k := slices.IndexFunc(causes[:], func(status int) bool {
			next := w
			return next.Next(status) && next.Step().Node == tried[i+1]
		})
		if k < 0 {
			break
		}
		given[node] = causes[k]
		w.Next(causes[k])
	}
	return given
}

// SameWay tells whether two routes come to the same for a call: the same steps, wherever the plans say so.
func SameWay(a, b Route) bool {
	return slices.EqualFunc(a.Steps, b.Steps, func(x, y Step) bool { return changes(x, y, "At") == "" })
}
