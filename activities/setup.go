package activities

import (
	"cmp"
	"context"
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/buildpackstore"
	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// SetUpParams says what is to be staged.
type SetUpParams struct {
	Request api.StagingRequest `json:"request"`
}

// SetUpResult says what came.
type SetUpResult struct {
	FetchResult
}

// SetUp brings everything that a staging needs to the node, and makes its container. Then all that follows can be done
// on this node alone, and the staging's log can be followed.
//
// Run twice it keeps what is whole already, resumes what is not, and finds the container. Cancelled it leaves all of it;
// CleanUp takes it away. It heartbeats, with how much has come.
func (c *Containers) SetUp(ctx context.Context, params SetUpParams) (SetUpResult, error) {
	fetched, err := c.packages.Fetch(ctx, params.Request)
	if err != nil {
		return SetUpResult{}, err
	}
	b := c.newBuild(params.Request)
	if !b.concluded() {
		if err := b.prepare(ctx); err != nil && !b.over(err) {
			return SetUpResult{}, containerFault(err)
		}
	}
	return SetUpResult{fetched}, nil
}

// CleanUpParams names a staging.
type CleanUpParams struct {
	TaskID string `json:"task_id"`
}

// CleanUp removes a staging's container and its workspace. Its log is kept for log_lifetime. What cannot be done keeps the
// rest from nothing, and is tried again: a Warden that refuses for want of room may have it once the workspace is gone.
//
// Run twice it does nothing the second time. Cancelled, Warden still finishes what it was asked. It heartbeats.
func (c *Containers) CleanUp(ctx context.Context, params CleanUpParams) error {
	destroyed := c.destroy(ctx, api.StagingHandle(params.TaskID))
	if destroyed != nil {
		destroyed = api.Transient(api.ErrWarden, "the staging's container cannot be destroyed", destroyed)
	}
	if lifetime := c.config.Staging.LogLifetime; lifetime > 0 {
		if err := c.workspaces.KeepLog(params.TaskID, lifetime); err != nil {
			c.log.Warn("a staging's log is not kept", "task", params.TaskID, "error", err)
		}
	}
	if err := c.workspaces.Remove(params.TaskID); err != nil {
		return cmp.Or(destroyed, nodeFault("the staging's directory cannot be removed", err))
	}
	return destroyed
}

// prepare makes the container with its limits and its network, or finds the one that an earlier attempt made. Limits
// and rules are set again then: that attempt may have died in between.
func (b *build) prepare(ctx context.Context) error {
	create, err := b.createRequest()
	if err != nil {
		return err
	}
	err = b.makeContainer(ctx, create)
	if err != nil && !errors.Is(err, warden.ErrHandleInUse) {
		return wardenFault("make the container", err)
	}
	if b.started() {
		return nil
	}
	if err := b.limit(ctx); err != nil {
		return err
	}
	return b.linkApp(ctx, b.handle, runspec.PathStagedApp)
}

func (b *build) limit(ctx context.Context) error {
	staging := b.config.Staging
	err := b.applyLimits(ctx, b.handle, containerLimits{
		memoryMB:  b.memoryMB(),
		diskMB:    b.diskMB(),
		inodes:    staging.DiskInodeLimit,
		shares:    staging.CPULimitShares,
		bandwidth: staging.BandwidthLimit,
	})
	if err != nil {
		return err
	}
	return b.openEgress(ctx, b.handle, b.request.EgressNetworkRules)
}

func (b *build) memoryMB() int64 {
	return max(b.config.Staging.MemoryLimitMB, b.request.MemoryLimit, b.request.Properties.Resources.MemoryMB)
}

func (b *build) diskMB() int64 {
	return max(b.config.Staging.DiskLimitMB, b.request.DiskLimit, b.request.Properties.Resources.DiskMB)
}

func (b *build) createRequest() (*wardenpb.CreateRequest, error) {
	choice, err := usableBuildpacks(b.request)
	if err != nil {
		return nil, err
	}
	writable := readOnly(b.space.Out(), runspec.PathOut)
	writable.Mode = wardenpb.CreateRequest_BindMount_RW.Enum()
	mounts := append(b.operatorMounts(),
		readOnly(b.space.In(), runspec.PathIn), writable, readOnly(b.runner, runspec.PathBin))
	for n, pack := range choice.Buildpacks {
		if pack.Git == nil {
			mounts = append(mounts, readOnly(buildpackstore.Dir(b.config.BaseDir, pack.Admin.Key), runspec.PathBuildpack(n)))
		}
	}
	create := &wardenpb.CreateRequest{
		Handle: proto.String(b.handle), GraceTime: proto.Uint32(graceSeconds), BindMounts: mounts,
	}
	if rootfs := b.rootfs(b.request.Stack); rootfs != "" {
		create.Rootfs = proto.String(rootfs)
	}
	return create, nil
}
