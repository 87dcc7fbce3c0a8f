package stack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/devserver/internal/bus"
	"github.com/durable-dea/dea/devserver/internal/cloudcontroller"
	"github.com/durable-dea/dea/devserver/internal/ports"
	"github.com/durable-dea/dea/devserver/internal/router"
	"github.com/durable-dea/dea/devserver/internal/temporal"
	"github.com/durable-dea/dea/devserver/internal/web"
	"github.com/durable-dea/dea/internal/codec"
	"github.com/durable-dea/dea/internal/connection"
	"github.com/durable-dea/dea/internal/logging"
)

// requestGrace is how long requests may go on at the end.
const requestGrace = 2 * time.Second

// openLog opens the log of what runs in this process.
func (s *Stack) openLog() error {
	file, err := os.OpenFile(s.dir.Log("devserver"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	s.atEnd("", func(context.Context) error { return file.Close() })
	s.log = logging.NewTo(file, "devserver", hclog.LevelFromString(s.options.LogLevel), false)
	return nil
}

// startServices starts what runs in this process. Each part is ready when it answers.
func (s *Stack) startServices(ctx context.Context) error {
	// The nodes' last words are for the router, and go by NATS: both end after the nodes.
	if err := s.step("NATS", s.startNATS); err != nil {
		return err
	}
	group, together := errgroup.WithContext(ctx)
	for name, start := range map[string]func(context.Context) error{
		"Temporal":         s.startTemporal,
		"cloud controller": s.startCloudController,
		"codec server":     s.startCodec,
		"router":           s.startRouter,
	} {
		group.Go(func() error {
			return s.step(name, func() error { return start(together) })
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return s.step("Temporal UI", func() error { return s.startUI(ctx) })
}

func (s *Stack) temporalConfig() config.Temporal {
	return config.Temporal{
		Address: ports.Address(s.row.Temporal()), Namespace: namespace, EncryptionKeyFile: s.dir.Key(),
	}
}

// startTemporal starts the server and waits until namespace and search attributes can be used.
func (s *Stack) startTemporal(ctx context.Context) error {
	server, err := temporal.Start(temporal.Options{
		File:     s.dir.Database(),
		LogFile:  s.dir.Log("temporal"),
		LogLevel: temporalLevel(s.options.LogLevel),
		Ports: temporal.Ports{
			Frontend: s.row.Temporal(), HTTP: s.row.TemporalHTTP(),
			History: s.row.History(), Matching: s.row.Matching(), Worker: s.row.Worker(),
		},
		SearchAttributes: api.SearchAttributes(),
		Metrics:          s.options.Metrics,
	})
	if err != nil {
		return err
	}
	s.atEnd("Temporal", func(context.Context) error { return server.Stop() })
	s.temporal, err = connection.Dial(ctx, s.temporalConfig(), s.log.Named("temporal"))
	if err != nil {
		return err
	}
	s.atEnd("", func(context.Context) error { s.temporal.Close(); return nil })
	// A database of an earlier version may lack what is new in this one.
	if err := controller.New(s.temporal, s.keyring).Setup(ctx); err != nil {
		return err
	}
	return temporal.WaitReady(ctx, s.temporal, api.SearchAttributes())
}

// temporalLevel keeps the server's own log at warnings unless more than the usual is asked for.
func temporalLevel(level string) string {
	switch level {
	case "trace", "debug":
		return "info"
	case "error":
		return "error"
	default:
		return "warn"
	}
}

func (s *Stack) startCloudController(ctx context.Context) error {
	sources, err := s.options.buildpacks()
	if err != nil {
		return err
	}
	address := ports.Address(s.row.CloudController())
	server, err := cloudcontroller.New(cloudcontroller.Options{
		Dir: s.dir.CloudController(), Buildpacks: sources, Log: s.log.Named("cloud controller"),
		BaseURL: func() string { return "http://" + address },
	})
	if err != nil {
		return err
	}
	s.atEnd("", func(context.Context) error { return server.Close() })
	controllerURL := url.URL{Scheme: "http", Host: address, User: server.Credentials().Userinfo()}
	if err := s.serve(ctx, "cloud controller", address, server.Handler(), "/healthz"); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.controllerURL = controllerURL.String()
	return nil
}

func (s *Stack) startNATS() error {
	var err error
	s.bus, err = bus.Start(bus.Options{
		Address: ports.Address(s.row.NATS()), PasswordFile: s.dir.NATSPassword(), Log: s.log.Named("NATS"),
	})
	if err != nil {
		return err
	}
	s.atEnd("NATS", func(context.Context) error { s.bus.Stop(); return nil })
	return nil
}

func (s *Stack) startRouter(ctx context.Context) error {
	address := ports.Address(s.row.Router())
	started, err := router.Start(router.Options{NATS: s.bus.URL(), Host: "127.0.0.1", Log: s.log.Named("router")})
	if err != nil {
		return err
	}
	s.atEnd("", func(context.Context) error { started.Close(); return nil })
	return s.serve(ctx, "router", address, started, "/")
}

// routerURL is where a browser finds the router. Hosts beneath localhost lead to this machine, too.
func (s *Stack) routerURL() string { return fmt.Sprintf("http://localhost:%d", s.row.Router()) }

func (s *Stack) startCodec(ctx context.Context) error {
	port := s.row.UI()
	origins := []string{"http://" + ports.Address(port), fmt.Sprintf("http://localhost:%d", port)}
	return s.serve(ctx, "codec server", ports.Address(s.row.Codec()), codec.Handler(s.keyring, origins), "/")
}

// serve serves a handler and waits until it answers at the path.
func (s *Stack) serve(ctx context.Context, name, address string, handler http.Handler, path string) error {
	server, err := web.Serve(ctx, address, handler)
	if err != nil {
		return err
	}
	s.atEnd(name, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, requestGrace)
		defer cancel()
		return server.Stop(ctx)
	})
	return web.WaitAnswer(ctx, http.MethodGet, "http://"+address+path)
}

func (s *Stack) startUI(ctx context.Context) error {
	address := ports.Address(s.row.UI())
	ui, err := web.StartUI(web.UIOptions{
		Address: address, Temporal: ports.Address(s.row.Temporal()), Namespace: namespace,
		Codec: "http://" + ports.Address(s.row.Codec()),
	})
	if err != nil {
		return err
	}
	s.atEnd("Temporal UI", func(context.Context) error { return ui.Stop() })
	return errors.Join(
		web.WaitAnswer(ctx, http.MethodGet, "http://"+address+"/healthz"),
		web.WaitAnswer(ctx, http.MethodGet, "http://"+address+"/api/v1/namespaces/"+namespace),
	)
}
