package integration

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // the wire's digest of a droplet
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/integration/internal/stack"
)

const (
	// patient is for a staging that loses what it runs on, with all others of its test beside it on two cores.
	patient = 3 * time.Minute
	// trialLines is how many lines compile writes, half of them before it can be held.
	trialLines = 20
	// fillerBytes is the size of what is in a trial's package, buildpack and cache so that half of it is something.
	fillerBytes = 1 << 20
)

// trial is one staging of an app of its own, whose buildpack tells the test what it does and waits for the test where the
// test wants.
type trial struct {
	stack   *stack.Stack
	gate    *gate
	node    *stack.Own
	app     string
	request api.StagingRequest
	staging *controller.Staging
	// dir is where the buildpack and the test meet: NAME has a line with the process's id for each run of bin/NAME,
	// hold.NAME makes it wait for go.NAME.
	dir string
	// files are further ones of the package, more are further lines of compile.
	files []entry
	more  string
	// pack is the buildpack's key; holds are the gate's.
	pack  string
	holds []*hold
}

// newTrial is a staging on a node. Nothing is staged yet.
func newTrial(t *testing.T, g *gate, s *stack.Stack, node *stack.Own) *trial {
	t.Helper()
	id := uuid.NewString()
	return &trial{stack: s, gate: g, node: node, app: "trial-" + id, pack: "pack-" + id, dir: t.TempDir()}
}

// script is one of the buildpack's programs: it says that it runs, does its work, and waits where it is held. It does not
// outlive the test's directory.
func (r *trial) script(name, first, second string) string {
	return fmt.Sprintf(`#!/usr/bin/env bash
set -e
dir='%s'
echo $$ >> "$dir/%s"
%s
while [ -e "$dir/hold.%[2]s" ] && [ ! -e "$dir/go.%[2]s" ]; do sleep 0.05; done
%[4]s
`, r.dir, name, first, second)
}

func (r *trial) buildpack(t *testing.T) []byte {
	t.Helper()
	lines := func(from, to int) string {
		return fmt.Sprintf("for i in $(seq %d %d); do echo \"line $i of the build\"; done\n", from, to)
	}
	return zipOf(t,
		program("bin/detect", r.script("detect", "", soundDetect)),
		program("bin/compile", r.script("compile", `[ ! -e "$2/kept" ] || echo "a cache came"`+"\n"+lines(1, trialLines/2),
			lines(trialLines/2+1, trialLines)+r.more)),
		program("bin/release", r.script("release", "", soundRelease)),
		file("filler", random(t, fillerBytes)),
	)
}

// random is content that no compression makes smaller.
func random(t *testing.T, size int) string {
	t.Helper()
	content := make([]byte, size)
	_, err := rand.Read(content)
	require.NoError(t, err)
	return string(content)
}

// hold makes a program of the buildpack wait.
func (r *trial) hold(t *testing.T, program string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(r.dir, "hold."+program), nil, 0o600))
}

// open lets everything go that this staging is held by.
func (r *trial) open(t *testing.T) {
	t.Helper()
	for _, program := range []string{"detect", "compile", "release"} {
		require.NoError(t, os.WriteFile(filepath.Join(r.dir, "go."+program), nil, 0o600))
	}
	for _, h := range r.holds {
		h.open()
	}
}

// stop makes the gate stop a request of this staging.
func (r *trial) stop(at moment, method, prefix string) *hold {
	h := r.gate.hold(at, method, prefix)
	r.holds = append(r.holds, h)
	return h
}

// prepare brings the app and its cache to the cloud controller, and makes the request.
func (r *trial) prepare(t *testing.T) {
	t.Helper()
	files := append([]entry{file("run", "sleep 3600"), file("filler", random(t, fillerBytes))}, r.files...)
	require.NoError(t, r.stack.Upload(t.Context(), r.app, zipOf(t, files...)))
	require.NoError(t, r.stack.UploadCache(t.Context(), r.app, tarOf(t, "kept", random(t, fillerBytes))))
	name := stack.OwnStack
	if r.node != nil {
		name = stack.OwnStackOf(r.node.Number)
	}
	var err error
	r.request, err = r.stack.StagingRequestOn(t.Context(), r.app, name)
	require.NoError(t, err)
	r.gate.lead(t, &r.request)
	r.request.AdminBuildpacks = []api.AdminBuildpack{r.gate.offer(r.pack, r.buildpack(t))}
}

// begin prepares the staging and begins it.
func (r *trial) begin(t *testing.T) {
	t.Helper()
	r.prepare(t)
	var err error
	r.staging, err = r.stack.Control.Stage(t.Context(), r.request)
	require.NoError(t, err)
}

// wait waits for the staging's end.
func (r *trial) wait(t *testing.T) (api.StagingResult, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	return r.stack.Control.Staging(r.app, r.request.TaskID).Wait(ctx)
}

// tarOf is a tar.gz of one file.
func tarOf(t *testing.T, name, content string) []byte {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	archive := tar.NewWriter(zipped)
	require.NoError(t, archive.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}))
	_, err := io.WriteString(archive, content)
	require.NoError(t, err)
	require.NoError(t, errors.Join(archive.Close(), zipped.Close()))
	return out.Bytes()
}

func (r *trial) handle() string { return api.StagingHandle(r.request.TaskID) }

// out is a file of the workspace that the container writes.
func (r *trial) out(name string) string {
	return filepath.Join(r.node.Workspace(r.request.TaskID), "out", name)
}

// awaitRun waits until a program of the buildpack runs, and has written what it writes before it can be held.
func (r *trial) awaitRun(t *testing.T, program string) {
	t.Helper()
	r.at(t, func() error { return hasSize(filepath.Join(r.dir, program), 1) })
}

// at waits until check gives no error, without a pause worth mentioning: what it waits for may last for milliseconds.
func (r *trial) at(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patient)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		require.True(t, time.Now().Before(deadline), "the staging does not come there: %s\n%s", err, r.tail())
		<-tick.C
	}
}

// awaitHold waits until a request stands at a hold.
func (r *trial) awaitHold(t *testing.T, h *hold) {
	t.Helper()
	select {
	case <-h.reached:
	case <-time.After(patient):
		require.Fail(t, "nothing came to "+h.prefix, r.tail())
	}
}

func (r *trial) tail() string {
	if r.node == nil {
		return r.stack.Warnings()
	}
	return r.node.Tail()
}

// hasSize fails unless a file is there and has so many bytes at least.
func hasSize(path string, least int64) error {
	info, err := os.Stat(path)
	if err == nil && info.Size() < least {
		err = fmt.Errorf("%s has %d bytes, not %d", path, info.Size(), least)
	}
	return err
}

// runs are the ids of the processes that were a program of the buildpack.
func (r *trial) runs(t *testing.T, program string) []int {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(r.dir, program))
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(t, err)
	}
	var pids []int
	for _, field := range strings.Fields(string(content)) {
		pid, err := strconv.Atoi(field)
		require.NoError(t, err)
		pids = append(pids, pid)
	}
	return pids
}

// succeeds checks all that a staging must have come to that was disturbed: it is as if nothing had been.
func (r *trial) succeeds(t *testing.T) api.StagingResult {
	t.Helper()
	result, err := r.wait(t)
	require.NoError(t, err, "%s", r.tail())
	assert.Equal(t, "Test", result.DetectedBuildpack)
	assert.Equal(t, r.pack, result.BuildpackKey)
	assert.Equal(t, "bash ./run", result.DetectedStartCommand)
	if r.node != nil {
		assert.Equal(t, r.node.ID, result.NodeID, "it is to go on where it was")
	}
	for _, program := range []string{"detect", "compile", "release"} {
		assert.Len(t, r.runs(t, program), 1, "bin/%s is to run once", program)
	}
	r.checkDroplet(t, result.DropletSHA1)
	r.checkCallbacks(t, result)
	return result
}

// checkDroplet looks at the droplet that the cloud controller has.
func (r *trial) checkDroplet(t *testing.T, sum string) {
	t.Helper()
	droplet, err := r.stack.DropletURL(r.app, sum)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), later)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, droplet, nil)
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	require.NoError(t, err)
	defer answer.Body.Close()
	require.Equal(t, http.StatusOK, answer.StatusCode)
	r.checkContent(t, answer.Body, sum)
}

// checkContent reads a droplet.
func (r *trial) checkContent(t *testing.T, droplet io.Reader, sum string) {
	t.Helper()
	digest := sha1.New() //nolint:gosec // the wire's digest of a droplet
	whole := io.TeeReader(droplet, digest)
	unzipped, err := gzip.NewReader(whole)
	require.NoError(t, err)
	found := map[string]string{}
	for archive := tar.NewReader(unzipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if name := path.Clean(header.Name); name == "app/run" || name == "logs/staging_task.log" {
			content, err := io.ReadAll(archive)
			require.NoError(t, err)
			found[name] = string(content)
		}
	}
	_, err = io.Copy(io.Discard, whole)
	require.NoError(t, err)
	assert.Equal(t, sum, hex.EncodeToString(digest.Sum(nil)))
	assert.Equal(t, "sleep 3600", found["app/run"])
	checkLog(t, found["logs/staging_task.log"])
}

// checkLog checks that a staging's log has every line of compile, once and in order, and the cache that came.
func checkLog(t *testing.T, log string) {
	t.Helper()
	var lines, wanted []string
	for line := range strings.Lines(log) {
		if strings.HasSuffix(line, " of the build\n") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	for i := range trialLines {
		wanted = append(wanted, fmt.Sprintf("line %d of the build", i+1))
	}
	assert.Equal(t, wanted, lines)
	assert.Equal(t, 1, strings.Count(log, "a cache came\n"))
}

// checkCallbacks checks that the cloud controller was told of the end of this staging, and of no other.
func (r *trial) checkCallbacks(t *testing.T, result api.StagingResult) {
	t.Helper()
	callbacks := r.gate.came(http.MethodPost, r.callbackPath())
	assert.NotEmpty(t, callbacks)
	for _, callback := range callbacks {
		var told api.StagingResult
		require.NoError(t, json.Unmarshal(callback.body, &told))
		assert.Equal(t, result, told)
	}
	told, err := r.stack.Callback(t.Context(), r.app, r.request.TaskID)
	require.NoError(t, err)
	assert.Equal(t, result, told)
}

func (r *trial) callbackPath() string { return "/internal/dea/staging/" + r.app + "/completed" }

// leavesNothing waits until nothing of the staging is on its node, and no process of its buildpack lives.
func (r *trial) leavesNothing(t *testing.T) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	eventually(t, later, func() error { return errors.Join(r.node.InUse(ctx), r.living(t)) })
}

// living fails while a process that the buildpack ran, or one of its container, is there.
func (r *trial) living(t *testing.T) error {
	t.Helper()
	var ran []int
	for _, program := range []string{"detect", "compile", "release"} {
		ran = append(ran, r.runs(t, program)...)
	}
	processes, err := r.stack.Processes()
	left := []error{err}
	for _, p := range processes {
		if strings.Contains(p.String(), r.handle()) || slices.Contains(ran, p.PID) {
			left = append(left, fmt.Errorf("process left: %s", p))
		}
	}
	return errors.Join(left...)
}

// keptLog is the log that the node keeps of a staging that is over.
func (r *trial) keptLog(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(r.node.Base(), "staging_logs", r.request.TaskID, "staging.log"))
	require.NoError(t, err)
	return string(content)
}
