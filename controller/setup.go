package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/pause"
)

// SetupTimeout is how long Setup may take in all.
const SetupTimeout = time.Minute

// Setup makes the search attributes of api.SearchAttributes in the namespace, and returns when workflows can use
// them. What is there already is left; one that is there with another type fails with ErrNotSetUp.
func (c *Client) Setup(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, SetupTimeout)
	defer cancel()
	about := subject{ErrNotSetUp, "namespace", c.namespace, ""}
	present, err := c.customAttributes(limited)
	if err != nil {
		return explain(ctx, err, about)
	}
	missing, err := missingAttributes(present)
	if err != nil || len(missing) == 0 {
		return err
	}
	_, err = c.temporal.OperatorService().AddSearchAttributes(limited, &operatorservice.AddSearchAttributesRequest{
		Namespace: c.namespace, SearchAttributes: missing,
	})
	var there *serviceerror.AlreadyExists
	if err != nil && !errors.As(err, &there) {
		return explain(ctx, fmt.Errorf("add search attributes: %w", err), about)
	}
	return explain(ctx, c.awaitUsable(limited), about)
}

func (c *Client) customAttributes(ctx context.Context) (map[string]enumspb.IndexedValueType, error) {
	response, err := c.temporal.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{
		Namespace: c.namespace,
	})
	if err != nil {
		return nil, fmt.Errorf("list search attributes: %w", err)
	}
	return response.GetCustomAttributes(), nil
}

// missingAttributes tells what is to be made.
func missingAttributes(present map[string]enumspb.IndexedValueType) (map[string]enumspb.IndexedValueType, error) {
	missing := make(map[string]enumspb.IndexedValueType)
	for _, key := range api.SearchAttributes() {
		switch have, ok := present[key.GetName()]; {
		case !ok:
			missing[key.GetName()] = key.GetValueType()
		case have != key.GetValueType():
			return nil, &Error{
				ErrNotSetUp,
				fmt.Sprintf("search attribute %s is of type %s here, and must be %s", key.GetName(), have, key.GetValueType()),
				"use another namespace, or remove the attribute", nil,
			}
		}
	}
	return missing, nil
}

// awaitUsable waits until a query by every attribute is understood, which is what says that the server's own view of
// them, some seconds old at most, has them.
func (c *Client) awaitUsable(ctx context.Context) error {
	query := ""
	for _, key := range api.SearchAttributes() {
		if query != "" {
			query += " AND "
		}
		query += key.GetName() + " IS NULL"
	}
	for wait := firstPause; ; wait = min(2*wait, time.Second) {
		_, err := c.list(ctx, query+" AND WorkflowId = 'setup'")
		if err == nil {
			return nil
		}
		var unknown *serviceerror.InvalidArgument
		if !errors.As(err, &unknown) || !pause.For(ctx, wait) {
			return err
		}
	}
}
