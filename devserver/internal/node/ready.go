package node

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/devserver/internal/wait"
	"github.com/durable-dea/dea/internal/nodeid"
)

// errNotYet is the reason why a node is not ready.
var errNotYet = errors.New("not ready yet")

// WaitReady waits until the node takes work: its workflow says READY with the address of this life, its worker has
// polled the node's own queue since the time given, and its advertisement is listed, where placement looks for nodes. A
// READY alone may be what the workflow heard in an earlier life of the devserver.
func (n *Node) WaitReady(
	ctx context.Context, temporal client.Client, keys controller.Keys, since time.Time,
) (api.NodeStatus, error) {
	control := controller.New(temporal, keys, controller.WithNamespace(n.options.Worker.Namespace))
	var ready api.NodeStatus
	err := wait.For(ctx, 50*time.Millisecond, func(ctx context.Context) error {
		id, err := nodeid.Read(n.base())
		if err != nil {
			return err
		}
		// Before the worker's first poll nobody could answer the query.
		if err := n.polled(ctx, temporal, id, since); err != nil {
			return err
		}
		ready, err = control.Node(ctx, id)
		if err != nil {
			return err
		}
		if err := n.takesWork(ready); err != nil {
			return err
		}
		return n.listed(ctx, temporal, id)
	})
	if err != nil {
		return api.NodeStatus{}, fmt.Errorf("wait for the worker of node %d: %w", n.options.Number, err)
	}
	return ready, nil
}

func (n *Node) takesWork(status api.NodeStatus) error {
	if status.State != api.NodeReady {
		return fmt.Errorf("%w: its state is %s", errNotYet, status.State)
	}
	files, err := url.Parse(status.FilesURL)
	if err != nil {
		return fmt.Errorf("%w: its files are at no URL: %w", errNotYet, err)
	}
	if files.Host != n.options.Worker.Files {
		return fmt.Errorf("%w: its files are still said to be at %s", errNotYet, files.Host)
	}
	return nil
}

// listed tells whether visibility, which lags, shows the node with room to give out.
func (n *Node) listed(ctx context.Context, temporal client.Client, node string) error {
	count, err := temporal.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{
		Namespace: n.options.Worker.Namespace,
		Query: fmt.Sprintf("WorkflowType = '%s' AND ExecutionStatus = 'Running' AND %s = '%s' AND %s = '%s' AND %s > 0",
			api.WorkflowNode, api.SearchNode.GetName(), node, api.SearchState.GetName(), api.NodeReady,
			api.SearchFreeMemory.GetName()),
	})
	if err != nil {
		return err
	}
	if count.GetCount() == 0 {
		return fmt.Errorf("%w: its advertisement is not listed yet", errNotYet)
	}
	return nil
}

// polled tells whether a worker asked for the node's activities after the time given.
func (n *Node) polled(ctx context.Context, temporal client.Client, node string, since time.Time) error {
	described, err := temporal.WorkflowService().DescribeTaskQueue(ctx, &workflowservice.DescribeTaskQueueRequest{
		Namespace:     n.options.Worker.Namespace,
		TaskQueue:     &taskqueue.TaskQueue{Name: api.NodeTaskQueue(node)},
		TaskQueueType: enums.TASK_QUEUE_TYPE_ACTIVITY,
	})
	if err != nil {
		return err
	}
	for _, poller := range described.GetPollers() {
		if poller.GetLastAccessTime().AsTime().After(since) {
			return nil
		}
	}
	return fmt.Errorf("%w: no worker asks for its tasks", errNotYet)
}
