package activities

import "context"

// RouteParams says which routes an instance has from now on.
type RouteParams struct {
	InstanceID string   `json:"instance_id"`
	URIs       []string `json:"uris"`
	// Version is the instance's new version; empty leaves it.
	Version string `json:"version,omitempty"`
}

// Route gives a running instance other routes. A worker that comes later asks the instance's workflow for them.
//
// Run twice it says the same again. It takes no time, heartbeats nothing, and cannot be cancelled.
func (c *Containers) Route(_ context.Context, params RouteParams) error {
	c.supervisor.Route(params.InstanceID, params.Version, params.URIs)
	return nil
}
