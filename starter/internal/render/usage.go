package render

import (
	"fmt"
	"slices"
	"time"

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
	if s := of(stats, instance); s != nil {
		return []string{fmt.Sprintf("%.1f%%", s.CPU*100), size.Bytes(s.MemoryBytes), size.Bytes(s.DiskBytes)}
	}
	return []string{"", "", ""}
}

// of finds the statistics of an instance; nil where there are none.
func of(stats []api.InstanceStats, instance string) *api.InstanceStats {
	at := slices.IndexFunc(stats, func(s api.InstanceStats) bool { return s.InstanceID == instance })
	if at < 0 {
		return nil
	}
	return &stats[at]
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

// measured is the cell that says how old numbers are that are out of date; those that are not need no word.
func measured(now, at time.Time) string {
	if at.IsZero() || !api.StatsOutdated(at, now) {
		return ""
	}
	return age(now, at) + " ago"
}

// withMeasured adds the column of measured to a table if any of its rows has something to say there.
func withMeasured(header []string, rows [][]string, cells []string) ([]string, [][]string) {
	if !slices.ContainsFunc(cells, func(cell string) bool { return cell != "" }) {
		return header, rows
	}
	for n := range rows {
		rows[n] = append(rows[n], cells[n])
	}
	return append(header, "MEASURED"), rows
}
