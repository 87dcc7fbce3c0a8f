package warden

import (
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
)

// Limits are those of a job: how many files each of its processes may have open, and how many processes its user may have. 0, and
// what is less, leaves it to Warden.
func Limits(files, processes int64) *wardenpb.ResourceLimits {
	limits := &wardenpb.ResourceLimits{}
	if files > 0 {
		limits.Nofile = proto.Uint64(uint64(files))
	}
	if processes > 0 {
		limits.Nproc = proto.Uint64(uint64(processes))
	}
	return limits
}
