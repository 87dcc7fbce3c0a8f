package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/proxy"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/codec"
)

// wireRequest is a staging request with all that a cloud controller sends, and something that it may send one day.
func wireRequest(t *testing.T, request api.StagingRequest, startMessage any) []byte {
	t.Helper()
	text, err := json.Marshal(map[string]any{
		"app_id": request.AppID, "task_id": request.TaskID, "stack": request.Stack,
		"download_uri": request.DownloadURI, "upload_uri": request.UploadURI,
		"buildpack_cache_download_uri": nil, "buildpack_cache_upload_uri": request.BuildpackCacheUploadURI,
		"admin_buildpacks":     []any{map[string]any{"key": request.AdminBuildpacks[0].Key, "url": request.AdminBuildpacks[0].URL, "name": "unknown-to-us-1"}},
		"egress_network_rules": []any{map[string]any{"protocol": "all", "destination": "0.0.0.0-255.255.255.255", "description": "unknown-to-us-2"}},
		"memory_limit":         256, "disk_limit": 512, "accepts_http": true,
		"properties": map[string]any{
			"buildpack": nil, "buildpack_git_url": nil, "buildpack_key": nil,
			"meta":        map[string]any{"command": nil, "console": false, "unknown": "unknown-to-us-3"},
			"resources":   map[string]any{"memory": 256, "disk": 512, "fds": 1024},
			"environment": []string{"GREETING=from the wire"},
			"services": []any{map[string]any{
				"name": "db", "label": "sql", "tags": []string{"relational"}, "plan": "free", "plan_option": nil, "provider": nil, "version": "n/a",
				"vendor": "unknown-to-us-4", "credentials": map[string]any{"uri": "postgres://db.example/x"}, "syslog_drain_url": nil,
				"volume_mounts": []any{},
			}},
			"isolation_segment": "unknown-to-us-5",
		},
		"start_message": startMessage, "stager_id": "unknown-to-us-6", "index": 3, "droplet_hash": nil,
	})
	require.NoError(t, err)
	return text
}

// TestRequestOnTheWire stages what a cloud controller sends, nulls and fields of others included; those never come into
// Temporal, not even encrypted.
func TestRequestOnTheWire(t *testing.T) {
	pack := buildpack{compile: `echo "$GREETING, $DATABASE_URL"; echo "$VCAP_SERVICES" > "$1/services.json"`}
	request := stagingOf(t, zipOf(t, file("run", "true")), pack)
	staging, err := shared.Control.StageJSON(t.Context(), wireRequest(t, request, map[string]any{}))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), later)
	defer cancel()
	result, err := staging.Wait(ctx)
	require.NoError(t, err)
	assert.Equal(t, request.AdminBuildpacks[0].Key, result.BuildpackKey)
	inOrder(t, logOf(t, request), "from the wire, postgres://db.example/x\n")
	var services map[string][]map[string]any
	droplet := dropletOf(t, request.AppID, result.DropletSHA1)
	require.NoError(t, json.Unmarshal([]byte(droplet["app/services.json"].content), &services))
	assert.Equal(t, "db", services["sql"][0]["name"])
	clean(t, shared) // an empty start message starts nothing

	for _, workflow := range []string{api.StageWorkflowID(request.AppID, request.TaskID), api.StagingsWorkflowID(request.AppID)} {
		events := history(t, workflow)
		plain := inClear(t, events)
		assert.Contains(t, plain, "from the wire", "it can be read")
		assert.NotContains(t, plain, "unknown-to-us")
		for _, field := range []string{"stager_id", "droplet_hash", "isolation_segment", "vendor"} {
			assert.NotContains(t, plain, field)
		}
		keepsSecrets(t, events, "from the wire")
	}
}

// inClear are all payloads of a history, decrypted with the stack's keys.
func inClear(t *testing.T, events []*historypb.HistoryEvent) string {
	t.Helper()
	ring, err := codec.LoadKeyring(shared.Client.Temporal.EncryptionKeyFile)
	require.NoError(t, err)
	var plain strings.Builder
	for _, event := range events {
		err := proxy.VisitPayloads(t.Context(), event, proxy.VisitPayloadsOptions{
			Visitor: func(_ *proxy.VisitPayloadsContext, payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
				decoded, err := ring.Codec().Decode(payloads)
				for _, p := range decoded {
					plain.Write(p.GetData())
				}
				return payloads, err
			},
		})
		require.NoError(t, err)
	}
	return plain.String()
}

// TestStartMessage asks for an instance together with the staging: it runs on the same node, with the droplet that the
// staging made and whatever SHA-1 the message had.
func TestStartMessage(t *testing.T) {
	pack := buildpack{release: `printf -- '---\ndefault_process_types:\n  web: exec sleep 3600\n'`}
	request := stagingOf(t, zipOf(t, file("run", "true")), pack)
	request.StartMessage = &api.StartMessage{
		AppID: request.AppID, Version: uuid.NewString(), Name: "with a start message", Stack: request.Stack,
		ExecutableURI: request.DownloadURI, // nothing of it is needed where the droplet was made
		Limits:        api.Limits{MemoryMB: 64, DiskMB: 64, FDs: 1024},
	}
	text, err := json.Marshal(request)
	require.NoError(t, err)
	staging, err := shared.Control.StageJSON(t.Context(), text)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), later)
	defer cancel()
	result, err := staging.Wait(ctx)
	require.NoError(t, err)
	gone(t, request)

	var instance api.InstanceStatus
	eventually(t, later, func() error {
		instance, err = startedBy(t.Context(), result)
		if err == nil && instance.State != api.StateRunning {
			err = fmt.Errorf("the instance is %s", instance.State)
		}
		return err
	})
	assert.Equal(t, result.NodeID, instance.Node)
	assert.Equal(t, request.StartMessage.Version, instance.Version)
	assert.Contains(t, inClear(t, history(t, api.InstanceWorkflowID(instance.InstanceID))), result.DropletSHA1)
	require.NoError(t, shared.Control.StopInstance(t.Context(), instance.InstanceID, "the test is over"))
	clean(t, shared)
}

// startedBy is the one instance of the staged app that holds something of the node that staged it.
func startedBy(ctx context.Context, result api.StagingResult) (api.InstanceStatus, error) {
	node, err := shared.Control.Node(ctx, result.NodeID)
	if err != nil {
		return api.InstanceStatus{}, err
	}
	for _, reservation := range node.Reservations {
		if reservation.AppID == result.AppID && reservation.Kind == api.KindInstance {
			return shared.Control.Instance(ctx, reservation.ID)
		}
	}
	return api.InstanceStatus{}, fmt.Errorf("no instance of %s at %s", result.AppID, result.NodeID)
}
