package stats

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/api"
)

// machine measures the machine and the file system of a directory. What can be read stands beside the error.
func machine(dir string) (api.NodeStats, error) {
	stats := api.NodeStats{Cores: runtime.NumCPU()}
	err := errors.Join(readLoad(&stats), readMemory(&stats), readDisk(dir, &stats))
	return stats, err
}

func readLoad(stats *api.NodeStats) error {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(string(text), " ")
	stats.Load, err = strconv.ParseFloat(first, 64)
	return err
}

func readMemory(stats *api.NodeStats) error {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return err
	}
	total, free := meminfo(string(text), "MemTotal"), meminfo(string(text), "MemAvailable")
	if total == 0 {
		return errors.New("/proc/meminfo tells no MemTotal")
	}
	stats.MemoryFreeBytes, stats.MemoryUsedBytes = free, max(0, total-free)
	return nil
}

// meminfo is a number of /proc/meminfo, in bytes; 0 where there is none.
func meminfo(text, name string) int64 {
	const kb = 1024
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) > 1 && fields[0] == name+":" {
			n, _ := strconv.ParseInt(fields[1], 10, 64) // the kernel's
			return n * kb
		}
	}
	return 0
}

// readDisk counts as free what a user who is not root may have.
func readDisk(dir string, stats *api.NodeStats) error {
	var now unix.Statfs_t
	if err := unix.Statfs(dir, &now); err != nil {
		return fmt.Errorf("base_dir: %w", err)
	}
	stats.DiskFreeBytes = int64(now.Bavail) * now.Bsize           //nolint:gosec // a disk's size fits
	stats.DiskUsedBytes = int64(now.Blocks-now.Bfree) * now.Bsize //nolint:gosec // as above
	return nil
}
