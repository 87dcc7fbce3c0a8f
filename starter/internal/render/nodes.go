package render

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/durable-dea/dea/api"
)

// Nodes writes a list of nodes.
func (r Renderer) Nodes(nodes []api.NodeStatus) error {
	if nodes == nil {
		nodes = []api.NodeStatus{} // an empty list in JSON, not null
	}
	return r.answer(map[string]any{"nodes": nodes}, func(out io.Writer) {
		if len(nodes) == 0 {
			_, _ = fmt.Fprintln(out, "No nodes. A worker that starts joins as one.")
			return
		}
		writeNodes(out, nodes)
	})
}

// Node writes one node.
func (r Renderer) Node(n api.NodeStatus) error {
	return r.answer(n, func(out io.Writer) { writeNodes(out, []api.NodeStatus{n}) })
}

func writeNodes(out io.Writer, nodes []api.NodeStatus) {
	rows := make([][]string, 0, len(nodes))
	for _, n := range nodes {
		instances, stagings := 0, 0
		for _, r := range n.Reservations {
			switch r.Kind {
			case api.KindInstance:
				instances++
			case api.KindStaging:
				stagings++
			}
		}
		rows = append(rows, []string{
			n.Node, string(n.State), n.Zone, strings.Join(n.Stacks, ","), n.Host,
			used(n.Reserved.MemoryMB, n.Capacity.MemoryMB), used(n.Reserved.DiskMB, n.Capacity.DiskMB),
			strconv.Itoa(instances), strconv.Itoa(stagings),
		})
	}
	table(out, []string{"NODE", "STATE", "ZONE", "STACKS", "HOST", "MEMORY MB", "DISK MB", "INSTANCES", "STAGINGS"}, rows)
}

// used is what is booked of what there is.
func used(reserved, capacity int64) string { return fmt.Sprintf("%d/%d", reserved, capacity) }
