package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
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
	// ErrBadRedirect: the server sends to what is no such URL, or round and round. It comes beneath ErrUnreachable.
	ErrBadRedirect = errors.New("the server's redirect leads nowhere")
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

// Clean takes what may be secret out of an error of net/http or net/url. It keeps the innermost cause when that is one of
// the network, which names the address that was dialled but never the URL; any other may repeat what the server said,
// such as a redirect with a signature, and only its type is kept.
func Clean(err error) error {
	var withURL *url.Error
	for errors.As(err, &withURL) {
		err = withURL.Err
	}
	if isOfTheNetwork(err) {
		return err
	}
	for next := err; next != nil; next = errors.Unwrap(next) {
		err = next
	}
	return fmt.Errorf("the answer cannot be understood (%T)", err)
}

func isOfTheNetwork(err error) bool {
	for _, known := range []error{
		io.EOF, io.ErrUnexpectedEOF, context.Canceled, context.DeadlineExceeded, http.ErrSchemeMismatch, ErrBadRedirect, errProxy,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	var (
		network     net.Error // also those of the name service, of the system and of TLS' alerts
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
	)
	return errors.As(err, &network) || errors.As(err, &certificate) || errors.As(err, &record)
}
