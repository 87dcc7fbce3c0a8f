package runspec_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/runspec"
)

func TestSpecOnTheWire(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "spec.json")
	text := `{"buildpacks":[{"key":"go","dir":"/tmp/dea/buildpacks/0"},{"key":"x","dir":"/tmp/dea/buildpacks/1"}],` +
		`"selected_key":"x","start_command":"./x","timeout_seconds":60}`
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	spec, err := runspec.ReadSpec(file)
	require.NoError(t, err)
	require.Equal(t, []runspec.Buildpack{{Key: "x", Dir: runspec.PathBuildpack(1)}}, spec.Candidates())
	require.Equal(t, time.Minute, spec.Timeout())
	require.Equal(t, runspec.DefaultMaxAppBytes, spec.AppBytes())
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
		Buildpacks:  []runspec.Buildpack{{Key: "", Dir: "relative"}},
		SelectedKey: "nonesuch", TimeoutSeconds: -1,
	}
	err := spec.Write(filepath.Join(t.TempDir(), "spec.json"))
	for _, words := range []string{
		"buildpacks[0].key: is empty", `buildpacks[0].dir: "relative"`, `selected_key: no buildpack has the key "nonesuch"`, "timeout_seconds",
	} {
		require.ErrorContains(t, err, words)
	}
	require.ErrorContains(t, runspec.Spec{}.Validate(), "none is given")
}

func TestReadResultOfNone(t *testing.T) {
	t.Parallel()
	_, err := runspec.ReadResult(filepath.Join(t.TempDir(), "result.json"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	file := filepath.Join(t.TempDir(), "result.json")
	require.NoError(t, os.WriteFile(file, make([]byte, 2<<20), 0o600))
	_, err = runspec.ReadResult(file)
	require.ErrorContains(t, err, "it is over")
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
	}
	require.Equal(t, api.ExitMissingCommand, runspec.WordsNoCommand)
}
