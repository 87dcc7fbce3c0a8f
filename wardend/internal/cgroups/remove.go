package cgroups

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

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/pause"
)

// Waits between two tries to remove what is busy: a process that was just killed is gone within a few milliseconds.
const (
	firstWait = time.Millisecond
	lastWait  = 50 * time.Millisecond
)

// Remove removes all cgroups of a container in all hierarchies, with those that the runtime or the container made
// beneath. It kills nothing: what is busy is tried again until ctx ends, and is then an *InUseError that names the
// processes. What is not there is no error, and what fails in one hierarchy does not keep the others.
func (m *Manager) Remove(ctx context.Context, id string) error {
	name, err := m.names.dir(id)
	if err != nil {
		return err
	}
	var failed []error
	left := make([]string, 0, len(m.all))
	for _, root := range m.all {
		left = append(left, filepath.Join(m.parent(root), name))
	}
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		var busy []string
		var why []error
		for _, dir := range left {
			if err := removeTree(dir); errors.Is(err, unix.EBUSY) {
				busy, why = append(busy, dir), append(why, err)
			} else if err != nil {
				failed = append(failed, err)
			}
		}
		if left = busy; len(left) == 0 {
			break
		}
		if !pause.For(ctx, wait) {
			why = append(why, context.Cause(ctx))
			failed = append(failed, &InUseError{ID: id, Dirs: left, Processes: processes(left), Err: errors.Join(why...)})
			break
		}
	}
	if len(failed) == 0 {
		m.oom.forget(id)
	}
	return errors.Join(failed...)
}

// Kill tells all processes in the cgroups of a container to end at once. Remove waits until they have.
func (m *Manager) Kill(id string) error {
	name, err := m.names.dir(id)
	if err != nil {
		return err
	}
	var dirs []string
	for _, root := range m.all {
		dirs = append(dirs, filepath.Join(m.parent(root), name))
	}
	var errs []error
	for _, p := range processes(dirs) {
		if err := unix.Kill(p.PID, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("kill process %d (%s): %w", p.PID, p.Command, err))
		}
	}
	return errors.Join(errs...)
}

// removeTree removes a group with all that is beneath it. The error is EBUSY if something there has a process.
func removeTree(dir string) error {
	// Most have nothing beneath, or are not there.
	err := rmdir(dir)
	if !errors.Is(err, unix.EBUSY) {
		return err
	}
	dirs, err := children(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, child := range dirs {
		errs = append(errs, removeTree(child))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return rmdir(dir)
}

// rmdir removes a group that has nothing beneath; one that is not there is no error.
func rmdir(dir string) error {
	if err := unix.Rmdir(dir); err != nil && !gone(err) {
		return &fs.PathError{Op: "remove cgroup", Path: dir, Err: err}
	}
	return nil
}

// processes are those in the groups and beneath them, each once, as far as they can be found.
func processes(dirs []string) []Process {
	var found []Process
	seen := map[int]bool{}
	for _, dir := range dirs {
		_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.IsDir() {
				return nil //nolint:nilerr // it has been removed meanwhile
			}
			raw, _ := read(filepath.Join(path, procsName))
			for _, word := range strings.Fields(raw) {
				pid, err := strconv.Atoi(word)
				if err != nil || seen[pid] {
					continue
				}
				seen[pid] = true
				command, _ := os.ReadFile(filepath.Join("/proc", word, "comm"))
				found = append(found, Process{PID: pid, Command: strings.TrimSpace(string(command))})
			}
			return nil
		})
	}
	return found
}
