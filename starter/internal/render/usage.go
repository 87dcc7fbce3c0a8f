package render

import (
	"fmt"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/starter/internal/size"
)

// AppUsage is an app with what its instances use.
type AppUsage struct {
	api.AppStatus
	// Stats are of the instances of which they could be had.
	Stats []api.InstanceStats `json:"stats,omitempty"`
}

// NodeUsage is a node with what it uses.
type NodeUsage struct {
	api.NodeStatus
	// Stats are nil where they could not be had.
	Stats *api.NodeStats `json:"stats,omitempty"`
}

// usage is the cells of an instance: processor, memory, disk.
func usage(stats []api.InstanceStats, instance string) []string {
	for _, s := range stats {
		if s.InstanceID == instance {
			return []string{fmt.Sprintf("%.1f%%", s.CPU*100), size.Bytes(s.MemoryBytes), size.Bytes(s.DiskBytes)}
		}
	}
	return []string{"", "", ""}
}

// machine is the cells of a node: load over processors, memory in use of all.
func machine(s *api.NodeStats) []string {
	if s == nil {
		return []string{"", ""}
	}
	return []string{
		fmt.Sprintf("%.2f/%d", s.Load, s.Cores),
		size.Bytes(s.MemoryUsedBytes) + "/" + size.Bytes(s.MemoryUsedBytes+s.MemoryFreeBytes),
	}
}
