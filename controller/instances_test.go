package controller

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/durable-dea/dea/api"
)

// starts is a Temporal whose starts fail of errs, one after the other, and then are taken.
type starts struct {
	client.Client
	errs    []error
	options []client.StartWorkflowOptions
	types   []any
	inputs  []any
}

func (s *starts) ExecuteWorkflow(
	_ context.Context, options client.StartWorkflowOptions, workflow any, args ...any,
) (client.WorkflowRun, error) {
	s.options, s.types, s.inputs = append(s.options, options), append(s.types, workflow), append(s.inputs, args...)
	if len(s.errs) == 0 {
		return nil, nil
	}
	err := s.errs[0]
	s.errs = s.errs[1:]
	return nil, err
}

func startMessage() api.StartMessage {
	return api.StartMessage{
		AppID: "hello", Version: "v1", Name: "Hello", Index: 3, SHA1: "da39a3ee5e6b4b0d3255bfef95601890afd80709",
		ExecutableURI: "http://u:swordfish@cc/d", Stack: "s", Limits: api.Limits{MemoryMB: 64, DiskMB: 64},
	}
}

func TestStartInstance(t *testing.T) {
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	s := &starts{errs: []error{serviceerror.NewResourceExhausted(enumspb.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT, "busy")}}
	c := New(s, nil)
	c.now = func() time.Time { return now }
	status, err := c.StartInstance(context.Background(), startMessage())
	require.NoError(t, err)
	require.NotEmpty(t, status.InstanceID)
	require.Equal(t, api.InstanceStatus{
		InstanceID: status.InstanceID, AppID: "hello", Version: "v1", Index: 3, State: api.StateBorn, Since: now,
	}, status)

	require.Equal(t, []any{api.WorkflowRunInstance, api.WorkflowRunInstance}, s.types)
	in := api.InstanceInput{
		InstanceID: status.InstanceID, Message: startMessage(), Shape: api.InstanceShape, Digest: startMessage().Digest(),
	}
	require.Equal(t, []any{in, in}, s.inputs, "the second try is of the same instance")
	options := s.options[1]
	require.Equal(t, api.InstanceWorkflowID(status.InstanceID), options.ID)
	require.Equal(t, api.TaskQueue, options.TaskQueue)
	require.Equal(t, api.WorkflowTaskTimeout, options.WorkflowTaskTimeout)
	require.Equal(t, enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE, options.WorkflowIDReusePolicy)
	require.NotContains(t, options.StaticSummary+options.StaticDetails, "swordfish")
	attributes := options.TypedSearchAttributes
	require.Equal(t, 5, attributes.Size(), "no node yet")
	index, _ := attributes.GetInt64(api.SearchIndex)
	require.Equal(t, int64(3), index)
	for key, want := range map[temporal.SearchAttributeKeyKeyword]string{
		api.SearchKind: "instance", api.SearchApp: "hello", api.SearchVersion: "v1", api.SearchState: "BORN",
	} {
		has, _ := attributes.GetKeyword(key)
		require.Equal(t, want, has, key.GetName())
	}
}

// TestALostAnswerIsNoConflict: the id is new, so that whoever has it is what was just begun.
func TestALostAnswerIsNoConflict(t *testing.T) {
	s := &starts{errs: []error{
		serviceerror.NewResourceExhausted(enumspb.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT, "busy"),
		serviceerror.NewWorkflowExecutionAlreadyStarted("there", "", ""),
	}}
	status, err := New(s, nil).StartInstance(context.Background(), startMessage())
	require.NoError(t, err)
	require.Equal(t, api.StateBorn, status.State)
}

// known is a Temporal that has an instance by a message, of which it lost the answer.
type known struct {
	starts
	digest string
}

func (k *known) QueryWorkflow(_ context.Context, id, _, query string, _ ...any) (converter.EncodedValue, error) {
	var answer any = api.InstanceStatus{InstanceID: strings.TrimPrefix(id, "instance/"), State: api.StateRunning}
	if query == api.QueryStart.Name() {
		answer = api.InstanceStart{Digest: k.digest}
	}
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(answer)
	return client.NewValue(payloads), err
}

// TestStartInstanceTwice: by one id and one message it is one instance, by another message none.
func TestStartInstanceTwice(t *testing.T) {
	there := serviceerror.NewWorkflowExecutionAlreadyStarted("there", "", "")
	k := &known{digest: startMessage().Digest()}
	c := New(k, nil)
	start := func(message api.StartMessage, id string) (api.InstanceStatus, error) {
		k.errs = []error{there}
		return c.StartInstance(context.Background(), message, WithInstanceID(id))
	}
	status, err := start(startMessage(), "mine")
	require.NoError(t, err)
	require.Equal(t, api.InstanceStatus{InstanceID: "mine", State: api.StateRunning}, status, "as it is now")
	require.True(t, k.options[0].WorkflowExecutionErrorWhenAlreadyStarted)

	other := startMessage()
	other.Env = []string{"PASSWORD=swordfish"}
	_, err = start(other, "mine")
	require.ErrorIs(t, err, ErrInstanceExists)
	require.ErrorContains(t, err, "give another id")
	require.NotContains(t, err.Error(), "swordfish")
	k.digest = "" // an app's own
	_, err = start(startMessage(), "mine")
	require.ErrorIs(t, err, ErrInstanceExists)

	begun := len(k.types)
	for _, id := range []string{"", "a/b", ".", "staging-1", "a\nb", strings.Repeat("x", 201)} {
		_, err = start(startMessage(), id)
		require.ErrorIs(t, err, ErrInvalid, id)
	}
	require.Len(t, k.types, begun, "nothing was begun")
}

func TestWhatCannotBeStarted(t *testing.T) {
	s := &starts{}
	c := New(s, nil)
	for text, words := range map[string]string{
		`{"secret":"swordfish"`:                           "no JSON",
		`{"droplet":"a","application_id":"swordfish"}`:    "application_id says something else",
		`{"droplet":"a","version":"v","stack":"s"}`:       "executableUri is missing",
		`{"droplet":"a","executableUri":"swordfish://x"}`: "executableUri must be",
	} {
		_, err := c.StartInstanceJSON(context.Background(), []byte(text))
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, words)
		require.NotContains(t, err.Error(), "swordfish")
	}
	_, err := c.UpdateRoutes(context.Background(), "a", api.RoutesRequest{URIs: []string{"http://x"}})
	require.ErrorIs(t, err, ErrInvalid)
	_, err = c.FindInstances(context.Background(), api.InstanceFilter{})
	require.ErrorIs(t, err, ErrInvalid)
	_, err = c.StopInstances(context.Background(), api.InstanceFilter{AppID: "a' OR 'a'='a"}, "")
	require.ErrorIs(t, err, ErrInvalid)
	require.Empty(t, s.types, "nothing was begun")

	s.errs = []error{serviceerror.NewUnavailable("away")}
	_, err = c.StartInstance(context.Background(), startMessage())
	require.ErrorIs(t, err, ErrUnreachable)
}
