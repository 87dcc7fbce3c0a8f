package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/layers"
)

// depotRecord is the depot's oci.json: under which names a depot's things are on the kernel. By others, nothing of it
// would be found again.
type depotRecord struct {
	Version  int          `json:"version"`
	Instance string       `json:"instance"`
	Pool     netip.Prefix `json:"pool"`
}

// readDepot answers nil when the depot has no record.
func readDepot(depot string) (*depotRecord, error) {
	path := filepath.Join(depot, recordName)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // the documented answer
	}
	if err != nil {
		return nil, fmt.Errorf("depot: %w", err)
	}
	rec := &depotRecord{}
	if err := json.Unmarshal(raw, rec); err != nil || rec.Version != recordVersion || rec.Instance == "" || !rec.Pool.IsValid() {
		return nil, fmt.Errorf("%s is damaged: it must say {\"version\":1,\"instance\":NAME,\"pool\":CIDR} as this depot's wardend had them", path)
	}
	return rec, nil
}

// DepotPool is the pool that the networks of a depot's containers are of; not valid when the depot does not say.
func DepotPool(depot string) netip.Prefix {
	rec, err := readDepot(depot)
	if err != nil || rec == nil {
		return netip.Prefix{}
	}
	return rec.Pool
}

// settle makes the options those of the depot. While there are containers they may not change; when they do, former is
// what they were.
func (o *Options) settle() (former *depotRecord, err error) {
	rec, err := readDepot(o.Depot)
	if err != nil {
		return nil, err
	}
	if rec != nil && !emptyDir(filepath.Join(o.Depot, "containers")) {
		if err := o.check(rec); err != nil {
			return nil, err
		}
		o.Instance = rec.Instance
		return nil, nil //nolint:nilnil // the documented answer
	}
	if o.Instance == "" && rec != nil {
		o.Instance = rec.Instance
	}
	if o.Instance == "" {
		o.Instance = nameOf(o.Depot)
	}
	if rec == nil || *rec == o.record() {
		return nil, nil //nolint:nilnil // the documented answer
	}
	return rec, nil
}

func (o *Options) record() depotRecord {
	return depotRecord{Version: recordVersion, Instance: o.Instance, Pool: o.Pool}
}

// write writes the options down, before there is a container.
func (o *Options) write() error {
	if err := writeRecord(filepath.Join(o.Depot, recordName), o.record()); err != nil {
		return fmt.Errorf("depot: %w", err)
	}
	return nil
}

// check refuses what does not go with the containers that are there. Of which kind their disk limits are, package
// scratch knows.
func (o *Options) check(rec *depotRecord) error {
	for _, c := range []struct {
		flag, was, now string
		differs        bool
	}{
		{"name", rec.Instance, o.Instance, o.Instance != "" && o.Instance != rec.Instance},
		{"pool-network", rec.Pool.String(), o.Pool.String(), o.Pool != rec.Pool},
	} {
		if c.differs {
			return fmt.Errorf("the containers of depot %s were made with --%s %s, not %s: start wardend so, or destroy them first (wardend destroy-all)",
				o.Depot, c.flag, c.was, c.now)
		}
	}
	return nil
}

// unmountOwn ends the depot's being a mount of its own. What somebody else has mounted there stays: it is not the
// directory itself that is mounted over it.
func unmountOwn(depot string) error {
	dir, err := filepath.EvalSymlinks(depot)
	if err != nil {
		return fmt.Errorf("depot: %w", err)
	}
	mounted, err := layers.Mounted(dir)
	if err != nil || !mounted {
		return err
	}
	// A clone of the directory above has nothing mounted in it.
	above, err := unix.OpenTree(unix.AT_FDCWD, filepath.Dir(dir), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("look beneath the depot's mount: %w", err)
	}
	defer func() { _ = unix.Close(above) }()
	var beneath, seen unix.Stat_t
	if err := errors.Join(unix.Fstatat(above, filepath.Base(dir), &beneath, unix.AT_SYMLINK_NOFOLLOW), unix.Lstat(dir, &seen)); err != nil {
		return fmt.Errorf("look beneath the depot's mount: %w", err)
	}
	if beneath.Dev != seen.Dev || beneath.Ino != seen.Ino {
		return nil
	}
	if err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmount the depot: %w", err)
	}
	return nil
}

func emptyDir(path string) bool {
	entries, err := os.ReadDir(path)
	return errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0
}
