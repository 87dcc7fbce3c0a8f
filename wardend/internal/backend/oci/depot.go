package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/durable-dea/dea/wardend/internal/scratch"
)

// depotRecord is the depot's oci.json: under which names and of which kinds a depot's things are on the kernel. By
// others, nothing of it would be found again.
type depotRecord struct {
	Version  int          `json:"version"`
	Instance string       `json:"instance"`
	Pool     netip.Prefix `json:"pool"`
	Scratch  string       `json:"scratch"`
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
	if err := json.Unmarshal(raw, rec); err != nil || rec.Version != recordVersion || rec.Instance == "" {
		return nil, fmt.Errorf("%s is damaged: it must say {\"version\":1,\"instance\":NAME,\"pool\":CIDR,\"scratch\":KIND} as this depot's wardend had them", path)
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

// settle makes the options those of the depot, and writes them down where they may change. While there are containers
// they may not.
func (o *Options) settle() error {
	rec, err := readDepot(o.Depot)
	if err != nil {
		return err
	}
	if rec != nil && !emptyDir(filepath.Join(o.Depot, "containers")) {
		if err := o.check(rec); err != nil {
			return err
		}
		o.Instance, o.Scratch = rec.Instance, rec.Scratch
		return nil
	}
	if o.Instance == "" && rec != nil {
		o.Instance = rec.Instance
	}
	if o.Instance == "" {
		o.Instance = nameOf(o.Depot)
	}
	now := depotRecord{Version: recordVersion, Instance: o.Instance, Pool: o.Pool, Scratch: o.Scratch}
	if rec != nil && *rec == now {
		return nil
	}
	if err := writeRecord(filepath.Join(o.Depot, recordName), now); err != nil {
		return fmt.Errorf("depot: %w", err)
	}
	return nil
}

// check refuses what does not go with the containers that are there.
func (o *Options) check(rec *depotRecord) error {
	for _, c := range []struct {
		flag, was, now string
		differs        bool
	}{
		{"name", rec.Instance, o.Instance, o.Instance != "" && o.Instance != rec.Instance},
		{"pool-network", rec.Pool.String(), o.Pool.String(), o.Pool != rec.Pool},
		{"scratch", rec.Scratch, o.Scratch, o.Scratch != scratch.KindAuto && o.Scratch != rec.Scratch},
	} {
		if c.differs {
			return fmt.Errorf("the containers of depot %s were made with --%s %s, not %s: start wardend so, or destroy them first (wardend destroy-all)",
				o.Depot, c.flag, c.was, c.now)
		}
	}
	return nil
}

func emptyDir(path string) bool {
	entries, err := os.ReadDir(path)
	return errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0
}
