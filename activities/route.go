package activities

import (
	"context"

	"github.com/durable-dea/dea/api"
)

// RouteParams says which routes an instance has from now on.
type RouteParams struct {
	InstanceID string   `json:"instance_id"`
	URIs       []string `json:"uris"`
	// Version is the instance's new version; empty leaves it.
	Version string `json:"version,omitempty"`
}

// Route gives a running instance other routes. A worker that comes later asks the instance's workflow for them; one that
// has asked and waits for the answer takes these for newer. It fails, to be tried again, as long as a worker that has just
// come does not know its node's instances. An instance that is gone by then needs no routes.
//
// Run twice it says the same again. It takes no time, heartbeats nothing, and cannot be cancelled.
func (c *Containers) Route(_ context.Context, params RouteParams) error {
	if err := c.supervisor.Route(params.InstanceID, params.Version, params.URIs); err != nil {
		return api.Transient(api.ErrWarden, "the node's worker does not look after the instance yet", err)
	}
	return nil
}
