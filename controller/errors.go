package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/codec"
)

// The kinds of errors, for errors.Is. An *Error is always of one of them.
var (
	// ErrNoSuchApp: no app of that name is kept running.
	ErrNoSuchApp = errors.New("no such app")
	// ErrNoSuchStaging: no staging of that task is known (Temporal forgets closed ones after its retention).
	ErrNoSuchStaging = errors.New("no such staging")
	// ErrNoSuchInstance: no instance of that id lives.
	ErrNoSuchInstance = errors.New("no such instance")
	// ErrNoSuchNode: no node of that id has ever joined.
	ErrNoSuchNode = errors.New("no such node")
	// ErrInstanceExists: an instance of that id was started with another message.
	ErrInstanceExists = errors.New("another instance has this id")
	// ErrInvalid: what was asked can never work.
	ErrInvalid = errors.New("invalid request")
	// ErrStagingFailed: the staging ended without a droplet; api.Explain tells of which type.
	ErrStagingFailed = errors.New("staging failed")
	// ErrUnreachable: Temporal's server does not answer.
	ErrUnreachable = errors.New("platform unreachable")
	// ErrNoWorker: Temporal's server answers, but no worker took the question up in time.
	ErrNoWorker = errors.New("no worker answers")
	// ErrNotSetUp: the namespace, a search attribute of api.SearchAttributes, or the installation's key is not there.
	ErrNotSetUp = errors.New("namespace not set up")
	// ErrRefused: the platform said no for a reason that is none of the others.
	ErrRefused = errors.New("refused")
)

// Error is what a call failed of.
type Error struct {
	// Kind is one of the Err… variables; of errors that this package did not make, one of another package's.
	Kind error
	// Words are for the user: what is wrong. They hold no secret.
	Words string
	// Next is what the user may do about it; may be empty.
	Next string
	// Cause is for the operator; may be nil.
	Cause error
}

// Error gives the words and what to do next, without the cause.
func (e *Error) Error() string {
	switch {
	case e.Next == "":
		return e.Words
	case strings.HasSuffix(e.Words, "."): // a sentence that users know by heart stays whole
		return e.Words + " " + strings.ToUpper(e.Next[:1]) + e.Next[1:]
	default:
		return e.Words + ": " + e.Next
	}
}

// Unwrap gives the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

// subject is what a call is about, for the words of its errors.
type subject struct {
	missing error // kind when the workflow is not there
	what    string
	name    string
	next    string
}

func appSubject(app string) subject {
	return subject{ErrNoSuchApp, "app", app, "`starter apps` lists those that there are"}
}

func nodeSubject(node string) subject {
	return subject{ErrNoSuchNode, "node", node, "`starter nodes` lists those that there are"}
}

func instanceSubject(instance string) subject {
	return subject{ErrNoSuchInstance, "instance", instance, "it may have ended; `starter ps APP` lists those that live"}
}

func stagingSubject(task string) subject {
	return subject{ErrNoSuchStaging, "staging", task, "it may have ended long ago"}
}

func appStagingSubject(app string) subject {
	return subject{ErrNoSuchStaging, "staging of app", app, "it was never staged, or too long ago"}
}

// explain turns what Temporal's client gave into an *Error. Cancellation by the caller passes through as it is.
func explain(ctx context.Context, err error, s subject) error {
	if err == nil {
		return nil
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("%s %q: %w", s.what, s.name, context.Canceled)
	}
	var known *Error
	if errors.As(err, &known) {
		return err
	}
	if otherKey(err) {
		return &Error{ErrNotSetUp, "the platform's answer is encrypted with a key that is not in this client's key file", nextKeys, err}
	}
	if e := explainService(err, s); e != nil {
		return e
	}
	if isTimeout(err) {
		return &Error{ErrNoWorker, fmt.Sprintf("nobody answered for %s %q in time", s.what, s.name), nextNoWorker, err}
	}
	return refused(err, s)
}

const (
	nextNoWorker    = "check that a worker is running and look at the workflow in Temporal's UI"
	nextUnreachable = "check that it is up and that its address in the configuration is right"
	nextSetUp       = "run `starter setup`"
	nextKeys        = "set temporal.encryption_key_file to the file that the installation's nodes have"
)

// longestName is more than the name of anything has; Temporal refuses a workflow's id of more than 1,000 characters.
const longestName = 500

// explainService explains what Temporal's server said, nil when it said nothing of these.
func explainService(err error, s subject) error {
	var (
		missing     *serviceerror.NotFound
		noNamespace *serviceerror.NamespaceNotFound
		invalid     *serviceerror.InvalidArgument
		denied      *serviceerror.PermissionDenied
		noPoller    *serviceerror.FailedPrecondition
		notReady    *serviceerror.WorkflowNotReady
		busy        *serviceerror.ResourceExhausted
	)
	switch {
	case errors.As(err, &noNamespace):
		return &Error{ErrNotSetUp, "the namespace does not exist on this Temporal server", "make it, then " + nextSetUp, err}
	case errors.As(err, &missing):
		return &Error{s.missing, fmt.Sprintf("there is no %s %q", s.what, s.name), s.next, err}
	case errors.As(err, &invalid) && len(s.name) > longestName:
		return &Error{s.missing, fmt.Sprintf("there is no %s with a name of %d characters", s.what, len(s.name)), s.next, err}
	case errors.As(err, &invalid):
		return &Error{ErrNotSetUp, "Temporal refused the request", "if the namespace is new, " + nextSetUp, err}
	case errors.As(err, &denied), status.Code(err) == codes.Unauthenticated:
		return &Error{ErrRefused, "Temporal refused the client", "check the API key or the certificate", err}
	case errors.As(err, &busy):
		return &Error{ErrRefused, "Temporal is over its limit of requests", "try again in a moment", err}
	case errors.As(err, &noPoller), errors.As(err, &notReady):
		return &Error{ErrNoWorker, fmt.Sprintf("no worker takes up %s %q", s.what, s.name), nextNoWorker, err}
	case isUnreachable(err):
		return &Error{ErrUnreachable, "Temporal's server does not answer", nextUnreachable, err}
	}
	return nil
}

// refused explains what a workflow itself answered. Only an error of a type of ours has words that are fit to show.
func refused(err error, s subject) error {
	info := api.Explain(err, "")
	if info.Type == "" {
		return &Error{
			ErrRefused, fmt.Sprintf("%s %q did not take the request", s.what, s.name),
			"look at the workflow in Temporal's UI", err,
		}
	}
	if info.Type == api.ErrInvalidRequest {
		return &Error{ErrInvalid, info.Message, "", err}
	}
	return &Error{ErrRefused, info.Message, "", err}
}

func invalid(err error) error {
	return &Error{ErrInvalid, api.Explain(err, api.ErrInvalidRequest).Message, "", err}
}

// otherKey tells what only an installation with other keys says. A failure whose message could not be decrypted keeps
// the one that the SDK's converter leaves in its place.
func otherKey(err error) bool {
	const undecoded = "Encoded failure"
	var failure *temporal.ApplicationError
	return errors.Is(err, codec.ErrUnknownKey) || errors.Is(err, codec.ErrTampered) ||
		errors.As(err, &failure) && failure.Message() == undecoded
}

func isUnreachable(err error) bool {
	var unavailable *serviceerror.Unavailable
	return errors.As(err, &unavailable) || status.Code(err) == codes.Unavailable
}

func isTimeout(err error) bool {
	var deadline *serviceerror.DeadlineExceeded
	var update *client.WorkflowUpdateServiceTimeoutOrCanceledError
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &deadline) || errors.As(err, &update)
}
