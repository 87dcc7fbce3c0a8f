package placement

import "github.com/durable-dea/dea/api"

// Spread is how many instances of an app each node and each zone has, or is about to have. A zone counts those on nodes
// that are no candidates, too: a full or draining node's instances fail with its zone like any other's.
type Spread struct {
	nodes, zones map[string]int
	zoneOf       map[string]string
}

// NewSpread is the spread of an app with so many instances on each node. all are the nodes that are known, whether they
// take work or not. What is on a node that is given up or evacuated counts for no zone, since it is about to be replaced;
// neither does what is on a node that is not known.
func NewSpread(all []Node, app map[string]int) *Spread {
	s := &Spread{nodes: map[string]int{}, zones: map[string]int{}, zoneOf: map[string]string{}}
	for _, n := range all {
		if n.State != api.NodeStateLost && n.State != api.NodeEvacuating {
			s.zoneOf[n.ID] = n.Zone
		}
	}
	for node, count := range app {
		s.Add(node, count)
	}
	return s
}

// Add counts so many more on a node, or fewer where count is negative.
func (s *Spread) Add(node string, count int) {
	s.nodes[node] += count
	if zone, known := s.zoneOf[node]; known {
		s.zones[zone] += count
	}
}
