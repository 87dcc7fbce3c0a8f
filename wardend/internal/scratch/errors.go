package scratch

import (
	"errors"
	"fmt"
)

var (
	// ErrID is the error for an id that no container has.
	ErrID = errors.New("not the id of a container")
	// ErrExists is the error of Make for an id that has a directory.
	ErrExists = errors.New("the container has a scratch directory already")
	// ErrNotFound is the error for an id that has no directory, or half of one.
	ErrNotFound = errors.New("the container has no scratch directory")
	// ErrInodesUnlimited is the error of Limit when only the bytes could be limited.
	ErrInodesUnlimited = errors.New("the number of inodes cannot be limited here")
)

// UnusableError says why disk cannot be limited on this machine.
type UnusableError struct {
	// Kind is what was wanted.
	Kind string
	// Reasons has one for each kind that was tried.
	Reasons []error
}

func (e *UnusableError) Error() string {
	return fmt.Sprintf("disk cannot be limited here (%s): %v", e.Kind, errors.Join(e.Reasons...))
}

func (e *UnusableError) Unwrap() []error { return e.Reasons }

// OtherKindError is the error of Open when the directory has containers of another kind than the wanted one.
type OtherKindError struct {
	Dir string
	// Kind is theirs.
	Kind string
}

func (e *OtherKindError) Error() string {
	return fmt.Sprintf("containers in %s were made with disk limits by %q: destroy them first, or keep to it", e.Dir, e.Kind)
}
