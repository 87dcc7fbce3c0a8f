package workflows

import (
	"errors"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
)

// place finds a node for an instance that was started without one. A booking whose instance is no longer wanted is given
// back by end.
func (i *instance) place(ctx workflow.Context) error {
	if i.in.Node != "" {
		return nil
	}
	placed, refused, err := place(ctx, activities.PlaceParams{
		Reservations: []api.Reservation{i.in.Message.Reservation(i.in.InstanceID)},
	})
	if err != nil {
		return err
	}
	if refused != "" {
		return api.Final(api.ErrStartFailed, api.NotEnough(refused), nil)
	}
	i.in.Node, i.status.Node = placed.Node, placed.Node
	i.in.FilesURL, i.status.FilesURL, i.in.Grace = placed.FilesURL, placed.FilesURL, placed.Grace
	for _, said := range i.early {
		i.concern(said.node, said.do)
	}
	i.early = nil
	if err := workflow.UpsertTypedSearchAttributes(ctx, api.SearchNode.ValueSet(placed.Node)); err != nil {
		workflow.GetLogger(ctx).Error("the node is not in the search attributes", "error", err)
	}
	if ctx.Err() != nil {
		i.stop = &api.StopInstance{Reason: "the workflow was cancelled"}
	}
	if i.stop != nil || i.lost {
		return errInterrupted
	}
	return nil
}

// start brings the instance up beside what is heard: a stop, or the node's loss, ends it at once. What it leaves behind is
// end's.
func (i *instance) start(ctx workflow.Context) error {
	starting, cancel := workflow.WithCancel(ctx)
	defer cancel()
	var failed error
	done := false
	workflow.Go(starting, func(ctx workflow.Context) {
		failed = i.bringUp(ctx)
		done = true
	})
	err := workflow.Await(ctx, func() bool { return done || i.stop != nil || i.lost })
	switch {
	case err != nil:
		i.stop = &api.StopInstance{Reason: "the workflow was cancelled"}
		return err
	case !done:
		return errInterrupted
	default:
		return failed
	}
}

// errInterrupted ends a start whose instance is no longer wanted, or whose node is no longer there.
var errInterrupted = errors.New("the start was interrupted")

// bringUp is bounded as a whole: no instance is STARTING for longer than createLimit and launchLimit together.
func (i *instance) bringUp(ctx workflow.Context) error {
	in := i.in
	if in.Shape == 0 {
		return i.createAndLaunch(ctx)
	}
	const summary = "fetch the droplet, make the container, run the app until it is healthy"
	start := patient(onNode(ctx, in.Node, transferTimeout+launchTimeout, retryDeaths(), summary), in.Grace)
	limit := createLimit + launchLimit(in.Message)
	started, err := askTwice(workflow.WithScheduleToCloseTimeout(start, limit), activities.StartInstance,
		activities.StartParams{InstanceID: in.InstanceID, Message: in.Message, Owner: in.Owner, FilesURL: in.FilesURL})
	if err != nil {
		return err
	}
	i.created, i.job, i.told, i.lookedAt = started.Created, started.Job, started.Told, started.LookedAt
	i.status.Address, i.status.Unready = started.Created.Address, started.Unready
	return nil
}

// createAndLaunch is the start of instances whose histories began before it was one activity.
func (i *instance) createAndLaunch(ctx workflow.Context) error {
	in := i.in
	create := patient(onNode(ctx, in.Node, transferTimeout, retryDeaths(), "fetch the droplet, make the container"), in.Grace)
	created, err := askTwice(workflow.WithScheduleToCloseTimeout(create, createLimit), activities.CreateInstance,
		activities.CreateParams{InstanceID: in.InstanceID, Message: in.Message})
	if err != nil {
		return err
	}
	i.created = created
	i.status.Address = created.Address
	launch := patient(onNode(ctx, in.Node, launchTimeout, retryDeaths(), "run the app, wait until it is healthy"), in.Grace)
	launched, err := askTwice(workflow.WithScheduleToCloseTimeout(launch, launchLimit(in.Message)), activities.LaunchInstance,
		activities.LaunchParams{InstanceID: in.InstanceID, Message: in.Message, Created: created})
	i.job, i.status.Unready = launched.Job, launched.Unready
	return err
}

// launchLimit bounds all attempts of a launch: the time that the app has to become healthy, and ten minutes for the
// hooks and for a Warden or a worker that is away meanwhile. A node's own default is an hour at most.
func launchLimit(m api.StartMessage) time.Duration {
	healthy := time.Duration(m.HealthCheckTimeout) * time.Second
	if healthy == 0 {
		healthy = time.Hour
	}
	return healthy + 10*time.Minute
}

// startFailure is how an instance ended that never ran.
func (i *instance) startFailure(err error) api.InstanceExit {
	switch {
	case i.exit != nil:
		return *i.exit
	case i.stop != nil:
		return api.InstanceExit{Status: -1, Description: api.ExitStopped}
	case i.lost || nodeGone(err):
		i.lost = true
		return api.InstanceExit{Status: -1, Description: api.ExitNodeLost}
	}
	if exit, ok := api.StartFailure(err); ok {
		return exit
	}
	info := api.Explain(err, api.ErrStartFailed)
	if info.Type == api.ErrStartFailed || info.Type == api.ErrDroplet {
		return api.InstanceExit{Status: -1, Description: info.Message}
	}
	return api.InstanceExit{Status: -1, Description: api.ExitFailedToStart + ": " + info.Message}
}

// nodeGone tells whether an activity failed because no worker of its node took it.
func nodeGone(err error) bool {
	var timeout *temporal.TimeoutError
	return errors.As(err, &timeout) && timeout.TimeoutType() == timeoutScheduleToStart
}
