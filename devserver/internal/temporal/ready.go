package temporal

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
)

// WaitReady returns when the namespace answers and every one of the search attributes can be asked for, or with ctx's
// error and the last reason why not.
func WaitReady(ctx context.Context, to client.Client, attributes []temporal.SearchAttributeKey) error {
	conditions := make([]string, 0, len(attributes))
	for _, key := range attributes {
		conditions = append(conditions, key.GetName()+" IS NOT NULL")
	}
	// A query that names an attribute is refused while the server does not know it.
	query := strings.Join(conditions, " AND ")
	return poll(ctx, func(ctx context.Context) error {
		_, err := to.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{
			Namespace: Namespace, Query: query,
		})
		return err
	})
}

// poll tries until it works, every tenth of a second.
func poll(ctx context.Context, try func(context.Context) error) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last answer: %w", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}
