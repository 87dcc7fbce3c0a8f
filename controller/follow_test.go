package controller

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/durable-dea/dea/api"
)

// TestEveryChangeIsTold: and what is none is not.
func TestEveryChangeIsTold(t *testing.T) {
	before := api.InstanceStatus{
		InstanceID: "i", AppID: "a", Version: "v1", State: api.StateRunning, Since: time.Unix(1, 0),
		URIs: []string{"x"}, Exit: &api.InstanceExit{Status: 1},
	}
	for name, test := range map[string]struct {
		change func(*api.InstanceStatus)
		told   bool
	}{
		"nothing":              {func(*api.InstanceStatus) {}, false},
		"where files are":      {func(i *api.InstanceStatus) { i.FilesURL = "http://n" }, false},
		"what was before":      {func(i *api.InstanceStatus) { i.Changes = []api.StateChange{{}} }, false},
		"another exit, alike":  {func(i *api.InstanceStatus) { i.Exit = &api.InstanceExit{Status: 1} }, false},
		"the same moment":      {func(i *api.InstanceStatus) { i.Since = i.Since.UTC() }, false},
		"the same routes":      {func(i *api.InstanceStatus) { i.URIs = []string{"x"} }, false},
		"the state":            {func(i *api.InstanceStatus) { i.State = api.StateStopping }, true},
		"since when":           {func(i *api.InstanceStatus) { i.Since = time.Unix(2, 0) }, true},
		"the node":             {func(i *api.InstanceStatus) { i.Node = "n" }, true},
		"the address":          {func(i *api.InstanceStatus) { i.Address = "h:1" }, true},
		"the version":          {func(i *api.InstanceStatus) { i.Version = "v2" }, true},
		"the readiness":        {func(i *api.InstanceStatus) { i.Unready = true }, true},
		"the routes":           {func(i *api.InstanceStatus) { i.URIs = nil }, true},
		"the exit":             {func(i *api.InstanceStatus) { i.Exit = &api.InstanceExit{Status: 2} }, true},
		"no exit":              {func(i *api.InstanceStatus) { i.Exit = nil }, true},
		"it is another's turn": {func(i *api.InstanceStatus) { i.InstanceID = "j" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := &follower{}
			require.Equal(t, []api.InstanceStatus{before}, f.differing([]api.InstanceStatus{before}))
			now := before
			test.change(&now)
			if !test.told {
				require.Empty(t, f.differing([]api.InstanceStatus{now}))
				return
			}
			require.Len(t, f.differing([]api.InstanceStatus{now}), 1)
			require.Empty(t, f.differing([]api.InstanceStatus{now}), "once")
		})
	}
}

func TestAnEndIsToldAsDeleted(t *testing.T) {
	now := time.Unix(9, 0)
	f := &follower{client: &Client{now: func() time.Time { return now }}}
	exit := &api.InstanceExit{Status: 1, Description: api.ExitAppExited}
	whole := api.InstanceStatus{State: api.StateDeleted, Since: time.Unix(1, 0), Exit: exit}
	require.Equal(t, whole, f.deleted(whole))
	require.Equal(t, api.InstanceStatus{State: api.StateDeleted, Since: now, Exit: exit},
		f.deleted(api.InstanceStatus{State: api.StateCrashed, Since: time.Unix(1, 0), Exit: exit}))
	terminated := f.deleted(api.InstanceStatus{State: api.StateRunning, Changes: []api.StateChange{{}}})
	require.Equal(t, api.ExitNotDetermined, terminated.Exit.Description)
	require.Nil(t, terminated.Changes)
}

// TestBellRings for what a workflow has done since it was asked, and for nothing else.
func TestBellRings(t *testing.T) {
	const (
		signalled = enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
		done      = enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
	)
	page := func(first int64, types ...enumspb.EventType) *workflowservice.GetWorkflowExecutionHistoryResponse {
		history := &historypb.History{}
		for i, one := range types {
			history.Events = append(history.Events, &historypb.HistoryEvent{EventId: first + int64(i), EventType: one})
		}
		return &workflowservice.GetWorkflowExecutionHistoryResponse{History: history}
	}
	b := &bell{heard: 4}
	require.False(t, b.take(page(1, signalled, done)), "known already")
	require.Equal(t, int64(4), b.heard)
	require.False(t, b.take(page(3, done, done)), "known already")
	require.False(t, b.take(page(5, signalled)), "nothing was done about it yet")
	require.True(t, b.take(page(6, done, signalled)))
	require.Equal(t, int64(7), b.heard)
	require.False(t, b.take(page(6, done, signalled)), "a page that is read again")
	require.False(t, b.take(page(8)))
	require.True(t, b.take(&workflowservice.GetWorkflowExecutionHistoryResponse{RawHistory: []*commonpb.DataBlob{{}}}))
}

// TestAFollowerWaitsNoLongerThanItsContext: a deadline of its own questions passes, one of the caller's does not.
func TestAFollowerWaitsNoLongerThanItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	require.True(t, lasting(ctx)(context.DeadlineExceeded))
	require.False(t, lasting(ctx)(context.Canceled))
	cancel()
	require.False(t, lasting(ctx)(context.DeadlineExceeded))
}
