package integration

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// largeMB is what takes a while to pack, and to send.
const largeMB = 48

// step is a place in a staging where something happens to it.
type step struct {
	name string
	// shape makes the staging stand there, or stay there for a while. It runs before the staging begins.
	shape func(t *testing.T, r *trial)
	// reach waits until the staging is there.
	reach func(t *testing.T, r *trial)
	// check is what must be so afterwards, beside all that always must; may be nil.
	check func(t *testing.T, r *trial)
	// stands is set where the staging has a container, and does not go on before it is let go.
	stands bool
}

// steps are all places of a staging on its node, in their order. Where a step has no way to stand still it is met while
// it is under way.
func steps() []step {
	return append(append(fetchSteps(), buildSteps()...), uploadSteps()...)
}

func stepsNamed(names ...string) []step {
	var chosen []step
	for _, name := range names {
		for _, s := range steps() {
			if s.name == name {
				chosen = append(chosen, s)
			}
		}
	}
	return chosen
}

func fetchSteps() []step {
	return []step{
		fetchStep("fetching the package", func(r *trial) string { return "/staging/apps/" + r.app },
			func(r *trial) string {
				return filepath.Join(r.node.Workspace(r.request.TaskID), "in", "package.zip.part")
			}),
		fetchStep("fetching a buildpack", func(r *trial) string { return packPath(r.pack) },
			func(r *trial) string {
				return filepath.Join(r.node.Base(), "admin_buildpacks", ".parts", r.pack+".part")
			}),
		fetchStep("fetching the cache", func(r *trial) string { return "/staging/buildpack_cache/" + r.app + "/download" },
			func(r *trial) string {
				return filepath.Join(r.node.Workspace(r.request.TaskID), "in", "cache.tgz.part")
			}),
		{
			name:  "making the container",
			shape: func(t *testing.T, r *trial) { t.Helper(); r.hold(t, "detect") },
			reach: func(t *testing.T, r *trial) {
				t.Helper()
				r.at(t, func() error { _, err := os.Stat(r.node.Container(r.handle())); return err })
			},
		},
	}
}

// fetchStep is a download of which the node has the first half.
func fetchStep(name string, address, part func(r *trial) string) step {
	return step{
		name: name,
		shape: func(t *testing.T, r *trial) {
			t.Helper()
			r.stop(halfOfAnswer, http.MethodGet, address(r))
		},
		reach: func(t *testing.T, r *trial) {
			t.Helper()
			r.awaitHold(t, r.holds[0])
			r.at(t, func() error {
				parts, err := filepath.Glob(part(r))
				if err == nil && len(parts) == 0 {
					err = errors.New("the download has no part yet")
				}
				if err != nil {
					return err
				}
				return hasSize(parts[0], fillerBytes/2)
			})
		},
		check: func(t *testing.T, r *trial) {
			t.Helper()
			whole := 0
			for n, one := range r.gate.came(http.MethodGet, address(r)) {
				if one.ranged == "" {
					whole++
				}
				assert.Equal(t, n > 0, strings.HasPrefix(one.ranged, "bytes="), "request %d asks for %q", n, one.ranged)
				assert.NotEqual(t, "bytes=0-", one.ranged)
			}
			assert.Equal(t, 1, whole, "what has come is not to be fetched again")
			parts, err := r.node.BuildpackParts()
			require.NoError(t, err)
			assert.Empty(t, parts)
		},
	}
}

func buildSteps() []step {
	random := func(where string) string {
		return fmt.Sprintf("head -c %d /dev/urandom > %s/large\n", largeMB<<20, where)
	}
	return []step{
		{
			name: "unpacking",
			shape: func(t *testing.T, r *trial) {
				t.Helper()
				const many = 20_000
				for n := range many {
					r.files = append(r.files, file(fmt.Sprintf("many/%d/%d", n%100, n), "x"))
				}
			},
			reach: func(t *testing.T, r *trial) {
				t.Helper()
				r.at(t, func() error {
					log, err := os.ReadFile(r.out("staging.log"))
					if err == nil && !strings.Contains(string(log), "Downloaded app package") {
						err = errors.New("it does not unpack yet")
					}
					return err
				})
			},
		},
		programStep("detect"), programStep("compile"), programStep("release"),
		fileStep("packing", random(`"$1"`), "droplet.tgz"),
		fileStep("packing the cache", random(`"$2"`), "buildpack_cache.tgz"),
		fileStep("result written", "", "result.json"),
	}
}

func programStep(program string) step {
	return step{
		name:   program,
		shape:  func(t *testing.T, r *trial) { t.Helper(); r.hold(t, program) },
		reach:  func(t *testing.T, r *trial) { t.Helper(); r.awaitRun(t, program) },
		stands: true,
	}
}

// fileStep is met when a file of the staging's begins to grow.
func fileStep(name, more, file string) step {
	return step{
		name:  name,
		shape: func(_ *testing.T, r *trial) { r.more = more },
		reach: func(t *testing.T, r *trial) {
			t.Helper()
			r.at(t, func() error { return hasSize(r.out(file), 1) })
		},
	}
}

func uploadSteps() []step {
	// More than the machine takes into its own buffers on the way.
	large := fmt.Sprintf("head -c %d /dev/urandom", largeMB<<20)
	return []step{
		holdStep("uploading the droplet", large+` > "$1/large"`, halfOfBody, http.MethodPost, dropletPath),
		holdStep("waiting for the upload's job", "", queued, http.MethodGet, func(r *trial) string { return "/jobs/" + r.app + "/" }),
		holdStep("uploading the cache", large+` > "$2/large"`, halfOfBody, http.MethodPost,
			func(r *trial) string { return "/staging/buildpack_cache/" + r.app + "/upload" }),
	}
}

func dropletPath(r *trial) string { return "/staging/droplets/" + r.app + "/upload" }

// holdStep stands at the gate.
func holdStep(name, more string, at moment, method string, address func(r *trial) string) step {
	return step{
		name: name,
		shape: func(_ *testing.T, r *trial) {
			r.more = more
			r.stop(at, method, address(r))
		},
		reach:  func(t *testing.T, r *trial) { t.Helper(); r.awaitHold(t, r.holds[0]) },
		stands: true,
	}
}

// container is the directory of the staging's container, to be compared.
func (r *trial) container(t *testing.T) os.FileInfo {
	t.Helper()
	info, err := os.Stat(r.node.Container(r.handle()))
	require.NoError(t, err)
	return info
}
