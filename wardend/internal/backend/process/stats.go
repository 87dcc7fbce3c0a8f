package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/backend"
	"github.com/durable-dea/dea/wardend/internal/proctree"
)

// nanosPerTick is a tick of USER_HZ, which is 100 on every Linux that Go runs on.
const nanosPerTick = uint64(time.Second / 100)

// blockBytes is the unit of a file's size on disk in stat(2).
const blockBytes = 512

// Stats adds up what the processes beneath the init use, and what those that have ended used.
func (c *container) Stats(ctx context.Context) (backend.Stats, error) {
	stats := backend.Stats{Memory: &wardenpb.InfoResponse_MemoryStat{}, CPU: &wardenpb.InfoResponse_CpuStat{}}
	if init := c.Init(); init != nil {
		if err := processStats(init.PID(), &stats); err != nil {
			return stats, err
		}
	}
	disk, err := c.disk.get(ctx)
	if err != nil {
		return stats, err
	}
	stats.Disk = disk
	return stats, nil
}

func processStats(initPID int, stats *backend.Stats) error {
	pids, err := proctree.Descendants(initPID)
	if err != nil {
		return err
	}
	var user, system, rss, faults, major uint64
	// The init's own time is not the container's, that of the processes it has reaped is.
	if init, err := proctree.Read(initPID); err == nil {
		user, system = init.ChildUser, init.ChildSystem
	}
	for _, pid := range pids {
		p, err := proctree.Read(pid)
		if err != nil {
			continue // it has ended meanwhile
		}
		user += p.User + p.ChildUser
		system += p.System + p.ChildSystem
		rss += p.RSSPages * pageSize()
		faults += p.MinorFaults + p.MajorFaults
		major += p.MajorFaults
	}
	m := stats.Memory
	m.Rss, m.TotalRss = proto.Uint64(rss), proto.Uint64(rss)
	m.Pgfault, m.TotalPgfault = proto.Uint64(faults), proto.Uint64(faults)
	m.Pgmajfault, m.TotalPgmajfault = proto.Uint64(major), proto.Uint64(major)
	stats.CPU.User, stats.CPU.System = proto.Uint64(user), proto.Uint64(system)
	stats.CPU.Usage = proto.Uint64((user + system) * nanosPerTick)
	return nil
}

// diskUsage measures a directory, and not again until at least freshness has gone by and twenty times as long as
// measuring took: a large tree must not make every answer of the server slow.
type diskUsage struct {
	root string

	mu    sync.Mutex
	last  *wardenpb.InfoResponse_DiskStat
	until time.Time
}

const (
	freshness  = time.Second
	costFactor = 20
)

func (d *diskUsage) get(ctx context.Context) (*wardenpb.InfoResponse_DiskStat, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	start := time.Now()
	if d.last != nil && start.Before(d.until) {
		return d.last, nil
	}
	bytes, inodes, err := measure(ctx, d.root)
	if err != nil {
		return nil, fmt.Errorf("measure %s: %w", d.root, err)
	}
	d.last = &wardenpb.InfoResponse_DiskStat{BytesUsed: proto.Uint64(bytes), InodesUsed: proto.Uint64(inodes)}
	d.until = time.Now().Add(max(freshness, costFactor*time.Since(start)))
	return d.last, nil
}

// measure counts what lies beneath root, links not followed, each file once.
func measure(ctx context.Context, root string) (bytes, inodes uint64, err error) {
	type inode struct{ dev, ino uint64 }
	seen := map[inode]bool{}
	err = filepath.WalkDir(root, func(_ string, entry fs.DirEntry, err error) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err != nil {
			return nil //nolint:nilerr // gone meanwhile, or not to be read: what can be seen is counted
		}
		info, err := entry.Info()
		if err != nil {
			return nil //nolint:nilerr // as above
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return nil
		}
		if id := (inode{stat.Dev, stat.Ino}); stat.Nlink > 1 && !entry.IsDir() {
			if seen[id] {
				return nil
			}
			seen[id] = true
		}
		bytes += uint64(stat.Blocks) * blockBytes //nolint:gosec // never negative
		inodes++
		return nil
	})
	return bytes, inodes, err
}

// sweep ends the processes of a container whose init is gone. They are known by the environment that their job was
// started with.
func sweep(ctx context.Context, root string) error {
	const rounds = 100
	mark := "HOME=" + root + "/"
	for range rounds {
		pids, err := proctree.All()
		if err != nil {
			return err
		}
		left := false
		for _, pid := range pids {
			if !marked(pid, mark) {
				continue
			}
			if stat, err := proctree.Read(pid); err == nil && stat.State != 'Z' {
				left = true
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		if !left {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond): //nolint:mnd // they die at once or not at all
		}
	}
	return errors.New("processes of the container do not end")
}

func marked(pid int, mark string) bool {
	for _, variable := range proctree.Environ(pid) {
		if strings.HasPrefix(variable, mark) {
			return true
		}
	}
	return false
}
