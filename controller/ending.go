package controller

import (
	"context"
	"errors"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"

	"github.com/durable-dea/dea/api"
)

// ending is how the workflow of an instance has ended.
type ending struct {
	instance string
	// status is the last that the instance said of itself, without a state where that is not known. One whose workflow ended
	// by itself says DELETED.
	status api.InstanceStatus
	// at is when the workflow closed, or was found to be gone.
	at time.Time
	// err is set where the platform could not be asked.
	err error
}

// watch has the end of an instance told once it is near: its app need not hear of it, and lists it no longer, or as crashed
// for as long as nothing takes its place.
func (f *follower) watch(ctx context.Context, id string, i *followed) {
	near := !i.listed || i.said.State.Ended() || i.told.State.Ended() || i.told.State == api.StateStopping
	if !near || i.ending || i.over {
		return
	}
	i.ending = true
	f.awaited++
	f.work.Go(func() { f.awaitEnd(ctx, id) })
}

// ended gives what is to be told of an instance that was waited for.
func (f *follower) ended(e ending) []Change {
	i := f.known[e.instance]
	f.awaited--
	i.ending = false
	changes := i.ended(e)
	f.forget()
	return changes
}

// awaitEnd tells the follower how an instance has ended.
func (f *follower) awaitEnd(ctx context.Context, id string) {
	e := ending{instance: id}
	if e.err = f.awaitClose(ctx, id); e.err == nil {
		e = f.client.end(ctx, id)
	}
	select {
	case f.endings <- e:
	case <-ctx.Done():
	}
}

// awaitClose waits until an instance's workflow has closed, or is not known. As few requests wait at once as there are
// turns, since the server bounds those of a namespace; a turn lasts as long as the server has a request wait, 20 s.
func (f *follower) awaitClose(ctx context.Context, id string) error {
	var page []byte
	for {
		select {
		case f.turns <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		answer, err := f.client.poll(ctx, api.InstanceWorkflowID(id), "", page, enumspb.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT)
		<-f.turns
		var gone *serviceerror.NotFound
		var stale *serviceerror.InvalidArgument
		events := answer.GetHistory().GetEvents()
		switch {
		case errors.As(err, &gone):
			return nil
		case errors.As(err, &stale) && page != nil: // as in listen
			page = nil
		case err != nil:
			return err
		case len(events) == 0 && len(answer.GetRawHistory()) == 0:
			page = answer.GetNextPageToken()
		case len(events) > 0 && events[len(events)-1].GetWorkflowExecutionContinuedAsNewEventAttributes() != nil:
			page = nil // of the newest run
		default:
			return nil
		}
	}
}

// end asks how an instance has ended whose workflow has closed: by its result, and where it has none, since it was terminated,
// by the last that it said.
func (c *Client) end(ctx context.Context, id string) ending {
	e := ending{instance: id, at: c.now()}
	workflow := api.InstanceWorkflowID(id)
	e.status, e.err = outlast(ctx, c, lasting(ctx), func() (status api.InstanceStatus, err error) {
		limited, cancel := c.call(ctx)
		defer cancel()
		err = c.temporal.GetWorkflow(limited, workflow, "").Get(limited, &status)
		return status, err
	})
	if e.err == nil && e.status.State == api.StateDeleted || ctx.Err() != nil || lasting(ctx)(e.err) {
		return e
	}
	// What cannot be found out soon is not known.
	limited, cancel := c.call(ctx)
	defer cancel()
	e.status, e.err = c.askInstance(limited, id)
	if description, err := c.temporal.DescribeWorkflowExecution(limited, workflow, ""); err == nil {
		e.at = description.GetWorkflowExecutionInfo().GetCloseTime().AsTime()
	}
	if e.err != nil {
		e.status, e.err = api.InstanceStatus{}, ctx.Err()
	}
	return e
}
