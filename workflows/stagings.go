package workflows

import (
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/api"
)

const (
	// firstUpdatePatience is how long a run waits for the update that it is started together with.
	firstUpdatePatience = time.Minute
	// othersPatience is how long stagings of an earlier run are thought to go on; a run cannot hear of their end.
	othersPatience = buildTimeout
	// supersededPatience is how long a staging waits for the room of those that were cancelled for it.
	supersededPatience = time.Minute
	// fullHistory and fullHistoryBytes are when a run continues although a staging goes on, of whose end the next run does
	// not hear: at a third of what Temporal allows. A single large request makes Temporal suggest it much sooner.
	fullHistory      = 17_000
	fullHistoryBytes = 16 << 20
)

// AppStagings lets only the newest staging of an app go on, as a cloud controller does that stops one before it asks for
// another. Lists of workflows lag; this workflow knows at once.
//
//	UpdateStage --> StageApp begins --> the earlier ones are cancelled --> each ends, cleaned up
//	                                                                        none goes on: so does this one
//
// It answers api.UpdateStage and api.QueryStagings. A cancel of it is one of every staging of the app that goes on.
func AppStagings(ctx workflow.Context, in api.StagingsInput) error {
	s := &stagings{app: in.AppID, newest: in.Newest, others: in.Others}
	if err := s.answer(ctx); err != nil {
		return err
	}
	return s.run(ctx)
}

// stagings is what a run of AppStagings knows.
type stagings struct {
	app    string
	newest string
	// open are those of this run that have not ended, in the order of their begin; others are those of an earlier run.
	open   []*openStaging
	others []string
	// begun is set once a staging of this run has begun.
	begun bool
}

type openStaging struct {
	task   string
	cancel workflow.CancelFunc
}

func (s *stagings) answer(ctx workflow.Context) error {
	err := api.QueryStagings.Handle(ctx, func() (api.StagingsStatus, error) {
		return api.StagingsStatus{AppID: s.app, Newest: s.newest, Open: s.tasks()}, nil
	})
	if err != nil {
		return err
	}
	return api.UpdateStage.Handle(ctx, s.begin, s.mayBegin)
}

func (s *stagings) tasks() []string {
	tasks := slices.Clone(s.others)
	for _, one := range s.open {
		tasks = append(tasks, one.task)
	}
	return tasks
}

func (s *stagings) mayBegin(in api.StageInput) error {
	if in.Request.AppID != s.app {
		return api.Final(api.ErrInvalidRequest, "the request is for another app", nil)
	}
	return in.Request.Validate()
}

// begin starts a staging, and then cancels those before it: one that cannot be started takes no other's place.
func (s *stagings) begin(ctx workflow.Context, in api.StageInput) (api.StageAnswer, error) {
	task := in.Request.TaskID
	if slices.Contains(s.tasks(), task) {
		return api.StageAnswer{Again: true}, nil
	}
	if len(s.open)+len(s.others) > 0 {
		in.RoomPatience = supersededPatience
	}
	// A cancel of this workflow is one of the stagings of before.
	apart, cancel := workflow.NewDisconnectedContext(ctx)
	one := &openStaging{task: task, cancel: cancel}
	s.open = append(s.open, one)
	before := s.newest
	s.newest = task
	child := startStaging(apart, in)
	err := child.GetChildWorkflowExecution().Get(apart, nil)
	s.begun = true
	if err != nil {
		s.ended(one)
		return s.notBegun(task, before, err)
	}
	workflow.Go(apart, func(ctx workflow.Context) {
		// How it ended is told by itself.
		_ = child.Get(ctx, nil)
		s.ended(one)
		s.show(ctx)
	})
	s.supersede(apart, one)
	s.show(apart)
	return api.StageAnswer{}, nil
}

// notBegun is the answer for a staging that could not be started. One of its task was, before this run knew of it.
func (s *stagings) notBegun(task, before string, err error) (api.StageAnswer, error) {
	again := temporal.IsWorkflowExecutionAlreadyStartedError(err)
	if s.newest == task && (!again || before != "") {
		s.newest = before
	}
	switch {
	case again:
		return api.StageAnswer{Again: true}, nil
	case temporal.IsCanceledError(err):
		return api.StageAnswer{}, api.Final(api.ErrStaging, api.StagingTaskStopped, err)
	default:
		return api.StageAnswer{}, api.Final(api.ErrStager, "the staging could not be started", err)
	}
}

func (s *stagings) ended(one *openStaging) {
	s.open = slices.DeleteFunc(s.open, func(o *openStaging) bool { return o == one })
}

// supersede cancels every staging that began before one; all, when one is nil.
func (s *stagings) supersede(ctx workflow.Context, one *openStaging) {
	for _, earlier := range s.open {
		if earlier == one {
			break
		}
		earlier.cancel()
	}
	for _, task := range s.others {
		id := api.StageWorkflowID(s.app, task)
		if err := workflow.RequestCancelExternalWorkflow(ctx, id, "").Get(ctx, nil); err != nil {
			workflow.GetLogger(ctx).Info("an earlier staging has ended", "task", task, "error", err)
		}
	}
	s.others = nil
}

// run ends when no staging goes on. A cancelled one waits for its stagings to clean up.
func (s *stagings) run(ctx workflow.Context) error {
	apart, stop := workflow.NewDisconnectedContext(ctx)
	defer stop()
	cancelled := false
	workflow.Go(ctx, func(ctx workflow.Context) {
		ctx.Done().Receive(ctx, nil)
		s.supersede(apart, nil)
		cancelled = true
	})
	s.show(ctx)
	patience := firstUpdatePatience
	if len(s.others) > 0 {
		patience = othersPatience
	}
	if _, err := workflow.AwaitWithTimeout(apart, patience, func() bool { return s.begun || cancelled }); err != nil {
		return err
	}
	full := func() bool {
		info := workflow.GetInfo(ctx)
		return info.GetCurrentHistoryLength() > fullHistory || info.GetCurrentHistorySize() > fullHistoryBytes
	}
	err := workflow.Await(apart, func() bool {
		return workflow.AllHandlersFinished(apart) && (len(s.open) == 0 || full())
	})
	if err != nil {
		return err
	}
	if len(s.open) == 0 {
		return nil
	}
	return workflow.NewContinueAsNewError(apart, api.WorkflowAppStagings,
		api.StagingsInput{AppID: s.app, Newest: s.newest, Others: s.tasks()})
}

func (s *stagings) show(ctx workflow.Context) {
	text := fmt.Sprintf("No staging of app `%s` goes on.", s.app)
	if tasks := s.tasks(); len(tasks) > 0 {
		text = fmt.Sprintf("Stagings of app `%s` that go on:\n", s.app)
		for _, task := range tasks {
			text += fmt.Sprintf("\n* `%s`", api.StageWorkflowID(s.app, task))
		}
	}
	workflow.SetCurrentDetails(ctx, text)
}
