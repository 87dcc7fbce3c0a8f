package workflows

import (
	"encoding/json"
	"errors"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/api"
)

const (
	// maxTaskBytes is how much is told, and how much is started, in one round: Temporal takes a workflow task of 4 MB in
	// all, in which both may come together, and suggests to continue as new at as much of history.
	maxTaskBytes = 1 << 20
	// tellPause is before an instance is told again that could not be told and has not closed.
	tellPause = 10 * time.Second
)

// taskBytes is what a value takes of a workflow task, 1 at least, so that no number of them is without bound.
func taskBytes(value any) int {
	text, _ := json.Marshal(value) // What is counted came as JSON.
	return max(len(text), 1)
}

// stopSurplus tells instances to stop. One that has closed is gone; one that cannot be told for another reason is told
// again.
func (e *evaluation) stopSurplus(ctx workflow.Context) {
	for _, m := range e.surplus() {
		m.stopping = true
		id := m.status.InstanceID
		told := api.SignalStopInstance.SendFrom(ctx, api.InstanceWorkflowID(id), api.StopInstance{Reason: e.reason(m)})
		e.tell(ctx, told, func(ctx workflow.Context, err error) {
			if hasClosed(err) || e.shape == 0 {
				delete(e.instances, id)
				return
			}
			workflow.GetLogger(ctx).Error("an instance cannot be told to stop, trying again", "instance", id, "error", err)
			_ = workflow.Sleep(ctx, tellPause)
			m.stopping = m.status.State == api.StateStopping // It may be by now, for somebody else.
		})
	}
}

// hasClosed tells whether a signal failed since its workflow has ended, or never began.
func hasClosed(err error) bool {
	var unknown *temporal.UnknownExternalWorkflowExecutionError
	return errors.As(err, &unknown)
}

// tell counts a signal until it is delivered, or failed and that was seen to.
func (e *evaluation) tell(ctx workflow.Context, told workflow.Future, failed func(workflow.Context, error)) {
	e.telling++
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	workflow.Go(ctx, func(ctx workflow.Context) {
		if err := told.Get(ctx, nil); err != nil {
			failed(ctx, err)
		}
		e.telling--
		e.changed = true // Continuing as new may have waited for it.
	})
}

// updateInstances has running instances take on new routes: at once as many as one task may carry. The others, and those
// that are only about to start, are left to updateRest.
func (e *evaluation) updateInstances(ctx workflow.Context, members []*member, request api.RoutesRequest) {
	size := taskBytes(request)
	left := maxTaskBytes
	for _, m := range members {
		left -= size
		m.outdated = e.shape > 0 && (m.starting || left < 0)
		if !m.outdated {
			e.update(ctx, m)
		}
	}
}

// updateRest gives the latest routes to instances that did not get them with the others, as many at once as one task may
// carry. Those that are left when the run is to be continued are the next run's.
func (e *evaluation) updateRest(ctx workflow.Context) {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	workflow.Go(ctx, func(ctx workflow.Context) {
		for workflow.Await(ctx, func() bool { return e.anyOutdated() && !e.isDue(ctx) }) == nil {
			// A round of the server's lies between what is sent before and what is sent now.
			_ = workflow.Sleep(ctx, time.Millisecond)
			size, left := taskBytes(e.spec.Message.URIs), maxTaskBytes
			for _, m := range e.members() {
				if left > 0 && m.isBehind() {
					left -= size
					m.outdated = false
					e.update(ctx, m)
				}
			}
		}
	})
}

// anyOutdated tells whether there is an instance for updateRest.
func (e *evaluation) anyOutdated() bool {
	//workflowcheck:ignore any order finds the same
	for _, m := range e.instances {
		if m.isBehind() {
			return true
		}
	}
	return false
}

// isBehind tells whether the instance can be told of routes that it does not know.
func (m *member) isBehind() bool { return m.outdated && !m.starting }

// update tells an instance its routes and its version.
func (e *evaluation) update(ctx workflow.Context, m *member) {
	told := api.SignalUpdateInstance.SendFrom(ctx, api.InstanceWorkflowID(m.status.InstanceID),
		api.UpdateInstance{Version: m.status.Version, URIs: e.spec.Message.URIs})
	e.tell(ctx, told, func(ctx workflow.Context, err error) {
		if hasClosed(err) || e.shape == 0 {
			return
		}
		workflow.GetLogger(ctx).Error("an instance cannot be told its routes, trying again", "error", err)
		_ = workflow.Sleep(ctx, tellPause)
		m.outdated = true
	})
}

func (e *evaluation) reason(m *member) string {
	switch {
	case e.deleting:
		return "the app is deleted"
	case m.status.Index >= e.desired():
		return "the app is scaled down"
	case m.evacuated():
		return "its node is evacuated, and its replacement runs"
	case m.status.Version != e.version():
		return "a newer version runs"
	default:
		return "another instance with this index runs"
	}
}
