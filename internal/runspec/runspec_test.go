package runspec_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/runspec"
)

func TestSpecOnTheWire(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "spec.json")
	text := `{"buildpacks":[{"key":"go","dir":"/tmp/dea/buildpacks/0"},{"key":"x","dir":"/tmp/buildpacks/1","git":{"url":"https://x","ref":"v1"}}],` +
		`"skip_detect":true,"start_command":"./x","timeout_seconds":60,"max_log_bytes":7}`
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	spec, err := runspec.ReadSpec(file)
	require.NoError(t, err)
	require.Equal(t, []runspec.Buildpack{
		{Key: "go", Dir: runspec.PathBuildpack(0)},
		{Key: "x", Dir: runspec.PathClone(1), Git: &runspec.Git{URL: "https://x", Ref: "v1"}},
	}, spec.Buildpacks)
	require.Equal(t, time.Minute, spec.Timeout())
	require.Equal(t, runspec.DefaultMaxUnpackedBytes, spec.UnpackedBytes())
	require.Equal(t, runspec.DefaultMaxEntries, spec.Entries())
	require.EqualValues(t, 7, spec.LogBytes())
	require.Equal(t, runspec.DefaultTimeout, runspec.Spec{}.Timeout())

	written := filepath.Join(t.TempDir(), "again.json")
	require.NoError(t, spec.Write(written))
	data, err := os.ReadFile(written)
	require.NoError(t, err)
	require.JSONEq(t, text, string(data))
}

func TestSpecSaysAllThatIsWrong(t *testing.T) {
	t.Parallel()
	spec := runspec.Spec{
		Buildpacks: []runspec.Buildpack{
			{Key: "", Dir: "relative", Git: &runspec.Git{}},
			{Key: "k", Dir: "/d", Git: &runspec.Git{URL: "--upload-pack=x"}},
			{Key: "k", Dir: "/d", Git: &runspec.Git{URL: "https://x", Ref: "--orphan"}},
		},
		TimeoutSeconds: -1,
	}
	err := spec.Write(filepath.Join(t.TempDir(), "spec.json"))
	for _, words := range []string{
		"buildpacks[0].key: is empty", `buildpacks[0].dir: "relative"`, "buildpacks[0].git.url",
		"buildpacks[1].git: begins", "buildpacks[2].git: begins", "timeout_seconds",
	} {
		require.ErrorContains(t, err, words)
	}
	require.ErrorContains(t, runspec.Spec{}.Validate(), "none is given")
}

func TestReadResultOfNone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", `{"detected_buildpack":"x"`, `{"detected_buildpack":"x"}`} {
		_, err := runspec.ReadResult(strings.NewReader(text))
		require.ErrorIs(t, err, runspec.ErrNoResult, text)
	}
	_, err := runspec.ReadResult(strings.NewReader(strings.Repeat("x", 2<<20)))
	require.ErrorContains(t, err, "it is over")
	_, err = runspec.ReadResult(strings.NewReader("[]\n"))
	require.Error(t, err)
	require.NotErrorIs(t, err, runspec.ErrNoResult)

	file := filepath.Join(t.TempDir(), runspec.FileResult)
	require.NoError(t, os.WriteFile(file, []byte(strings.Repeat("older and longer", 100)), 0o600))
	require.NoError(t, runspec.Result{BuildpackKey: "go"}.Write(file))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	result, err := runspec.ReadResult(bytes.NewReader(text))
	require.NoError(t, err)
	require.Equal(t, runspec.Result{BuildpackKey: "go"}, result)
}

func TestResultOnTheWire(t *testing.T) {
	t.Parallel()
	result := runspec.Result{
		DetectedBuildpack: "Go", BuildpackKey: "go", StartCommand: "./web", Procfile: map[string]string{"web": "./web"},
		DropletSHA1: "aa", DropletSize: 1, CacheSize: 2, Error: &runspec.Fault{Type: runspec.ErrCompile, Message: "m"},
		Phases: []runspec.Phase{{Name: "compile", Milliseconds: 1200}},
	}
	data, err := json.Marshal(result)
	require.NoError(t, err)
	require.JSONEq(t, `{"detected_buildpack":"Go","buildpack_key":"go","start_command":"./web","procfile":{"web":"./web"},
		"droplet_sha1":"aa","droplet_size":1,"cache_size":2,"error":{"type":"BuildpackCompileFailed","message":"m"},
		"phases":[{"name":"compile","milliseconds":1200}]}`, string(data))
	require.Equal(t, 1200*time.Millisecond, result.Phases[0].Duration())
}

func TestWriteFileLeavesNoPart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "taken"), 0o755))
	require.Error(t, runspec.WriteFile(filepath.Join(dir, "taken"), []byte("x")))
	require.NoError(t, runspec.WriteFile(filepath.Join(dir, "free"), []byte("x")))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2)
}

func TestBeneath(t *testing.T) {
	t.Parallel()
	for _, root := range []string{"", "/"} {
		require.Equal(t, "/tmp/dea/in", runspec.Beneath(root, runspec.PathIn))
	}
	require.Equal(t, "/depot/1/tmp/dea/in", runspec.Beneath("/depot/1/", runspec.PathIn))
	require.Equal(t, "/depot/1/etc", runspec.Beneath("/depot/1", "/etc"))
}

// The runner cannot import package api, which brings Temporal; the names must be the same all the same.
func TestErrorTypesAreTheApis(t *testing.T) {
	t.Parallel()
	for ours, theirs := range map[runspec.ErrorType]api.ErrorType{
		runspec.ErrStaging: api.ErrStaging, runspec.ErrNoAppDetected: api.ErrNoAppDetected, runspec.ErrCompile: api.ErrBuildpackCompile,
		runspec.ErrRelease: api.ErrBuildpackRelease, runspec.ErrTimeExpired: api.ErrStagingTimeExpired, runspec.ErrStager: api.ErrStager,
	} {
		require.Equal(t, string(theirs), string(ours))
		require.NotZero(t, ours.ExitStatus())
		if kind, words := runspec.FaultOf(ours.ExitStatus()); ours != runspec.ErrStager {
			require.Equal(t, ours, kind)
			require.NotEmpty(t, words)
		} else {
			require.Empty(t, words)
		}
	}
	require.Equal(t, api.ExitMissingCommand, runspec.WordsNoCommand)
}
