package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/durable-dea/dea/api"
)

// Probe is one way to look at an instance.
type Probe interface {
	// Probe looks once, until ctx ends at most; nil says that the instance is well.
	Probe(ctx context.Context) error
}

// New is the probe of a check at an instance's own address, host:port. A check of a type that this node does not know
// is that of CheckProcess: what cannot be looked at must not end.
func New(check api.HealthCheck, address string) Probe {
	switch check.Type {
	case api.CheckPort:
		return Port{Address: address}
	case api.CheckHTTP:
		return NewHTTP(address, check.Endpoint)
	case api.CheckProcess:
	}
	return Process{}
}

// Timeout is how long one look of a check may take.
func Timeout(check api.HealthCheck) time.Duration {
	return time.Duration(check.WithDefaults().InvocationTimeout) * time.Second
}

// Process is well as long as the process runs, of whose end others hear.
type Process struct{}

// Probe gives nil.
func (Process) Probe(context.Context) error { return nil }

// Port is well when it takes connections.
type Port struct {
	// Address is the container's own, host:port: what forwards a node's port to it may accept before the app does.
	Address string
}

// Probe connects, and says nothing.
func (p Port) Probe(ctx context.Context) error {
	dialer := net.Dialer{KeepAlive: -1} // of a connection that is closed at once
	conn, err := dialer.DialContext(ctx, "tcp", p.Address)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	return conn.Close()
}

// ownFault tells whether a look failed for want of something on this node: then it says nothing of the instance.
func ownFault(err error) bool {
	for _, errno := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
