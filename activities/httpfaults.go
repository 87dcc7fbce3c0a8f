package activities

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/fetch"
)

// httpFault is the error of an activity whose request over HTTP failed: its type, whether another try may mend it, and
// the words for the user. what is the thing that was asked for or sent, as in "the app's package"; kind is the type
// of an answer that refuses it. Neither the words nor the cause hold more of the URL than its host.
//
//	no connection, broken off      CloudControllerError   tried again
//	redirected to nowhere          CloudControllerError   tried again
//	408, 425, 429, 500 and above   CloudControllerError   tried again
//	401, 403                       kind                   final: the URL's credentials are wrong
//	404, 410                       kind                   final: it is not there
//	other status                   kind                   final
//	too large, not a URL           kind                   final
//
// The end of the activity's own context, and what is wrong with the node's disk, stay what they are.
func httpFault(err error, kind api.ErrorType, what, url string) error {
	host := fetch.Host(url)
	var answer *fetch.StatusError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &answer):
		return statusFault(answer, kind, what, host)
	case errors.Is(err, fetch.ErrBadRedirect): // It comes beneath the next.
		return api.Transient(api.ErrControllerUnreachable,
			fmt.Sprintf("%s redirects the request for %s to nowhere", host, what), err)
	case errors.Is(err, fetch.ErrUnreachable):
		return api.Transient(api.ErrControllerUnreachable,
			fmt.Sprintf("the cloud controller at %s cannot be reached", host), err)
	case errors.Is(err, fetch.ErrStalled), errors.Is(err, fetch.ErrTruncated):
		return api.Transient(api.ErrControllerUnreachable,
			fmt.Sprintf("the connection to %s broke while %s was under way", host, what), err)
	case errors.Is(err, fetch.ErrTooLarge):
		return api.Final(kind, what+" is too large", err)
	case errors.Is(err, fetch.ErrBadURL):
		return api.Final(kind, fmt.Sprintf("the address of %s is no http or https URL", what), err)
	default:
		return err
	}
}

func statusFault(answer *fetch.StatusError, kind api.ErrorType, what, host string) error {
	said := fmt.Sprintf("%s answered %d", host, answer.Status)
	switch status := answer.Status; {
	case isTransient(status):
		return api.Transient(api.ErrControllerUnreachable, fmt.Sprintf("the cloud controller at %s for %s", said, what), answer)
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return api.Final(kind, fmt.Sprintf("the credentials for %s were refused: %s", what, said), answer)
	case status == http.StatusNotFound, status == http.StatusGone:
		return api.Final(kind, fmt.Sprintf("%s is not there: %s", what, said), answer)
	default:
		return api.Final(kind, fmt.Sprintf("%s was refused: %s", what, said), answer)
	}
}

func isTransient(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status >= http.StatusInternalServerError
}
