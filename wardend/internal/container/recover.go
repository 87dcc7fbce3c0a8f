package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/backend"
	"github.com/durable-dea/dea/wardend/internal/initproc"
)

// errStray: something lies where only containers should, and no wardend has put it there.
var errStray = errors.New("it is not wardend's: move it away")

// recover finds the depot's containers.
func (r *Registry) recover(ctx context.Context) error {
	entries, err := os.ReadDir(filepath.Join(r.opts.Depot, containersName))
	if err != nil {
		return fmt.Errorf("depot: %w", err)
	}
	lost := r.readServer(len(entries) == 0)
	if lost != nil && !errors.Is(lost, errDamaged) && !errors.Is(lost, fs.ErrNotExist) {
		return lost
	}
	if err := r.recoverAll(ctx, entries); err != nil {
		return err
	}
	if lost == nil {
		return nil
	}
	return r.renewServer(lost, len(entries) == 0)
}

// recoverers is how many containers are found again at once: an init that says nothing is waited for half a minute,
// which the others must not be.
const recoverers = 16

func (r *Registry) recoverAll(ctx context.Context, entries []fs.DirEntry) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(recoverers)
	dirs := make([]string, 0, len(entries))
	for _, entry := range entries {
		dir := filepath.Join(r.opts.Depot, containersName, entry.Name())
		if !entry.IsDir() {
			r.leaveStray(dir, errStray)
			continue
		}
		dirs = append(dirs, dir)
		order := uint64(len(dirs))
		group.Go(func() error {
			if err := r.recoverOne(groupCtx, dir, order); err != nil {
				return fmt.Errorf("container in %s: %w", dir, err)
			}
			return nil
		})
	}
	r.order = uint64(len(dirs))
	if err := group.Wait(); err != nil {
		return err
	}
	return r.backend.Sweep(ctx, dirs)
}

func (r *Registry) leaveStray(path string, reason error) {
	r.opts.Log.Warn("what lies among the containers is none: left alone", "path", path, "reason", reason)
}

// readServer reads server.json. One that is missing is fs.ErrNotExist, one that no server has written errDamaged. A depot
// that is empty becomes this backend's, whichever it was.
func (r *Registry) readServer(empty bool) error {
	path := filepath.Join(r.opts.Depot, serverName)
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("depot: %w", err)
	}
	var rec serverRecord
	if err := json.Unmarshal(raw, &rec); err != nil {
		return fmt.Errorf("%s: %w: %w", path, errDamaged, err)
	}
	if rec.Version > recordVersion {
		return fmt.Errorf("depot %s: %w", r.opts.Depot, errNewer)
	}
	if rec.Version < 1 || rec.Backend == "" {
		return fmt.Errorf("%s: %w", path, errDamaged)
	}
	r.nextJob, r.reservedJobs = rec.Jobs, rec.Jobs
	if empty && rec.Backend != r.backend.Name() {
		return r.writeServer(rec.Jobs)
	}
	return r.checkBackend(rec.Backend)
}

func (r *Registry) checkBackend(name string) error {
	if name == r.backend.Name() {
		return nil
	}
	return fmt.Errorf("depot %s belongs to backend %s, not %s: destroy its containers with it first, or use another depot",
		r.opts.Depot, name, r.backend.Name())
}

// lostJobs is how many ids are skipped when it is not known how many were given out: more than the jobs whose ids
// clients may still ask for, and few enough for thousands of such losses.
const lostJobs = 1 << 20

// renewServer writes server.json when there was none to read; the containers must have been found before, since their
// jobs tell how far ids had come. They do not tell all: a job whose end was taken leaves no trace.
func (r *Registry) renewServer(lost error, fresh bool) error {
	r.jobsMu.Lock()
	defer r.jobsMu.Unlock()
	if fresh && errors.Is(lost, fs.ErrNotExist) {
		return r.writeServer(0)
	}
	highest := r.nextJob
	next := uint32(min(uint64(highest)+lostJobs, math.MaxUint32)) //nolint:gosec // bounded
	r.opts.Log.Error("the depot's "+serverName+" cannot be used and is made anew: job ids go on well above the highest that is found",
		"error", lost, "highest_job_found", highest, "job_ids_go_on_after", next)
	if err := r.writeServer(next); err != nil {
		return err
	}
	r.nextJob, r.reservedJobs = next, next
	return nil
}

func (r *Registry) recoverOne(ctx context.Context, dir string, order uint64) error {
	rec, err := readRecord(dir)
	if errors.Is(err, fs.ErrNotExist) {
		r.recoverUnrecorded(ctx, dir, err)
		return nil
	}
	if err != nil && !errors.Is(err, errDamaged) {
		return err
	}
	var c *Container
	if err == nil {
		if dirName(string(rec.Handle)) != filepath.Base(dir) {
			r.leaveStray(dir, fmt.Errorf("its record is that of container %q, whose place is elsewhere", rec.Handle))
			return nil
		}
		if rec.Backend != "" {
			if err := r.checkBackend(rec.Backend); err != nil {
				return err
			}
		}
		c, err = r.fromRecord(rec, order)
	}
	if err != nil {
		r.discardDamaged(ctx, dir, err)
		return nil
	}
	if rec.Phase != phaseReady {
		r.opts.Log.Info("removing a container that was being made or destroyed", "handle", c.handle)
		return r.finishDestroy(ctx, c)
	}
	return r.reopen(ctx, c)
}

// fromRecord makes of a record what it is of. Its error is errDamaged.
func (r *Registry) fromRecord(rec *record, order uint64) (*Container, error) {
	req := &wardenpb.CreateRequest{}
	if err := proto.Unmarshal(rec.Create, req); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	c := r.newContainer(string(rec.Handle), req, order)
	if err := c.restore(rec); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return c, nil
}

func (r *Registry) reopen(ctx context.Context, c *Container) error {
	b, err := r.backend.Open(ctx, c.spec, c.backendEvents())
	c.setBackend(b)
	if errors.Is(err, initproc.ErrLost) {
		c.lost(err)
	} else if err != nil {
		return err
	}
	if err := c.adopt(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	r.containers[c.handle] = c
	r.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	r.opts.Log.Info("found container", "handle", c.handle, "state", c.state, "jobs", len(c.jobs))
	c.startTimer()
	return nil
}

// finishDestroy removes a container that an earlier server did not finish to make or to destroy. One that cannot be
// freed is no reason to serve none of the others: it is listed, and tried again.
func (r *Registry) finishDestroy(ctx context.Context, c *Container) error {
	cause := r.discard(ctx, c.spec)
	if cause == nil {
		return nil
	}
	c.takePools()
	if err := r.keep(ctx, c, cause); err != nil {
		return errors.Join(cause, err)
	}
	return nil
}

// recoverUnrecorded removes what an earlier server had begun to make, or not quite removed.
func (r *Registry) recoverUnrecorded(ctx context.Context, dir string, reason error) {
	err := r.discardUnrecorded(ctx, dir)
	switch {
	case err == nil:
		r.opts.Log.Warn("removed a container that was never finished", "dir", dir, "reason", reason)
	case errors.Is(err, errStray):
		r.leaveStray(dir, err)
	default:
		// Nobody knows its handle, so nobody but Create, which tries again, comes across it.
		r.opts.Log.Error("what is left of a container cannot be removed", "dir", dir, "error", err)
	}
}

// discardDamaged ends a container whose record cannot be used; the package comment says why.
func (r *Registry) discardDamaged(ctx context.Context, dir string, reason error) {
	handle := filepath.Base(dir)
	if !safeName(handle) {
		handle = "not known"
	}
	r.opts.Log.Error("A CONTAINER IS LOST: its record is damaged, so that its processes are ended and it is removed",
		"handle", handle, "dir", dir, "reason", reason)
	if err := r.discard(ctx, backend.Spec{Dir: dir}); err != nil {
		r.opts.Log.Error("what is left of a container cannot be removed", "handle", handle, "dir", dir, "error", err)
	}
}

// discard removes what there is of a container that nobody can use. As long as the backend has not freed it, nothing in
// its directory is touched: what is mounted there may be anybody's.
func (r *Registry) discard(ctx context.Context, spec backend.Spec) error {
	if err := r.backend.Remove(ctx, spec); err != nil {
		return err
	}
	return os.RemoveAll(spec.Dir)
}

// discardUnrecorded removes a directory that no record says is a container's, as far as a server has made what is in
// it. The error is errStray when there is more.
func (r *Registry) discardUnrecorded(ctx context.Context, dir string) error {
	if info, err := os.Lstat(dir); err != nil {
		return err
	} else if !info.IsDir() {
		return fmt.Errorf("%s: %w", dir, errStray)
	}
	if rec, err := readRecord(dir); err == nil && dirName(string(rec.Handle)) != filepath.Base(dir) {
		return fmt.Errorf("%s: %w", dir, errStray)
	}
	if err := r.backend.Remove(ctx, backend.Spec{Dir: dir}); err != nil {
		return err
	}
	for _, name := range []string{recordName, recordName + newSuffix} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	err := os.Remove(dir)
	if errors.Is(err, fs.ErrExist) { // not empty
		return fmt.Errorf("%s: %w", dir, errStray)
	}
	return err
}

// DepotBackend is the name of the backend that a depot's containers belong to, or "" when the depot has no containers or
// does not say.
func DepotBackend(depot string) string {
	if entries, err := os.ReadDir(filepath.Join(depot, containersName)); err != nil || len(entries) == 0 {
		return ""
	}
	var rec serverRecord
	raw, err := os.ReadFile(filepath.Join(depot, serverName))
	if err != nil || json.Unmarshal(raw, &rec) != nil {
		return ""
	}
	return rec.Backend
}
