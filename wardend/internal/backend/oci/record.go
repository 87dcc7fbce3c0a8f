package oci

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/durable-dea/dea/wardend/internal/idmap"
)

const (
	recordName    = "oci.json"
	recordVersion = 1
)

// record is a container's oci.json: what its next server cannot find out by itself.
type record struct {
	Version int          `json:"version"`
	Network netip.Prefix `json:"network"`
	IDs     idmap.Range  `json:"ids"`
	Vcap    user         `json:"vcap"`
	Root    user         `json:"root"`
	// PID is of the init, with its start time in ticks since boot and the boot's id: together they name a process.
	// 0 until it was started.
	PID   int    `json:"pid,omitempty"`
	Start uint64 `json:"start,omitempty"`
	Boot  string `json:"boot,omitempty"`
}

// user is one whom jobs run as.
type user struct {
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`
	Home   string   `json:"home"`
}

// errNoRecord: there is no record, or none that can be used.
var errNoRecord = errors.New("the container's " + recordName + " cannot be used")

// readRecord reads the record in a container's directory. Its error is errNoRecord.
func readRecord(dir string) (*record, error) {
	rec := &record{}
	raw, err := os.ReadFile(filepath.Join(dir, recordName))
	if err == nil {
		err = json.Unmarshal(raw, rec)
	}
	if err == nil && rec.Version != recordVersion {
		err = fmt.Errorf("its version is %d", rec.Version)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoRecord, err)
	}
	return rec, nil
}

// writeRecord replaces a file as a whole.
func writeRecord(path string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, raw, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// nameOf makes a name of a depot's path.
func nameOf(depot string) string {
	const length = 8
	sum := sha256.Sum256([]byte(depot))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:length]
}

// User ids of containers: each network has a range of its own, above the ids of people and of their own containers, and
// below 2^31, which some programs take for negative. Networks that lie a multiple of a /16 apart share them.
const (
	firstID   = 0x10000000
	rangeSize = 0x10000
	ranges    = 0x4000
)

// idsOf is the range of user ids that goes with a network, whichever wardend of the machine gives it out.
func idsOf(network netip.Prefix) idmap.Range {
	const addressesEach = 4
	address := network.Addr().As4()
	index := binary.BigEndian.Uint32(address[:]) / addressesEach
	return idmap.Range{Host: firstID + index%ranges*rangeSize, Size: rangeSize}
}
