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
	// Buildpacks are those that may be used. Never empty.
	Buildpacks []Buildpack `json:"buildpacks"`
	// SkipDetect runs all the buildpacks in their order: each but the last supplies dependencies, the last builds the app,
	// whatever its bin/detect says. Without it the first whose bin/detect ends with 0 builds the app alone.
	SkipDetect bool `json:"skip_detect,omitempty"`
	// StartCommand wins over the Procfile's and the buildpack's.
	StartCommand string `json:"start_command,omitempty"`
	// TimeoutSeconds bounds the whole run of stage; 0 means DefaultTimeout.
	TimeoutSeconds int `json:"timeout_seconds,omitempty"`
	// MaxUnpackedBytes bounds what the package, and what the cache, unpacks to; 0 means DefaultMaxUnpackedBytes.
	MaxUnpackedBytes int64 `json:"max_unpacked_bytes,omitempty"`
	// MaxEntries bounds the files, directories and links of the package, and of the cache; 0 means DefaultMaxEntries.
	MaxEntries int `json:"max_entries,omitempty"`
	// MaxLogBytes bounds the staging's log; 0 means DefaultMaxLogBytes.
	MaxLogBytes int64 `json:"max_log_bytes,omitempty"`
}

// Buildpack is one that a staging may use.
type Buildpack struct {
	// Key names it, on the wire and to the user. For one from git it is what may be shown of its URL.
	Key string `json:"key"`
	// Dir is its contract path: as PathBuildpack gives it or, for one from git, as PathClone does.
	Dir string `json:"dir"`
	// Git is where to clone it from before anything else is done; nil for one that is mounted.
	Git *Git `json:"git,omitempty"`
}

// Git is a buildpack's repository.
type Git struct {
	// URL may hold credentials.
	URL string `json:"url"`
	// Ref is a branch, a tag or a commit; empty for the default branch.
	Ref string `json:"ref,omitempty"`
}

// Defaults of a Spec.
const (
	DefaultTimeout                = 900 * time.Second
	DefaultMaxUnpackedBytes int64 = 4 << 30
	DefaultMaxEntries             = 500_000
	DefaultMaxLogBytes      int64 = 64 << 20
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

// UnpackedBytes is the largest unpacked size of the package, and of the cache.
func (s Spec) UnpackedBytes() int64 {
	return orDefault(s.MaxUnpackedBytes, DefaultMaxUnpackedBytes)
}

// Entries is how many entries the package, and the cache, may have.
func (s Spec) Entries() int { return orDefault(s.MaxEntries, DefaultMaxEntries) }

// LogBytes is the largest size of the log.
func (s Spec) LogBytes() int64 { return orDefault(s.MaxLogBytes, DefaultMaxLogBytes) }

func orDefault[N int | int64](n, fallback N) N {
	if n <= 0 {
		return fallback
	}
	return n
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
		if b.Git == nil {
			continue
		}
		if b.Git.URL == "" {
			errs = append(errs, fmt.Errorf("buildpacks[%d].git.url: is empty", n))
		}
		// Not repeated: a URL may hold credentials.
		if strings.HasPrefix(b.Git.URL, "-") || strings.HasPrefix(b.Git.Ref, "-") {
			errs = append(errs, fmt.Errorf("buildpacks[%d].git: begins with \"-\"", n))
		}
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
