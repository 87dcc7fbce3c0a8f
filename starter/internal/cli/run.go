package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/internal/cleantext"
	"github.com/durable-dea/dea/starter/internal/progress"
	"github.com/durable-dea/dea/starter/internal/push"
	"github.com/durable-dea/dea/starter/internal/remote"
	"github.com/durable-dea/dea/starter/internal/render"
	"github.com/durable-dea/dea/starter/internal/terminal"
	"github.com/durable-dea/dea/starter/internal/watch"
)

// Process is what a program is given by whoever starts it. All fields are required.
type Process struct {
	Args     []string
	In       io.Reader
	Out, Err io.Writer
	Env      func(string) string
	Now      func() time.Time
}

// Run carries out one command line and returns the exit code. The end of ctx is an interrupt.
func Run(ctx context.Context, p Process) int {
	s := &session{process: p, format: render.Text}
	defer s.close()
	root := newRoot(s)
	root.SetArgs(p.Args)
	command, err := root.ExecuteContextC(ctx)
	if s.command = command; err != nil && !s.ran {
		err = usageError{err}
		s.guessFormat()
	}
	return s.finish(err)
}

// guessFormat finds the wish for JSON in a command line that could not be parsed as far as there.
func (s *session) guessFormat() {
	for i, arg := range s.process.Args {
		switch {
		case arg == "--":
			return
		case slices.Contains([]string{"--output=json", "-o=json", "-ojson"}, arg),
			arg == string(render.JSON) && i > 0 && slices.Contains([]string{"--output", "-o"}, s.process.Args[i-1]):
			s.format = render.JSON
		}
	}
}

// session is one command line being carried out.
type session struct {
	process Process
	root    *cobra.Command
	format  render.Format
	debug   bool

	// lines is set by a command whose answer in JSON is an object a line, that its failure is one, too.
	lines bool
	// ran is set once a command's own work begins: what fails before is wrong usage.
	ran bool
	// command is the one that was meant, for hints; set at the end.
	command *cobra.Command
	// partial is how far a command came that failed, for JSON.
	partial any
	closers []func()
	// progress is made once, so that lines of several parts do not mix.
	progress *progress.Reporter
	// router is where apps are reached, nil until the configuration says so.
	router *url.URL
}

func (s *session) close() {
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
}

func (s *session) render() render.Renderer {
	return render.Renderer{Out: s.process.Out, Format: s.format, Now: s.process.Now, Router: s.router}
}

func (s *session) report() *progress.Reporter {
	if s.progress == nil {
		s.progress = progress.New(s.process.Err)
	}
	return s.progress
}

// finish tells of a failure and gives the exit code.
func (s *session) finish(err error) int {
	code := exitCode(err)
	if status := remote.StatusError(0); err == nil || errors.As(err, &status) {
		return code // of a command that has said itself what there is to say
	}
	detail := render.FailureDetail{ExitCode: code}
	detail.Message, detail.Next = words(err)
	if info := api.Explain(err, ""); info.Type != "" {
		detail.Type = string(info.Type)
	}
	var notRunning *watch.NotRunningError
	if errors.As(err, &notRunning) {
		detail.Log = notRunning.Log
	}
	s.tell(err, detail)
	failure := render.Failure{Error: detail, Result: s.partial}
	switch {
	case s.format != render.JSON:
	case s.lines:
		s.encode()(failure)
	default:
		if err := s.render().Object(failure); err != nil {
			return exitFailed
		}
	}
	return code
}

// tell writes a failure for people.
func (s *session) tell(err error, detail render.FailureDetail) {
	var b strings.Builder
	var painter terminal.Painter
	for _, line := range detail.Log {
		if terminal.Is(s.process.Err) {
			line = painter.Line(line)
		}
		fmt.Fprintf(&b, "  %s\n", line)
	}
	// A part of it may be a buildpack's.
	fmt.Fprintln(&b, cleantext.Lines("starter: "+detail.Message))
	if detail.Next != "" {
		fmt.Fprintf(&b, "  %s\n", cleantext.Lines(detail.Next))
	}
	var usage usageError
	if errors.As(err, &usage) && s.command != nil {
		fmt.Fprintf(&b, "  `%s --help` tells how it is used\n", s.command.CommandPath())
	}
	_, _ = io.WriteString(s.process.Err, b.String()) // nobody could be told that nobody can be told
}

// words are an error's, for people: what is wrong, and what to do where that is known.
func words(err error) (what, next string) {
	//nolint:errorlint // what wraps one of these has words of its own, which Error joins
	switch e := err.(type) {
	case *controller.Error:
		return e.Words, e.Next
	case *watch.NotRunningError:
		return e.Words, e.Next
	}
	switch {
	case errors.Is(err, context.Canceled):
		return "interrupted", ""
	case errors.Is(err, push.ErrUsage):
		return strings.TrimPrefix(err.Error(), push.ErrUsage.Error()+": "), ""
	case len(config.Problems(err)) > 0:
		return strings.TrimSpace(err.Error()), "--config FILE or DEA_CONFIG names the configuration; devserver writes one and prints where it is"
	default:
		return strings.TrimSpace(err.Error()), ""
	}
}

// configuration is the client's. It also tells answers where the router is.
func (s *session) configuration() (*config.Client, error) {
	cfg, err := config.LoadClient(config.LoadOptions{Flags: s.root.PersistentFlags(), Env: s.process.Env})
	if err != nil {
		return nil, err
	}
	if cfg.Router != "" {
		s.router, _ = url.Parse(cfg.Router.Reveal()) // it was checked
	}
	return cfg, nil
}

// open connects to the platform, once a command.
func (s *session) open(ctx context.Context) (*controller.Client, error) {
	cfg, err := s.configuration()
	if err != nil {
		return nil, err
	}
	return s.connect(ctx, cfg)
}

func (s *session) connect(ctx context.Context, cfg *config.Client) (*controller.Client, error) {
	c, err := controller.Dial(ctx, controller.Options{Temporal: cfg.Temporal, Log: s.log()})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, c.Close)
	return c, nil
}
