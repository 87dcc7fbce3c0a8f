package container

import (
	"context"
	"math"
	"os"

	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/backend"
	"github.com/durable-dea/dea/wardend/internal/network"
)

// blockSize is the unit of the block limits in bytes.
const blockSize = 1024

// maxBlocks are those whose bytes can be told: more are as good as no limit.
const maxBlocks = math.MaxUint64 / blockSize

// limit changes a container's limits and answers what they are then. Change says whether there is anything to do.
func (r *Registry) limit(ctx context.Context, handle string, change func(*backend.Limits) bool) (backend.Limits, error) {
	c, err := r.find(handle)
	if err != nil {
		return backend.Limits{}, err
	}
	var limits backend.Limits
	err = c.enter(func() error {
		limits, err = c.limit(ctx, change)
		return err
	})
	return limits, err
}

func (c *Container) limit(ctx context.Context, change func(*backend.Limits) bool) (backend.Limits, error) {
	// One change at a time: the backend is given all limits at once.
	c.limitMu.Lock()
	defer c.limitMu.Unlock()
	c.mu.Lock()
	limits := c.limits
	c.mu.Unlock()
	if !change(&limits) {
		return limits, nil
	}
	if err := c.b.Limit(ctx, limits); err != nil {
		return limits, err
	}
	c.mu.Lock()
	c.limits = limits
	c.mu.Unlock()
	return limits, c.save()
}

// LimitMemory sets the memory limit if the request has one, rounded down to a page.
func (r *Registry) LimitMemory(ctx context.Context, req *wardenpb.LimitMemoryRequest) (*wardenpb.LimitMemoryResponse, error) {
	limits, err := r.limit(ctx, req.GetHandle(), func(l *backend.Limits) bool {
		if req.LimitInBytes == nil {
			return false
		}
		page := uint64(os.Getpagesize()) //nolint:gosec // positive
		l.MemoryBytes = min(req.GetLimitInBytes()/page*page, backend.UnlimitedMemory)
		return true
	})
	if err != nil {
		return nil, err
	}
	return &wardenpb.LimitMemoryResponse{LimitInBytes: proto.Uint64(limits.MemoryBytes)}, nil
}

// LimitCPU sets the CPU shares if the request has some; fewer than the least are the least, more than the most the most.
func (r *Registry) LimitCPU(ctx context.Context, req *wardenpb.LimitCpuRequest) (*wardenpb.LimitCpuResponse, error) {
	limits, err := r.limit(ctx, req.GetHandle(), func(l *backend.Limits) bool {
		if req.LimitInShares == nil {
			return false
		}
		l.CPUShares = min(max(req.GetLimitInShares(), backend.MinCPUShares), backend.MaxCPUShares)
		return true
	})
	if err != nil {
		return nil, err
	}
	return &wardenpb.LimitCpuResponse{LimitInShares: proto.Uint64(limits.CPUShares)}, nil
}

// LimitBandwidth sets the bandwidth of both directions.
func (r *Registry) LimitBandwidth(ctx context.Context, req *wardenpb.LimitBandwidthRequest) (*wardenpb.LimitBandwidthResponse, error) {
	if _, err := r.find(req.GetHandle()); err != nil {
		return nil, err
	}
	if req.GetRate() < network.MinRate {
		return nil, refuse("The rate must be at least %d bytes a second", network.MinRate)
	}
	limits, err := r.limit(ctx, req.GetHandle(), func(l *backend.Limits) bool {
		l.Rate, l.Burst = req.GetRate(), req.GetBurst()
		return true
	})
	if err != nil {
		return nil, err
	}
	return &wardenpb.LimitBandwidthResponse{Rate: proto.Uint64(limits.Rate), Burst: proto.Uint64(limits.Burst)}, nil
}

// LimitDisk sets the disk limits that the request has. Bytes win over blocks, X_hard over its aliases X and X_limit.
func (r *Registry) LimitDisk(ctx context.Context, req *wardenpb.LimitDiskRequest) (*wardenpb.LimitDiskResponse, error) {
	limits, err := r.limit(ctx, req.GetHandle(), func(l *backend.Limits) bool {
		changes := []bool{
			set(&l.BlockHard, blocks(first(req.ByteHard, req.Byte, req.ByteLimit)), first(req.BlockHard, req.Block, req.BlockLimit)),
			set(&l.BlockSoft, blocks(req.ByteSoft), req.BlockSoft),
			set(&l.InodeHard, first(req.InodeHard, req.Inode, req.InodeLimit)),
			set(&l.InodeSoft, req.InodeSoft),
		}
		l.BlockHard, l.BlockSoft = min(l.BlockHard, maxBlocks), min(l.BlockSoft, maxBlocks)
		return changes[0] || changes[1] || changes[2] || changes[3]
	})
	if err != nil {
		return nil, err
	}
	hard, soft := limits.BlockHard, limits.BlockSoft
	return &wardenpb.LimitDiskResponse{
		BlockLimit: &hard, Block: &hard, BlockHard: &hard, BlockSoft: &soft,
		InodeLimit: &limits.InodeHard, Inode: &limits.InodeHard, InodeHard: &limits.InodeHard, InodeSoft: &limits.InodeSoft,
		ByteLimit: proto.Uint64(hard * blockSize), Byte: proto.Uint64(hard * blockSize),
		ByteHard: proto.Uint64(hard * blockSize), ByteSoft: proto.Uint64(soft * blockSize),
	}, nil
}

// first is the first value that is there.
func first(values ...*uint64) *uint64 {
	for _, v := range values {
		if v != nil {
			return v
		}
	}
	return nil
}

// set sets a limit to the first value that is there, and says whether there was one.
func set(limit *uint64, values ...*uint64) bool {
	v := first(values...)
	if v != nil {
		*limit = *v
	}
	return v != nil
}

// blocks are as many as hold the bytes.
func blocks(bytes *uint64) *uint64 {
	if bytes == nil {
		return nil
	}
	n := *bytes / blockSize
	if *bytes%blockSize > 0 {
		n++
	}
	return &n
}
