package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/durable-dea/dea/wardend/internal/idmap"
	"github.com/durable-dea/dea/wardend/internal/ociruntime"
)

// bareRoot makes the root of bare containers, which holds the tool alone.
func (s *server) bareRoot() error {
	for _, dir := range []string{"", "proc", "dev", "sys"} {
		if err := os.MkdirAll(filepath.Join(s.path("bare"), dir), 0o755); err != nil { //nolint:gosec // the container's user passes through
			return err
		}
	}
	program, err := os.ReadFile(s.tool)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.path("bare"), "tool"), program, 0o755) //nolint:gosec // for the container's user
}

// bareCgroup is above the cgroups of bare containers.
const bareCgroup = "wardend-bench"

// bare is the floor: a container with the same namespaces and nothing else, by the runtime alone.
func (s *server) bare(ctx context.Context, id string) (create, remove time.Duration, err error) {
	bundle := s.path("bundle-" + id)
	if err := os.MkdirAll(bundle, 0o755); err != nil { //nolint:gosec // as above
		return 0, 0, err
	}
	const host, size = 0x50000000, 65536
	spec := ociruntime.Bare(ociruntime.Container{
		ID: id, Root: s.path("bare"), Hostname: "bare", Args: []string{"/tool", "echo", "7"},
		IDs: idmap.Range{Host: host, Size: size}, CgroupPath: "/" + bareCgroup + "/" + id,
	})
	begin := time.Now()
	if err := s.runtime.WriteBundle(bundle, spec); err != nil {
		return 0, 0, err
	}
	if _, err := s.runtime.Run(ctx, ociruntime.Run{ID: id, Bundle: bundle}); err != nil {
		return 0, 0, err
	}
	create = time.Since(begin)
	begin = time.Now()
	err = s.runtime.Delete(ctx, id)
	return create, time.Since(begin), err
}

// removeBare removes what the runtime leaves of bare containers: the directories above their cgroups.
func removeBare() error {
	var errs []error
	for _, pattern := range []string{"/sys/fs/cgroup/" + bareCgroup, "/sys/fs/cgroup/*/" + bareCgroup} {
		for _, below := range []string{"/*", ""} {
			dirs, err := filepath.Glob(pattern + below)
			errs = append(errs, err)
			for _, dir := range dirs {
				if info, err := os.Lstat(dir); err == nil && info.IsDir() {
					errs = append(errs, os.Remove(dir))
				}
			}
		}
	}
	return errors.Join(errs...)
}
