package container

import (
	"context"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
)

// Info answers what a container is and uses.
func (r *Registry) Info(ctx context.Context, req *wardenpb.InfoRequest) (*wardenpb.InfoResponse, error) {
	c, err := r.find(req.GetHandle())
	if err != nil {
		return nil, err
	}
	var info *wardenpb.InfoResponse
	err = c.enter(func() error {
		info, err = c.info(ctx, nil)
		return err
	})
	return info, err
}

// info leaves the job out that it is told with, if it is. Of a container that is stopped, parts may be gone, and why they
// are is among its events: it is told without what cannot be read.
func (c *Container) info(ctx context.Context, told *job) (*wardenpb.InfoResponse, error) {
	stats, err := c.b.Stats(ctx)
	if err != nil && c.currentState() == StateActive {
		return nil, err
	}
	if err != nil {
		c.log.Debug("statistics of a stopped container cannot be read", "error", err)
	}
	host, inside := c.b.Addresses()
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := stats.Memory; m != nil {
		m.HierarchicalMemoryLimit = proto.Uint64(c.limits.MemoryBytes)
		m.HierarchicalMemswLimit = proto.Uint64(c.limits.MemoryBytes)
	}
	info := &wardenpb.InfoResponse{
		State:         proto.String(string(c.state)),
		Events:        slices.Clone(c.events),
		HostIp:        proto.String(host.String()),
		ContainerIp:   proto.String(inside.String()),
		ContainerPath: proto.String(c.b.Path()),
		MemoryStat:    stats.Memory,
		CpuStat:       stats.CPU,
		DiskStat:      stats.Disk,
		BandwidthStat: &wardenpb.InfoResponse_BandwidthStat{
			InRate: proto.Uint64(c.limits.Rate), InBurst: proto.Uint64(c.limits.Burst),
			OutRate: proto.Uint64(c.limits.Rate), OutBurst: proto.Uint64(c.limits.Burst),
		},
	}
	for id, j := range c.jobs {
		if !j.taken && j != told {
			info.JobIds = append(info.JobIds, uint64(id))
		}
	}
	slices.Sort(info.JobIds)
	return info, nil
}

// infoOrLast is the Info that goes with a job's end: the container may be gone by then, and its client too, which must
// not keep others from the answer.
func (c *Container) infoOrLast(ctx context.Context, told *job) *wardenpb.InfoResponse {
	info, err := c.info(context.WithoutCancel(ctx), told)
	if err == nil && !c.isGone() {
		return info
	}
	if c.isGone() {
		return c.lastInfo
	}
	c.log.Warn("statistics of the container cannot be read", "error", err)
	c.mu.Lock()
	defer c.mu.Unlock()
	return &wardenpb.InfoResponse{State: proto.String(string(c.state)), Events: slices.Clone(c.events)}
}
