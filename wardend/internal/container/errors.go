package container

import (
	"errors"
	"fmt"

	"github.com/durable-dea/dea/wardend/internal/copytree"
)

// Error is a refusal in the protocol's words.
type Error struct {
	// Message is what the client gets.
	Message string
	// Err is the cause, for the log; it may be nil.
	Err error
}

func (e *Error) Error() string { return e.Message }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

func refuse(format string, args ...any) error { return &Error{Message: fmt.Sprintf(format, args...)} }

func unknownHandle() error { return refuse("unknown handle") }

func noSuchJob() error { return refuse("no such job") }

// copyError gives every failed copy the protocol's one message.
func copyError(err error) error {
	if errors.Is(err, copytree.ErrFailed) {
		return &Error{Message: copytree.ErrFailed.Error(), Err: err}
	}
	return err
}
