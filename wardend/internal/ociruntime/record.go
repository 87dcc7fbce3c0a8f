package ociruntime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/proctree"
)

const recordMode = 0o600

// record is what is known of a container without asking its runtime. Its file has a JSON value for what is known before
// the runtime starts, and another, appended, for what is known after it. Whoever is killed while writing leaves a value
// that cannot be read, as if it were not there.
//
// The file is locked (flock) as long as a process of the runtime that makes the container lives: each has inherited it.
type record struct {
	// Boot is the machine's boot: pids of another say nothing.
	Boot string `json:"boot,omitempty"`
	// Cgroup is where the runtime puts process 1, as in the configuration.
	Cgroup string `json:"cgroup,omitempty"`
	// PID and Start name process 1; 0 while it is not known. Start is in ticks since the boot; 0 for a process that
	// had ended before anybody looked.
	PID   int    `json:"pid,omitempty"`
	Start uint64 `json:"start,omitempty"`
}

func (r *Runtime) recordPath(id string) string { return filepath.Join(r.dir, recordsName, id) }

// beginRecord makes a record, before there is anything else of the container, and locks it. The lock is held until the
// file is closed, here and by everyone who inherits it.
func (r *Runtime) beginRecord(id, cgroup string) (*os.File, error) {
	boot, err := proctree.BootID()
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(r.recordPath(id), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, recordMode)
	if errors.Is(err, fs.ErrExist) {
		return nil, ErrExists
	}
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		err = appendRecord(f, record{Boot: boot, Cgroup: cgroup})
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func appendRecord(f *os.File, rec record) error {
	raw, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	_, err = f.Write(append(raw, '\n'))
	return err
}

// readRecord says false when there is none.
func (r *Runtime) readRecord(id string) (record, bool, error) {
	raw, err := os.ReadFile(r.recordPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, false, nil
	}
	if err != nil {
		return record{}, false, err
	}
	var rec record
	decoder := json.NewDecoder(bytes.NewReader(raw))
	for next := rec; decoder.Decode(&next) == nil; {
		rec = next
	}
	return rec, true, nil
}

const (
	// settleTimeout is when a runtime's processes are taken for stuck. They take milliseconds otherwise, and their
	// work may have been done long ago: a process beside the container may hold the lock, and does no harm.
	settleTimeout = 5 * time.Second
	settlePoll    = 2 * time.Millisecond
)

// settle waits until no process works any more at making a container that was given up: crun does its work in a process
// that has parted from the one that was started and killed.
func (r *Runtime) settle(ctx context.Context, id string) error {
	f, err := os.Open(r.recordPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	late := time.After(settleTimeout)
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the runtime is still at work: %w", context.Cause(ctx))
		case <-late:
			r.log.Warn("a process of the OCI runtime does not end", "runtime", r, "container", id)
			return nil
		case <-time.After(settlePoll):
		}
	}
}

func (r *Runtime) removeRecord(id string) error {
	if err := os.Remove(r.recordPath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
