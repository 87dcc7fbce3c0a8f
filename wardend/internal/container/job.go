package container

import (
	"context"
	"errors"
	"slices"

	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/initproc"
)

// job is one job, from its start until its end was taken. All of it is guarded by the container's lock.
type job struct {
	id     uint32
	status initproc.JobStatus
	// ended is closed when the main process has ended.
	ended chan struct{}

	// holders are the requests that wait for the end or are answering with it; taken is set when one has answered;
	// changed is closed, and made new, when either changes for those that came after the end.
	holders int
	taken   bool
	changed chan struct{}

	// watchers are told of new output; each has room for one word.
	watchers map[chan struct{}]bool
}

func newJob(id uint32) *job {
	return &job{id: id, ended: make(chan struct{}), changed: make(chan struct{}), watchers: map[chan struct{}]bool{}}
}

// found takes in what an init, or its files, say of a job. The same may be said twice.
func (c *Container) found(status initproc.JobStatus) {
	c.mu.Lock()
	j := c.jobs[status.Job]
	if j == nil {
		j = newJob(status.Job)
		c.jobs[status.Job] = j
	}
	if !status.Ended || j.status.Ended {
		c.mu.Unlock()
		return
	}
	j.status = status
	tell := status.Overflow && !slices.Contains(c.events, eventOutput)
	if tell {
		c.addEvent(eventOutput)
	}
	close(j.ended)
	c.mu.Unlock()
	c.log.Debug("job has ended", "job", status.Job, "exit_status", status.ExitStatus, "too_much_output", status.Overflow)
	if tell {
		// Not here: this is the goroutine that all the init's events come from.
		c.r.work.Go(func() {
			if err := c.save(); err != nil && !c.isGone() {
				c.log.Error("event of the container is not kept", "error", err)
			}
		})
	}
}

// ended is called when a job ends while this server is there. What ends of its own accord because the kernel has taken
// a process away from it ends as what was killed does.
func (c *Container) ended(status initproc.JobStatus) {
	if status.Ended && status.ExitStatus != 0 && c.ranOutOfMemory() {
		status.ExitStatus = initproc.ExitKilled
	}
	c.found(status)
}

// output is called when a watched job has more output.
func (c *Container) output(id uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if j := c.jobs[id]; j != nil {
		for w := range j.watchers {
			select {
			case w <- struct{}{}:
			default:
			}
		}
	}
}

// join makes the caller one of those that wait for the job's end. When it has ended already and others are answering
// with it, it waits to see whether one of them succeeds.
func (c *Container) join(ctx context.Context, id uint32) (*job, error) {
	for {
		c.mu.Lock()
		j := c.jobs[id]
		if j == nil || j.taken {
			c.mu.Unlock()
			return nil, noSuchJob()
		}
		if !j.status.Ended || j.holders == 0 {
			j.holders++
			c.mu.Unlock()
			return j, nil
		}
		changed := j.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-c.gone:
			return nil, unknownHandle()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// leave ends what join began. Delivered says that the client has the answer: then the job's end is taken.
func (c *Container) leave(j *job, delivered bool) {
	c.mu.Lock()
	j.holders--
	j.taken = j.taken || delivered
	close(j.changed)
	j.changed = make(chan struct{})
	drop := j.taken && j.holders == 0 && c.jobs[j.id] == j
	if drop {
		delete(c.jobs, j.id)
	}
	c.mu.Unlock()
	if !drop || c.isGone() {
		return
	}
	if init := c.b.Init(); init != nil && init.Forget(j.id) == nil {
		return
	}
	// An init that is gone forgets nothing, and the next server would find the job again.
	if err := initproc.RemoveJob(c.b.InitDir(), j.id); err != nil {
		c.log.Warn("files of a job are left", "job", j.id, "error", err)
	}
}

// Spawn starts a job.
func (r *Registry) Spawn(ctx context.Context, req *wardenpb.SpawnRequest) (*wardenpb.SpawnResponse, error) {
	c, err := r.find(req.GetHandle())
	if err != nil {
		return nil, err
	}
	id, err := c.spawn(ctx, req, false)
	if err != nil {
		return nil, err
	}
	return &wardenpb.SpawnResponse{JobId: &id}, nil
}

// spawn starts a job. With hold the caller has joined it, before it can end.
func (c *Container) spawn(ctx context.Context, req *wardenpb.SpawnRequest, hold bool) (id uint32, err error) {
	err = c.needActive(func() error {
		if id, err = c.r.newJobID(); err != nil {
			return err
		}
		return c.start(ctx, id, req, hold)
	})
	return id, err
}

// lostError says that the container is gone where its init is lost because of that.
func (c *Container) lostError(err error) error {
	if c.isGone() && errors.Is(err, initproc.ErrLost) {
		return unknownHandle()
	}
	return err
}

func (c *Container) start(ctx context.Context, id uint32, req *wardenpb.SpawnRequest, hold bool) error {
	init := c.b.Init()
	if init == nil {
		return c.lostError(initproc.ErrLost)
	}
	spec := c.b.Job(req.GetPrivileged(), rlimits(c.r.opts.Rlimits, req.GetRlimits()))
	spec.Job, spec.Stdin = id, []byte(req.GetScript())
	spec.Discard, spec.OutputLimit = req.GetDiscardOutput(), c.r.opts.OutputLimit

	j := newJob(id)
	if hold {
		j.holders = 1
	}
	c.mu.Lock()
	c.jobs[id] = j
	c.mu.Unlock()
	// A client that goes away does not take the job back.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), initTimeout)
	defer cancel()
	lowered, err := init.Spawn(ctx, &spec)
	if err != nil {
		c.mu.Lock()
		delete(c.jobs, id)
		c.mu.Unlock()
		return c.lostError(err)
	}
	if len(lowered) > 0 {
		c.log.Warn("rlimits of a job are lower than asked for: the server's own do not allow more", "job", id, "rlimits", lowered)
	}
	if req.GetLogTag() != "" {
		c.log.Debug("job's log tag is not used: output goes to no log", "job", id)
	}
	return nil
}
