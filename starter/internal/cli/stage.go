package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/durable-dea/dea/api"
)

// maxRequest bounds a staging request: Temporal takes no payload over 2 MB.
const maxRequest = 2 << 20

func (s *session) stageCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "stage -f FILE",
		Short: "Stage an app by a cloud controller's request",
		Long: `Reads a staging request in the form that a cloud controller sends it (JSON), stages the app and shows the log.
Nothing is run, unless the request has a start_message. A request without task_id gets a new one. A staging of the same
app that still runs is cancelled, and so is this one by an interrupt.`,
		Example: `  starter stage -f request.json
  jq '.task_id = "again-1"' request.json | starter stage -f - --output json`,
		Args: nothing(),
		RunE: s.work(func(cmd *cobra.Command, _ []string) error { return s.stage(cmd, file) }),
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "`file` with the request, - for standard input; required")
	if err := cmd.MarkFlagRequired("file"); err != nil {
		panic(err) // the flag was made in the line above
	}
	return cmd
}

func (s *session) stage(cmd *cobra.Command, file string) error {
	request, err := s.readRequest(file)
	if err != nil {
		return usageError{err}
	}
	c, err := s.open(cmd.Context())
	if err != nil {
		return err
	}
	result, err := s.stager(c).Stage(cmd.Context(), request)
	if err != nil {
		if result.TaskID != "" {
			s.partial = result
		}
		return err
	}
	return s.render().Staging(result)
}

// readRequest reads a request. What is wrong with its JSON is told without repeating any of it.
func (s *session) readRequest(file string) (api.StagingRequest, error) {
	var request api.StagingRequest
	from := s.process.In
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return request, fmt.Errorf("open the request: %w", err)
		}
		defer func() { _ = f.Close() }() // only read from
		from = f
	}
	text, err := io.ReadAll(io.LimitReader(from, maxRequest+1))
	switch {
	case err != nil:
		return request, fmt.Errorf("read the request: %w", err)
	case len(text) > maxRequest:
		return request, fmt.Errorf("the request is longer than %d bytes", maxRequest)
	}
	if err := json.Unmarshal(text, &request); err != nil {
		return request, describeJSON(err)
	}
	if request.TaskID == "" {
		request.TaskID = uuid.NewString()
	}
	return request, nil
}

func describeJSON(err error) error {
	var wrongType *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &wrongType):
		return describeType(wrongType)
	case errors.As(err, &syntax):
		return fmt.Errorf("the request is no JSON: byte %d: %s", syntax.Offset, syntax.Error())
	default:
		return errors.New("the request is no JSON")
	}
}

// describeType says it in the words of whoever writes requests, not of the program that reads them. Within a list the
// field is the list's.
func describeType(wrong *json.UnmarshalTypeError) error {
	has, must := jsonWords(wrong.Value), typeWords(wrong.Type)
	if wrong.Field == "" {
		return fmt.Errorf("the request has %s where %s must be", has, must)
	}
	return fmt.Errorf("the request's %s has %s where %s must be", wrong.Field, has, must)
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
