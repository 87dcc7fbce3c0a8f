package cli

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/durable-dea/dea/api"
)

// logOnTerminal tells what becomes of a log's bytes, which are others'.
const logOnTerminal = `On a terminal the log keeps its colours (also with NO_COLOR: they are the build tools' own) and loses what could steer
the terminal. Anywhere else it is shown as it was written.`

func (s *session) stageCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "stage -f FILE",
		Short: "Stage an app by a cloud controller's request",
		Long: `Reads a staging request in the form that a cloud controller sends it (JSON), stages the app and shows the log, and
each phase that takes more than a second. Nothing is run, unless the request has a start_message. Fields that are not
known are passed over. A request without task_id gets a new one; one whose task_id was staged before is not staged again,
and the outcome of that time is told. A staging of the same app that still goes on is cancelled, and so is this one by an
interrupt.

` + logOnTerminal,
		Example: `  starter stage -f request.json
  jq '.task_id = "again-1"' request.json | starter stage -f - --output json`,
		Args: nothing(),
		RunE: s.work(func(cmd *cobra.Command, _ []string) error { return s.stage(cmd, file) }),
	}
	fileFlag(cmd, &file, "request")
	return cmd
}

func (s *session) stage(cmd *cobra.Command, file string) error {
	request, err := s.readRequest(cmd.Context(), file)
	if err != nil {
		return err
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

// readRequest reads a request in the wire's form, and names its task where it does not itself.
func (s *session) readRequest(ctx context.Context, file string) (api.StagingRequest, error) {
	text, err := s.readInput(ctx, file)
	if err != nil {
		return api.StagingRequest{}, err
	}
	return parseRequest(text)
}

// readInput reads a file that a command is given. Nobody may ever write what is read: an interrupt ends the wait.
func (s *session) readInput(ctx context.Context, file string) ([]byte, error) {
	type content struct {
		text []byte
		err  error
	}
	came := make(chan content, 1)
	go func() {
		text, err := s.readFile(file)
		came <- content{text, err}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case c := <-came:
		if c.err != nil {
			return nil, usageError{c.err}
		}
		return c.text, nil
	}
}

// readFile reads a file, or standard input where it is named "-".
func (s *session) readFile(file string) ([]byte, error) {
	from := s.process.In
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("open the request: %w", err)
		}
		defer func() { _ = f.Close() }() // only read from
		from = f
	}
	// One byte more than may be: that it is too long is told by whoever parses it.
	text, err := io.ReadAll(io.LimitReader(from, api.MaxStagingRequestBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	return text, nil
}

func parseRequest(text []byte) (api.StagingRequest, error) {
	request, err := api.ParseStagingRequest(text)
	if err != nil {
		return request, usage(err)
	}
	if request.TaskID == "" {
		request.TaskID = uuid.NewString()
	}
	return request, nil
}
