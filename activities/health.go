package activities

import (
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/healthcheck"
	"github.com/durable-dea/dea/internal/pause"
	"github.com/durable-dea/dea/internal/supervisor"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// Between two probes of an instance that starts: at once, then doubling to the half second of the reference.
const (
	firstProbePause   = 10 * time.Millisecond
	longestProbePause = 500 * time.Millisecond
)

// stateFileTimeout is how long an app may take to write its state file; the reference's.
const stateFileTimeout = 300 * time.Second

// startup is how an instance that starts is looked at, how long one look may take and how long all of them.
type startup struct {
	probe         healthcheck.Probe
	look, timeout time.Duration
}

// awaitHealthy returns when the instance is healthy. One that ends before is an error at once, also in the midst of a
// look. No look asks Warden.
func (s *instanceStart) awaitHealthy(ctx context.Context) error {
	check := s.startup()
	waiting, cancel := s.whileItRuns(ctx, check.timeout)
	defer cancel()
	for wait := firstProbePause; ; wait = min(wait*2, longestProbePause) {
		if check.healthy(waiting) {
			return nil
		}
		if !pause.For(waiting, wait) {
			return s.unhealthy(ctx)
		}
	}
}

// whileItRuns ends when the instance does, or after a time.
func (s *instanceStart) whileItRuns(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	go func() {
		select {
		case <-s.watch.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// longestReadyLook bounds the look whether an instance that starts is ready, which keeps it from being RUNNING: what takes
// longer is left to the supervisor's looks.
const longestReadyLook = 10 * time.Second

// ready looks once whether the instance is ready. One that asks for no readiness check is, and one without a port, which
// the supervisor does not look at either.
func (s *instanceStart) ready(ctx context.Context) bool {
	if s.created.ContainerPort == 0 {
		return true
	}
	check := s.message.Readiness()
	ctx, cancel := s.whileItRuns(ctx, min(healthcheck.Timeout(check), longestReadyLook))
	defer cancel()
	return s.probe(check).Probe(ctx) == nil
}

// probe looks at the instance's own port.
func (s *instanceStart) probe(check api.HealthCheck) healthcheck.Probe {
	return healthcheck.New(check, net.JoinHostPort(
		s.info.GetContainerIp(), strconv.FormatUint(uint64(s.created.ContainerPort), 10)))
}

// unhealthy says why an instance is not waited for any more.
func (s *instanceStart) unhealthy(ctx context.Context) error {
	select {
	case <-s.watch.Done():
		return api.StartFailed(s.watch.Exit(), nil)
	default:
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return api.Final(api.ErrStartFailed, api.ExitHealthCheck, errors.New("it is not healthy in time"))
}

// startup finds the check in the order of the reference: the state file that the droplet names, else what the message
// asks for. Where that is the process, to run is enough.
func (s *instanceStart) startup() startup {
	path := s.info.GetContainerPath()
	name, err := healthcheck.FindStateFile(path)
	if err != nil {
		s.log.Warn("the droplet's own health check cannot be read", "instance", s.id, "error", err)
	}
	if name != "" {
		return startup{healthcheck.StateFile{ContainerPath: path, Name: name}, longestProbePause, stateFileTimeout}
	}
	timeout := time.Duration(s.message.HealthCheckTimeout) * time.Second
	if timeout <= 0 {
		timeout = s.config.DefaultHealthCheckTimeout
	}
	check := s.message.Liveness()
	probe := s.probe(check)
	if _, process := probe.(healthcheck.Process); process {
		probe = launched{s.info}
	}
	return startup{probe, healthcheck.Timeout(check), timeout}
}

func (s startup) healthy(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, s.look)
	defer cancel()
	return s.probe.Probe(ctx) == nil
}

// launched is the probe of an app that only has to run: it is well once its launch has left its mark, by which a worker
// that comes back knows the app's job.
type launched struct{ info *wardenpb.InfoResponse }

var errNotLaunched = errors.New("its launch has not begun")

// Probe looks for the mark.
func (l launched) Probe(context.Context) error {
	if _, ok := supervisor.Launched(l.info); !ok {
		return errNotLaunched
	}
	return nil
}

// running is what the supervisor has to know of an instance that is healthy, but for whether it is ready.
func (s *instanceStart) running() supervisor.Instance {
	m := s.message
	return supervisor.Instance{
		ID: s.id, AppID: m.AppID, Index: m.Index, Version: m.Version, URIs: m.URIs, Address: s.created.Address,
		ContainerIP: s.info.GetContainerIp(), ContainerPort: s.created.ContainerPort, ContainerPath: s.info.GetContainerPath(),
		Limits: m.Limits, LogDrains: m.LogDrains(), Liveness: m.Liveness(), Readiness: m.Readiness(),
	}
}
