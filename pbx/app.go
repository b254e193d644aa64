package pbx

import (
	"cmp"
	"context"
	"strings"

	"tandem/dialplan"
	"tandem/events"
	"tandem/pbx/app"
)

// maxPressed bounds the choices of a caller that apps are told.
const maxPressed = 16

// askApp has the server of an app choose where the call goes. A caller who hangs up ends the request.
func (c *Call) askApp(step dialplan.Step) {
	q := c.question(step)
	c.in.GoFor(func(ctx context.Context) func() {
		defer c.recovered()
		answer := c.pbx.ask(ctx, step, q)
		return func() {
			defer c.recovered()
			if c.in.Gone() {
				c.walk = dialplan.Walk{}
				c.perform(487)
				return
			}
			c.goByAnswer(step, answer)
		}
	})
}

// askApp is the same for a caller whom Tandem has answered. He hears nothing meanwhile, which is not for long.
func (l *leg) askApp(step dialplan.Step) {
	q := l.call.question(step)
	ctx, cancel := context.WithCancel(context.Background())
	l.asks = cancel
	l.media.Hush()
	l.sip.Go(func() func() {
		defer cancel()
		answer := l.call.pbx.ask(ctx, step, q)
		return func() {
			defer l.call.recovered()
			l.call.goByAnswer(step, answer)
		}
	})
}

// stopAsking ends a request for a caller who has hung up.
func (l *leg) stopAsking() {
	if l.asks != nil {
		l.asks()
	}
}

func (p *PBX) ask(ctx context.Context, step dialplan.Step, q app.Question) app.Answer {
	if p.cfg.Apps == nil {
		return app.Answer{Fault: dialplan.AppUnreachable, Reason: "this node asks no servers"}
	}
	return p.cfg.Apps.Ask(ctx, step.App, q)
}

// question is what a server is told of the call.
func (c *Call) question(step dialplan.Step) app.Question {
	q := app.Question{
		Call: c.id, Tenant: c.walk.Tenant(), App: strings.TrimPrefix(step.Node, "app."), From: c.from, To: c.to, DID: c.walk.DID(), Keys: c.pressed, Time: c.began.UTC(),
		Node: c.pbx.cfg.Node, Plan: c.walk.PlanHash(), Answers: step.App.Answers,
	}
	if c.trunk != nil {
		q.Trunk, q.From = c.trunk.Name, c.walk.Caller()
	}
	if q.Keys == nil {
		q.Keys = []string{}
	}
	return q
}

// goByAnswer goes where an app has sent the call.
func (c *Call) goByAnswer(step dialplan.Step, a app.Answer) {
	e := events.Event{Kind: events.AppAnswered, To: step.Node, Reason: a.Reason, Duration: a.Took, Detail: map[string]string{"answer": cmp.Or(a.Name, a.Fault)}}
	if a.Fault != "" {
		e.Kind = events.AppFailed
	}
	c.publish(e)
	c.walk.Answered(a.Name)
	c.perform(480)
}

// press goes where keys of the caller lead in a menu or queue, and remembers them for apps. False: they lead nowhere.
func (c *Call) press(keys string) bool {
	if !c.walk.Press(keys) {
		return false
	}
	if len(c.pressed) < maxPressed {
		c.pressed = append(c.pressed, keys)
	}
	return true
}

// AppStats are those of the apps that somebody has called through this node and that the plan still has. Any goroutine.
func (p *PBX) AppStats() []app.Stats {
	if p.cfg.Apps == nil {
		return nil
	}
	plan := p.cfg.Plan()
	return p.cfg.Apps.Stats(func(tenant, name string) bool {
		_, there := plan.App(tenant, "app."+name)
		return there
	})
}
