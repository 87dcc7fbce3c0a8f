package ociruntime

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/idmap"
)

// Container is what differs from one container to the next.
type Container struct {
	// ID names the container to the runtime.
	ID string
	// Root is the absolute path of its mounted root file system on the machine. Every directory above it lets
	// the container's root pass (mode o+x), since the runtime enters it as that user.
	Root string
	// Hostname is cut at 64 bytes, the kernel's limit; empty leaves the machine's name.
	Hostname string
	// Args is process 1, by its path in the container, and its arguments.
	Args []string
	// IDs are the container's user and group ids on the machine.
	IDs idmap.Range
	// CgroupPath is where the runtime puts process 1, as an absolute path within each hierarchy.
	CgroupPath string
}

const (
	configName  = "config.json"
	configMode  = 0o600
	maxHostname = 64
)

// filterAnnotation has crun load a compiled seccomp filter (base64) in place of the configuration's section; other
// runtimes ignore it.
const filterAnnotation = "run.oci.seccomp_bpf_data"

// Spec is the OCI configuration of a container of ours. Its process 1 is an init of ours, as the container's root.
// Limits are not in it, since they are set on the cgroup of the jobs and not on process 1's; only the rule that closes
// all devices but the usual ones is, since on cgroup v1 jobs stay in process 1's cgroup of devices, and a runtime may
// leave it open when there is no rule.
func Spec(c Container) (*specs.Spec, error) {
	spec := Bare(c)
	spec.Mounts = mounts()
	spec.Linux.Resources = &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}}
	spec.Linux.MaskedPaths = maskedPaths()
	spec.Linux.ReadonlyPaths = readonlyPaths()
	profile, err := seccomp.GetDefaultProfile(spec)
	if err != nil {
		return nil, fmt.Errorf("make seccomp profile: %w", err)
	}
	// Each architecture costs the runtime milliseconds for each container, and next to no kernel has this one.
	profile.Architectures = slices.DeleteFunc(profile.Architectures, func(a specs.Arch) bool { return a == specs.ArchX32 })
	keepSizes(profile)
	spec.Linux.Seccomp = profile
	return spec, nil
}

// keepSizes has a file take no room beyond its size: fallocate with FALLOC_FL_KEEP_SIZE answers that the file system cannot,
// as some cannot. A limit on the size of files (RLIMIT_FSIZE) would bound nothing on a mount that has no other limit.
func keepSizes(profile *specs.LinuxSeccomp) {
	const call, modeArgument = "fallocate", 1
	for i := range profile.Syscalls {
		rule := &profile.Syscalls[i]
		if slices.Contains(rule.Names, call) { // the slice is the profile's own
			rule.Names = slices.DeleteFunc(slices.Clone(rule.Names), func(name string) bool { return name == call })
		}
	}
	keepSize := func(value uint64) []specs.LinuxSeccompArg {
		return []specs.LinuxSeccompArg{{
			Index: modeArgument, Op: specs.OpMaskedEqual, Value: unix.FALLOC_FL_KEEP_SIZE, ValueTwo: value,
		}}
	}
	unsupported := uint(unix.EOPNOTSUPP)
	profile.Syscalls = append(profile.Syscalls,
		specs.LinuxSyscall{Names: []string{call}, Action: specs.ActAllow, Args: keepSize(0)},
		specs.LinuxSyscall{
			Names: []string{call}, Action: specs.ActErrno, ErrnoRet: &unsupported, Args: keepSize(unix.FALLOC_FL_KEEP_SIZE),
		},
	)
}

// Bare is the least of a container with the namespaces, ids and capabilities that ours have: no seccomp filter, no
// masked path, and of mounts only those that a runtime cannot do without. What [Runtime.Run] takes for it is the floor
// that the making of a container is measured against.
func Bare(c Container) *specs.Spec {
	mapping := []specs.LinuxIDMapping{{ContainerID: 0, HostID: c.IDs.Host, Size: c.IDs.Size}}
	return &specs.Spec{
		// The oldest that has all that is used here: a runtime may refuse one that is newer than itself.
		Version:  "1.0.2",
		Root:     &specs.Root{Path: c.Root},
		Hostname: c.Hostname[:min(len(c.Hostname), maxHostname)],
		Process: &specs.Process{
			Args:            c.Args,
			Cwd:             "/",
			Env:             environment(),
			Capabilities:    capabilities(),
			NoNewPrivileges: true,
		},
		Mounts: mounts()[:bareMounts],
		Linux: &specs.Linux{
			UIDMappings: mapping,
			GIDMappings: mapping,
			Namespaces:  namespaces(),
			CgroupsPath: c.CgroupPath,
		},
	}
}

// WriteBundle writes the configuration into dir, an existing directory, which makes it a bundle for this runtime. It
// replaces one that is there.
//
// crun compiles the seccomp filter anew for each container, which takes longer than all else that it does. It is given
// what it compiled for the container that Find tried; the configuration is the same in all that the filter depends on.
func (r *Runtime) WriteBundle(dir string, spec *specs.Spec) error {
	out := *spec
	if len(r.filter) > 0 && spec.Linux != nil && spec.Linux.Seccomp != nil {
		out.Annotations = maps.Clone(spec.Annotations)
		if out.Annotations == nil {
			out.Annotations = map[string]string{}
		}
		out.Annotations[filterAnnotation] = base64.StdEncoding.EncodeToString(r.filter)
	}
	raw, err := json.Marshal(&out)
	if err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, configName), raw, configMode); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	return nil
}

// environment keeps the init, a Go program, small: it is one for each container and has next to nothing to do.
func environment() []string { return []string{"GOMAXPROCS=1", "GOGC=50"} }

func namespaces() []specs.LinuxNamespace {
	return []specs.LinuxNamespace{
		{Type: specs.UserNamespace},
		{Type: specs.PIDNamespace},
		{Type: specs.MountNamespace},
		{Type: specs.NetworkNamespace},
		{Type: specs.IPCNamespace},
		{Type: specs.UTSNamespace},
		{Type: specs.CgroupNamespace},
	}
}

// capabilities are those within the container's user namespace of a user who administers its files, users and
// processes, and nothing of the kernel or the network. CAP_SYS_RESOURCE is for rlimits of another user's process; there
// it does not lift the machine's limits. None is inheritable or ambient, so that a job of another user has none.
func capabilities() *specs.LinuxCapabilities {
	all := []string{
		"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
		"CAP_NET_BIND_SERVICE", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
		"CAP_SYS_RESOURCE",
	}
	return &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
}

// bareMounts is how many of mounts, from the first, a runtime cannot do without.
const bareMounts = 2

// mounts are the kernel's file systems and the memory ones. The first are the container's own, since it has namespaces
// of its own; what is written into the second is charged to the job that writes it, and bounded besides.
func mounts() []specs.Mount {
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "noexec", "strictatime", "mode=755", "size=65536k"}},
		{
			Destination: "/dev/pts", Type: "devpts", Source: "devpts",
			Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"},
		},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
	}
}

// maskedPaths tell of the machine, or of its other users.
func maskedPaths() []string {
	return []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
		"/sys/devices/virtual/powercap", "/sys/firmware",
	}
}

// readonlyPaths change the machine.
func readonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}
