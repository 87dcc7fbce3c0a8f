package supervisor

import (
	"maps"
	"slices"
)

// WatchedIDs are the instances whose jobs are watched, in no order.
func (s *Supervisor) WatchedIDs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.watches))
}
