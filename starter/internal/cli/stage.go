package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

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
		return fmt.Errorf("the request's %s is a %s and must be a %s", wrongType.Field, wrongType.Value, wrongType.Type)
	case errors.As(err, &syntax):
		return fmt.Errorf("the request is no JSON: byte %d: %s", syntax.Offset, syntax.Error())
	default:
		return errors.New("the request is no JSON")
	}
}
