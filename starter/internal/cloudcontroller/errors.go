package cloudcontroller

import (
	"errors"
	"fmt"
	"net/http"
)

// The kinds of errors, for errors.Is. An *Error is always of one of them.
var (
	// ErrUnreachable: the controller does not answer, or not as one does, after every try.
	ErrUnreachable = errors.New("cloud controller unreachable")
	// ErrUnauthorized: name or password are not the controller's.
	ErrUnauthorized = errors.New("cloud controller refused the credentials")
	// ErrNotFound: the controller does not know what was asked for.
	ErrNotFound = errors.New("not found at the cloud controller")
	// ErrRefused: the controller does not want what was sent.
	ErrRefused = errors.New("refused by the cloud controller")
)

// Error is what a request failed of. Its text is for the user and holds no secret.
type Error struct {
	// Kind is one of the Err… variables.
	Kind error
	// Op is what was tried, such as "upload the package".
	Op string
	// Words say what is wrong and what to do.
	Words string
	// Cause is for the operator; may be nil.
	Cause error
}

// Error gives the operation and the words.
func (e *Error) Error() string { return e.Op + ": " + e.Words }

// Unwrap gives the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

// statusError maps an HTTP status to a kind; nil for success. again tells whether another try may mend it.
func statusError(op string, status int) (again bool, err error) {
	switch {
	case status >= 200 && status < 300:
		return false, nil
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return false, &Error{ErrUnauthorized, op, "the cloud controller refused name and password; check cc_url in the configuration", nil}
	case status == http.StatusNotFound:
		return false, &Error{ErrNotFound, op, "the cloud controller does not know it (404)", nil}
	case status == http.StatusRequestEntityTooLarge:
		return false, &Error{ErrRefused, op, "it is too large for the cloud controller; leave files out with .cfignore", nil}
	case status >= 500 || status == http.StatusTooManyRequests:
		words := fmt.Sprintf("the cloud controller answered %d %s; look at its log", status, http.StatusText(status))
		return true, &Error{ErrUnreachable, op, words, nil}
	default:
		words := fmt.Sprintf("the cloud controller answered %d %s", status, http.StatusText(status))
		return false, &Error{ErrRefused, op, words, nil}
	}
}
