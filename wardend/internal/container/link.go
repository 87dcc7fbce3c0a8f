package container

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/initproc"
)

// Settle ends a Link, Run or Stream that has answered: delivered says whether the client has got the answer. Only
// then is the job's end taken. It must be called exactly once.
type Settle func(delivered bool)

// Link waits for a job's end.
func (r *Registry) Link(ctx context.Context, req *wardenpb.LinkRequest) (*wardenpb.LinkResponse, Settle, error) {
	c, err := r.find(req.GetHandle())
	if err != nil {
		return nil, nil, err
	}
	j, err := c.join(ctx, req.GetJobId())
	if err != nil {
		return nil, nil, err
	}
	return c.outcome(ctx, j)
}

// Run starts a job and waits for its end.
func (r *Registry) Run(ctx context.Context, req *wardenpb.RunRequest) (*wardenpb.RunResponse, Settle, error) {
	c, err := r.find(req.GetHandle())
	if err != nil {
		return nil, nil, err
	}
	id, err := c.spawn(ctx, &wardenpb.SpawnRequest{
		Handle: req.Handle, Script: req.Script, Privileged: req.Privileged, Rlimits: req.Rlimits,
		DiscardOutput: req.DiscardOutput, LogTag: req.LogTag,
	}, true)
	if err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	j := c.jobs[id]
	c.mu.Unlock()
	if j == nil {
		return nil, nil, noSuchJob()
	}
	link, settle, err := c.outcome(ctx, j)
	if err != nil {
		return nil, nil, err
	}
	return &wardenpb.RunResponse{ExitStatus: link.ExitStatus, Stdout: link.Stdout, Stderr: link.Stderr, Info: link.Info}, settle, nil
}

// outcome waits for the end of a job that was joined and tells it. When the container is destroyed meanwhile, that is
// the job's end, with the container's Info of before.
func (c *Container) outcome(ctx context.Context, j *job) (*wardenpb.LinkResponse, Settle, error) {
	settle := func(delivered bool) { c.leave(j, delivered) }
	select {
	case <-c.gone:
		return c.destroyedOutcome(), settle, nil
	default:
	}
	select {
	case <-j.ended:
	case <-c.gone:
		return c.destroyedOutcome(), settle, nil
	case <-ctx.Done():
		settle(false)
		return nil, nil, ctx.Err()
	}
	c.tellMemory()
	stdout, stderr, err := initproc.ReadOutputUpTo(c.b.InitDir(), j.id, c.r.opts.OutputLimit)
	if err != nil {
		c.log.Error("output of a job is lost", "job", j.id, "error", err)
	}
	return &wardenpb.LinkResponse{
		ExitStatus: proto.Uint32(c.exitStatus(j)), Stdout: proto.String(string(stdout)), Stderr: proto.String(string(stderr)),
		Info: c.infoOrLast(ctx, j),
	}, settle, nil
}

func (c *Container) destroyedOutcome() *wardenpb.LinkResponse {
	return &wardenpb.LinkResponse{
		ExitStatus: proto.Uint32(initproc.ExitKilled), Stdout: proto.String(""), Stderr: proto.String(""), Info: c.lastInfo,
	}
}

func (c *Container) exitStatus(j *job) uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return j.status.ExitStatus
}

// Stream gives a job's output to send as it comes, what there is already first, and answers its end.
// An error of send ends it and takes nothing.
func (r *Registry) Stream(ctx context.Context, req *wardenpb.StreamRequest, send func(*wardenpb.StreamResponse) error) (*wardenpb.StreamResponse, Settle, error) {
	c, err := r.find(req.GetHandle())
	if err != nil {
		return nil, nil, err
	}
	j, err := c.join(ctx, req.GetJobId())
	if err != nil {
		return nil, nil, err
	}
	res, err := c.stream(ctx, j, send)
	if err != nil {
		c.leave(j, false)
		return nil, nil, err
	}
	return res, func(delivered bool) { c.leave(j, delivered) }, nil
}

func (c *Container) stream(ctx context.Context, j *job, send func(*wardenpb.StreamResponse) error) (*wardenpb.StreamResponse, error) {
	more, unwatch, err := c.watch(ctx, j)
	if err != nil {
		return nil, err
	}
	defer unwatch()
	output, err := initproc.OpenOutputUpTo(c.b.InitDir(), j.id, c.r.opts.OutputLimit)
	if err != nil {
		return nil, err
	}
	defer func() { _ = output.Close() }()
	for ended := false; ; {
		if err := c.sendNew(output, j.id, send); err != nil {
			return nil, err
		}
		if ended {
			c.tellMemory()
			return &wardenpb.StreamResponse{ExitStatus: proto.Uint32(c.exitStatus(j)), Info: c.infoOrLast(ctx, j)}, nil
		}
		select {
		case <-more:
		case <-j.ended:
			ended = true
		case <-c.gone:
			return &wardenpb.StreamResponse{ExitStatus: proto.Uint32(initproc.ExitKilled), Info: c.lastInfo}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (c *Container) sendNew(output *initproc.OutputReader, id uint32, send func(*wardenpb.StreamResponse) error) error {
	for {
		stream, data, err := output.Next(c.b.InitDir(), id)
		if errors.Is(err, io.EOF) || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := send(&wardenpb.StreamResponse{Name: proto.String(stream.String()), Data: proto.String(string(data))}); err != nil {
			return err
		}
	}
}

// watch has the returned channel told of the job's new output until unwatch is called.
func (c *Container) watch(ctx context.Context, j *job) (more <-chan struct{}, unwatch func(), err error) {
	w := make(chan struct{}, 1)
	unwatch = func() {
		c.watchMu.Lock()
		defer c.watchMu.Unlock()
		c.mu.Lock()
		delete(j.watchers, w)
		last := len(j.watchers) == 0
		c.mu.Unlock()
		if init := c.b.Init(); last && init != nil && !c.isGone() {
			init.Unwatch(j.id)
		}
	}
	err = c.addWatcher(ctx, j, w)
	if errors.Is(err, initproc.ErrLost) {
		err = nil // then the job has ended, or is about to be told so
	}
	if err != nil {
		unwatch()
		return nil, nil, err
	}
	return w, unwatch, nil
}

func (c *Container) addWatcher(ctx context.Context, j *job, w chan struct{}) error {
	c.watchMu.Lock()
	defer c.watchMu.Unlock()
	c.mu.Lock()
	j.watchers[w] = true
	c.mu.Unlock()
	if init := c.b.Init(); init != nil {
		return init.Watch(ctx, j.id)
	}
	return nil
}
