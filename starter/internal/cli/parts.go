package cli

import (
	"context"

	"github.com/hashicorp/go-hclog"

	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/starter/internal/cloudcontroller"
	"github.com/durable-dea/dea/starter/internal/push"
	"github.com/durable-dea/dea/starter/internal/stager"
	"github.com/durable-dea/dea/starter/internal/tail"
	"github.com/durable-dea/dea/starter/internal/watch"
)

// log takes what Temporal's client says, which is for whoever looks for a fault.
func (s *session) log() hclog.Logger {
	if !s.debug {
		return hclog.NewNullLogger()
	}
	return hclog.New(&hclog.LoggerOptions{Name: "starter", Level: hclog.Debug, Output: s.process.Err})
}

func (s *session) files() *tail.Client {
	f := tail.New()
	s.closers = append(s.closers, f.Close)
	return f
}

func (s *session) stager(c *controller.Client) *stager.Stager {
	return &stager.Stager{Controller: c, Files: s.files(), Report: s.report()}
}

func (s *session) watcher(c *controller.Client) *watch.Watcher {
	return &watch.Watcher{Controller: c, Files: s.files(), Report: s.report()}
}

func (s *session) cloud(cfg *config.Client) (*cloudcontroller.Client, error) {
	c, err := cloudcontroller.New(cfg.CloudController.Reveal())
	if err != nil {
		return nil, usageError{err}
	}
	s.closers = append(s.closers, c.Close)
	return c, nil
}

func (s *session) pusher(ctx context.Context) (*push.Pusher, error) {
	cfg, err := s.configuration()
	if err != nil {
		return nil, err
	}
	cloud, err := s.cloud(cfg)
	if err != nil {
		return nil, err
	}
	c, err := s.connect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &push.Pusher{
		Controller: c, Cloud: cloud, Stager: s.stager(c), Watcher: s.watcher(c), Report: s.report(),
	}, nil
}
