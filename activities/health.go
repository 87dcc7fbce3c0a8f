package activities

import (
	"context"
	"net"
	"strconv"
	"time"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/supervisor"
)

// Between two probes of a port: at once, then doubling to the half second of the reference.
const (
	firstProbePause   = 10 * time.Millisecond
	longestProbePause = 500 * time.Millisecond
)

// awaitHealthy returns when the instance is healthy: when its port answers, if its app has routes, and else when its
// launch has begun.
func (s *instanceStart) awaitHealthy(ctx context.Context) error {
	healthy := s.portAnswers
	if len(s.message.URIs) == 0 {
		healthy = s.hasBegun
	}
	timeout := time.Duration(s.message.HealthCheckTimeout) * time.Second
	if timeout <= 0 {
		timeout = s.config.DefaultHealthCheckTimeout
	}
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	for wait := firstProbePause; ; wait = min(wait*2, longestProbePause) {
		if healthy(ctx) {
			return nil
		}
		select {
		case <-s.watch.Done():
			return s.ended()
		case <-deadline.C:
			return api.Final(api.ErrStartFailed, api.ExitHealthCheck, nil)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// portAnswers asks at the container's own address: what forwards the node's port to it may accept before the app does.
func (s *instanceStart) portAnswers(ctx context.Context) bool {
	dialer := net.Dialer{Timeout: longestProbePause}
	address := net.JoinHostPort(s.info.GetContainerIp(), strconv.FormatUint(uint64(s.created.ContainerPort), 10))
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// hasBegun tells whether the app's launch left its mark, by which a worker that comes back knows the app's job.
func (s *instanceStart) hasBegun(context.Context) bool {
	_, launched := supervisor.Launched(s.info)
	return launched
}

// ended is the error of an instance that ended before it was healthy.
func (s *instanceStart) ended() error { return api.StartFailed(s.watch.Exit(), nil) }
