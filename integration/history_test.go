package integration

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	sdkpb "go.temporal.io/api/sdk/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
)

// metadataQuery is what Temporal's UI asks a workflow for its current details; the SDK answers it.
const metadataQuery = "__temporal_workflow_metadata"

// maxEvents is the most events that a history of a push may have.
const maxEvents = 200

// TestHistories pushes an app with a secret in its environment and reads what Temporal keeps of it, as an operator would.
func TestHistories(t *testing.T) {
	ctx := t.Context()
	const app = "history"
	secret := "secret-" + uuid.NewString()
	require.NoError(t, shared.Upload(ctx, app, zipOf(t, file("run", "sleep 3600"))))
	request, err := shared.StagingRequest(ctx, app)
	require.NoError(t, err)
	request.AdminBuildpacks = []api.AdminBuildpack{buildpack{}.serve(t, "test-history")}
	request.Properties.Environment = []string{"PASSWORD=" + secret}
	staging, err := shared.Control.Stage(ctx, request)
	require.NoError(t, err)
	waiting, cancel := context.WithTimeout(ctx, later)
	defer cancel()
	result, err := staging.Wait(waiting)
	require.NoError(t, err)

	// The node that staged it has the droplet already: without it there is a FetchDroplet to look at, too.
	caches, err := filepath.Glob(filepath.Join(shared.Data, "nodes", "*", "base", "droplets", result.DropletSHA1))
	require.NoError(t, err)
	require.NotEmpty(t, caches)
	for _, cache := range caches {
		require.NoError(t, os.RemoveAll(cache))
	}
	spec, err := shared.AppSpec(ctx, app, result.DropletSHA1)
	require.NoError(t, err)
	spec.Message.URIs = nil // it listens nowhere: running is healthy enough
	spec.Message.Env = []string{"PASSWORD=" + secret}
	_, err = shared.Control.Run(ctx, spec)
	require.NoError(t, err)
	defer remove(t, shared, app)
	eventually(t, later, func() error { return hasInstances(ctx, app, 1) })
	status, err := shared.Control.App(ctx, app)
	require.NoError(t, err)
	instance := status.Instances[0]

	for _, c := range []struct {
		workflow, kind, state string
	}{
		{api.StageWorkflowID(app, request.TaskID), string(api.KindStaging), string(api.StagingDone)},
		{api.AppWorkflowID(app), string(api.KindApp), ""},
		{api.InstanceWorkflowID(instance.InstanceID), string(api.KindInstance), string(api.StateRunning)},
		{api.DropletWorkflowID(instance.Node, result.DropletSHA1), string(api.KindDroplet), ""},
		{api.NodeWorkflowID(instance.Node), string(api.KindNode), string(api.NodeReady)},
	} {
		t.Run(c.kind, func(t *testing.T) {
			events := history(t, c.workflow)
			keepsSecrets(t, events, secret)
			if c.kind != string(api.KindNode) { // a node's history is of all pushes
				assert.Less(t, len(events), maxEvents)
			}
			describesItself(t, c.workflow, c.kind, c.state)
			readableByCodec(t, events[0].GetWorkflowExecutionStartedEventAttributes().GetInput())
		})
	}
}

// history are all events of a workflow's newest run.
func history(t *testing.T, workflow string) []*historypb.HistoryEvent {
	t.Helper()
	var events []*historypb.HistoryEvent
	iterator := shared.Temporal.GetWorkflowHistory(t.Context(), workflow, "", false,
		enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for iterator.HasNext() {
		event, err := iterator.Next()
		require.NoError(t, err)
		events = append(events, event)
	}
	require.NotEmpty(t, events)
	return events
}

// keepsSecrets looks for what is secret in the events as Temporal keeps them: the app's environment, and the password of
// the cloud controller's URLs.
func keepsSecrets(t *testing.T, events []*historypb.HistoryEvent, secret string) {
	t.Helper()
	controller, err := url.Parse(shared.Client.CloudController.Reveal())
	require.NoError(t, err)
	password, set := controller.User.Password()
	require.True(t, set)
	for _, event := range events {
		raw, err := proto.Marshal(event)
		require.NoError(t, err)
		for _, hidden := range []string{secret, password} {
			assert.False(t, bytes.Contains(raw, []byte(hidden)), "in clear in event %d, %s", event.EventId, event.EventType)
			encoded := []byte(base64.StdEncoding.EncodeToString([]byte(hidden)))
			assert.False(t, bytes.Contains(raw, encoded), "base64 in event %d, %s", event.EventId, event.EventType)
		}
	}
}

// describesItself checks what Temporal's UI shows of a workflow beside its history.
func describesItself(t *testing.T, workflow, kind, state string) {
	t.Helper()
	description, err := shared.Temporal.DescribeWorkflow(t.Context(), workflow, "")
	require.NoError(t, err)
	found, ok := description.TypedSearchAttributes.GetKeyword(api.SearchKind)
	assert.True(t, ok, "search attribute %s", api.SearchKind.GetName())
	assert.Equal(t, kind, found)
	if state != "" {
		found, _ = description.TypedSearchAttributes.GetKeyword(api.SearchState)
		assert.Equal(t, state, found)
	}
	summary, err := description.GetStaticSummary()
	require.NoError(t, err)
	assert.NotEmpty(t, summary, "summary")

	value, err := shared.Temporal.QueryWorkflow(t.Context(), workflow, "", metadataQuery)
	require.NoError(t, err)
	var metadata sdkpb.WorkflowMetadata
	require.NoError(t, value.Get(&metadata))
	assert.NotEmpty(t, metadata.CurrentDetails, "current details")
}

// readableByCodec sends payloads to the codec server as the UI's page does.
func readableByCodec(t *testing.T, payloads *commonpb.Payloads) {
	t.Helper()
	body, err := protojson.Marshal(payloads)
	require.NoError(t, err)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, shared.Codec+"/decode", bytes.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Origin", shared.UI)
	request.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode, "%s", content)
	assert.Equal(t, shared.UI, response.Header.Get("Access-Control-Allow-Origin"))

	var decoded commonpb.Payloads
	require.NoError(t, protojson.Unmarshal(content, &decoded))
	require.NotEmpty(t, decoded.Payloads)
	assert.NotEqual(t, payloads.Payloads[0].Data, decoded.Payloads[0].Data)
	assert.True(t, json.Valid(decoded.Payloads[0].Data), "not readable: %q", decoded.Payloads[0].Data)
}
