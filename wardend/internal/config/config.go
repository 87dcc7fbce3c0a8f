package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/names"
	"github.com/durable-dea/dea/wardend/internal/pool"
)

// Backends that can be asked for.
const (
	BackendAuto    = "auto"
	BackendOCI     = "oci"
	BackendProcess = "process"
)

// Ways to limit a container's disk that can be asked for.
const (
	ScratchAuto  = "auto"
	ScratchQuota = "quota"
	ScratchBtrfs = "btrfs"
	ScratchImage = "image"
)

// Config is how a wardend runs.
type Config struct {
	// Socket is the unix socket's path, SocketMode its permissions.
	Socket     string
	SocketMode fs.FileMode
	// SocketGroup is the name or number of the group that the socket belongs to and that may connect, whatever
	// SocketMode says; the server's own when empty.
	SocketGroup string
	// Name tells the wardends of one kernel apart: up to 8 of a-z and 0-9. Empty is one made of the depot's path.
	Name string
	// Depot is the directory that containers lie in.
	Depot string
	// Backend is BackendAuto, BackendOCI or BackendProcess.
	Backend string
	// Runtime is the OCI runtime's binary, for the oci backend; the first of crun and runc when empty.
	Runtime string
	// Rootfs is the root directory of containers that are made without one.
	Rootfs string
	// Scratch is how what containers write is limited: ScratchAuto, ScratchQuota, ScratchBtrfs or ScratchImage.
	Scratch string
	// ScratchSize in bytes is the most that all containers together may write where that is a file of its own; 0 for
	// most of what is free in the file system that the depot lies on.
	ScratchSize uint64
	// PidsLimit is how many processes and threads the jobs of a container may have; 0 for no limit.
	PidsLimit uint64
	// AllowNetworks and DenyNetworks are what containers can reach of the world outside: all of it but DenyNetworks;
	// AllowNetworks win.
	AllowNetworks, DenyNetworks []netip.Prefix
	// PoolNetwork is what the containers' /30 networks are cut from.
	PoolNetwork netip.Prefix
	// PortStart and PortSize are the pool that NetIn takes ports from; both 0 for one above the kernel's own range.
	PortStart, PortSize uint32
	// GraceTime in seconds is how long a container stays that no connection refers to.
	GraceTime uint32
	// JobOutputLimit in bytes is how much of a job's output is kept; one that writes more is ended.
	JobOutputLimit int64
	// Rlimits are a job's own unless its request says otherwise.
	Rlimits *wardenpb.ResourceLimits
	// LogLevel is debug, info, warn or error; LogFormat text or json; LogFile is empty for standard error.
	LogLevel, LogFormat, LogFile string
	// Ignored are keys of the file that have no meaning here, for the log.
	Ignored []string
}

// Default is what holds where nothing else is said.
func Default() Config {
	return Config{
		Socket:         "/tmp/warden.sock",
		SocketMode:     0o600,
		Depot:          "/var/lib/wardend/depot",
		Backend:        BackendAuto,
		Scratch:        ScratchAuto,
		PidsLimit:      4096,
		PoolNetwork:    netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 254, 0, 0}), 22),
		GraceTime:      300,
		JobOutputLimit: 10 << 20,
		LogLevel:       "info",
		LogFormat:      "text",
	}
}

// Validate says everything that is wrong.
func (c *Config) Validate() error {
	var errs []error
	bad := func(name, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...)))
	}
	if c.Socket == "" {
		bad("socket", "must be a path")
	}
	if c.SocketMode&^fs.ModePerm != 0 {
		bad("socket-mode", "%o is no file mode", c.SocketMode)
	}
	if c.Depot == "" {
		bad("depot", "must be a directory")
	}
	if c.Backend != BackendAuto && c.Backend != BackendOCI && c.Backend != BackendProcess {
		bad("backend", "%q is none of auto, oci, process", c.Backend)
	}
	if c.Name != "" && !names.IsInstance(c.Name) {
		bad("name", "%q is not 1 to 8 of a-z and 0-9", c.Name)
	}
	switch c.Scratch {
	case ScratchAuto, ScratchQuota, ScratchBtrfs, ScratchImage:
	default:
		bad("scratch", "%q is none of auto, quota, btrfs, image", c.Scratch)
	}
	if _, err := pool.NewNetworks(c.PoolNetwork, nil); err != nil {
		bad("pool-network", "%v", err)
	}
	if c.PortStart != 0 || c.PortSize != 0 {
		if _, err := pool.NewPorts(c.PortStart, c.PortSize); err != nil {
			bad("port-pool", "%v", err)
		}
	}
	if c.JobOutputLimit < 0 {
		bad("job-output-limit", "%d is less than 0", c.JobOutputLimit)
	}
	if c.LogLevel != "debug" && c.LogLevel != "info" && c.LogLevel != "warn" && c.LogLevel != "error" {
		bad("log-level", "%q is none of debug, info, warn, error", c.LogLevel)
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		bad("log-format", "%q is none of text, json", c.LogFormat)
	}
	for layer := range strings.SplitSeq(c.Rootfs, ":") {
		if c.Rootfs != "" && !filepath.IsAbs(layer) {
			bad("rootfs", "%q is not absolute", layer)
		}
	}
	return errors.Join(errs...)
}

// ParsePortPool reads START:SIZE.
func ParsePortPool(s string) (start, size uint32, err error) {
	first, second, found := strings.Cut(s, ":")
	a, err1 := strconv.ParseUint(first, 10, 16)
	b, err2 := strconv.ParseUint(second, 10, 32)
	if !found || err1 != nil || err2 != nil {
		return 0, 0, fmt.Errorf("%q is not START:SIZE", s)
	}
	return uint32(a), uint32(b), nil
}

// ParseNetworks reads networks in CIDR form, or single addresses.
func ParseNetworks(list []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, s := range list {
		network, err := netip.ParsePrefix(s)
		if err != nil {
			address, addressErr := netip.ParseAddr(s)
			if addressErr != nil {
				return nil, fmt.Errorf("%q is neither a network nor an address", s)
			}
			network = netip.PrefixFrom(address, address.BitLen())
		}
		if !network.Addr().Is4() {
			return nil, fmt.Errorf("%q is not IPv4", s)
		}
		all = append(all, network.Masked())
	}
	return all, nil
}

// ParseSize reads bytes, with K, M, G or T for their powers of 1024 behind if need be.
func ParseSize(s string) (uint64, error) {
	const bitsEach = 10 // of 1024
	number, shift := s, 0
	if s != "" {
		if at := strings.IndexByte("KMGT", s[len(s)-1]); at >= 0 {
			number, shift = s[:len(s)-1], (at+1)*bitsEach
		}
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || n<<shift>>shift != n {
		return 0, fmt.Errorf("%q is no size: a number of bytes, with K, M, G or T behind it if need be", s)
	}
	return n << shift, nil
}

// ParseMode reads permissions in octal.
func ParseMode(s string) (fs.FileMode, error) {
	mode, err := strconv.ParseUint(strings.TrimPrefix(s, "0o"), 8, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is no file mode in octal", s)
	}
	return fs.FileMode(mode), nil
}
