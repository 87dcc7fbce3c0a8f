package fetch

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

var (
	// ErrStalled: nothing moved for the client's inactivity time.
	ErrStalled = errors.New("the transfer stalled")
	// ErrTooLarge: the file is larger than the request allows.
	ErrTooLarge = errors.New("the file is too large")
	// ErrTruncated: the connection ended before the file did.
	ErrTruncated = errors.New("the connection ended too early")
	// ErrUnreachable: no answer came at all.
	ErrUnreachable = errors.New("the server cannot be reached")
	// ErrBadURL: the URL is not one that can be asked.
	ErrBadURL = errors.New("not an http or https URL")
)

// StatusError is an answer with a status that the transfer cannot use.
type StatusError struct {
	// Status is the HTTP status code.
	Status int
	// Host is the server's host and port.
	Host string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s answered %d %s", e.Host, e.Status, http.StatusText(e.Status))
}

// Redact is a URL without its user, password, query and fragment: what may be shown of it. What is no URL becomes
// a word that says so.
func Redact(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" {
		return "(not a URL)"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}

// Host is the host and port of a URL, for messages; "(no host)" when there is none.
func Host(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" {
		return "(no host)"
	}
	return u.Host
}

// Clean takes the URLs out of an error of net/http or net/url: it keeps the innermost cause, which names the address
// that was dialled but never the URL.
func Clean(err error) error {
	var withURL *url.Error
	for errors.As(err, &withURL) {
		err = withURL.Err
	}
	return err
}
