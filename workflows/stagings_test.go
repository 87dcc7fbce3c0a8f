package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/workflows"
)

// stagingsWorld has stagings that go on until they are cancelled, or for longest.
type stagingsWorld struct {
	*world
	answers map[string]api.StageAnswer
	refused map[string]error
	// cancelled are the tasks whose staging heard of a cancel, finished those whose staging went on to its end.
	cancelled, finished []string
}

const longest = time.Hour

func newStagingsWorld(t *testing.T) *stagingsWorld {
	t.Helper()
	s := &stagingsWorld{world: emptyWorld(t), answers: map[string]api.StageAnswer{}, refused: map[string]error{}}
	s.RegisterWorkflowWithOptions(workflows.AppStagings, workflow.RegisterOptions{Name: api.WorkflowAppStagings})
	s.RegisterWorkflowWithOptions(func(ctx workflow.Context, in api.StageInput) error {
		if err := workflow.Sleep(ctx, longest); err != nil {
			s.cancelled = append(s.cancelled, in.Request.TaskID)
			return err
		}
		s.finished = append(s.finished, in.Request.TaskID)
		return nil
	}, workflow.RegisterOptions{Name: api.WorkflowStageApp})
	return s
}

// stage asks for a staging after some time.
func (s *stagingsWorld) stage(after time.Duration, request api.StagingRequest) {
	s.RegisterDelayedCallback(func() {
		task := request.TaskID
		s.UpdateWorkflow(api.UpdateStage.Name(), "", &testsuite.TestUpdateCallback{
			OnAccept: func() {},
			OnReject: func(err error) { s.refused[task] = err },
			OnComplete: func(answer any, err error) {
				if err != nil {
					s.refused[task] = err
				} else {
					s.answers[task] = answer.(api.StageAnswer)
				}
			},
		}, api.StageInput{Request: request})
	}, after)
}

func requestOf(task string) api.StagingRequest {
	request := aRequest()
	request.TaskID = task
	return request
}

func (s *stagingsWorld) run(t *testing.T) {
	t.Helper()
	s.ExecuteWorkflow(api.WorkflowAppStagings, api.StagingsInput{AppID: "hello"})
	require.True(t, s.IsWorkflowCompleted())
	require.NoError(t, s.GetWorkflowError())
}

func (s *stagingsWorld) status(t *testing.T) api.StagingsStatus {
	t.Helper()
	value, err := s.QueryWorkflow(api.QueryStagings.Name())
	require.NoError(t, err)
	var status api.StagingsStatus
	require.NoError(t, value.Get(&status))
	return status
}

func TestOnlyTheNewestStagingGoesOn(t *testing.T) {
	s := newStagingsWorld(t)
	s.stage(0, requestOf("one"))
	s.stage(time.Second, requestOf("two"))
	s.stage(time.Second, requestOf("three"))
	s.run(t)
	require.Empty(t, s.refused)
	require.Len(t, s.answers, 3)
	require.ElementsMatch(t, []string{"one", "two"}, s.cancelled)
	require.Equal(t, []string{"three"}, s.finished)
	require.Equal(t, api.StagingsStatus{AppID: "hello", Newest: "three"}, s.status(t))
}

func TestSameTaskIsOneStaging(t *testing.T) {
	s := newStagingsWorld(t)
	s.stage(0, requestOf("one"))
	s.stage(time.Second, requestOf("one"))
	s.run(t)
	require.Equal(t, api.StageAnswer{Again: true}, s.answers["one"])
	require.Empty(t, s.cancelled)
	require.Equal(t, []string{"one"}, s.finished)
}

func TestCancelledStagingsCancelTheirs(t *testing.T) {
	s := newStagingsWorld(t)
	s.stage(0, requestOf("one"))
	s.RegisterDelayedCallback(s.CancelWorkflow, time.Second)
	s.run(t)
	require.Equal(t, []string{"one"}, s.cancelled)
}

func TestStagingThatIsNotValidCancelsNone(t *testing.T) {
	s := newStagingsWorld(t)
	s.stage(0, requestOf("one"))
	bad, other := requestOf("two"), requestOf("three")
	bad.DownloadURI, other.AppID = "", "another"
	s.stage(time.Second, bad)
	s.stage(time.Second, other)
	s.run(t)
	for _, task := range []string{"two", "three"} {
		require.Equal(t, api.ErrInvalidRequest, api.Explain(s.refused[task], "").Type, "%v", s.refused[task])
	}
	require.Equal(t, []string{"one"}, s.finished)
}

func TestStagingsOfAnEarlierRunAreCancelled(t *testing.T) {
	s := newStagingsWorld(t)
	var told []string
	s.OnRequestCancelExternalWorkflow(mock.Anything, mock.Anything, mock.Anything).Return(
		func(_, id, _ string) error {
			told = append(told, id)
			return nil
		})
	s.stage(time.Second, requestOf("three"))
	s.ExecuteWorkflow(api.WorkflowAppStagings, api.StagingsInput{AppID: "hello", Newest: "two", Others: []string{"one", "two"}})
	require.NoError(t, s.GetWorkflowError())
	require.Equal(t, []string{"stage/hello/one", "stage/hello/two"}, told)
	require.Equal(t, []string{"three"}, s.finished)
}

func TestStagingsThatNobodyAsksForEnd(t *testing.T) {
	s := newStagingsWorld(t)
	s.run(t)
	require.Empty(t, s.finished)
}
