package temporal

import (
	"context"
	"strings"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/durable-dea/dea/devserver/internal/wait"
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
	return wait.For(ctx, 100*time.Millisecond, func(ctx context.Context) error {
		_, err := to.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{
			Namespace: Namespace, Query: query,
		})
		return err
	})
}
