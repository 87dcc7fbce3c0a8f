package ociruntime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/go-hclog"

	"github.com/durable-dea/dea/wardend/internal/names"
	"github.com/durable-dea/dea/wardend/internal/proctree"
)

// Directories in Options.StateDir.
const (
	runtimeName = "runtime"
	recordsName = "records"
	probeName   = "probe"
)

// pidName is the runtime's --pid-file, in a bundle.
const pidName = "pid"

const dirMode = 0o700

// Runtime is a runtime that works here. It is safe for concurrent use, of different containers.
type Runtime struct {
	path    string
	version string
	hide    []string
	dir     string
	filter  []byte
	log     hclog.Logger
}

// Run says what to run.
type Run struct {
	// ID names the container: 1 to 80 of [A-Za-z0-9._-], the first no dot and no minus. It is unique in the StateDir.
	ID string
	// Bundle is a directory with a configuration (see WriteBundle). The runtime's pid file is put there too.
	Bundle string
	// Files are file descriptors 3 and up of process 1. The caller closes its own.
	Files []*os.File
	// Log gets what process 1 writes to its standard output and error, and what the runtime writes there. Nil
	// throws it away.
	Log *os.File
}

// ErrExists: a container of the name was begun and not deleted.
var ErrExists = errors.New("the runtime has such a container already")

func checkID(id string) error {
	if !names.IsID(id) || id[0] == '.' || id[0] == '-' {
		return fmt.Errorf("%q cannot be the name of a container", id)
	}
	return nil
}

// String is the runtime's name and version, and whether it works by hiding something.
func (r *Runtime) String() string {
	if len(r.hide) > 0 {
		return r.version + " (cgroup v2 mount hidden)"
	}
	return r.version
}

func (r *Runtime) root() string { return filepath.Join(r.dir, runtimeName) }

// Run makes a container and starts its process 1, whose pid (this machine's) it returns. The error wraps [ErrExists],
// or is a [*CommandError] with the runtime's own words.
//
// After any error, and the end of ctx, which ends the runtime, something of the container may be there: Delete takes it
// away. Whoever is killed in here leaves a container that IDs lists; the runtime, killed with it, gives up what it has
// begun.
func (r *Runtime) Run(ctx context.Context, run Run) (pid int, err error) {
	if err := checkID(run.ID); err != nil {
		return 0, err
	}
	f, err := r.run(ctx, run, true)
	if err == nil {
		pid, err = noteProcess(f, filepath.Join(run.Bundle, pidName))
	}
	if f != nil {
		f.Close()
	}
	if err != nil {
		return 0, fmt.Errorf("run container %s: %w", run.ID, err)
	}
	return pid, nil
}

// run gives the record, open, unless it could not be made; the container's Run may have failed.
func (r *Runtime) run(ctx context.Context, run Run, detach bool) (*os.File, error) {
	rec, err := r.beginRecord(run.ID, cgroupOf(run.Bundle))
	if err != nil {
		return nil, err
	}
	pidFile := filepath.Join(run.Bundle, pidName)
	if err := os.Remove(pidFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return rec, err
	}
	args := []string{"run", "--bundle", run.Bundle, "--pid-file", pidFile}
	if detach {
		args = append(args, "--detach")
	}
	if len(run.Files) > 0 {
		args = append(args, "--preserve-fds", strconv.Itoa(len(run.Files)))
	}
	_, err = r.command(ctx, call{args: append(args, run.ID), files: run.Files, held: rec, output: run.Log})
	return rec, err
}

// cgroupOf is where a bundle's process 1 is to be put; empty if it does not say, which the runtime will complain about
// if it minds.
func cgroupOf(bundle string) string {
	var spec struct {
		Linux struct {
			CgroupsPath string `json:"cgroupsPath"`
		} `json:"linux"`
	}
	raw, err := os.ReadFile(filepath.Join(bundle, configName))
	if err != nil || json.Unmarshal(raw, &spec) != nil {
		return ""
	}
	return spec.Linux.CgroupsPath
}

// noteProcess adds process 1 to a record.
func noteProcess(rec *os.File, pidFile string) (int, error) {
	pid, err := readPID(pidFile)
	if err != nil {
		return 0, err
	}
	stat, err := proctree.Read(pid)
	if err != nil && !errors.Is(err, proctree.ErrGone) {
		return 0, err
	}
	return pid, appendRecord(rec, record{PID: pid, Start: stat.Start})
}

func readPID(path string) (int, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("the runtime did not say the pid: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("the runtime said a pid that is none: %.20q", raw)
	}
	return pid, nil
}

// IDs are the containers that were begun here and not deleted, those that were half made too, in order.
func (r *Runtime) IDs(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var ids []string
	for _, name := range []string{recordsName, runtimeName} {
		entries, err := os.ReadDir(filepath.Join(r.dir, name))
		if err != nil {
			return nil, fmt.Errorf("list containers: %w", err)
		}
		for _, entry := range entries {
			// A runtime keeps other things beside its containers' directories, with names that no container has.
			if checkID(entry.Name()) == nil && entry.Name() != probeID && entry.IsDir() == (name == runtimeName) {
				ids = append(ids, entry.Name())
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}
