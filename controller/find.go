package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"go.temporal.io/api/serviceerror"

	"github.com/durable-dea/dea/api"
)

// FindInstances tells of the instances of an app that a filter chooses, by index: those that its workflow keeps and those
// that StartInstance started and that have not ended. One that StartInstance started within the last 2 seconds may be missing,
// unless the filter has its id. An app that has none, or that is not known, gives none. Where some could not be asked, the others are returned with the error.
func (c *Client) FindInstances(ctx context.Context, filter api.InstanceFilter) ([]api.InstanceStatus, error) {
	if err := filter.Validate(); err != nil {
		return nil, invalid(err)
	}
	limited, cancel := c.call(ctx)
	defer cancel()
	all, err := c.instancesOf(limited, filter)
	all = slices.DeleteFunc(all, func(i api.InstanceStatus) bool { return !filter.Matches(i) })
	sortInstances(all)
	return all, explain(ctx, err, appSubject(filter.AppID))
}

// StopInstances ends the instances of an app that a filter chooses, all of them where it has no criterion, and returns those that it has told, as they were just
// before. One that ends already is not told again. Where the app wants more than are left, its workflow starts others: Scale
// and Stop change what it wants. An app that has none gives none. reason is for the operator, in the history. Where some could
// not be told, the others are returned with the error.
func (c *Client) StopInstances(
	ctx context.Context, filter api.InstanceFilter, reason string,
) ([]api.InstanceStatus, error) {
	found, missed := c.FindInstances(ctx, filter)
	found = slices.DeleteFunc(found, func(i api.InstanceStatus) bool {
		return !i.State.Alive() || i.State == api.StateStopping
	})
	limited, cancel := c.call(ctx)
	defer cancel()
	told, err := forEach(found, func(i api.InstanceStatus) (api.InstanceStatus, bool, error) {
		err := api.SignalStopInstance.Send(limited, c.temporal, api.InstanceWorkflowID(i.InstanceID), api.StopInstance{
			Reason: reason, TellOwner: true,
		})
		var ended *serviceerror.NotFound
		if errors.As(err, &ended) {
			return i, false, nil
		}
		return i, err == nil, explain(ctx, err, instanceSubject(i.InstanceID))
	})
	sortInstances(told)
	return told, cmp.Or(missed, err)
}

// instancesOf are an app's instances by its workflow's answer, and what runs beside them: all that is listed, and what the
// filter names by its id, which is not listed at once.
func (c *Client) instancesOf(ctx context.Context, filter api.InstanceFilter) ([]api.InstanceStatus, error) {
	app := filter.AppID
	status, err := c.askApp(ctx, app)
	var missing *serviceerror.NotFound
	if err != nil && !errors.As(err, &missing) {
		return nil, err
	}
	known := make(map[string]bool, len(status.Instances))
	for _, instance := range status.Instances {
		known[api.InstanceWorkflowID(instance.InstanceID)] = true
	}
	// The id is of a shape in which nothing needs to be escaped.
	ids, err := c.list(ctx, fmt.Sprintf("%s = '%s' AND %s = '%s' AND ExecutionStatus = 'Running'",
		api.SearchApp.GetName(), app, api.SearchKind.GetName(), api.KindInstance))
	if err != nil {
		return status.Instances, err
	}
	for _, instance := range filter.InstanceIDs {
		ids = append(ids, api.InstanceWorkflowID(instance))
	}
	slices.Sort(ids)
	ids = slices.DeleteFunc(slices.Compact(ids), func(id string) bool { return known[id] })
	single, err := askEach(ctx, c, ids, api.QueryInstance)
	for i := range single {
		single[i].Changes = nil // the app's workflow does not have them either
	}
	return append(status.Instances, single...), err
}

// sortInstances brings instances in the order of their index, the oldest first.
func sortInstances(all []api.InstanceStatus) {
	slices.SortFunc(all, func(a, b api.InstanceStatus) int {
		return cmp.Or(cmp.Compare(a.Index, b.Index), a.Since.Compare(b.Since), cmp.Compare(a.InstanceID, b.InstanceID))
	})
}
