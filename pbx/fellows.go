package pbx

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"tandem/dialplan"
	"tandem/events"
)

// Errors of what is done to agents.
var (
	ErrNoQueue = errors.New("there is no such queue")
	ErrNoAgent = errors.New("the user is no agent of a queue")
)

// fellowRequest is what nodes ask the home of a tenant.
type fellowRequest struct {
	Report  *queueReport `json:"report,omitempty"`
	List    string       `json:"list,omitempty"` // a tenant whose queues are to be shown
	Tenant  string       `json:"tenant,omitempty"`
	Engaged []string     `json:"engaged,omitempty"` // its agents who are in calls at the node that asks
}

// home is the node where the agents of a tenant are given away, "" for this one.
func (p *PBX) home(tenant string) string {
	if p.cfg.Fellows == nil {
		return ""
	}
	return p.cfg.Fellows.Home(tenant)
}

// askFellow asks another node; out is nil, or where its answer goes.
func (p *PBX) askFellow(ctx context.Context, node string, r fellowRequest, out any) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	answer, err := p.cfg.Fellows.Ask(ctx, node, text)
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(answer, out)
}

// askHome reports to the home on another node.
func (p *PBX) askHome(node string, r *queueReport) (o queueOrder, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	err = p.askFellow(ctx, node, fellowRequest{Report: r}, &o)
	return o, err
}

// FromFellow answers what another node asks about queues. Any goroutine.
func (p *PBX) FromFellow(request []byte) ([]byte, error) {
	var r fellowRequest
	if err := json.Unmarshal(request, &r); err != nil {
		return nil, fmt.Errorf("pbx: read what another node asks about queues: %w", err)
	}
	switch now := time.Now(); {
	case r.Report != nil && r.Report.Terms != nil:
		return json.Marshal(p.switchboard.hear(r.Report, now))
	case r.List != "":
		return json.Marshal(p.queuesHere(r.List, now))
	default:
		p.switchboard.told(r.Tenant, r.Engaged, now)
		return []byte("{}"), nil
	}
}

// queuesHere are the queues of a tenant whose home this is.
func (p *PBX) queuesHere(tenant string, now time.Time) (all []QueueView) {
	for _, step := range p.cfg.Plan().Queues(tenant) {
		all = append(all, p.switchboard.view(tenant, step, now))
	}
	return all
}

// Queues lists all queues of the plan with their callers on all nodes. It asks other nodes; those of a tenant whose home does not answer are left
// out, and err says so.
func (p *PBX) Queues(ctx context.Context) (all []QueueView, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	all = []QueueView{}
	for _, t := range p.cfg.Plan().Tenants() {
		if len(p.cfg.Plan().Queues(t.Name)) == 0 {
			continue
		}
		node := p.home(t.Name)
		if node == "" {
			all = append(all, p.queuesHere(t.Name, time.Now())...)
			continue
		}
		var there []QueueView
		if e := p.askFellow(ctx, node, fellowRequest{List: t.Name}, &there); e != nil {
			err = errors.Join(err, fmt.Errorf("the queues of %s: %w", t.Name, e))
			continue
		}
		all = append(all, there...)
	}
	return all, err
}

// AgentDoes has an agent log in or out, of all queues when none is named, or pause and resume. It waits until that is agreed on. Errors: ErrNoQueue, ErrNoAgent,
// ErrAgents, and those of the agreement.
func (p *PBX) AgentDoes(ctx context.Context, tenant, user string, queues []string, does dialplan.AgentAction) error {
	plan := p.cfg.Plan()
	agent := false
	for _, step := range plan.Queues(tenant) {
		agent = agent || slices.Contains(step.Users, user) && (len(queues) == 0 || slices.Contains(queues, queueName(step.Node)))
	}
	for _, q := range queues {
		if _, ok := plan.Queue(tenant, q); !ok {
			return fmt.Errorf("%w: %s", ErrNoQueue, q)
		}
	}
	if !agent {
		return ErrNoAgent
	}
	if p.cfg.Agree == nil {
		return errors.New("nothing can be agreed on here")
	}
	result, err := p.cfg.Agree(ctx, AgentsMachine, agentCommand{tenant, user, queues, does, time.Now()}.encode())
	if refused, is := result.(error); err == nil && is {
		err = refused
	}
	if err != nil {
		return err
	}
	e := events.Event{Kind: events.AgentLoggedIn, Tenant: tenant, From: user}
	switch does {
	case dialplan.LogOut:
		e.Kind = events.AgentLoggedOut
	case dialplan.Pause:
		e.Kind = events.AgentPaused
	case dialplan.Resume:
		e.Kind = events.AgentResumed
	}
	for _, q := range queues {
		e.To = "queue." + q
		p.cfg.Events.Publish(e)
	}
	if len(queues) == 0 {
		p.cfg.Events.Publish(e)
	}
	return nil
}

// asAgent does what a step does for the caller as an agent, and lets him hear that it is done.
func (l *leg) asAgent(step dialplan.Step) error {
	c := l.call
	if c.trunk != nil {
		return ErrNoAgent
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*askTime)
	defer cancel()
	if err := c.pbx.AgentDoes(ctx, c.tenant, c.from, step.Queues, step.Does); err != nil {
		return err
	}
	_, err := l.media.Say(beep)
	return err
}

// tellEngaged tells the homes of other tenants, once a second, which agents are in calls on this node, until ctx ends.
func (p *PBX) tellEngaged(ctx context.Context) {
	if p.cfg.Fellows == nil {
		return
	}
	tick := time.NewTicker(queueBeat)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if p.Stats().Calls == 0 {
			continue
		}
		for _, t := range p.cfg.Plan().Tenants() {
			node := p.home(t.Name)
			if node == "" {
				continue
			}
			r := fellowRequest{Tenant: t.Name}
			for _, step := range p.cfg.Plan().Queues(t.Name) {
				for _, user := range step.Users {
					if p.engaged(t.Name, user) && !slices.Contains(r.Engaged, user) {
						r.Engaged = append(r.Engaged, user)
					}
				}
			}
			if len(r.Engaged) == 0 {
				continue
			}
			asked, cancel := context.WithTimeout(ctx, queueBeat)
			_ = p.askFellow(asked, node, r, nil) // the next second tells it again
			cancel()
		}
	}
}
