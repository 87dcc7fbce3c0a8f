package warden

import (
	"errors"
	"fmt"
	"strings"

	"github.com/durable-dea/dea/warden/wardenpb"
)

// What a server refuses with, for errors.Is. The protocol has no codes: these are told apart by the words of its
// messages, which all servers share.
var (
	// ErrUnknownHandle: the container is not there.
	ErrUnknownHandle = errors.New("unknown handle")
	// ErrNoSuchJob: the job never was, was linked or streamed already, or is another container's.
	ErrNoSuchJob = errors.New("no such job")
	// ErrHandleInUse: a container with that handle is there already.
	ErrHandleInUse = errors.New("container exists already")
	// ErrNoRootfs: the root file system of a Create is not there, or is given in a form that the server does not know.
	ErrNoRootfs = errors.New("rootfs not found")
	// ErrWrongState: the container's state does not allow the request; it is stopped.
	ErrWrongState = errors.New("wrong container state")
	// ErrCopyFailed: a copy's source, the parent of its target, or its owner does not exist.
	ErrCopyFailed = errors.New("command exited with failure")
)

// ErrUnavailable: the server could not be asked, or was lost before it answered. What was asked for may have been
// done or not.
var ErrUnavailable = errors.New("warden server is unavailable")

// Error is a server's Error answer.
type Error struct {
	// Request is the type of what was asked.
	Request wardenpb.Message_Type
	// Message is the server's sentence.
	Message string
	// Data and Backtrace are what the server added for its own developers; mostly empty.
	Data      string
	Backtrace []string
}

func (e *Error) Error() string {
	return fmt.Sprintf("warden %s: %s", strings.ToLower(e.Request.String()), e.Message)
}

// Is tells the sentinel errors of this package by the message.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrUnknownHandle:
		return e.Message == "unknown handle"
	case ErrNoSuchJob:
		return e.Message == "no such job"
	case ErrHandleInUse:
		return strings.HasPrefix(e.Message, "container with handle: ") && strings.HasSuffix(e.Message, " already exists.")
	case ErrNoRootfs:
		return strings.HasPrefix(e.Message, "rootfs ") && strings.HasSuffix(e.Message, " not found")
	case ErrWrongState:
		return strings.HasPrefix(e.Message, "Container state must be one of ")
	case ErrCopyFailed:
		return e.Message == "command exited with failure"
	}
	return false
}

// unavailableError keeps the cause of ErrUnavailable.
type unavailableError struct {
	socket  string
	request wardenpb.Message_Type
	err     error
}

func (e *unavailableError) Error() string {
	return fmt.Sprintf("warden %s: no answer from the server at %s: %v", strings.ToLower(e.request.String()), e.socket, e.err)
}

func (e *unavailableError) Unwrap() []error { return []error{ErrUnavailable, e.err} }
