package healthcheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"go.yaml.in/yaml/v4"

	"github.com/durable-dea/dea/internal/containerpath"
	"github.com/durable-dea/dea/internal/regular"
	"github.com/durable-dea/dea/internal/runspec"
)

const (
	// manifestName is the file at a droplet's root that may name a state file.
	manifestName = "droplet.yaml"
	// runningState is what a state file says of an instance that is well.
	runningState = "RUNNING"
	// maxFileBytes bounds what is read of either file: an app may have made it of any size.
	maxFileBytes = 64 << 10
)

// StateFile is well when a file that the app writes says so: a JSON object whose state is RUNNING.
type StateFile struct {
	// ContainerPath is the container's directory, as Warden's Info gives it.
	ContainerPath string
	// Name is the file's path, relative to the home directory.
	Name string
}

// FindStateFile is the name of the state file that the droplet of a container asks for in its droplet.yaml; empty when
// it asks for none.
func FindStateFile(containerPath string) (string, error) {
	text, err := readHome(containerPath, manifestName)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", manifestName, err)
	}
	var manifest struct {
		StateFile string `yaml:"state_file"`
	}
	if err := yaml.Unmarshal(text, &manifest); err != nil {
		return "", fmt.Errorf("%s: %w", manifestName, err)
	}
	return manifest.StateFile, nil
}

// Probe reads the file. One that is not there, or cannot be read, is of an app that is not there yet.
func (f StateFile) Probe(context.Context) error {
	text, err := readHome(f.ContainerPath, f.Name)
	if err != nil {
		return err
	}
	var said struct {
		State string `json:"state"`
	}
	if err := json.Unmarshal(text, &said); err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	if said.State != runningState {
		return errors.New("the state file does not say " + runningState)
	}
	return nil
}

// readHome reads a regular file beneath a container's home directory. No link leads out of it, and nothing that it may
// find there keeps it waiting.
func readHome(containerPath, name string) ([]byte, error) {
	home, err := containerpath.OpenDir(containerPath, runspec.PathHome)
	if err != nil {
		return nil, err
	}
	defer home.Close()
	file, _, err := regular.Open(home, containerpath.Beneath(name))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFileBytes {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxFileBytes)
	}
	return text, nil
}
