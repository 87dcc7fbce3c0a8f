package api

import (
	"errors"
	"fmt"

	"go.temporal.io/sdk/temporal"
)

// ErrorType tells errors apart across Temporal and on the wire.
type ErrorType string

// Error types of a staging; the wire's error_info.type.
const (
	ErrNoAppDetected         ErrorType = "NoAppDetectedError"
	ErrBuildpackCompile      ErrorType = "BuildpackCompileFailed"
	ErrBuildpackRelease      ErrorType = "BuildpackReleaseFailed"
	ErrStagingTimeExpired    ErrorType = "StagingTimeExpired"
	ErrInsufficientResources ErrorType = "InsufficientResources"
	// ErrStager is a fault of the platform's.
	ErrStager ErrorType = "StagerError"
	// ErrStaging is a fault in what was given to stage.
	ErrStaging ErrorType = "StagingError"
)

// Error types of ours.
const (
	// ErrInvalidRequest: what was sent can never work; nothing was begun.
	ErrInvalidRequest ErrorType = "InvalidRequest"
	// ErrStartFailed: an instance could not be started; the message is its exit description.
	ErrStartFailed ErrorType = "StartFailed"
	// ErrDroplet: a droplet could not be had, or is not what its SHA-1 says.
	ErrDroplet ErrorType = "DropletError"
	// ErrWarden: the container server refused or is away.
	ErrWarden ErrorType = "WardenError"
	// ErrControllerUnreachable: the cloud controller does not answer, or not as it should.
	ErrControllerUnreachable ErrorType = "CloudControllerError"
)

// Exit descriptions that users know from Cloud Foundry.
const (
	ExitHealthCheck     = "failed to accept connections within health check timeout"
	ExitMissingCommand  = "missing start command"
	ExitFailedToStart   = "failed to start"
	ExitAppExited       = "app instance exited"
	ExitOutOfMemory     = "out of memory"
	ExitNotDetermined   = "cannot be determined"
	ExitNodeLost        = "node lost"
	ExitUnhealthy       = "failed its liveness check"
	ExitStopped         = "stopped"
	notEnough           = "Not enough %s resource available."
	stagingErrorPrefix  = "Error staging: "
	stagingStoppedCause = "task stopped"
)

// NotEnough is the sentence for a placement that failed. Those for memory and disk are the reference's.
func NotEnough(c Constraint) string {
	switch c {
	case ConstraintMemory, ConstraintDisk:
		return fmt.Sprintf(notEnough, c)
	case ConstraintStack:
		return "No node offers the stack that the app is to run on."
	default:
		return "No node takes new work at the moment."
	}
}

// StagingTaskStopped is the sentence for a staging that was cancelled.
const StagingTaskStopped = stagingErrorPrefix + stagingStoppedCause

// Final makes an error that no retry can mend. words are for the user and must hold no secret; cause is for the
// operator and may be nil.
func Final(t ErrorType, words string, cause error) error {
	return temporal.NewApplicationErrorWithOptions(words, string(t), temporal.ApplicationErrorOptions{
		NonRetryable: true,
		Cause:        cause,
	})
}

// Transient makes an error that a retry may mend. words and cause are as for Final.
func Transient(t ErrorType, words string, cause error) error {
	return temporal.NewApplicationErrorWithOptions(words, string(t), temporal.ApplicationErrorOptions{Cause: cause})
}

// StartFailed makes the error of an instance that ended, or was given up, before it was healthy. No retry can mend
// it: the app's process is never started twice in one container.
func StartFailed(exit InstanceExit, cause error) error {
	return temporal.NewApplicationErrorWithOptions(exit.Description, string(ErrStartFailed),
		temporal.ApplicationErrorOptions{NonRetryable: true, Cause: cause, Details: []any{exit}})
}

// StartFailure finds in an error how an instance ended that StartFailed told of; false when it holds none.
func StartFailure(err error) (InstanceExit, bool) {
	var app *temporal.ApplicationError
	var exit InstanceExit
	if !errors.As(err, &app) || ErrorType(app.Type()) != ErrStartFailed || !app.HasDetails() {
		return exit, false
	}
	return exit, app.Details(&exit) == nil
}

// Explain finds the type and the user's words in an error that came through Temporal. An error without a type of
// ours gives fallback and a sentence that names no cause.
func Explain(err error, fallback ErrorType) ErrorInfo {
	var app *temporal.ApplicationError
	for e := err; errors.As(e, &app); e = app.Unwrap() {
		if isOurs(ErrorType(app.Type())) {
			return ErrorInfo{Type: ErrorType(app.Type()), Message: app.Message()}
		}
		if app.Unwrap() == nil {
			break
		}
	}
	var timeout *temporal.TimeoutError
	if errors.As(err, &timeout) {
		return ErrorInfo{Type: fallback, Message: "the node did not answer in time"}
	}
	if temporal.IsCanceledError(err) {
		return ErrorInfo{Type: fallback, Message: stagingStoppedCause}
	}
	var terminated *temporal.TerminatedError
	if errors.As(err, &terminated) {
		return ErrorInfo{Type: fallback, Message: "its workflow was terminated or reset from outside"}
	}
	return ErrorInfo{Type: fallback, Message: "an internal error; the workflow's history has the cause"}
}

func isOurs(t ErrorType) bool {
	switch t {
	case ErrNoAppDetected, ErrBuildpackCompile, ErrBuildpackRelease, ErrStagingTimeExpired,
		ErrInsufficientResources, ErrStager, ErrStaging, ErrInvalidRequest, ErrStartFailed, ErrDroplet,
		ErrWarden, ErrControllerUnreachable:
		return true
	}
	return false
}
