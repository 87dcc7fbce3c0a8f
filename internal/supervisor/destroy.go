package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// destroyers is how many workflows or Warden are spoken with at once about containers that nobody owns.
const destroyers = 8

// destroyAll takes down containers that nobody owns, those that are there, and gives the errors of those that stay. All of
// them first lose their routes, and then have their drains take what is left, together: it may take seconds, which must not add
// up. It ends early when ctx does.
func (s *Supervisor) destroyAll(ctx context.Context, handles []string, description string) map[string]error {
	failed := map[string]error{}
	var mu sync.Mutex
	each := func(most int, do func(handle string) error) {
		left := slices.DeleteFunc(slices.Clone(handles), func(handle string) bool { return failed[handle] != nil })
		var group errgroup.Group
		group.SetLimit(most)
		for _, handle := range left {
			group.Go(func() error {
				err := ctx.Err()
				if err == nil {
					err = do(handle)
				}
				if err != nil {
					mu.Lock()
					defer mu.Unlock()
					failed[handle] = err
				}
				return nil
			})
		}
		_ = group.Wait() // none fails
	}
	each(destroyers, func(handle string) error { return s.dismiss(ctx, handle, description) })
	if s.finish != nil {
		each(-1, func(handle string) error { s.finish(ctx, handle); return nil })
	}
	each(destroyers, func(handle string) error { return s.destroy(ctx, handle) })
	return failed
}

// dismiss ends what is done for a container that nobody owns. A workflow that believes its instance to run in it is told first that
// the instance has ended, by the description given: it would believe so for ever. Told twice, it heeds the first.
func (s *Supervisor) dismiss(ctx context.Context, handle, description string) error {
	holder, err := s.standing(ctx, api.InstanceWorkflowID(handle))
	if err == nil && holder.open && holder.node == s.node {
		err = s.signalEnd(ctx, handle, outcome{api.SignalInstanceExited, api.InstanceExit{
			Status: unknownStatus, Description: description,
		}})
	}
	if err != nil {
		return fmt.Errorf("tell the workflow of %s: %w", handle, err)
	}
	s.Forget(handle)
	return nil
}

// destroy takes down a container, if it is there.
func (s *Supervisor) destroy(ctx context.Context, handle string) error {
	_, err := s.warden.Destroy(ctx, &wardenpb.DestroyRequest{Handle: proto.String(handle)})
	switch {
	case errors.Is(err, warden.ErrUnknownHandle):
	case err != nil:
		return fmt.Errorf("destroy %s: %w", handle, err)
	default:
		s.log.Warn("destroyed a container that nobody owns", "handle", handle)
	}
	return nil
}
