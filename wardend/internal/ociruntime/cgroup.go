package ociruntime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/pause"
	"github.com/durable-dea/dea/wardend/internal/proctree"
)

const cgroupPoll = 2 * time.Millisecond

// cgroupDirs are the directories of a cgroup in all hierarchies, whether they are there or not.
func cgroupDirs(path string) ([]string, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter(fsV1, fsV2))
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	dirs := make([]string, 0, len(mounts))
	for _, m := range mounts {
		dirs = append(dirs, filepath.Join(m.Mountpoint, path))
	}
	return dirs, nil
}

// endCgroup kills what runs in a cgroup, and waits until nothing does.
func endCgroup(ctx context.Context, path string) error {
	if !filepath.IsAbs(path) || filepath.Clean(path) == "/" {
		return nil // none of a container's
	}
	dirs, err := cgroupDirs(path)
	if err != nil {
		return err
	}
	for {
		found := false
		for _, dir := range dirs {
			raw, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
				return err
			}
			for _, field := range strings.Fields(string(raw)) {
				pid, err := strconv.Atoi(field)
				if err != nil || pid <= 0 {
					continue // 0: of another pid namespace
				}
				found = true
				if err := proctree.End(ctx, pid, func(proctree.Stat) bool { return inCgroup(pid, path) }); err != nil {
					return err
				}
			}
		}
		if !found {
			return nil
		}
		if !pause.For(ctx, cgroupPoll) {
			return fmt.Errorf("processes in the cgroup %s do not end: %w", path, context.Cause(ctx))
		}
	}
}

func inCgroup(pid int, path string) bool {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(raw)) {
		if strings.HasSuffix(strings.TrimSuffix(line, "\n"), path) {
			return true
		}
	}
	return false
}

// removeCgroups removes a cgroup without children from every hierarchy. One that still has a process for a moment is
// tried again until ctx ends.
func removeCgroups(ctx context.Context, path string) error {
	dirs, err := cgroupDirs(path)
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		for {
			err := os.Remove(dir)
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				break
			}
			if !errors.Is(err, unix.EBUSY) || !pause.For(ctx, cgroupPoll) {
				errs = append(errs, err)
				break
			}
		}
	}
	return errors.Join(errs...)
}
