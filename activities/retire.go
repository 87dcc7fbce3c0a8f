package activities

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/internal/containerpath"
	"github.com/durable-dea/dea/internal/crashes"
	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// RetireParams says which instance to take down, and how.
type RetireParams struct {
	InstanceID string           `json:"instance_id"`
	Message    api.StartMessage `json:"message"`
	Created    CreateResult     `json:"created"`
	// Graceful lets the app end by itself: no more requests, the stop hooks, TERM, and KILL only 10 s after.
	Graceful bool `json:"graceful"`
	// KeepLogs copies the instance's logs out first, to be read after a crash.
	KeepLogs bool `json:"keep_logs"`
}

// Retire stops an instance, has the last that it wrote sent to its drains, and destroys its container.
//
// Run twice, what the first run did is found done. Cancelled, Warden still finishes what it was asked. Each of its steps
// is bounded; it heartbeats.
func (c *Containers) Retire(ctx context.Context, params RetireParams) error {
	c.supervisor.Forget(params.InstanceID)
	start := c.newStart(params.InstanceID, params.Message)
	start.created = params.Created
	if start.created.HostPort == 0 {
		// Its start was interrupted, and told nobody.
		start.created, _ = c.made(params.InstanceID, params.Message.SHA1)
	}
	info, err := c.warden.Info(ctx, &wardenpb.InfoRequest{Handle: start.handle()})
	if errors.Is(err, warden.ErrUnknownHandle) {
		c.drains.Finish(ctx, start.running())
		c.drains.Forget(start.id)
		return start.releaseDroplet()
	}
	if err != nil {
		return wardenFault("look at the container", err)
	}
	start.info = info
	if params.Graceful {
		start.stop(ctx)
	}
	if params.KeepLogs {
		if err := start.keepLogs(ctx); err != nil {
			c.log.Warn("the logs of a crashed instance could not be kept", "instance", start.id, "error", err)
		}
	}
	c.drains.Finish(ctx, start.running())
	if err := c.destroy(ctx, start.id); err != nil {
		return err
	}
	c.drains.Forget(start.id)
	return start.releaseDroplet()
}

// stop lets the app end. What fails here is only logged: the container goes in any case.
func (s *instanceStart) stop(ctx context.Context) {
	if err := s.routes.Withdraw(ctx, s.running()); err != nil {
		s.log.Warn("an instance stops that may still get requests", "instance", s.id, "error", err)
	}
	// Both before the container stops, which runs nothing afterwards: so dea_ng has them.
	for _, name := range []string{config.HookBeforeStop, config.HookAfterStop} {
		if err := s.hook(ctx, name); err != nil {
			s.log.Warn("hook failed", "hook", name, "instance", s.id, "error", err)
		}
	}
	if _, err := s.warden.Stop(ctx, &wardenpb.StopRequest{Handle: proto.String(s.id)}); err != nil {
		s.log.Warn("the container could not be stopped, destroying it", "instance", s.id, "error", err)
	}
}

// keepLogs copies the instance's log directory to where it can be read after a crash.
func (s *instanceStart) keepLogs(ctx context.Context) error {
	logs, err := containerpath.OpenDir(s.info.GetContainerPath(), runspec.PathLogs)
	if err != nil {
		return err
	}
	defer logs.Close()
	s.droplets.Relieve(ctx)
	return s.crashes.Keep(ctx, crashes.Crash{InstanceID: s.id, AppID: s.message.AppID, Index: s.message.Index}, logs)
}
