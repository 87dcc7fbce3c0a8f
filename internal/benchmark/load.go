package benchmark

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// busy is the load average, of the last minute and per core, from which on others take what is measured.
const busy = 0.25

// WarnIfBusy says when others use the processor already.
func WarnIfBusy() {
	var load float64
	content, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return
	}
	if _, err := fmt.Sscan(string(content), &load); err == nil && load/float64(runtime.NumCPU()) > busy {
		fmt.Fprintf(os.Stderr, "bench: this machine is busy (load average %.1f); the figures will be worse for it\n", load)
	}
}

// ProcessorTime is what the kernel has counted since it started, in its ticks.
type ProcessorTime struct {
	busy, stolen float64
}

// CountTime reads the first line of /proc/stat: cpu user nice system idle iowait irq softirq steal. All zero where it
// cannot be read.
func CountTime() ProcessorTime {
	content, err := os.ReadFile("/proc/stat")
	if err != nil {
		return ProcessorTime{}
	}
	line, _, _ := strings.Cut(string(content), "\n")
	var name string
	var user, nice, system, idle, wait, irq, soft, steal float64
	if _, err := fmt.Sscan(line, &name, &user, &nice, &system, &idle, &wait, &irq, &soft, &steal); err != nil {
		return ProcessorTime{}
	}
	return ProcessorTime{user + nice + system + irq + soft, steal}
}

// tolerable is the part of the wanted processor time that a host may take without anybody noticing it in a median.
const tolerable = 0.05

// WarnIfStolen says when the host of a virtual machine gave it less than it wanted since before.
func WarnIfStolen(before ProcessorTime) {
	after := CountTime()
	stolen, wanted := after.stolen-before.stolen, after.busy-before.busy+after.stolen-before.stolen
	if wanted > 0 && stolen/wanted > tolerable {
		fmt.Fprintf(os.Stderr, "bench: the host of this machine took %.0f %% of the processor time that was wanted; "+
			"the figures are worse for it\n", 100*stolen/wanted)
	}
}
