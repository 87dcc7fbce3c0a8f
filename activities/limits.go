package activities

import (
	"context"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/warden/wardenpb"
)

const bytesPerMB = 1 << 20

// containerLimits bound what a container may use; a zero is no limit of ours.
type containerLimits struct {
	memoryMB int64
	diskMB   int64
	inodes   int64
	// shares of the cpu, against 1024 of a container without a limit.
	shares int64
	// bandwidth of the network, both ways; nil for no limit.
	bandwidth *config.BandwidthLimit
}

func (c *Containers) applyLimits(ctx context.Context, id string, limits containerLimits) error {
	handle := proto.String(id)
	if limits.memoryMB > 0 {
		_, err := c.warden.LimitMemory(ctx, &wardenpb.LimitMemoryRequest{
			Handle: handle, LimitInBytes: proto.Uint64(uint64(limits.memoryMB) * bytesPerMB),
		})
		if err != nil {
			return wardenFault("limit the memory", err)
		}
	}
	if limits.diskMB > 0 {
		request := &wardenpb.LimitDiskRequest{Handle: handle, ByteLimit: proto.Uint64(uint64(limits.diskMB) * bytesPerMB)}
		if limits.inodes > 0 {
			request.InodeLimit = proto.Uint64(uint64(limits.inodes))
		}
		if _, err := c.warden.LimitDisk(ctx, request); err != nil {
			return wardenFault("limit the disk", err)
		}
	}
	if limits.shares > 0 {
		_, err := c.warden.LimitCPU(ctx, &wardenpb.LimitCpuRequest{
			Handle: handle, LimitInShares: proto.Uint64(uint64(limits.shares)),
		})
		if err != nil {
			return wardenFault("limit the cpu", err)
		}
	}
	if limit := limits.bandwidth; limit != nil {
		_, err := c.warden.LimitBandwidth(ctx, &wardenpb.LimitBandwidthRequest{
			Handle: handle, Rate: proto.Uint64(uint64(limit.Rate)), Burst: proto.Uint64(uint64(limit.Burst)),
		})
		if err != nil {
			return wardenFault("limit the bandwidth", err)
		}
	}
	return nil
}

// openEgress lets a container reach what its rules name. Rules that log go last, since the first that matches wins.
func (c *Containers) openEgress(ctx context.Context, id string, rules []api.EgressRule) error {
	for _, log := range []bool{false, true} {
		for _, rule := range rules {
			if rule.Log != log {
				continue
			}
			for _, request := range netOuts(id, rule) {
				if _, err := c.warden.NetOut(ctx, request); err != nil {
					return wardenFault("open the network for "+rule.Destination, err)
				}
			}
		}
	}
	return nil
}

// netOuts are the requests for one rule: Warden takes one port, or one range of ports, a request.
func netOuts(id string, rule api.EgressRule) []*wardenpb.NetOutRequest {
	base := func() *wardenpb.NetOutRequest {
		return &wardenpb.NetOutRequest{
			Handle: proto.String(id), Network: proto.String(rule.Destination),
			Protocol: netOutProtocol(rule.Protocol), Log: proto.Bool(rule.Log),
		}
	}
	if rule.Protocol == "icmp" {
		request := base()
		request.IcmpType, request.IcmpCode = rule.Type, rule.Code
		return []*wardenpb.NetOutRequest{request}
	}
	var requests []*wardenpb.NetOutRequest
	for _, ports := range strings.Split(rule.Ports, ",") {
		request := base()
		if low, high, isRange := strings.Cut(strings.TrimSpace(ports), "-"); isRange {
			request.PortRange = proto.String(low + ":" + high)
		} else if low != "" {
			request.Port = parsePort(low)
		}
		requests = append(requests, request)
	}
	return requests
}

// parsePort gives nil for what is no port: api's validation has refused that long before.
func parsePort(text string) *uint32 {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil
	}
	return proto.Uint32(uint32(port))
}

func netOutProtocol(name string) *wardenpb.NetOutRequest_Protocol {
	switch name {
	case "udp":
		return wardenpb.NetOutRequest_UDP.Enum()
	case "icmp":
		return wardenpb.NetOutRequest_ICMP.Enum()
	case "all":
		return wardenpb.NetOutRequest_ALL.Enum()
	default:
		return wardenpb.NetOutRequest_TCP.Enum()
	}
}

// readOnly mounts a directory of the node's into a container.
func readOnly(source, target string) *wardenpb.CreateRequest_BindMount {
	return &wardenpb.CreateRequest_BindMount{
		SrcPath: proto.String(source), DstPath: proto.String(target),
		Mode: wardenpb.CreateRequest_BindMount_RO.Enum(),
	}
}

// operatorMounts are the bind mounts that the node's configuration gives to every container.
func (c *Containers) operatorMounts() []*wardenpb.CreateRequest_BindMount {
	mounts := make([]*wardenpb.CreateRequest_BindMount, 0, len(c.config.BindMounts))
	for _, m := range c.config.BindMounts {
		mount := readOnly(m.SrcPath, m.DstPath)
		if m.Mode == "rw" {
			mount.Mode = wardenpb.CreateRequest_BindMount_RW.Enum()
		}
		mounts = append(mounts, mount)
	}
	return mounts
}

// rootfs is the directory of a stack; empty for Warden's own default.
func (c *Containers) rootfs(stack string) string {
	for _, s := range c.config.Stacks {
		if s.Name == stack {
			return s.PackagePath
		}
	}
	return ""
}
