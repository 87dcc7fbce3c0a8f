package cgroups

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

const subtreeControl = "cgroup.subtree_control"

// enable hands v2's controllers down to the instance's containers. One that cannot be handed down is forgotten.
func (m *Manager) enable(log hclog.Logger) {
	for _, controller := range slices.Sorted(maps.Keys(m.roots)) {
		if controller == cpuacctController {
			continue
		}
		root := m.roots[controller]
		for _, dir := range []string{root, m.parent(root)} {
			err := write(filepath.Join(dir, subtreeControl), "+"+controller)
			if err == nil {
				continue
			}
			log.Warn("cgroup controller cannot be used", "controller", controller, "reason", whyNot(err), "error", err)
			delete(m.roots, controller)
			break
		}
	}
}

// whyNot says what the kernel means when it refuses to hand a controller down.
func whyNot(err error) string {
	switch {
	case errors.Is(err, unix.EBUSY):
		return "processes live in a group that has groups beneath it: move them to a group of their own"
	case errors.Is(err, unix.EINVAL):
		return "the kernel does not have it, or real-time processes live outside of the root group"
	default:
		return "the kernel refuses it"
	}
}

// passOn hands the controllers down to a container's two groups.
func (m *Manager) passOn(container string) error {
	var words []string
	for _, controller := range slices.Sorted(maps.Keys(m.roots)) {
		if controller != cpuacctController {
			words = append(words, "+"+controller)
		}
	}
	if len(words) == 0 {
		return nil
	}
	return write(filepath.Join(container, subtreeControl), strings.Join(words, " "))
}
