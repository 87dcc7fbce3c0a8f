// Package nodeid gives a node its name: made once, kept in its base directory, and held by one process at a time.
package nodeid

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// ErrHeld: another worker runs the node of that base directory.
var ErrHeld = errors.New("another worker holds this node")

const (
	fileName = "node_id"
	lockName = "node_id.lock"
)

// ID is a node's name, held until Release.
type ID struct {
	name string
	lock *os.File
}

// Take makes the node's id, or reads the one that was made before, and holds it. The hold ends with the process,
// however that ends. It fails with ErrHeld when somebody else has it.
func Take(baseDir string, index int) (*ID, error) {
	if err := os.MkdirAll(baseDir, 0o755); err != nil {
		return nil, fmt.Errorf("make the base directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(baseDir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the node's lock: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", baseDir, ErrHeld)
		}
		return nil, fmt.Errorf("lock the node: %w", err)
	}
	name, err := readOrMake(filepath.Join(baseDir, fileName), index)
	if err != nil {
		lock.Close()
		return nil, err
	}
	return &ID{name: name, lock: lock}, nil
}

// String is the id: the node's index, as dea_ng had it, and what tells it from all others.
func (id *ID) String() string { return id.name }

// Release lets another worker have the node.
func (id *ID) Release() error { return id.lock.Close() }

func readOrMake(path string, index int) (string, error) {
	text, err := os.ReadFile(path)
	if err == nil {
		name := strings.TrimSpace(string(text))
		if name == "" {
			return "", fmt.Errorf("the node's id in %s is empty: remove the file to have one made", path)
		}
		return name, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read the node's id: %w", err)
	}
	name := fmt.Sprintf("%d-%s", index, strings.ReplaceAll(uuid.NewString(), "-", "")[:16])
	return name, write(path, name+"\n")
}

// write puts the whole text in place or none of it.
func write(path, text string) error {
	part := path + ".part"
	file, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = file.WriteString(text)
		err = errors.Join(err, file.Sync(), file.Close())
	}
	if err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		return fmt.Errorf("keep the node's id: %w", err)
	}
	return nil
}
