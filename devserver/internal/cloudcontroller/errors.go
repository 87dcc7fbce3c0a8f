package cloudcontroller

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// apiError is an answer that is no success. words are for the client; cause, if there is one, is for the log.
type apiError struct {
	status int
	// code and name are cloud_controller_ng's numbers and names of its errors.
	code  int
	name  string
	words string
	cause error
}

func (e *apiError) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("%s: %v", e.words, e.cause)
	}
	return e.words
}

func (e *apiError) Unwrap() error { return e.cause }

func notAuthenticated() *apiError {
	return &apiError{http.StatusUnauthorized, 10002, "CF-NotAuthenticated", "Authentication error", nil}
}

func notFound(what string) *apiError {
	return &apiError{http.StatusNotFound, 10000, "CF-NotFound", what + " was not found", nil}
}

func appNotFound() *apiError {
	return &apiError{http.StatusNotFound, 100004, "CF-AppNotFound", "The app could not be found", nil}
}

func badUpload(words string) *apiError {
	return &apiError{http.StatusBadRequest, 160001, "CF-AppBitsUploadInvalid", "The upload is invalid: " + words, nil}
}

func tooLarge(limit int64) *apiError {
	return &apiError{
		http.StatusRequestEntityTooLarge, 160001, "CF-AppBitsUploadInvalid",
		fmt.Sprintf("The upload is larger than %d bytes", limit), nil,
	}
}

func badRequest(words string) *apiError {
	return &apiError{http.StatusBadRequest, 1001, "CF-MessageParseError", "Request invalid: " + words, nil}
}

func closing() *apiError {
	return &apiError{http.StatusServiceUnavailable, 10001, "CF-ServiceUnavailable", "The server is stopping", nil}
}

func internal(cause error) *apiError {
	return &apiError{http.StatusInternalServerError, 10001, "CF-ServerError", "Server error", cause}
}

// explain makes an answer of any error.
func explain(err error) *apiError {
	var known *apiError
	if errors.As(err, &known) {
		return known
	}
	return internal(err)
}

// errorBody is the wire's form of an error.
type errorBody struct {
	Code        int    `json:"code"`
	Description string `json:"description"`
	ErrorCode   string `json:"error_code"`
}

func (e *apiError) body() errorBody {
	return errorBody{Code: e.code, Description: e.words, ErrorCode: e.name}
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	// A client that is gone by now misses nothing that could be told to anybody else.
	_, _ = w.Write(append(text, '\n'))
	return nil
}
