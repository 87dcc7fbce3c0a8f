package cgroups

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// Controllers that containers are limited and measured with.
const (
	memoryController  = "memory"
	cpuController     = "cpu"
	cpuacctController = "cpuacct"
	pidsController    = "pids"
)

// effects say what a container lacks where the kernel has no such controller.
func effects() map[string]string {
	return map[string]string{
		memoryController:  "memory limits have no effect, and memory statistics are missing",
		cpuController:     "CPU shares have no effect",
		cpuacctController: "CPU statistics are missing",
		pidsController:    "the number of processes is not limited",
	}
}

// layout is where this machine's cgroups are.
type layout struct {
	version int
	// roots are the mount points by controller: v1's four, where there are such; on v2 every controller's root is the
	// same.
	roots map[string]string
	// all are the mount points of all hierarchies in which an OCI runtime makes groups.
	all []string
}

// usual is where everybody, and an OCI runtime above all, looks for cgroups.
const usual = "/sys/fs/cgroup"

// findLayout reads mounts. A v1 mount with one of our controllers makes it v1, whatever else is mounted.
func findLayout(mounts []*mountinfo.Info) (layout, error) {
	// A hierarchy can be mounted several times; what lies where the runtime looks comes first.
	mounts = slices.Clone(mounts)
	slices.SortStableFunc(mounts, func(a, b *mountinfo.Info) int { return rank(a) - rank(b) })

	l := layout{version: 1, roots: map[string]string{}}
	unified := ""
	seen := map[string]bool{}
	for _, mount := range mounts {
		if mount.FSType == "cgroup2" {
			if unified == "" {
				unified = mount.Mountpoint
			}
			continue
		}
		if mount.FSType != "cgroup" || seen[mount.VFSOptions] {
			continue
		}
		seen[mount.VFSOptions] = true
		l.all = append(l.all, mount.Mountpoint)
		for _, option := range strings.Split(mount.VFSOptions, ",") {
			if _, ours := effects()[option]; ours {
				l.roots[option] = mount.Mountpoint
			}
		}
	}
	if unified != "" {
		l.all = append(l.all, unified)
	}
	if len(l.roots) > 0 {
		return l, nil
	}
	if unified == "" {
		return l, ErrNone
	}
	return findControllers(unified, l.all)
}

// findControllers looks which controllers a v2 hierarchy has.
func findControllers(root string, all []string) (layout, error) {
	raw, err := read(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return layout{}, fmt.Errorf("controllers of cgroup v2: %w", err)
	}
	// CPU time is counted by v2's core: no controller is needed.
	l := layout{version: 2, all: all, roots: map[string]string{cpuacctController: root}}
	for _, name := range strings.Fields(raw) {
		if _, ours := effects()[name]; ours {
			l.roots[name] = root
		}
	}
	if len(l.roots) == 1 {
		return layout{}, ErrNone
	}
	return l, nil
}

func rank(m *mountinfo.Info) int {
	if m.Mountpoint == usual || filepath.Dir(m.Mountpoint) == usual {
		return 0
	}
	return 1
}

// own are the hierarchies in which groups are made, each once.
func (l layout) own() []string {
	var own []string
	for _, root := range l.roots {
		if !slices.Contains(own, root) {
			own = append(own, root)
		}
	}
	slices.Sort(own)
	return own
}
