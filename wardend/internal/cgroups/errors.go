package cgroups

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNone: this machine has no cgroups that a container could be limited with.
var ErrNone = errors.New("no cgroup hierarchy with controllers is mounted: mount cgroup2 at /sys/fs/cgroup, or the v1 controllers beneath it")

// ErrName: an instance or container name that cannot be a cgroup's.
var ErrName = errors.New("not a name that a cgroup can have")

// MemoryInUseError: a memory limit cannot be lowered so far, since more is in use and cannot be reclaimed. The old
// limit holds.
type MemoryInUseError struct {
	// Limit is what was asked for and Usage what was in use after reclaiming, in bytes.
	Limit, Usage uint64
	// Err is the kernel's answer; nil when it reclaimed something, but too little.
	Err error
}

func (e *MemoryInUseError) Error() string {
	return fmt.Sprintf("the memory limit cannot be lowered to %d bytes: %d bytes are in use and cannot be freed", e.Limit, e.Usage)
}

// Unwrap gives the kernel's answer.
func (e *MemoryInUseError) Unwrap() error { return e.Err }

// Process is a process that keeps a cgroup from being removed.
type Process struct {
	PID int
	// Command is the kernel's name for it, at most 15 bytes; empty when it has ended meanwhile.
	Command string
}

// InUseError: a container's cgroups cannot be removed, since processes are in them.
type InUseError struct {
	ID string
	// Dirs are the cgroups that are still there.
	Dirs []string
	// Processes are those in them; none when the kernel was still busy with what has ended already.
	Processes []Process
	// Err holds what the kernel said, and why the removal was given up: the context's error.
	Err error
}

func (e *InUseError) Error() string {
	names := make([]string, 0, len(e.Processes))
	for _, p := range e.Processes {
		names = append(names, fmt.Sprintf("%d (%s)", p.PID, p.Command))
	}
	who := "no process is in them any more, but the kernel is still busy with them"
	if len(names) > 0 {
		who = "these processes are in them: " + strings.Join(names, ", ")
	}
	return fmt.Sprintf("cgroups of container %s cannot be removed, %s", e.ID, who)
}

// Unwrap gives the causes.
func (e *InUseError) Unwrap() error { return e.Err }
