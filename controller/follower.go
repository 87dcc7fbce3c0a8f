package controller

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.temporal.io/api/serviceerror"

	"github.com/durable-dea/dea/api"
)

// follower follows one app. The app's workflow says which instances there are and which of them have changed, its history
// which have begun; each of those says itself what has become of it, and the end of its own workflow how it ended.
type follower struct {
	client *Client
	app    string
	// known are the app's instances by id, nil before the first look. One that has ended stays until it is no longer listed
	// and its birth was heard of.
	known map[string]*followed

	// wait is until instances are asked again that are not yet, or no longer, what the app says; 0 where all are.
	wait time.Duration

	// endings are those of instances' workflows, of which awaited are waited for; turns bounds how many at once.
	endings chan ending
	awaited int
	turns   chan struct{}
	// work is what goes on beside the loop, until its context ends.
	work sync.WaitGroup
}

func newFollower(c *Client, app string) *follower {
	return &follower{client: c, app: app, endings: make(chan ending), turns: make(chan struct{}, parallelQueries)}
}

// ring says that the app may have changed.
type ring struct {
	// open is false once its workflow has ended.
	open bool
	// begun are the ids of workflows that it was heard to have started.
	begun []string
	err   error
}

// listen gives the rings of the app's bell, one at a time: what is not taken yet stays in the workflow's history.
func (f *follower) listen(ctx context.Context) <-chan ring {
	rings := make(chan ring)
	b := &bell{client: f.client, workflowID: api.AppWorkflowID(f.app)}
	f.work.Go(func() {
		for open := true; open; {
			var err error
			open, err = b.next(ctx)
			select {
			case rings <- ring{open, b.begun, err}:
				b.begun = nil
			case <-ctx.Done():
				return
			}
		}
	})
	return rings
}

// hear gives what has become of the app's instances since the last look.
func (f *follower) hear(ctx context.Context, r ring) ([]Change, error) {
	if r.err != nil {
		return nil, r.err
	}
	first := f.known == nil
	if first && !r.open {
		return nil, serviceerror.NewNotFound("the app is gone")
	}
	var listed []api.InstanceStatus
	if r.open {
		status, err := f.askApp(ctx)
		var gone *serviceerror.NotFound
		if err != nil && (first || !errors.As(err, &gone)) {
			return nil, err
		}
		listed = status.Instances
	}
	told := f.compare(ctx, listed, first)
	f.wait = 0
	f.begin(r.begun)
	changes, err := f.askUnsure(ctx)
	f.forget()
	if changes = append(told, changes...); first {
		slices.SortStableFunc(changes, func(a, b Change) int { return cmp.Compare(a.Index, b.Index) })
	}
	return changes, err
}

func (f *follower) askApp(ctx context.Context) (api.AppStatus, error) {
	return outlast(ctx, f.client, lasting(ctx), func() (api.AppStatus, error) {
		limited, cancel := f.client.call(ctx)
		defer cancel()
		return f.client.askApp(limited, f.app)
	})
}

// compare finds the instances of which the app says something else than at the last look. At the first look one whose state
// it can only have heard is told as it says, so that it costs no question.
func (f *follower) compare(ctx context.Context, listed []api.InstanceStatus, first bool) []Change {
	was := f.known
	f.known = make(map[string]*followed, len(listed))
	var told []Change
	for _, said := range listed {
		i := was[said.InstanceID]
		if i == nil {
			i = &followed{whole: !first}
		}
		f.known[said.InstanceID] = i
		i.unsure = i.unsure || !alike(i.said, said)
		i.listed, i.said = true, said
		if first && wasHeard(said.State) {
			told, i.unsure = append(told, i.repeat()...), false
			f.watch(ctx, said.InstanceID, i)
		}
	}
	for id, i := range was {
		if f.known[id] == nil {
			i.unsure = i.unsure || i.listed
			i.listed, f.known[id] = false, i
		}
	}
	return told
}

// wasHeard tells whether an app knows that state from the instance, with its true time, or that it runs from its node. That it
// is STARTING or STOPPING the app may only think.
func wasHeard(s api.InstanceState) bool {
	switch s {
	case api.StateRunning, api.StateResuming, api.StateEvacuating, api.StateCrashed:
		return true
	default:
		return false
	}
}

// begin takes in which workflows the app has started: an instance may have ended by now.
func (f *follower) begin(workflows []string) {
	for _, workflow := range workflows {
		id, ok := strings.CutPrefix(workflow, api.InstanceWorkflowID(""))
		if !ok {
			continue
		}
		if f.known[id] == nil {
			f.known[id] = &followed{whole: true, unsure: true}
		}
		f.known[id].born = true
	}
}

// longestWait is between two questions to an instance that stays other than its app says.
const longestWait = 10 * time.Second

// askUnsure asks the instances that may have changed, and gives what is to be told by their answers, in its order in time.
func (f *follower) askUnsure(ctx context.Context) ([]Change, error) {
	unsure := f.unsure()
	answers, err := f.askAll(ctx, unsure)
	if err != nil {
		return nil, err
	}
	var changes []Change
	for _, id := range unsure {
		i := f.known[id]
		if own, ok := answers[id]; ok {
			changes = append(changes, i.take(own)...)
			i.unsure = i.listed && !agree(i.said, own)
		} else if i.listed && i.said.State != api.StateStarting { // one that starts may not have begun
			changes = append(changes, i.repeat()...)
		}
		f.watch(ctx, id, i)
	}
	f.wait = min(max(2*f.wait, firstPause), longestWait)
	if len(f.unsure()) == 0 {
		f.wait = 0
	}
	slices.SortStableFunc(changes, func(a, b Change) int { return a.Since.Compare(b.Since) })
	return changes, nil
}

// unsure are the ids of the instances that are to be asked.
func (f *follower) unsure() []string {
	var unsure []string
	for _, id := range slices.Sorted(maps.Keys(f.known)) {
		if i := f.known[id]; i.unsure && !i.ending && !i.over {
			unsure = append(unsure, id)
		}
	}
	return unsure
}

// askAll gives the answers of those that answer. It fails when the platform is away.
func (f *follower) askAll(ctx context.Context, ids []string) (map[string]api.InstanceStatus, error) {
	answered, err := forEach(ids, func(id string) (api.InstanceStatus, bool, error) {
		own, err := outlast(ctx, f.client, away(ctx), func() (api.InstanceStatus, error) {
			return f.client.askInstance(ctx, id)
		})
		if ctx.Err() != nil || away(ctx)(err) {
			return own, false, err
		}
		own.InstanceID = id
		return own, err == nil, nil
	})
	answers := make(map[string]api.InstanceStatus, len(answered))
	for _, own := range answered {
		answers[own.InstanceID] = own
	}
	return answers, err
}

// away is lasting without what may be the matter with one instance alone: its app's others are told of all the same.
func away(ctx context.Context) func(error) bool {
	return func(err error) bool {
		var notReady *serviceerror.WorkflowNotReady
		return lasting(ctx)(err) && !errors.As(err, &notReady)
	}
}

// forget drops what is no longer needed to tell nothing twice.
func (f *follower) forget() {
	maps.DeleteFunc(f.known, func(_ string, i *followed) bool { return i.over && i.born && !i.listed })
}
