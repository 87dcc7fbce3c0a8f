package runspec

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Spec is the order of a staging.
type Spec struct {
	// Buildpacks are those that may be used, in the order of detection. Never empty.
	Buildpacks []Buildpack `json:"buildpacks"`
	// SelectedKey is the key of the only one to use, whatever its bin/detect says; empty to let them decide.
	SelectedKey string `json:"selected_key,omitempty"`
	// StartCommand wins over the Procfile's and the buildpack's.
	StartCommand string `json:"start_command,omitempty"`
	// TimeoutSeconds bounds the whole run of stage; 0 means DefaultTimeout.
	TimeoutSeconds int `json:"timeout_seconds,omitempty"`
	// MaxAppBytes bounds the unpacked size of the package, and of the cache; 0 means DefaultMaxAppBytes.
	MaxAppBytes int64 `json:"max_app_bytes,omitempty"`
}

// Buildpack is one that a staging may use.
type Buildpack struct {
	// Key names it, on the wire and to the user.
	Key string `json:"key"`
	// Dir is its contract path, as PathBuildpack gives it.
	Dir string `json:"dir"`
}

// Defaults of a Spec.
const (
	DefaultTimeout           = 900 * time.Second
	DefaultMaxAppBytes int64 = 4 << 30
)

// maxSpecBytes bounds what is read of a spec or a result: both are small.
const maxSpecBytes = 1 << 20

// Timeout is how long the staging may take.
func (s Spec) Timeout() time.Duration {
	if s.TimeoutSeconds <= 0 {
		return DefaultTimeout
	}
	return time.Duration(s.TimeoutSeconds) * time.Second
}

// AppBytes is the largest unpacked size of the package, and of the cache.
func (s Spec) AppBytes() int64 {
	if s.MaxAppBytes <= 0 {
		return DefaultMaxAppBytes
	}
	return s.MaxAppBytes
}

// Candidates are the buildpacks to try: all, or the selected one.
func (s Spec) Candidates() []Buildpack {
	if s.SelectedKey == "" {
		return s.Buildpacks
	}
	for _, b := range s.Buildpacks {
		if b.Key == s.SelectedKey {
			return []Buildpack{b}
		}
	}
	return nil
}

// Validate says what makes the spec unusable; nil when nothing does.
func (s Spec) Validate() error {
	var errs []error
	if len(s.Buildpacks) == 0 {
		errs = append(errs, errors.New("buildpacks: none is given"))
	}
	for n, b := range s.Buildpacks {
		if b.Key == "" {
			errs = append(errs, fmt.Errorf("buildpacks[%d].key: is empty", n))
		}
		if !strings.HasPrefix(b.Dir, "/") {
			errs = append(errs, fmt.Errorf("buildpacks[%d].dir: %q is no absolute path", n, b.Dir))
		}
	}
	if s.SelectedKey != "" && len(s.Buildpacks) > 0 && len(s.Candidates()) == 0 {
		errs = append(errs, fmt.Errorf("selected_key: no buildpack has the key %q", s.SelectedKey))
	}
	if s.TimeoutSeconds < 0 {
		errs = append(errs, fmt.Errorf("timeout_seconds: %d is negative", s.TimeoutSeconds))
	}
	return errors.Join(errs...)
}

// ReadSpec reads and validates the spec in a file.
func ReadSpec(file string) (Spec, error) {
	var s Spec
	if err := readJSON(file, &s); err != nil {
		return Spec{}, err
	}
	if err := s.Validate(); err != nil {
		return Spec{}, fmt.Errorf("spec %s: %w", file, err)
	}
	return s, nil
}

// Write validates the spec and writes it to a file, whole or not at all.
func (s Spec) Write(file string) error {
	if err := s.Validate(); err != nil {
		return fmt.Errorf("spec %s: %w", file, err)
	}
	return writeJSON(file, s)
}

func readJSON(file string, into any) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSpecBytes+1))
	if err != nil {
		return err
	}
	if len(data) > maxSpecBytes {
		return fmt.Errorf("read %s: it is over %d bytes", file, maxSpecBytes)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	return nil
}

func writeJSON(file string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return WriteFile(file, append(data, '\n'))
}

// WriteFile puts data into a file that appears whole, by a rename, or not at all. Its mode is 0644.
func WriteFile(file string, data []byte) error {
	part, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	_, err = part.Write(data)
	err = errors.Join(err, part.Chmod(0o644), part.Close())
	if err == nil {
		err = os.Rename(part.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(part.Name()))
	}
	return nil
}
