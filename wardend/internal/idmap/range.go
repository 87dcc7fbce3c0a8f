package idmap

import (
	"errors"
	"fmt"
	"math"
)

// ErrRange is wrapped by the errors of [Range.Validate].
var ErrRange = errors.New("range of user ids cannot be used")

// Range maps the ids of a container, 0 to Size-1, to the ids Host to
// Host+Size-1 of the machine, for users and groups alike. The zero Range maps
// nothing.
type Range struct {
	Host uint32 // what the container's root is on the machine
	Size uint32 // how many ids the container has
}

// ToHost returns what id of the container is on the machine; false if the
// container has no such id.
func (r Range) ToHost(id uint32) (uint32, bool) {
	if id >= r.Size || id > math.MaxUint32-r.Host {
		return 0, false
	}
	return r.Host + id, true
}

// Validate returns an error that wraps [ErrRange] unless r has ids, has none
// beyond what the kernel takes (2^32-2, as 2^32-1 means "no id" to it), and
// does not give the container the machine's root.
func (r Range) Validate() error {
	switch {
	case r.Size == 0:
		return fmt.Errorf("%w: it is empty", ErrRange)
	case r.Host == 0:
		return fmt.Errorf("%w: the container's root would be the machine's", ErrRange)
	case uint64(r.Host)+uint64(r.Size) > math.MaxUint32:
		return fmt.Errorf("%w: %d ids from %d go beyond %d", ErrRange, r.Size, r.Host, uint32(math.MaxUint32-1))
	}
	return nil
}
