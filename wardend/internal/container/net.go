package container

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/network"
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
	if p.Container == 0 {
		p.Container = p.Host
	}
	if p.Host != 0 && c.hasPort(p) {
		return &wardenpb.NetInResponse{HostPort: proto.Uint32(p.Host), ContainerPort: proto.Uint32(p.Container)}, nil
	}
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

// hasPort says whether the port leads where it is to lead already.
func (c *Container) hasPort(p portRecord) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.ports, func(old portRecord) bool { return old.Host == p.Host && old.Container == p.Container })
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
		if !c.keepRule(req) {
			return nil
		}
		return c.save()
	})
	if err != nil {
		return nil, err
	}
	return &wardenpb.NetOutResponse{}, nil
}

// keepRule says whether the rule is new.
func (c *Container) keepRule(rule *wardenpb.NetOutRequest) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.ContainsFunc(c.netOut, func(old *wardenpb.NetOutRequest) bool { return proto.Equal(old, rule) }) {
		return false
	}
	c.netOut = append(c.netOut, rule)
	return true
}

func checkNetOut(req *wardenpb.NetOutRequest) error {
	if req.GetNetwork() == "" && req.Port == nil && req.GetPortRange() == "" {
		return refuse("Please specify network, port, and/or port_range.")
	}
	if req.GetPort() > maxPort {
		return refuse("Port %d is not between 1 and %d", req.GetPort(), maxPort)
	}
	if req.GetPortRange() == "" {
		return checkRule(req)
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
	return checkRule(req)
}

// checkRule refuses for every kind of container what one with a network of its own cannot do: who develops on the one
// must not find it out on the other.
func checkRule(req *wardenpb.NetOutRequest) error {
	if err := network.CheckRule(req); err != nil {
		return &Error{Message: err.Error(), Err: err}
	}
	return nil
}
