package container

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/backend"
	"github.com/durable-dea/dea/wardend/internal/names"
)

const (
	recordName     = "container.json"
	recordVersion  = 1
	serverName     = "server.json"
	newSuffix      = ".new" // of a file that is being written
	lockName       = "lock"
	containersName = "containers"
)

// State is the protocol's word for what a container can do.
type State string

// The states that a client can see.
const (
	StateActive  State = "active"
	StateStopped State = "stopped"
)

// phase says whether a record is of a container, or of one that a server was making or removing when it died.
type phase string

const (
	phaseCreating   phase = "creating"
	phaseReady      phase = "ready"
	phaseDestroying phase = "destroying"
)

// record is container.json. What came from a client is kept as the messages it came in: its texts may hold any bytes.
type record struct {
	Version int `json:"version"`
	// Backend's name. Records of before it was written down have none.
	Backend string `json:"backend,omitempty"`
	Phase   phase  `json:"phase"`
	State   State  `json:"state"`
	Name    string `json:"name"` // the handle, quoted, for a person
	Handle  []byte `json:"handle"`
	Create  []byte `json:"create"`
	// Seconds.
	Grace   uint32         `json:"grace"`
	Network string         `json:"network,omitempty"`
	Limits  backend.Limits `json:"limits"`
	Ports   []portRecord   `json:"ports,omitempty"`
	NetOut  [][]byte       `json:"net_out,omitempty"`
	Events  [][]byte       `json:"events,omitempty"`
}

type portRecord struct {
	Host      uint32 `json:"host"`
	Container uint32 `json:"container"`
	// Pooled: it goes back to the pool.
	Pooled bool `json:"pooled"`
}

// serverRecord is server.json.
type serverRecord struct {
	Version int    `json:"version"`
	Backend string `json:"backend"`
	// Jobs: all ids up to this one may have been given out.
	Jobs uint32 `json:"jobs"`
}

// safeName says whether a handle can be a directory's name as it is.
func safeName(handle string) bool { return names.IsID(handle) && names.IsAlphanumeric(handle[0]) }

// dirName is a directory name for any handle; no two handles have the same.
func dirName(handle string) string {
	if safeName(handle) {
		return handle
	}
	sum := sha256.Sum256([]byte(handle))
	return "_" + hex.EncodeToString(sum[:20])
}

func specOf(handle, dir string, req *wardenpb.CreateRequest) backend.Spec {
	spec := backend.Spec{Handle: handle, Dir: dir, Rootfs: req.GetRootfs()}
	for _, m := range req.GetBindMounts() {
		spec.Mounts = append(spec.Mounts, backend.Mount{
			Source: m.GetSrcPath(), Target: m.GetDstPath(), ReadOnly: m.GetMode() == wardenpb.CreateRequest_BindMount_RO,
		})
	}
	return spec
}

func (c *Container) recordLocked() (*record, error) {
	create, err := proto.Marshal(c.request)
	if err != nil {
		return nil, err
	}
	rec := &record{
		Version: recordVersion, Backend: c.r.backend.Name(), Phase: c.phase, State: c.state, Name: fmt.Sprintf("%q", c.handle), Handle: []byte(c.handle),
		Create: create, Grace: c.grace, Limits: c.limits, Ports: c.ports,
	}
	if c.spec.Network.IsValid() {
		rec.Network = c.spec.Network.String()
	}
	for _, rule := range c.netOut {
		raw, err := proto.Marshal(rule)
		if err != nil {
			return nil, err
		}
		rec.NetOut = append(rec.NetOut, raw)
	}
	for _, event := range c.events {
		rec.Events = append(rec.Events, []byte(event))
	}
	return rec, nil
}

// save writes the container down as it is. One that is being removed is not there any more for who asks; another may
// have its directory by now.
func (c *Container) save() error {
	c.saveMu.Lock()
	defer c.saveMu.Unlock()
	if c.removing {
		return unknownHandle()
	}
	return c.saveLocked()
}

// saveLast is the last save.
func (c *Container) saveLast() error {
	c.saveMu.Lock()
	defer c.saveMu.Unlock()
	c.removing = true
	return c.saveLocked()
}

// saveLocked needs saveMu.
func (c *Container) saveLocked() error {
	c.mu.Lock()
	rec, err := c.recordLocked()
	c.mu.Unlock()
	if err == nil {
		err = writeFile(filepath.Join(c.spec.Dir, recordName), rec, 0)
	}
	if err != nil {
		return fmt.Errorf("write container down: %w", err)
	}
	return nil
}

func readRecord(dir string) (*record, error) {
	raw, err := os.ReadFile(filepath.Join(dir, recordName))
	if err != nil {
		return nil, err
	}
	rec := &record{}
	if err := json.Unmarshal(raw, rec); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", dir, errDamaged, err)
	}
	if rec.Version > recordVersion {
		return nil, fmt.Errorf("%s: %w", dir, errNewer)
	}
	if rec.Version < 1 {
		return nil, fmt.Errorf("%s: %w", dir, errDamaged)
	}
	return rec, nil
}

var (
	errNewer = errors.New("written by a newer wardend")
	// errDamaged: not what any server writes. A power failure can leave that, which no process survives.
	errDamaged = errors.New("record is damaged")
)

// writeFile replaces a file as a whole. Flags are further ones to open it with.
func writeFile(path string, v any, flags int) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp := path + newSuffix
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|flags, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
