package controller

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"

	"go.temporal.io/api/serviceerror"

	"github.com/durable-dea/dea/api"
)

// Follow tells of an app's instances as they change: first each that there is, then each at every change of its state, its
// node, its address, its readiness, its routes or its version. One that is no longer among the app's is told of once more, as
// DELETED with what is known of its exit. Changes that follow each other within milliseconds may be told of as one: what is
// told last is what is.
//
// It ends without an error when the app is gone, after the last change. It ends with an error when ctx ends, for an app that
// is not known (ErrNoSuchApp), and when the platform does not answer for longer than five minutes. While nothing changes it
// costs one waiting request to Temporal, and no worker anything; each change costs a question for each follower. Nothing
// is left of it when the loop over it ends.
func (c *Client) Follow(ctx context.Context, app string) iter.Seq2[api.InstanceStatus, error] {
	return func(yield func(api.InstanceStatus, error) bool) {
		f := &follower{client: c, app: app}
		b := &bell{client: c, workflowID: api.AppWorkflowID(app)}
		tellAll(ctx, b, appSubject(app), yield, f.changes)
	}
}

// FollowInstance is Follow for one instance, whoever started it. It ends without an error after the state DELETED, for one that
// has ended at once. Fails with ErrNoSuchInstance.
func (c *Client) FollowInstance(ctx context.Context, instance string) iter.Seq2[api.InstanceStatus, error] {
	return func(yield func(api.InstanceStatus, error) bool) {
		f := &follower{client: c}
		b := &bell{client: c, workflowID: api.InstanceWorkflowID(instance)}
		tellAll(ctx, b, instanceSubject(instance), yield, func(ctx context.Context, open bool) ([]api.InstanceStatus, error) {
			status, err := f.instance(ctx, instance)
			if err != nil {
				return nil, err
			}
			if !open {
				status = f.deleted(status)
			}
			return f.differing([]api.InstanceStatus{status}), nil
		})
	}
}

// tellAll tells what look finds at each ring of the bell, until it has rung for the last time.
func tellAll(
	ctx context.Context, b *bell, about subject, yield func(api.InstanceStatus, error) bool,
	look func(ctx context.Context, open bool) ([]api.InstanceStatus, error),
) {
	for open := true; open; {
		var changes []api.InstanceStatus
		var err error
		if open, err = b.next(ctx); err == nil {
			changes, err = look(ctx, open)
		}
		if err != nil {
			yield(api.InstanceStatus{}, explainFollow(ctx, err, about))
			return
		}
		for _, change := range changes {
			if !yield(change, nil) {
				return
			}
		}
	}
}

// explainFollow is explain for what goes on as long as its context: the deadline of that is the caller's own.
func explainFollow(ctx context.Context, err error, about subject) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return explain(ctx, err, about)
}

// follower knows what was told last.
type follower struct {
	client *Client
	app    string
	// told are the instances that live, by id; nil before the first look.
	told map[string]api.InstanceStatus
}

// changes are what is other with the app's instances than at the last look. An app whose workflow has ended has none.
func (f *follower) changes(ctx context.Context, open bool) ([]api.InstanceStatus, error) {
	first := f.told == nil
	var now []api.InstanceStatus
	if open {
		status, err := f.ask(ctx)
		var gone *serviceerror.NotFound
		if err != nil && (first || !errors.As(err, &gone)) {
			return nil, err
		}
		now = status.Instances
	} else if first {
		return nil, serviceerror.NewNotFound("the app is gone")
	}
	sortInstances(now)
	ended, err := f.ended(ctx, now)
	return append(ended, f.differing(now)...), err
}

func (f *follower) ask(ctx context.Context) (api.AppStatus, error) {
	return outlast(ctx, f.client, lasting(ctx), func() (api.AppStatus, error) {
		limited, cancel := f.client.call(ctx)
		defer cancel()
		return ask(limited, f.client, api.QueryApp, api.AppWorkflowID(f.app))
	})
}

func (f *follower) instance(ctx context.Context, id string) (api.InstanceStatus, error) {
	return outlast(ctx, f.client, lasting(ctx), func() (api.InstanceStatus, error) {
		limited, cancel := f.client.call(ctx)
		defer cancel()
		return api.QueryInstance.Ask(limited, f.client.temporal, api.InstanceWorkflowID(id))
	})
}

// differing are those of the instances that were not told as they are now. They are taken for told.
func (f *follower) differing(now []api.InstanceStatus) []api.InstanceStatus {
	if f.told == nil {
		f.told = map[string]api.InstanceStatus{}
	}
	var differing []api.InstanceStatus
	for _, status := range now {
		status.Changes = nil
		if before, known := f.told[status.InstanceID]; !known || !alike(before, status) {
			differing = append(differing, status)
		}
		f.told[status.InstanceID] = status
	}
	return differing
}

// alike tells whether nothing has changed that is told of.
func alike(a, b api.InstanceStatus) bool {
	sameExit := a.Exit == b.Exit || a.Exit != nil && b.Exit != nil && *a.Exit == *b.Exit
	return a.State == b.State && a.Since.Equal(b.Since) && a.Node == b.Node && a.Address == b.Address &&
		a.Version == b.Version && a.Unready == b.Unready && sameExit && slices.Equal(a.URIs, b.URIs)
}

// ended are the instances that were told of and are no longer among the app's, as DELETED: each is asked how it ended, and
// what cannot be asked is told by what is known. They are told once.
func (f *follower) ended(ctx context.Context, now []api.InstanceStatus) ([]api.InstanceStatus, error) {
	gone := maps.Clone(f.told)
	for _, status := range now {
		delete(gone, status.InstanceID)
	}
	ended, err := forEach(slices.Collect(maps.Values(gone)), func(last api.InstanceStatus) (api.InstanceStatus, bool, error) {
		limited, cancel := context.WithTimeout(ctx, detailTimeout)
		defer cancel()
		if own, err := f.instance(limited, last.InstanceID); err == nil {
			last = own
		}
		return f.deleted(last), true, ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	for id := range gone {
		delete(f.told, id)
	}
	sortInstances(ended)
	return ended, nil
}

// deleted is an instance whose end is known of, and perhaps of nothing but that: it is about to be DELETED, or its workflow was
// terminated.
func (f *follower) deleted(last api.InstanceStatus) api.InstanceStatus {
	last.Changes = nil
	if last.State == api.StateDeleted {
		return last
	}
	last.State, last.Since = api.StateDeleted, f.client.now()
	if last.Exit == nil {
		last.Exit = &api.InstanceExit{Status: -1, Description: api.ExitNotDetermined}
	}
	return last
}
