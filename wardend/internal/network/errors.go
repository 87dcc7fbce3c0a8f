package network

import (
	"errors"
	"fmt"
	"net/netip"
)

// What callers may want to tell apart. The errors of this package wrap these.
var (
	// ErrPortTaken: the host port leads to another container already, or to another port.
	ErrPortTaken = errors.New("host port is in use")
	// ErrNotAttached: the container has no link. Attach comes first.
	ErrNotAttached = errors.New("container has no network")
	// ErrNotInPool: not one of the pool's networks.
	ErrNotInPool = errors.New("not a network of the pool")
	// ErrOtherPool: the instance has containers whose networks are of another pool.
	ErrOtherPool = errors.New("it has a network of another pool: use that pool until it is gone")
	// ErrBadRule: a rule of NetOut that means nothing.
	ErrBadRule = errors.New("egress rule cannot be used")
	// ErrBadLimit: a bandwidth that would let nothing through.
	ErrBadLimit = errors.New("bandwidth limit cannot be used")
)

// Error is what could not be done, in words for a user, apart from the cause.
type Error struct {
	// Message says what failed, without the cause.
	Message string
	// Err is the cause. It may wrap one of this package's sentinels.
	Err error
}

func (e *Error) Error() string { return e.Message + ": " + e.Err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// failed words an error; nil stays nil.
func failed(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &Error{Message: fmt.Sprintf(format, args...), Err: err}
}

// PortTakenError says who has a host port.
type PortTakenError struct {
	HostPort uint16
	// Holder is the container's address and port that it leads to.
	Holder netip.AddrPort
}

func (e *PortTakenError) Error() string {
	return fmt.Sprintf("host port %d leads to %s already", e.HostPort, e.Holder)
}

// Is makes it an ErrPortTaken.
func (e *PortTakenError) Is(target error) bool { return target == ErrPortTaken }

// RuleError says what of a rule is wrong.
type RuleError struct {
	// Field is the protocol's name of the field.
	Field string
	// Value is what stands there.
	Value string
	// Reason completes "it ...".
	Reason string
}

func (e *RuleError) Error() string {
	return fmt.Sprintf("%s %q of the egress rule: it %s", e.Field, e.Value, e.Reason)
}

// Is makes it an ErrBadRule.
func (e *RuleError) Is(target error) bool { return target == ErrBadRule }
