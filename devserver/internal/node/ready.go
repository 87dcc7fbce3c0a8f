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
)

// errNotYet is the reason why a node is not ready.
var errNotYet = errors.New("not ready yet")

// WaitReady waits until the node takes work: its workflow says READY, and its worker has polled the node's own queue
// since the time given. A READY alone may be what the workflow last heard in an earlier life of the devserver.
func (n *Node) WaitReady(ctx context.Context, temporal client.Client, keys controller.Keys, since time.Time) (api.NodeStatus, error) {
	control := controller.New(temporal, keys)
	var ready api.NodeStatus
	err := wait.For(ctx, 100*time.Millisecond, func(ctx context.Context) error {
		status, err := n.find(ctx, control)
		if err != nil {
			return err
		}
		if status.State != api.NodeReady {
			return fmt.Errorf("%w: its state is %s", errNotYet, status.State)
		}
		ready = status
		return polled(ctx, temporal, status.Node, since)
	})
	if err != nil {
		return api.NodeStatus{}, fmt.Errorf("wait for the worker of node %d: %w", n.options.Number, err)
	}
	return ready, nil
}

// find tells this node from others by its directory server's address, which no other has.
func (n *Node) find(ctx context.Context, control *controller.Client) (api.NodeStatus, error) {
	nodes, err := control.Nodes(ctx)
	for _, status := range nodes {
		files, parseErr := url.Parse(status.FilesURL)
		if parseErr == nil && files.Host == n.options.Worker.Files && status.State == api.NodeReady {
			return status, nil
		}
	}
	return api.NodeStatus{}, errors.Join(err, fmt.Errorf("%w: no workflow of it says READY", errNotYet))
}

// polled tells whether a worker asked for the node's activities after the time given.
func polled(ctx context.Context, temporal client.Client, node string, since time.Time) error {
	described, err := temporal.WorkflowService().DescribeTaskQueue(ctx, &workflowservice.DescribeTaskQueueRequest{
		Namespace:     "default",
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
