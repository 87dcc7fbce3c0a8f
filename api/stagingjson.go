package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// MaxStagingRequestBytes bounds a staging request: Temporal takes no payload over 2 MB, and the request is encrypted and
// goes along with other fields.
const MaxStagingRequestBytes = 2<<20 - 64<<10

// ParseStagingRequest reads a staging request in the wire's form, of at most MaxStagingRequestBytes. Unknown fields are
// dropped. It fails with an error of type ErrInvalidRequest that repeats none of the request's values; what the values mean
// is left to Validate.
func ParseStagingRequest(text []byte) (StagingRequest, error) {
	var request StagingRequest
	if err := readJSON(text, MaxStagingRequestBytes, &request); err != nil {
		return StagingRequest{}, err
	}
	return request, nil
}

// readJSON reads a text of at most so many bytes into each of what is given. Its errors are for whoever wrote the text.
func readJSON(text []byte, most int, into ...any) error {
	if len(text) > most {
		return Final(ErrInvalidRequest, fmt.Sprintf("the request is longer than %d bytes", most), nil)
	}
	for _, value := range into {
		if err := json.Unmarshal(text, value); err != nil {
			// The decoder's own error may quote what it could not read.
			return Final(ErrInvalidRequest, describeJSON(err), nil)
		}
	}
	return nil
}

// UnmarshalJSON reads the wire's form, in which a start message that is not wanted may be an empty object.
func (r *StagingRequest) UnmarshalJSON(text []byte) error {
	type plain StagingRequest
	if err := json.Unmarshal(text, (*plain)(r)); err != nil {
		return err
	}
	if r.StartMessage != nil && reflect.ValueOf(*r.StartMessage).IsZero() {
		r.StartMessage = nil
	}
	return nil
}

// describeJSON says what is wrong with a request's JSON, in the words of whoever writes requests and not of the program
// that reads them, and without repeating any of it.
func describeJSON(err error) string {
	var wrongType *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &wrongType):
		return describeType(wrongType)
	case errors.As(err, &syntax):
		// Its own words quote the byte that does not fit.
		return fmt.Sprintf("the request is no JSON: it ends too early, or what stands at byte %d does not belong there", syntax.Offset)
	default:
		return "the request is no JSON"
	}
}

// describeType is describeJSON for a value of the wrong kind. Within a list the field is the list's.
func describeType(wrong *json.UnmarshalTypeError) string {
	has, must := jsonWords(wrong.Value), typeWords(wrong.Type)
	if wrong.Field == "" {
		return fmt.Sprintf("the request has %s where %s must be", has, must)
	}
	return fmt.Sprintf("the request's %s has %s where %s must be", wrong.Field, has, must)
}

// jsonWords tell what JSON has, by the decoder's word for it.
func jsonWords(value string) string {
	kind, figure, _ := strings.Cut(value, " ")
	switch {
	case kind == "number" && figure != "": // the decoder repeats those that do not fit
		return "a fraction or too large a number"
	case kind == "number":
		return "a number"
	case kind == "string":
		return "a text"
	case kind == "array":
		return "a list"
	case kind == "bool":
		return "true or false"
	default:
		return "an object"
	}
}

// typeWords tell what is wanted.
func typeWords(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return typeWords(t.Elem())
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		switch t.Elem().Kind() {
		case reflect.String:
			return "a list of texts"
		case reflect.Struct:
			return "a list of objects"
		default:
			return "a list"
		}
	case reflect.Struct, reflect.Map:
		return "an object"
	default:
		return "a whole number"
	}
}
