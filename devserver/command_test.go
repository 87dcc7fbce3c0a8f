package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/devserver/internal/ports"
	"github.com/durable-dea/dea/internal/codec"
	"github.com/durable-dea/dea/internal/connection"
)

// send asks over HTTP and gives status and body.
func send(t *testing.T, request *http.Request) (int, string) {
	t.Helper()
	asker := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := asker.Do(request)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body)
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	return send(t, request)
}

func loadClient(t *testing.T, file string) *config.Client {
	t.Helper()
	loaded, err := config.LoadClient(config.LoadOptions{File: file, Env: func(string) string { return "" }})
	require.NoError(t, err)
	return loaded
}

func dial(t *testing.T, loaded *config.Client) client.Client {
	t.Helper()
	to, err := connection.Dial(t.Context(), loaded.Temporal, hclog.NewNullLogger())
	require.NoError(t, err)
	t.Cleanup(to.Close)
	return to
}

func TestReadyMeansEverythingAnswers(t *testing.T) {
	d := launch(t, "--port-base", "0", "--data", t.TempDir())
	at := d.ready(t)

	status, _ := get(t, at.CloudController+"/healthz")
	require.Equal(t, http.StatusOK, status)
	status, _ = get(t, at.UI+"/namespaces/default/workflows")
	require.Equal(t, http.StatusOK, status)
	status, settings := get(t, at.UI+"/api/v1/settings")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, settings, at.Codec)

	status, routes := get(t, at.Router)
	require.Equal(t, http.StatusOK, status)
	require.Empty(t, routes, "no node, no route")

	loaded := loadClient(t, at.Config)
	require.Equal(t, at.Router, loaded.Router.Reveal())
	status, packs := get(t, loaded.CloudController.Reveal()+"/v2/buildpacks")
	require.Equal(t, http.StatusOK, status, packs)

	// The search attributes can be used at once.
	_, err := dial(t, loaded).ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		TaskQueue: api.TaskQueue, TypedSearchAttributes: everyAttribute(),
	}, "Nobody", "a secret of the app's")
	require.NoError(t, err)
	d.interrupt(t, syscall.SIGTERM)
}

func TestCodecServerDecodesForTheUIAlone(t *testing.T) {
	d := launch(t, "--port-base", "0", "--data", t.TempDir())
	at := d.ready(t)
	ring, err := codec.LoadKeyring(loadClient(t, at.Config).Temporal.EncryptionKeyFile)
	require.NoError(t, err)
	payload, err := ring.DataConverter().ToPayload("readable")
	require.NoError(t, err)
	sealed, err := json.Marshal(map[string]any{"payloads": []any{payload}})
	require.NoError(t, err)

	decode := func(origin string) (int, string) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, at.Codec+"/decode", bytes.NewReader(sealed))
		require.NoError(t, err)
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("X-Namespace", "default")
		request.Header.Set("Origin", origin)
		return send(t, request)
	}
	status, body := decode(at.UI)
	require.Equal(t, http.StatusOK, status, body)
	require.Contains(t, body, "InJlYWRhYmxlIg==") // "readable" with its quotes, in base64
	status, body = decode("http://elsewhere.example")
	require.Equal(t, http.StatusForbidden, status, body)
	d.interrupt(t, syscall.SIGINT)
}

func TestSameDataKeepsWorkflowsAndIsOneDevserversAtATime(t *testing.T) {
	data := t.TempDir()
	first := launch(t, "--port-base", "0", "--data", data)
	at := first.ready(t)
	loaded := loadClient(t, at.Config)
	_, err := dial(t, loaded).ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		ID: "kept", TaskQueue: api.TaskQueue,
	}, "Nobody")
	require.NoError(t, err)

	second := launch(t, "--port-base", "0", "--data", data)
	require.Equal(t, exitFailed, second.exit(t))
	require.Contains(t, second.stderr.String(),
		fmt.Sprintf("%s is in use by another devserver (process %d)", data, first.command.Process.Pid))
	first.interrupt(t, syscall.SIGINT)

	// After a kill the data is as good as after a stop.
	for _, end := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
		again := launch(t, "--port-base", "0", "--data", data)
		// The same ports: workflows know the URLs of what the cloud controller has.
		addresses := again.ready(t)
		require.Equal(t, at.CloudController, addresses.CloudController)
		loaded := loadClient(t, addresses.Config)
		described, err := dial(t, loaded).DescribeWorkflowExecution(t.Context(), "kept", "")
		require.NoError(t, err)
		require.Equal(t, enums.WORKFLOW_EXECUTION_STATUS_RUNNING, described.GetWorkflowExecutionInfo().GetStatus())
		require.NoError(t, again.command.Process.Signal(end))
		_ = again.exit(t)
	}
}

func TestLostKeyIsNotReplaced(t *testing.T) {
	data := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(data, "temporal.db"), nil, 0o600))
	d := launch(t, "--port-base", "0", "--data", data)
	require.Equal(t, exitFailed, d.exit(t))
	require.Contains(t, d.stderr.String(), "encryption.key")
	require.NoFileExists(t, filepath.Join(data, "encryption.key"))
}

func TestPortsInUseAreNamedBeforeAnythingStarts(t *testing.T) {
	row, err := ports.Find(t.TempDir(), 0, 0, 1)
	require.NoError(t, err)
	defer func() { require.NoError(t, row.Close()) }()
	for _, port := range []int{row.UI(), row.CloudController(), row.Router(), row.NATS()} {
		listener, err := net.Listen("tcp", ports.Address(port))
		require.NoError(t, err)
		defer func() { _ = listener.Close() }()
	}
	data := t.TempDir()
	d := launch(t, "--port-base", strconv.Itoa(row.Temporal()), "--data", data)
	require.Equal(t, exitFailed, d.exit(t))
	require.Contains(t, d.stderr.String(), fmt.Sprintf("port %d (Temporal UI)", row.UI()))
	require.Contains(t, d.stderr.String(), fmt.Sprintf("port %d (cloud controller)", row.CloudController()))
	require.Contains(t, d.stderr.String(), fmt.Sprintf("port %d (router)", row.Router()))
	require.Contains(t, d.stderr.String(), fmt.Sprintf("port %d (NATS)", row.NATS()))
	require.Empty(t, d.stdout.String())
	require.NoFileExists(t, filepath.Join(data, "temporal.db"))
}

func TestWithoutDataNothingIsLeft(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	d := launch(t, "--port-base", "0")
	require.Contains(t, d.ready(t).Data, tmp)
	d.interrupt(t, syscall.SIGTERM)
	left, err := os.ReadDir(tmp)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestInterruptedStartEndsWell(t *testing.T) {
	d := launch(t, "--port-base", "0", "--data", t.TempDir())
	require.Eventually(t, func() bool { return strings.Contains(d.stderr.String(), "ready") }, time.Minute, time.Millisecond)
	d.interrupt(t, syscall.SIGINT)
}

func TestEndsInOrderWhenNobodyReads(t *testing.T) {
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	d := launchWith(t, func(c *exec.Cmd) { c.Stderr = writer }, "--port-base", "0", "--data", t.TempDir())
	require.NoError(t, writer.Close())
	at := d.ready(t)
	require.NoError(t, reader.Close())
	d.interrupt(t, syscall.SIGINT)
	require.NoFileExists(t, filepath.Join(at.Data, "devserver.json"))
}

func TestMissingProgramsAreNamed(t *testing.T) {
	empty := t.TempDir()
	d := launch(t, "--nodes", "2", "--port-base", "0", "--data", t.TempDir(), "--bin", empty)
	require.Equal(t, exitFailed, d.exit(t))
	require.Contains(t, d.stderr.String(), "worker, wardend, dea-runner")
	require.Contains(t, d.stderr.String(), "make build")
}

func TestWrongFlagsAreAUsageError(t *testing.T) {
	for flags, said := range map[string]string{
		"--nodes=-1":                  "-1 nodes",
		"--output=xml":                "text or json",
		"--backend=magic":             "auto, oci or process",
		"--port-base=65530":           "do not fit",
		"--network=10.0.0.0/30":       "no room",
		"--network=elsewhere":         "IPv4",
		"--memory-mb=-5":              "below 0",
		"--stack=":                    "name",
		"--nodes=zwei":                "invalid argument",
		"--instance-ports=0 --nodes=": "invalid argument",
		"surplus":                     "unknown command",
	} {
		var stdout, stderr bytes.Buffer
		require.Equal(t, exitUsage, run(strings.Fields(flags), &stdout, &stderr), flags)
		require.Contains(t, stderr.String(), said)
		require.Empty(t, stdout.String())
	}
}

func TestConfigHoldsCredentialsForItsOwnerAlone(t *testing.T) {
	d := launch(t, "--port-base", "0", "--data", t.TempDir())
	at := d.ready(t)
	info, err := os.Stat(at.Config)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	whole, err := url.Parse(loadClient(t, at.Config).CloudController.Reveal())
	require.NoError(t, err)
	password, set := whole.User.Password()
	require.True(t, set)
	require.NotContains(t, d.stdout.String()+d.stderr.String(), password)
	forNATS, err := os.ReadFile(filepath.Join(at.Data, "nats.password"))
	require.NoError(t, err)
	log, err := os.ReadFile(filepath.Join(at.Data, "logs", "devserver.log"))
	require.NoError(t, err)
	require.NotContains(t, d.stdout.String()+d.stderr.String()+string(log), strings.TrimSpace(string(forNATS)))
	d.interrupt(t, syscall.SIGHUP)
}
