package container

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/backend"
	"github.com/durable-dea/dea/wardend/internal/pool"
)

// DefaultStopGrace is the time between TERM and KILL when a container is stopped.
const DefaultStopGrace = 10 * time.Second

// Options are what a Registry needs. All are required but where a comment says otherwise.
type Options struct {
	// Depot is the directory for all that is kept; made when it is not there.
	Depot string
	// Backend opens the backend once the depot is this server's own. The registry closes it.
	Backend  func(ctx context.Context) (backend.Backend, error)
	Ports    *pool.Ports
	Networks *pool.Networks
	// GraceTime is in seconds, for containers that were created without one.
	GraceTime uint32
	// OutputLimit is in bytes, of a job's stdout and stderr together.
	OutputLimit int64
	// Rootfs is for containers that were created without one. Optional.
	Rootfs string
	// Rlimits are those of a job whose request does not say otherwise. Optional.
	Rlimits *wardenpb.ResourceLimits
	// StopGrace is DefaultStopGrace when 0.
	StopGrace time.Duration
	// DepotWait bounds how long a depot that is in use is waited for. Optional.
	DepotWait time.Duration
	Log       hclog.Logger
}

// Registry holds the containers of one depot.
type Registry struct {
	opts    Options
	lock    *os.File
	backend backend.Backend
	// ctx ends when the registry is closed.
	ctx  context.Context //nolint:containedctx // the registry's own life
	stop context.CancelFunc
	// work counts what goes on in the background.
	work sync.WaitGroup

	mu         sync.Mutex
	containers map[string]*Container
	creating   map[string]bool
	references map[*References]bool
	order      uint64
	lastHandle uint64

	jobsMu       sync.Mutex
	nextJob      uint32
	reservedJobs uint32
}

// ErrDepotInUse: another server serves the depot.
var ErrDepotInUse = errors.New("another wardend is using the depot")

// Open takes a depot over: what is in it is found again, what was half made or half removed is removed. A depot that
// is in use is waited for until ctx ends or DepotWait is over; then the error is ErrDepotInUse. What is found there has
// no such bound: a container must not be taken for lost because another one was slow.
func Open(ctx context.Context, opts Options) (*Registry, error) {
	depot, err := filepath.Abs(opts.Depot)
	if err != nil {
		return nil, fmt.Errorf("depot: %w", err)
	}
	opts.Depot = depot
	if opts.StopGrace == 0 {
		opts.StopGrace = DefaultStopGrace
	}
	if err := os.MkdirAll(filepath.Join(depot, containersName), 0o755); err != nil { //nolint:gosec // jobs of other users pass through
		return nil, fmt.Errorf("depot: %w", err)
	}
	lock, err := lockDepot(ctx, depot, opts.DepotWait, opts.Log)
	if err != nil {
		return nil, err
	}
	kind, err := opts.Backend(ctx)
	if err != nil {
		_ = lock.Close()
		return nil, err
	}
	r := &Registry{
		opts: opts, lock: lock, backend: kind,
		containers: map[string]*Container{}, creating: map[string]bool{}, references: map[*References]bool{},
	}
	r.ctx, r.stop = context.WithCancel(context.Background())
	if err := r.recover(ctx); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func lockDepot(ctx context.Context, depot string, longest time.Duration, log hclog.Logger) (*os.File, error) {
	if longest > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, longest)
		defer cancel()
	}
	lock, err := os.OpenFile(filepath.Join(depot, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("depot: %w", err)
	}
	const pause = 20 * time.Millisecond
	for said := false; ; {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return lock, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = lock.Close()
			return nil, fmt.Errorf("depot %s: lock: %w", depot, err)
		}
		if !said && ctx.Err() == nil {
			said = true
			log.Warn("another wardend is using the depot: waiting for it to end", "depot", depot, "at_most", atMost(longest))
		}
		select {
		case <-ctx.Done():
			_ = lock.Close()
			return nil, fmt.Errorf("%w: %s", ErrDepotInUse, depot)
		case <-time.After(pause):
		}
	}
}

func atMost(longest time.Duration) string {
	if longest > 0 {
		return longest.String()
	}
	return "as long as it takes"
}

// Close lets go of the depot. Containers and their jobs go on; requests that still run fail.
func (r *Registry) Close() {
	r.stop()
	r.mu.Lock()
	for _, c := range r.containers {
		c.stopTimer()
		c.closeBackend()
	}
	r.mu.Unlock()
	r.work.Wait()
	if err := r.backend.Close(); err != nil {
		r.opts.Log.Warn("the backend did not let go of all", "error", err)
	}
	_ = r.lock.Close()
}

// find gives a container that requests can be made of.
func (r *Registry) find(handle string) (*Container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[handle]
	if c == nil || c.isGone() {
		return nil, unknownHandle()
	}
	return c, nil
}

// List answers the handles of all containers, the oldest first.
func (r *Registry) List(context.Context, *wardenpb.ListRequest) (*wardenpb.ListResponse, error) {
	res := &wardenpb.ListResponse{}
	for _, c := range r.all() {
		res.Handles = append(res.Handles, c.handle)
	}
	return res, nil
}

func (r *Registry) all() []*Container {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*Container, 0, len(r.containers))
	for _, c := range r.containers {
		if !c.isGone() {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b *Container) int {
		if a.order != b.order {
			return int(min(max(int64(a.order)-int64(b.order), -1), 1)) //nolint:gosec // counters
		}
		return strings.Compare(a.handle, b.handle)
	})
	return all
}

// DestroyAll destroys every container. The error joins what could not be destroyed.
func (r *Registry) DestroyAll(ctx context.Context) error {
	var errs []error
	for _, c := range r.all() {
		if _, err := r.Destroy(ctx, &wardenpb.DestroyRequest{Handle: proto.String(c.handle)}); err != nil {
			errs = append(errs, fmt.Errorf("container %q: %w", c.handle, err))
		}
	}
	return errors.Join(errs...)
}

// jobBlock is how many job ids are written down as given out at once: a restart skips the rest of them.
const jobBlock = 1000

// newJobID gives an id that no job of this depot ever had.
func (r *Registry) newJobID() (uint32, error) {
	r.jobsMu.Lock()
	defer r.jobsMu.Unlock()
	if r.nextJob == math.MaxUint32 {
		return 0, errors.New("all job ids of the protocol are used up: use a new depot")
	}
	id := r.nextJob + 1
	if id > r.reservedJobs {
		reserve := uint32(min(uint64(id)+jobBlock, math.MaxUint32))
		if err := r.writeServer(reserve); err != nil {
			return 0, err
		}
		r.reservedJobs = reserve
	}
	r.nextJob = id
	return id, nil
}

func (r *Registry) writeServer(jobs uint32) error {
	rec := serverRecord{Version: recordVersion, Backend: r.backend.Name(), Jobs: jobs}
	// On disk before an id is given out, and whole even after a power failure: no server starts without it.
	if err := writeFile(filepath.Join(r.opts.Depot, serverName), rec, unix.O_SYNC); err != nil {
		return fmt.Errorf("write job ids down: %w", err)
	}
	return nil
}
