package main_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/runspec"
)

// The first that is set: the message's, the Procfile's web, the release's web. What is effective is the Procfile, or
// the release where there is none.
func TestStageChoosesTheStartCommand(t *testing.T) {
	t.Parallel()
	release := map[string]string{"web": "./from-release"}
	tests := map[string]struct {
		message, procfile, release string
		command                    string
		effective                  map[string]string
	}{
		"message, Procfile, release": {"from message", "web: from-procfile\n", releaseWeb, "from message", map[string]string{"web": "from-procfile"}},
		"message, release":           {"from message", "", releaseWeb, "from message", release},
		"message, Procfile no web":   {"from message", "worker: w\n", releaseWeb, "from message", map[string]string{"worker": "w"}},
		"message alone":              {"from message", "", "true", "from message", nil},
		"Procfile, release": {
			"", "web: from-procfile\nworker: w $PORT 'x'\n", releaseWeb, "from-procfile",
			map[string]string{"web": "from-procfile", "worker": "w $PORT 'x'"},
		},
		"Procfile alone":           {"", "web: from-procfile\n", "true", "from-procfile", map[string]string{"web": "from-procfile"}},
		"Procfile no web, release": {"", "worker: w\n", releaseWeb, "./from-release", map[string]string{"worker": "w"}},
		"Procfile web is empty":    {"", "web:\nworker: w\n", releaseWeb, "./from-release", map[string]string{"web": "", "worker": "w"}},
		"Procfile no web alone":    {"", "worker: w\n", "true", "", map[string]string{"worker": "w"}},
		"empty Procfile, release":  {"", "{}\n", releaseWeb, "./from-release", nil},
		"release alone":            {"", "", releaseWeb, "./from-release", release},
		"none":                     {"", "", "true", "", nil},
		"none in the release":      {"", "", "echo '--- {}'", "", nil},
		"a number":                 {"", "web: 5\n", releaseWeb, "5", map[string]string{"web": "5"}},
		"with an alias":            {"", "web: &web ./x\nworker: *web\n", "true", "./x", map[string]string{"web": "./x", "worker": "./x"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newContainer(t)
			app := files{"a": ""}
			if test.procfile != "" {
				app["Procfile"] = test.procfile
			}
			c.pack(app)
			c.order(func(s *runspec.Spec) { s.StartCommand = test.message }, classic("echo P", "true", test.release))
			status, result := c.stage()
			require.Equal(t, runspec.ExitOK, status, c.log())
			require.Equal(t, test.command, result.StartCommand)
			require.Equal(t, test.effective, result.Procfile)
			require.Equal(t, runspec.StagingInfo{
				BuildpackPath: runspec.PathBuildpack(0), DetectedBuildpack: "P", StartCommand: test.command, EffectiveProcfile: test.effective,
			}, c.info())
		})
	}
}

// Bin/release is asked for what nobody else knows; a buildpack without one is fine where all is known.
func TestStageWithoutARelease(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		message, procfile string
		command           string // empty when staging fails
	}{
		"Procfile has web":          {"", "web: ./x\n", "./x"},
		"message and a Procfile":    {"./m", "worker: w\n", "./m"},
		"message, but no Procfile":  {"./m", "", ""},
		"Procfile without web":      {"", "worker: w\n", ""},
		"neither message nor types": {"", "", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newContainer(t)
			app := files{"a": ""}
			if test.procfile != "" {
				app["Procfile"] = test.procfile
			}
			c.pack(app)
			pack := classic("echo P", "true", "")
			delete(pack, "bin/release*")
			c.order(func(s *runspec.Spec) { s.StartCommand = test.message }, pack)
			status, result := c.stage()
			if test.command == "" {
				require.Equal(t, runspec.ExitRelease, status)
				require.Equal(t, "Release info failed: bin/release is not there, or its interpreter is not", result.Error.Message)
				return
			}
			require.Equal(t, runspec.ExitOK, status, c.log())
			require.Equal(t, test.command, result.StartCommand)
		})
	}
}
