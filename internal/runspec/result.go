package runspec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// ErrorType is the wire's error_info.type of a staging that failed. The values are those of package api, which
// knows Temporal; the runner stays small by not doing so.
type ErrorType string

// What stage can fail with.
const (
	// ErrStaging: what was given to stage is at fault: the package, the Procfile, a buildpack's repository; or there is
	// more of it than the container's disk holds.
	ErrStaging ErrorType = "StagingError"
	// ErrNoAppDetected: no buildpack's bin/detect ended with 0.
	ErrNoAppDetected ErrorType = "NoAppDetectedError"
	// ErrCompile: bin/supply, bin/finalize or bin/compile did not end with 0.
	ErrCompile ErrorType = "BuildpackCompileFailed"
	// ErrRelease: bin/release did not end with 0, or what it printed is no YAML map, or too much.
	ErrRelease ErrorType = "BuildpackReleaseFailed"
	// ErrTimeExpired: the spec's timeout passed.
	ErrTimeExpired ErrorType = "StagingTimeExpired"
	// ErrStager: the platform is at fault: an unreadable spec, a full disk of the node.
	ErrStager ErrorType = "StagerError"
)

// Sentences that users know from Cloud Foundry.
const (
	WordsNoAppDetected = "An application could not be detected by any available buildpack"
	WordsCompile       = "Buildpack compilation step failed"
	WordsRelease       = "Release info failed"
	// WordsDiskFull follows the words of a phase that found no room.
	WordsDiskFull    = "the staging's disk is full"
	WordsTimeExpired = "Staging time expired"
	WordsNoCommand   = "missing start command"
)

// Result is the outcome of a staging. It is the truth, whatever the exit status of stage says.
type Result struct {
	// DetectedBuildpack is what bin/detect printed, or the key when it printed nothing; of several buildpacks the last one's.
	DetectedBuildpack string `json:"detected_buildpack,omitempty"`
	// BuildpackKey is the key of the operator's buildpack that built the app; empty for one from git.
	BuildpackKey string `json:"buildpack_key,omitempty"`
	// StartCommand is the spec's, else the Procfile's web, else the buildpack's web; empty when there is none.
	StartCommand string `json:"start_command,omitempty"`
	// Procfile is the app's Procfile, or the buildpack's process types when it has none.
	Procfile map[string]string `json:"procfile,omitempty"`
	// DropletSHA1 is in hex, DropletSize and CacheSize in bytes; CacheSize is 0 when there is no cache.
	DropletSHA1 string `json:"droplet_sha1,omitempty"`
	DropletSize int64  `json:"droplet_size,omitempty"`
	CacheSize   int64  `json:"cache_size,omitempty"`
	// Error is nil when staging worked.
	Error *Fault `json:"error,omitempty"`
	// Phases are those that ran, in order, each with the time that it took.
	Phases []Phase `json:"phases,omitempty"`
}

// Fault is why a staging failed.
type Fault struct {
	Type ErrorType `json:"type"`
	// Message is for the user.
	Message string `json:"message"`
	// Cause is for the operator: it may name paths of the machine. Often empty.
	Cause string `json:"cause,omitempty"`
}

// Phase is a step of a staging.
type Phase struct {
	Name         string `json:"name"`
	Milliseconds int64  `json:"milliseconds"`
}

// Names of phases.
const (
	PhaseClone   = "clone"
	PhaseUnpack  = "unpack"
	PhaseDetect  = "detect"
	PhaseSupply  = "supply"
	PhaseCompile = "compile"
	PhaseRelease = "release"
	PhasePack    = "pack"
	PhaseCache   = "cache"
)

// Duration is how long the phase took.
func (p Phase) Duration() time.Duration { return time.Duration(p.Milliseconds) * time.Millisecond }

// ErrNoResult: there is no result, or not a whole one.
var ErrNoResult = errors.New("no result")

// maxResultBytes bounds what is believed of a result, which a container of the user's wrote.
const maxResultBytes = 1 << 20

// ReadResult reads a result. It fails with ErrNoResult for what is not whole.
func ReadResult(from io.Reader) (Result, error) {
	var r Result
	text, err := io.ReadAll(io.LimitReader(from, maxResultBytes+1))
	switch {
	case err != nil:
		return r, fmt.Errorf("read the result: %w", err)
	case len(text) > maxResultBytes:
		return r, fmt.Errorf("read the result: it is over %d bytes", maxResultBytes)
	case !bytes.HasSuffix(text, []byte("\n")):
		return r, ErrNoResult
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return Result{}, fmt.Errorf("read the result: %w", err)
	}
	return r, nil
}

// Write writes the result into a file in its place. It makes the file where that may be made.
func (r Result) Write(file string) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// StagingInfo is a droplet's staging_info.yml.
type StagingInfo struct {
	// BuildpackPath is the contract path at which the buildpack was.
	BuildpackPath     string            `yaml:"buildpack_path,omitempty"`
	DetectedBuildpack string            `yaml:"detected_buildpack,omitempty"`
	StartCommand      string            `yaml:"start_command,omitempty"`
	EffectiveProcfile map[string]string `yaml:"effective_procfile,omitempty"`
	// StagingError is set when staging failed.
	StagingError *StagingFault `yaml:"staging_error,omitempty"`
}

// StagingFault is a Fault as staging_info.yml has it.
type StagingFault struct {
	Type    ErrorType `yaml:"type"`
	Message string    `yaml:"message"`
}
