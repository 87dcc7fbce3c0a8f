package applogs

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/starter/internal/tail"
)

// source is an instance whose logs are read.
type source struct {
	app   string
	id    string
	index int
	node  string
	// base is where its node serves files, empty while it has no node.
	base string
	// ended: there is nothing of it but what its node may have kept.
	ended bool
}

// sourcesOf are those of an app's instances that a query means.
func sourcesOf(q Query, instances []api.InstanceStatus) []source {
	var all []source
	for _, i := range instances {
		if q.Index < 0 || i.Index == q.Index {
			all = append(all, source{app: q.App, id: i.InstanceID, index: i.Index, node: i.Node, base: i.FilesURL, ended: i.State.Ended()})
		}
	}
	return all
}

// findKnown are the instances that the app's workflow knows.
func (r *Reader) findKnown(ctx context.Context, q Query) ([]source, error) {
	status, err := r.Controller.App(ctx, q.App)
	if err != nil {
		return nil, err
	}
	return sourcesOf(q, status.Instances), nil
}

// find are all instances that run, and those that the app's workflow knows besides.
func (r *Reader) find(ctx context.Context, q Query) ([]source, error) {
	instances, err := r.Controller.FindInstances(ctx, api.InstanceFilter{AppID: q.App})
	if err == nil && len(instances) == 0 {
		return r.findKnown(ctx, q) // which tells an app that has none from one that is not known
	}
	return sourcesOf(q, instances), err
}

// parallelNodes bounds how many nodes are asked at once.
const parallelNodes = 8

// readEnded collects the last lines of what the nodes keep of instances that have ended, of all but those that were seen
// before. found are those that something is kept of, over all that it looked for.
func (r *Reader) readEnded(
	ctx context.Context, q Query, lines int, seen func(id string) bool, m *merger,
) (found, over map[string]bool, err error) {
	ended, err := r.Controller.EndedInstances(ctx, q.App)
	if err != nil {
		return nil, nil, err
	}
	found, over = map[string]bool{}, map[string]bool{}
	nodes := map[string][]source{}
	for _, s := range sourcesOf(q, ended) {
		if s.node != "" && (seen == nil || !seen(s.id)) {
			nodes[s.node] = append(nodes[s.node], s)
			over[s.id] = true
		}
	}
	wanted := q.wanted(lines)
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(parallelNodes)
	for node, all := range nodes {
		group.Go(func() error {
			if kept := r.readKept(ctx, q, wanted, node, all, m); kept != "" {
				mu.Lock()
				defer mu.Unlock()
				found[kept] = true
			}
			return nil
		})
	}
	_ = group.Wait() // none fails
	return found, over, ctx.Err()
}

// readKept is readEnded for one node, whose instances come the latest first. It keeps one of them at most.
func (r *Reader) readKept(
	ctx context.Context, q Query, wanted controller.LogsQuery, node string, all []source, m *merger,
) (kept string) {
	base := r.Controller.CurrentFilesURL(ctx, node, "")
	if base == "" {
		return "" // the node is gone, and all that it kept
	}
	for _, s := range all {
		s.base = base
		err := r.read(ctx, q, s, wanted, m.add)
		switch {
		case err == nil:
			return s.id
		case errors.Is(err, tail.ErrNotThere):
			continue
		case ctx.Err() == nil:
			r.warnOf(s, err)
		}
		return ""
	}
	return ""
}

// moved asks where a source's node serves its files by now, since a worker that was started again may serve them
// elsewhere, and tells whether that is another place than the one known.
func (r *Reader) moved(ctx context.Context, s *source) bool {
	now := r.Controller.CurrentFilesURL(ctx, s.node, s.base)
	if now == s.base {
		return false
	}
	s.base = now
	return true
}

func (r *Reader) warnOf(s source, err error) {
	if errors.Is(err, tail.ErrNotThere) {
		err = errors.New("there are none (yet, or any longer)")
	}
	r.warn("logs of instance " + s.id + ": " + err.Error())
}
