package remote

import "errors"

// Kinds of controller.Error that this package has of its own.
var (
	// ErrNotServed: the operator lets nobody run commands on the node.
	ErrNotServed = errors.New("sessions are not served")
	// ErrNoKey: there is no key to show.
	ErrNoKey = errors.New("no key")
	// ErrRefused: the node lets none of the keys in.
	ErrRefused = errors.New("not let in")
	// ErrNotBegun: the node could not begin the command.
	ErrNotBegun = errors.New("not begun")
	// ErrOutput: what the command writes cannot be written at this end.
	ErrOutput = errors.New("output cannot be written")
	// ErrCutOff: the session ended without a word of how the command did.
	ErrCutOff = errors.New("the session was cut off")
)

// StatusError is the error of a command that ended with another exit status than 0.
type StatusError int

func (StatusError) Error() string { return "the command failed" }
