package proctree

import (
	"fmt"
	"os"
	"strings"
)

// BootID tells this run of the kernel from others. With it, a process's number and Start name the process for good:
// after a new start of the machine both begin anew.
func BootID() (string, error) {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot's id: %w", err)
	}
	return strings.TrimSpace(string(raw)), nil
}
