package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/directory"
)

// LogsQuery says which lines of an instance's logs are wanted.
type LogsQuery struct {
	// Lines is how many of the last lines, from 0 to MaxLogLines.
	Lines int
	// Since is when they were said at the earliest; zero for any time.
	Since time.Time
	// From is a "position" as an earlier answer had it, and goes on from there, whatever Lines and Since are; empty for none.
	From json.RawMessage
	// Follow goes on with what is said, until the instance is no more on its node.
	Follow bool
	// Stream is the one to read, "stdout" or "stderr"; empty for both. A node of an earlier version sends both all the same.
	Stream string
}

// MaxLogLines is the most lines that a LogsQuery may ask for.
const MaxLogLines = directory.MaxLogLines

// LogsURL is a URL of an instance's logs on its node, "" where the node's own URL (base) is not known yet. It is secret for
// the hour that it can be used. Its answer is a JSON object a line: {"time", "stream", "text"} for what was said, the
// streams being "stdout" and "stderr", and {"position"} for where LogsQuery.From goes on behind it; "raw" has the bytes, in
// base64, of a text that is not UTF-8, "partial" is true where a line of more than 64 KiB goes on in the stream's next one,
// and "skipped" is how many bytes are missing before, -1 where that is not known.
func (c *Client) LogsURL(instance, base string, q LogsQuery) string {
	keys := c.keys.Derive(directory.KeyPurpose)
	if base == "" || len(keys) == 0 {
		return ""
	}
	return directory.LogsURL(base, keys[0], instance, directory.LogsQuery(q), c.now())
}

// endedListed is how many of an app's instances that have ended are told of, the latest.
const endedListed = 100

// EndedInstances tells of the latest instances of an app that have ended, at most a hundred and the latest first, as far as
// visibility has them: id, app, version, index, node, and when they ended. Their nodes keep the logs of those that crashed
// for a while, of each app the latest on each node. One that ended within the last 2 seconds may be missing.
func (c *Client) EndedInstances(ctx context.Context, app string) ([]api.InstanceStatus, error) {
	if err := (api.InstanceFilter{AppID: app}).Validate(); err != nil {
		return nil, invalid(err)
	}
	limited, cancel := c.call(ctx)
	defer cancel()
	// The id is of a shape in which nothing needs to be escaped.
	page, err := c.temporal.ListWorkflow(limited, &workflowservice.ListWorkflowExecutionsRequest{
		Namespace: c.namespace, PageSize: endedListed,
		Query: fmt.Sprintf("%s = '%s' AND %s = '%s' AND ExecutionStatus != 'Running' AND ExecutionStatus != 'ContinuedAsNew'",
			api.SearchApp.GetName(), app, api.SearchKind.GetName(), api.KindInstance),
	})
	if err != nil {
		return nil, explain(ctx, fmt.Errorf("list ended instances: %w", err), appSubject(app))
	}
	ended := make([]api.InstanceStatus, 0, len(page.GetExecutions()))
	for _, execution := range page.GetExecutions() {
		ended = append(ended, endedInstance(app, execution))
	}
	return ended, nil
}

// endedInstance is what visibility knows of one.
func endedInstance(app string, execution *workflow.WorkflowExecutionInfo) api.InstanceStatus {
	fields := execution.GetSearchAttributes().GetIndexedFields()
	status := api.InstanceStatus{
		InstanceID: strings.TrimPrefix(execution.GetExecution().GetWorkflowId(), api.InstanceWorkflowID("")),
		AppID:      app, State: api.StateDeleted, Since: endOf(execution),
	}
	attribute(fields[api.SearchVersion.GetName()], &status.Version)
	attribute(fields[api.SearchIndex.GetName()], &status.Index)
	attribute(fields[api.SearchNode.GetName()], &status.Node)
	return status
}

func endOf(execution *workflow.WorkflowExecutionInfo) time.Time {
	if closed := execution.GetCloseTime(); closed != nil {
		return closed.AsTime()
	}
	return time.Time{}
}

// attribute reads a search attribute, and leaves what has none as it is.
func attribute(payload *commonpb.Payload, into any) {
	if payload != nil {
		_ = converter.GetDefaultDataConverter().FromPayload(payload, into) // one of another type is none of ours
	}
}
