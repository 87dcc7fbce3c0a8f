package controller

import (
	"context"
	"iter"
	"time"

	"github.com/durable-dea/dea/api"
)

// Change is what has become of an instance: its status from then on.
type Change struct {
	api.InstanceStatus
	// Missed is set where more may have happened to the instance, after what was told of it before, than is known.
	Missed bool `json:"missed,omitempty"`
}

// Follow tells of an app's instances as they change: first each that there is, as its app knows it, then each change of the state of each, once,
// with its true time and exit, by what the instance itself says; and when its node, its address, its readiness, its routes or
// its version are others, which is told as it is by then. An instance's last change is DELETED, told once its own workflow has
// ended. Changes of one instance come in their order, those of several as they are found: an instance that takes long to end
// keeps nobody waiting.
//
// Whoever does not take a change for a while, or whose platform is away, is told of all of it afterwards, also of instances that
// began and ended meanwhile. What is lost, and told of by Missed at the change that follows: an instance remembers
// api.MaxStateChanges changes, so that of one that had more between two looks those in the middle are not known; one whose
// workflow was terminated by hand, or is forgotten after Temporal's retention, is told to be DELETED when that happened, with
// what is known of its exit. Instances that began in a run of the app's workflow that is forgotten, or was reset, and ended
// before the next look, are not told of at all.
//
// It ends without an error when the app is gone and the last of its instances DELETED. It ends with an error when ctx ends, for
// an app that is not known (ErrNoSuchApp), and when the platform does not answer for longer than five minutes. While nothing
// changes it costs one waiting request to Temporal, and no worker anything; each change costs a question to the app and one to
// each instance that has changed, for each follower, and while instances end up to eight more requests wait. Nothing is left of
// it when the loop over it ends.
func (c *Client) Follow(ctx context.Context, app string) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		f := newFollower(c, app)
		following, stop := context.WithCancel(ctx)
		defer f.work.Wait()
		defer stop()
		rings := f.listen(following)
		for rings != nil || f.awaited > 0 {
			var changes []Change
			var err error
			var again <-chan time.Time
			if f.wait > 0 {
				again = time.After(f.wait)
			}
			select {
			case <-again:
				changes, err = f.askUnsure(following)
			case r := <-rings:
				if changes, err = f.hear(following, r); !r.open {
					rings = nil
				}
			case e := <-f.endings:
				changes, err = f.ended(e), e.err
			case <-ctx.Done():
				err = ctx.Err()
			}
			if !tell(ctx, yield, changes, err, appSubject(app)) {
				return
			}
		}
	}
}

// FollowInstance is Follow for one instance, whoever started it. It ends without an error after the state DELETED, for one that
// has ended at once. Fails with ErrNoSuchInstance.
func (c *Client) FollowInstance(ctx context.Context, instance string) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		i := &followed{}
		b := &bell{client: c, workflowID: api.InstanceWorkflowID(instance)}
		for open := true; open; {
			var changes []Change
			var err error
			if open, err = b.next(ctx); err == nil {
				changes, err = c.lookAt(ctx, i, instance, open)
			}
			if !tell(ctx, yield, changes, err, instanceSubject(instance)) {
				return
			}
		}
	}
}

// lookAt asks an instance, or its workflow's end, what has become of it.
func (c *Client) lookAt(ctx context.Context, i *followed, instance string, open bool) ([]Change, error) {
	if !open {
		e := c.end(ctx, instance)
		return i.ended(e), e.err
	}
	own, err := outlast(ctx, c, lasting(ctx), func() (api.InstanceStatus, error) { return c.askInstance(ctx, instance) })
	if err != nil {
		return nil, err
	}
	return i.take(own), nil
}

// askInstance is Instance with the error as it came.
func (c *Client) askInstance(ctx context.Context, instance string) (api.InstanceStatus, error) {
	limited, cancel := c.call(ctx)
	defer cancel()
	return retry(limited, func() (api.InstanceStatus, error) {
		return api.QueryInstance.Ask(limited, c.temporal, api.InstanceWorkflowID(instance))
	})
}

// tell hands on changes, and the error that ends them; it is false when nothing is to follow. The deadline of ctx is the
// caller's own.
func tell(ctx context.Context, yield func(Change, error) bool, changes []Change, err error, about subject) bool {
	for _, change := range changes {
		if !yield(change, nil) {
			return false
		}
	}
	switch {
	case err == nil:
		return true
	case ctx.Err() != nil:
		err = ctx.Err()
	default:
		err = explain(ctx, err, about)
	}
	yield(Change{}, err)
	return false
}
