package ociruntime

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const recordMode = 0o600

// record is what is known of a container without asking its runtime.
type record struct {
	// Boot is the machine's boot: pids of another say nothing.
	Boot string `json:"boot"`
	// PID and Start name process 1; 0 while it is not known. Start is in ticks since the boot.
	PID   int    `json:"pid,omitempty"`
	Start uint64 `json:"start,omitempty"`
}

func bootID() (string, error) {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot's id: %w", err)
	}
	return strings.TrimSpace(string(raw)), nil
}

func (r *Runtime) recordPath(id string) string { return filepath.Join(r.dir, recordsName, id) }

// beginRecord writes a record without a process, before there is anything else of the container.
func (r *Runtime) beginRecord(id string) error {
	if _, err := os.Lstat(r.recordPath(id)); err == nil {
		return ErrExists
	}
	return r.writeRecord(id, record{})
}

// writeRecord replaces a record as a whole.
func (r *Runtime) writeRecord(id string, rec record) error {
	var err error
	if rec.Boot, err = bootID(); err != nil {
		return err
	}
	raw, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	// No container's name begins with a dot.
	tmp := filepath.Join(r.dir, recordsName, "."+id)
	if err := os.WriteFile(tmp, raw, recordMode); err != nil {
		return err
	}
	return os.Rename(tmp, r.recordPath(id))
}

// readRecord says false when there is none. One that cannot be understood is one without a process: the runtime is
// asked then.
func (r *Runtime) readRecord(id string) (record, bool, error) {
	raw, err := os.ReadFile(r.recordPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, false, nil
	}
	if err != nil {
		return record{}, false, err
	}
	var rec record
	if json.Unmarshal(raw, &rec) != nil {
		rec = record{}
	}
	return rec, true, nil
}

func (r *Runtime) removeRecord(id string) error {
	if err := os.Remove(r.recordPath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
