package render

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/durable-dea/dea/api"
)

// Nodes writes a list of nodes, and what they use where that is known of any.
func (r Renderer) Nodes(nodes []NodeUsage) error {
	if nodes == nil {
		nodes = []NodeUsage{} // an empty list in JSON, not null
	}
	return r.answer(map[string]any{"nodes": nodes}, func(out io.Writer) {
		if len(nodes) == 0 {
			_, _ = fmt.Fprintln(out, "No nodes. A worker that starts joins as one.")
			return
		}
		r.nodes(out, nodes)
	})
}

// Node writes one node.
func (r Renderer) Node(n api.NodeStatus) error {
	return r.answer(n, func(out io.Writer) { r.nodes(out, []NodeUsage{{NodeStatus: n}}) })
}

func (r Renderer) nodes(out io.Writer, nodes []NodeUsage) {
	known := slices.ContainsFunc(nodes, func(n NodeUsage) bool { return n.Stats != nil })
	header := []string{"NODE", "STATE", "ZONE", "STACKS", "HOST", "MEMORY MB", "DISK MB", "INSTANCES", "STAGINGS"}
	if known {
		header = append(header, "LOAD", "MEMORY USED")
	}
	rows := make([][]string, 0, len(nodes))
	ages := make([]string, 0, len(nodes))
	for _, n := range nodes {
		instances, stagings := 0, 0
		for _, reservation := range n.Reservations {
			switch reservation.Kind {
			case api.KindInstance:
				instances++
			case api.KindStaging:
				stagings++
			}
		}
		row := []string{
			n.Node, string(n.State), n.Zone, strings.Join(n.Stacks, ","), n.Host,
			used(n.Reserved.MemoryMB, n.Capacity.MemoryMB), used(n.Reserved.DiskMB, n.Capacity.DiskMB),
			strconv.Itoa(instances), strconv.Itoa(stagings),
		}
		if known {
			row = append(row, machine(n.Stats)...)
		}
		old := ""
		if n.Stats != nil {
			old = measured(r.Now(), n.Stats.At)
		}
		rows, ages = append(rows, row), append(ages, old)
	}
	header, rows = withMeasured(header, rows, ages)
	table(out, header, rows)
}

// used is what is booked of what there is.
func used(reserved, capacity int64) string { return fmt.Sprintf("%d/%d", reserved, capacity) }
