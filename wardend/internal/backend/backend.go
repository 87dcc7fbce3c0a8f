// Package backend says what a kind of container must be able to do. The registry of package container does all that
// is the same for every kind: handles, states, jobs, ports, what is written down; a backend does what differs.
package backend

import (
	"context"
	"net/netip"

	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/initproc"
)

// Spec is what a container was asked to be. It is written down and the same after a restart of the server.
type Spec struct {
	// Handle is the client's name for the container; any text.
	Handle string
	// Dir is the container's directory, absolute, with a name that is safe. The backend's files lie in it, and the
	// registry's container.json.
	Dir string
	// Rootfs is the directory that the client or the operator named; empty when neither did.
	Rootfs string
	// Network is what the client asked for; invalid when it asked for none.
	Network netip.Prefix
	Mounts  []Mount
}

// Mount is a directory or file of the host that the container sees.
type Mount struct {
	Source string `json:"source"`
	// Target is a path in the container.
	Target   string `json:"target"`
	ReadOnly bool   `json:"read_only"`
}

// Events are told as they come; none may block. Each may be nil.
type Events struct {
	// Events of the container's init.
	initproc.Events
	// OutOfMemory: the kernel has ended a process of the container for want of memory. It can come more than once,
	// and before Create or Open have returned.
	OutOfMemory func()
}

// Backend makes containers of one kind.
type Backend interface {
	// Name is what the operator calls it.
	Name() string
	// Networked says whether each container needs a network of its own, Spec.Network.
	Networked() bool
	// Check says whether a container could be made of the spec. Its error is a sentence of the protocol's.
	Check(spec Spec) error
	// Create makes a container with its init. After an error some of it may be there, which is for Remove.
	Create(ctx context.Context, spec Spec, events Events) (Container, error)
	// Open finds a container again that an earlier server made. When its init is gone, the error is
	// initproc.ErrLost and the Container is one whose Init is nil: it can be looked at, copied from and destroyed.
	Open(ctx context.Context, spec Spec, events Events) (Container, error)
	// Remove ends and frees whatever there is of a container, however much that is, except spec.Dir itself.
	// It can be called again after an error, and for a container that was made only in part.
	Remove(ctx context.Context, spec Spec) error
	// Sweep frees what the backend finds on the machine under its own name that belongs to none of the containers in
	// the directories: a depot's directory may have been removed by hand, or the machine have started anew.
	Sweep(ctx context.Context, dirs []string) error
	// Close lets go of everything; containers go on. What serves no container any more is freed.
	Close() error
}

// Container is one container. Its methods may be called at the same time.
type Container interface {
	// Path is the directory on the host that Info calls container_path.
	Path() string
	// Addresses are the host's and the container's on the container's network.
	Addresses() (host, container netip.Addr)
	// Init drives the container's jobs; nil when it is gone.
	Init() *initproc.Client
	// InitDir is the init's state directory.
	InitDir() string
	// Job says how a job is run: its program, environment, directory and limits; not its id, script and output.
	Job(privileged bool, limits []initproc.Rlimit) initproc.SpawnSpec

	// NetIn lets TCP connections to the host's port in to the container's port. It is called again for each port
	// after a restart of the server, and must not mind.
	NetIn(ctx context.Context, hostPort, containerPort uint32) error
	// NetOut applies an egress rule. It is called again after a restart.
	NetOut(ctx context.Context, rule *wardenpb.NetOutRequest) error
	// Limit applies all limits of the container; which have changed is for the backend to find out.
	Limit(ctx context.Context, limits Limits) error

	// CopyIn and CopyOut copy with rsync's meaning between a path of the host and one in the container. The error
	// is copytree.ErrFailed when source, parent of the target or owner are not there.
	CopyIn(ctx context.Context, hostPath, containerPath string) error
	CopyOut(ctx context.Context, containerPath, hostPath, owner string) error

	// OutOfMemory says whether the kernel has ended a process of the container for want of memory since the container
	// was made.
	OutOfMemory() bool
	// EndOrphans ends the processes of a container whose init is gone.
	EndOrphans(ctx context.Context) error
	// Stats are what the container uses now; after an error, as far as it is known.
	Stats(ctx context.Context) (Stats, error)
	// Close lets go of the container, which goes on.
	Close()
}

// Values that mean that there is no limit, as the original server's kernel gave them.
const (
	UnlimitedMemory    = 9223372036854771712
	UnlimitedBandwidth = 4294967295
)

// CPU shares: what a container has by default, and the least and most that the kernel takes.
const (
	DefaultCPUShares = 1024
	MinCPUShares     = 2
	MaxCPUShares     = 262144
)

// Limits are a container's limits. They are written down.
type Limits struct {
	// MemoryBytes is UnlimitedMemory, or a multiple of the page size.
	MemoryBytes uint64 `json:"memory_bytes"`
	CPUShares   uint64 `json:"cpu_shares"`
	// Rate is in bytes a second and Burst in bytes, both ways; UnlimitedBandwidth when not set.
	Rate  uint64 `json:"rate"`
	Burst uint64 `json:"burst"`
	// Blocks are of 1024 bytes. 0 is no limit.
	BlockSoft uint64 `json:"block_soft"`
	BlockHard uint64 `json:"block_hard"`
	InodeSoft uint64 `json:"inode_soft"`
	InodeHard uint64 `json:"inode_hard"`
}

// NoLimits are the limits of a new container.
func NoLimits() Limits {
	return Limits{MemoryBytes: UnlimitedMemory, CPUShares: DefaultCPUShares, Rate: UnlimitedBandwidth, Burst: UnlimitedBandwidth}
}

// Stats are what a container uses. Memory's limits are filled in by the registry.
type Stats struct {
	Memory *wardenpb.InfoResponse_MemoryStat
	CPU    *wardenpb.InfoResponse_CpuStat
	Disk   *wardenpb.InfoResponse_DiskStat
}
