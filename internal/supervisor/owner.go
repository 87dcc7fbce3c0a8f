package supervisor

import (
	"context"

	"github.com/durable-dea/dea/api"
)

// Node is the id of the node that is supervised.
func (s *Supervisor) Node() string { return s.node }

// TellOwner tells the workflow that owns an instance what has become of it, within searchTimeout. One that has closed wants to
// hear nothing, which is no error.
func (s *Supervisor) TellOwner(ctx context.Context, owner string, status api.InstanceStatus) error {
	ctx, cancel := context.WithTimeout(ctx, searchTimeout)
	defer cancel()
	if err := api.SignalInstanceChanged.Send(ctx, s.temporal, owner, status); err != nil && !isNotFound(err) {
		return err
	}
	return nil
}
