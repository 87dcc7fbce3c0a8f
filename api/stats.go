package api

import "time"

// StatsInterval is the time between two measurements, of an instance and of a machine.
const StatsInterval = 15 * time.Second

// StatsOutdated tells whether a measurement of such a time says little of now: two later ones are missing. The clocks of a
// node and of whoever asks may differ.
func StatsOutdated(at, now time.Time) bool { return now.Sub(at) > 2*StatsInterval }

// InstanceStats is what an instance used at one moment. It is measured by its node each StatsInterval, kept in the memory of
// the node's worker, and never written to a history.
type InstanceStats struct {
	InstanceID string `json:"instance_id"`
	AppID      string `json:"app_id"`
	Index      int    `json:"index"`
	// At is when it was measured, by the node's clock; see StatsOutdated.
	At time.Time `json:"at"`
	// CPU is the part of one core that it used since the measurement before: 1 is a whole core, 0 where there was none.
	CPU float64 `json:"cpu"`
	// CPUTime is the processor time since its start.
	CPUTime time.Duration `json:"cpu_time_ns"`
	// MemoryBytes and DiskBytes are what it holds, the limits what it may; a limit of 0 is none.
	MemoryBytes      int64 `json:"memory_bytes"`
	MemoryLimitBytes int64 `json:"memory_limit_bytes"`
	DiskBytes        int64 `json:"disk_bytes"`
	DiskLimitBytes   int64 `json:"disk_limit_bytes"`
}

// NodeStats is what a node's machine used at one moment, and each instance on it.
type NodeStats struct {
	Node string `json:"node"`
	// At is when the machine was measured; each instance has a time of its own.
	At time.Time `json:"at"`
	// Load is the machine's load average over one minute, Cores its number of processors.
	Load  float64 `json:"cpu_load_avg"`
	Cores int     `json:"cores"`
	// MemoryUsedBytes and MemoryFreeBytes are the machine's: free is what could be given out without swapping.
	MemoryUsedBytes int64 `json:"mem_used_bytes"`
	MemoryFreeBytes int64 `json:"mem_free_bytes"`
	// DiskUsedBytes and DiskFreeBytes are of the file system of the node's base directory.
	DiskUsedBytes int64 `json:"disk_used_bytes"`
	DiskFreeBytes int64 `json:"disk_free_bytes"`
	// Instances are those that the worker watches, by app and index.
	Instances []InstanceStats `json:"instances,omitempty"`
}
