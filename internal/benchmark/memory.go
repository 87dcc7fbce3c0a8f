package benchmark

import (
	"fmt"
	"os"
)

// Memory is what a process holds, in MB of 2^20 bytes.
type Memory struct {
	// Now is what it holds (VmRSS), Peak the most that it ever held or held since ForgetPeak (VmHWM).
	Now, Peak float64
}

// MemoryOf looks at a process.
func MemoryOf(pid int) (Memory, error) {
	var m Memory
	for name, to := range map[string]*float64{"VmRSS": &m.Now, "VmHWM": &m.Peak} {
		var kib float64
		text, _ := field(fmt.Sprintf("/proc/%d/status", pid), name)
		if _, err := fmt.Sscanf(text, "%f kB", &kib); err != nil {
			return Memory{}, fmt.Errorf("read %s of process %d: it has ended, or is a zombie: %w", name, pid, err)
		}
		*to = kib / (1 << 10)
	}
	return m, nil
}

// ShareOf is what a process holds for itself, and its share of what it holds with others (Pss), in MB of 2^20 bytes.
func ShareOf(pid int) (float64, error) {
	var kib float64
	text, _ := field(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss")
	if _, err := fmt.Sscanf(text, "%f kB", &kib); err != nil {
		return 0, fmt.Errorf("read the memory of process %d: it has ended, or is a zombie: %w", pid, err)
	}
	return kib / (1 << 10), nil
}

// ForgetPeak makes a process's peak begin anew, at what it holds now.
func ForgetPeak(pid int) error {
	const resetPeak = "5" // proc(5): clear_refs
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte(resetPeak), 0); err != nil {
		return fmt.Errorf("forget the peak of a process's memory: %w", err)
	}
	return nil
}
