package stack

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/devserver/internal/ports"
)

// Options say what to start.
type Options struct {
	// Data is the directory that keeps everything; empty means a temporary one.
	Data string
	// Nodes is how many nodes there are, 0 for none.
	Nodes int
	// PortBase is the first port of the row; 0 looks for a free row.
	PortBase int
	// InstancePorts is how many ports a node has for instances.
	InstancePorts int
	// Bin is the directory of the programs worker, wardend, dea-runner and staticd.
	Bin string
	// Buildpacks is the directory with one buildpack in each of its directories.
	Buildpacks string
	// Backend and RootFS are wardend's.
	Backend, RootFS string
	// Network is the range that nodes take their containers' addresses from, a /22 each.
	Network string
	// Stack is the name of the one stack that the nodes offer.
	Stack string
	// MemoryMB and DiskMB are what each node gives out; 0 divides the machine's.
	MemoryMB, DiskMB int64
	// Metrics is host:port where Temporal's server shows its metrics, in Prometheus' form; empty for nowhere.
	Metrics string
	// Restart starts workers and wardends again that died.
	Restart bool
	// LogLevel is trace, debug, info, warn or error.
	LogLevel string
	// Progress takes a line for each thing that happens. Required.
	Progress io.Writer
	// Verbose copies the processes' logs to Progress.
	Verbose bool
}

// leastMemoryMB lets a node stage one app beside a running one, however small the machine is.
const leastMemoryMB = 2048

// Validate tells everything that is wrong with the options.
func (o Options) Validate() error {
	var wrong []error
	base := o.PortBase
	if base == 0 {
		base = ports.DefaultBase
	}
	if _, err := ports.NewRow(base, o.Nodes, o.InstancePorts); err != nil {
		wrong = append(wrong, err)
	}
	if o.MemoryMB < 0 || o.DiskMB < 0 {
		wrong = append(wrong, errors.New("memory and disk of a node cannot be below 0 MB"))
	}
	switch o.Backend {
	case "auto", "oci", "process":
	default:
		wrong = append(wrong, fmt.Errorf("there is no backend %q: it is auto, oci or process", o.Backend))
	}
	if o.Stack == "" {
		wrong = append(wrong, errors.New("the stack needs a name"))
	}
	if _, err := carve(o.Network, max(o.Nodes, 1)); err != nil {
		wrong = append(wrong, err)
	}
	return errors.Join(wrong...)
}

// resources are what each node gives out.
func (o Options) resources(data string) (memoryMB, diskMB int64, err error) {
	memoryMB, diskMB = o.MemoryMB, o.DiskMB
	nodes := int64(max(o.Nodes, 1))
	if memoryMB == 0 {
		var info unix.Sysinfo_t
		if err := unix.Sysinfo(&info); err != nil {
			return 0, 0, fmt.Errorf("ask for the machine's memory: %w", err)
		}
		// A quarter is left to Temporal and to whoever works at this machine.
		total := int64(info.Totalram) * int64(info.Unit) >> 20 //nolint:gosec // a machine's memory fits
		memoryMB = max(total*3/4/nodes, leastMemoryMB)
	}
	if diskMB == 0 {
		var info unix.Statfs_t
		if err := unix.Statfs(data, &info); err != nil {
			return 0, 0, fmt.Errorf("ask for the free space at %s: %w", data, err)
		}
		diskMB = max(int64(info.Bavail)*info.Bsize>>20*9/10/nodes, 1) //nolint:gosec // a file system's size fits
	}
	return memoryMB, diskMB, nil
}

// programs finds what the nodes run, and tells everything that is missing at once.
func (o Options) program(name string) string { return filepath.Join(o.Bin, name) }

func (o Options) checkPrograms() error {
	if o.Nodes == 0 {
		return nil
	}
	var missing []string
	for _, name := range []string{"worker", "wardend", "dea-runner"} {
		if info, err := os.Stat(o.program(name)); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("no program %s in %s: build them with `make build`, or say where they are with --bin",
			strings.Join(missing, ", "), o.Bin)
	}
	return nil
}
