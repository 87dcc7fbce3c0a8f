package container

import (
	"context"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
)

const maxPort = 65535

// NetIn opens a port of the host into a container.
func (r *Registry) NetIn(ctx context.Context, req *wardenpb.NetInRequest) (*wardenpb.NetInResponse, error) {
	c, err := r.find(req.GetHandle())
	if err != nil {
		return nil, err
	}
	for _, port := range []uint32{req.GetHostPort(), req.GetContainerPort()} {
		if port > maxPort {
			return nil, refuse("Port %d is not between 1 and %d", port, maxPort)
		}
	}
	var res *wardenpb.NetInResponse
	err = c.needActive(func() error {
		res, err = c.netIn(ctx, req.GetHostPort(), req.GetContainerPort())
		return err
	})
	return res, err
}

func (c *Container) netIn(ctx context.Context, hostPort, containerPort uint32) (*wardenpb.NetInResponse, error) {
	p := portRecord{Host: hostPort, Container: containerPort}
	if p.Host == 0 {
		port, err := c.r.opts.Ports.Acquire(ctx)
		if err != nil {
			return nil, err
		}
		p.Host, p.Pooled = port, true
	} else {
		p.Pooled = c.r.opts.Ports.Take(p.Host)
	}
	if p.Container == 0 {
		p.Container = p.Host
	}
	if err := c.b.NetIn(ctx, p.Host, p.Container); err != nil {
		if p.Pooled {
			c.r.opts.Ports.Release(p.Host)
		}
		return nil, err
	}
	if !c.keepPort(p) {
		return nil, unknownHandle()
	}
	if err := c.save(); err != nil {
		return nil, err
	}
	return &wardenpb.NetInResponse{HostPort: proto.Uint32(p.Host), ContainerPort: proto.Uint32(p.Container)}, nil
}

// keepPort makes a port the container's, which frees it at its end; when that was before, the port is free again.
func (c *Container) keepPort(p portRecord) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isGone() {
		if p.Pooled {
			c.r.opts.Ports.Release(p.Host)
		}
		return false
	}
	c.ports = append(c.ports, p)
	return true
}

// NetOut lets a container reach something.
func (r *Registry) NetOut(ctx context.Context, req *wardenpb.NetOutRequest) (*wardenpb.NetOutResponse, error) {
	c, err := r.find(req.GetHandle())
	if err != nil {
		return nil, err
	}
	err = c.needActive(func() error {
		if err := checkNetOut(req); err != nil {
			return err
		}
		if err := c.b.NetOut(ctx, req); err != nil {
			return err
		}
		c.mu.Lock()
		c.netOut = append(c.netOut, req)
		c.mu.Unlock()
		return c.save()
	})
	if err != nil {
		return nil, err
	}
	return &wardenpb.NetOutResponse{}, nil
}

func checkNetOut(req *wardenpb.NetOutRequest) error {
	if req.GetNetwork() == "" && req.Port == nil && req.GetPortRange() == "" {
		return refuse("Please specify network, port, and/or port_range.")
	}
	if req.GetPort() > maxPort {
		return refuse("Port %d is not between 1 and %d", req.GetPort(), maxPort)
	}
	if req.GetPortRange() == "" {
		return nil
	}
	low, high, found := strings.Cut(req.GetPortRange(), ":")
	first, err1 := strconv.ParseUint(low, 10, 16)
	last, err2 := strconv.ParseUint(high, 10, 16)
	if !found || err1 != nil || err2 != nil {
		return refuse("Port range must be of the form low:high")
	}
	if last <= first {
		return refuse("Port range maximum must be greater than minimum")
	}
	return nil
}
