package container

import (
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/initproc"
)

// Resources that package unix has no name for; see getrlimit(2).
const (
	rlimitSigpending = 11
	rlimitMsgqueue   = 12
	rlimitNice       = 13
	rlimitRtprio     = 14
)

// rlimits are a request's limits, and the defaults where it has none.
func rlimits(defaults, asked *wardenpb.ResourceLimits) []initproc.Rlimit {
	if defaults == nil {
		defaults = &wardenpb.ResourceLimits{}
	}
	if asked == nil {
		asked = &wardenpb.ResourceLimits{}
	}
	var all []initproc.Rlimit
	for _, l := range []struct {
		name            string
		resource        int
		value, fallback *uint64
	}{
		{"as", unix.RLIMIT_AS, asked.As, defaults.As},
		{"core", unix.RLIMIT_CORE, asked.Core, defaults.Core},
		{"cpu", unix.RLIMIT_CPU, asked.Cpu, defaults.Cpu},
		{"data", unix.RLIMIT_DATA, asked.Data, defaults.Data},
		{"fsize", unix.RLIMIT_FSIZE, asked.Fsize, defaults.Fsize},
		{"locks", unix.RLIMIT_LOCKS, asked.Locks, defaults.Locks},
		{"memlock", unix.RLIMIT_MEMLOCK, asked.Memlock, defaults.Memlock},
		{"msgqueue", rlimitMsgqueue, asked.Msgqueue, defaults.Msgqueue},
		{"nice", rlimitNice, asked.Nice, defaults.Nice},
		{"nofile", unix.RLIMIT_NOFILE, asked.Nofile, defaults.Nofile},
		{"nproc", unix.RLIMIT_NPROC, asked.Nproc, defaults.Nproc},
		{"rss", unix.RLIMIT_RSS, asked.Rss, defaults.Rss},
		{"rtprio", rlimitRtprio, asked.Rtprio, defaults.Rtprio},
		{"sigpending", rlimitSigpending, asked.Sigpending, defaults.Sigpending},
		{"stack", unix.RLIMIT_STACK, asked.Stack, defaults.Stack},
	} {
		if l.value == nil {
			l.value = l.fallback
		}
		if l.value != nil {
			all = append(all, initproc.Rlimit{Name: l.name, Resource: l.resource, Value: *l.value})
		}
	}
	return all
}
