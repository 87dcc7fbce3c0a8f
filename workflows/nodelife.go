package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
)

// supervise keeps one Supervise scheduled, and learns from its end how the node is.
func (n *node) supervise(ctx workflow.Context) {
	for ctx.Err() == nil {
		result, err := n.superviseOnce(ctx, n.grace())
		if nodeGone(err) && ctx.Err() == nil && workflow.GetVersion(ctx, "ask-twice", workflow.DefaultVersion, 1) == 1 {
			// An absence of Temporal's server looks the same: then every worker is back a moment after the server is.
			n.suspect()
			result, err = n.superviseOnce(ctx, secondNodeTimeout)
		}
		if err == nil && result.Reason == activities.EndTerm {
			continue
		}
		workflow.GetLogger(ctx).Info("supervision ended", "reason", result.Reason, "error", err)
		if nodeGone(err) {
			n.lose(ctx)
		} else {
			n.suspect()
		}
		if workflow.Sleep(ctx, n.pause) != nil {
			return
		}
		n.pause = min(2*n.pause, longestSupervisePause)
	}
}

// superviseOnce fails with a schedule-to-start timeout, which nodeGone tells, when no worker takes it within patience.
func (n *node) superviseOnce(ctx workflow.Context, patience time.Duration) (activities.SuperviseResult, error) {
	return activities.Supervise.Run(workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              api.NodeTaskQueue(n.id),
		ScheduleToStartTimeout: patience,
		StartToCloseTimeout:    superviseTerm + time.Minute,
		HeartbeatTimeout:       heartbeatTimeout,
		RetryPolicy:            &temporal.RetryPolicy{MaximumAttempts: 1},
		Summary:                "supervise the node",
	}), activities.SuperviseParams{Node: n.id, Term: superviseTerm})
}

// grace is how long the node may be without a worker. One that is lost already is only waited for.
func (n *node) grace() time.Duration {
	switch {
	case n.health == api.NodeStateLost:
		return superviseTerm
	case n.said.Grace > 0:
		return n.said.Grace
	default:
		return nodeTimeout
	}
}

// suspect keeps new work off until the node is heard of again.
func (n *node) suspect() {
	if n.health == api.NodeReady {
		n.health, n.changed = api.NodeSuspect, true
	}
}

// lose gives the node up: its instances are told, and nothing is reserved there any more.
func (n *node) lose(ctx workflow.Context) {
	if n.health == api.NodeStateLost {
		return
	}
	lost := n.ledger
	n.health, n.ledger, n.changed = api.NodeStateLost, nil, true
	for _, r := range lost {
		told := api.SignalNodeLost.SendFrom(ctx, r.Workflow, api.NodeLost{Node: n.id})
		n.tell(ctx, func(ctx workflow.Context) {
			// One to a workflow that has closed is no fault.
			if err := told.Get(ctx, nil); err != nil {
				workflow.GetLogger(ctx).Debug("what held room of the node is gone already", "error", err)
			}
		})
	}
}

// tell counts what tells others until it is over.
func (n *node) tell(ctx workflow.Context, do func(workflow.Context)) {
	n.telling++
	workflow.Go(ctx, func(ctx workflow.Context) {
		do(ctx)
		n.telling--
	})
}

// drain keeps new work off, or lets it on again. An operator who does the latter takes back whatever kept it off.
func (n *node) drain(r api.DrainRequest) {
	switch {
	case !r.Draining:
		n.draining, n.leaving, n.evacuating = false, false, false
	case r.UntilRestart:
		n.leaving = true
	default:
		n.draining = true
	}
	n.changed = true
}

// evacuate keeps new work off until the node's next worker, and has every instance replaced elsewhere. Asked again it
// tells them again: one that is being evacuated goes on with that.
func (n *node) evacuate(ctx workflow.Context, r api.EvacuateRequest) {
	n.evacuating, n.changed = true, true
	n.evacuations++
	// Each by itself: a run that began with earlier code tells of the next one as this code does.
	change := fmt.Sprint("evacuate-on-", n.evacuations)
	n.tellEvacuated(ctx, r.Reason, workflow.GetVersion(ctx, change, workflow.DefaultVersion, 1) == 1)
}

// goOnEvacuating tells every instance once more in a run that continues one which may not have reached all of them.
func (n *node) goOnEvacuating(ctx workflow.Context) {
	if n.evacuating && workflow.GetVersion(ctx, "evacuate-on", workflow.DefaultVersion, 1) == 1 {
		n.tellEvacuated(ctx, "its node is evacuated", true)
	}
}

// tellEvacuated tells every instance, on until it is heard or for the first tries alone.
func (n *node) tellEvacuated(ctx workflow.Context, reason string, on bool) {
	said := api.EvacuateInstance{Reason: reason, Node: n.id, BailOut: n.said.EvacuationBailOut}
	for _, held := range n.ledger {
		if held.Kind == api.KindInstance {
			n.tellEvacuation(ctx, held, said, on)
		}
	}
}

// An instance whose room is booked may be about to begin, and takes no signal before: it is told again, at first as often
// as evacuationTries says, and then less and less often.
const (
	evacuationTries        = 5
	evacuationPause        = 2 * time.Second
	longestEvacuationPause = 30 * time.Second
)

// tellEvacuation tries for as long as room is booked. Only the first tries keep the run from continuing as new: the next
// begins again.
func (n *node) tellEvacuation(ctx workflow.Context, held api.Reservation, said api.EvacuateInstance, on bool) {
	if n.evacuated[held.ID] {
		return // It will hear of this.
	}
	try := func(ctx workflow.Context, pause time.Duration) (over bool) {
		err := api.SignalEvacuateInstance.SendFrom(ctx, held.Workflow, said).Get(ctx, nil)
		return err == nil || workflow.Sleep(ctx, pause) != nil || !n.evacuating || n.find(held.ID) < 0
	}
	n.tell(ctx, func(ctx workflow.Context) {
		for range evacuationTries {
			if try(ctx, evacuationPause) {
				return
			}
		}
		if !on {
			return
		}
		n.evacuated[held.ID] = true
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer delete(n.evacuated, held.ID)
			for pause := evacuationPause; !try(ctx, pause); pause = min(2*pause, longestEvacuationPause) {
			}
		})
	})
}
