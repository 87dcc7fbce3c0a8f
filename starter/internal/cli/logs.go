package cli

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/durable-dea/dea/starter/internal/applogs"
	"github.com/durable-dea/dea/starter/internal/progress"
	"github.com/durable-dea/dea/starter/internal/render"
	"github.com/durable-dea/dea/starter/internal/staginglog"
	"github.com/durable-dea/dea/starter/internal/tail"
	"github.com/durable-dea/dea/starter/internal/terminal"
)

const (
	defaultLines = 100
	// allStreams is the stream that stands for each of them.
	allStreams = "all"
)

func (s *session) logsCommand() *cobra.Command {
	q := applogs.Query{Lines: defaultLines}
	follow, staging, stream := false, false, allStreams
	cmd := &cobra.Command{
		Use:   "logs NAME",
		Short: "Show what an app's instances write, or its staging",
		Long: fmt.Sprintf(`Shows the last lines that an app's instances wrote to their standard output and standard error, each behind its
instance's index and its stream; at most what the last %d KB of each file hold. With --follow it goes on with what they
write, also with instances that start later, until it is interrupted or the app is deleted. With --output json each
line is an object of its own.

With --staging it is the log of the app's newest staging: all of it and until its end (as by --follow) while the staging
goes on, afterwards the last lines. A node keeps the log for a while after the end (staging.log_lifetime, an hour by default); later it is read from an
instance that runs.

`, tail.LastBytes>>10) + logOnTerminal,
		Example: `  starter logs hello
  starter logs hello -f
  starter logs hello --index 1 --stream stderr --lines 20
  starter logs hello --staging --output json | jq -r .text`,
		Args:              named("NAME"),
		ValidArgsFunction: s.completeApps(),
		RunE: s.work(func(cmd *cobra.Command, args []string) error {
			s.lines, q.App = true, args[0]
			if err := checkLogs(cmd, &q, stream, staging); err != nil {
				return usageError{err}
			}
			if staging {
				return s.stagingLog(cmd, q)
			}
			return s.logs(cmd, q, follow)
		}),
	}
	f := cmd.Flags()
	f.BoolVarP(&follow, "follow", "f", false, "go on with what is written")
	f.BoolVar(&staging, "staging", false, "show the log of the newest staging, instead of what instances write")
	f.IntVar(&q.Index, "index", q.Index, "the one instance to show, by `number`; without it all")
	f.StringVar(&stream, "stream", stream, "stdout, stderr or all")
	f.IntVarP(&q.Lines, "lines", "n", q.Lines, "`number` of lines of each file to begin with")
	return cmd
}

// checkLogs checks the flags and completes the query.
func checkLogs(cmd *cobra.Command, q *applogs.Query, stream string, staging bool) error {
	for _, name := range []string{"index", "stream"} {
		if staging && cmd.Flags().Changed(name) {
			return fmt.Errorf("--%s is about instances, and a staging has none: leave it out, or --staging", name)
		}
	}
	if !cmd.Flags().Changed("index") {
		q.Index = -1
	} else if q.Index < 0 {
		return errors.New("--index must be 0 or more")
	}
	switch stream {
	case allStreams:
		q.Streams = []string{applogs.Stdout, applogs.Stderr}
	case applogs.Stdout, applogs.Stderr:
		q.Streams = []string{stream}
	default:
		return fmt.Errorf("--stream must be all, stdout or stderr, not %q", stream)
	}
	if q.Lines < 1 || q.Lines > maxLines {
		return fmt.Errorf("--lines must be from 1 to %d", maxLines)
	}
	return nil
}

// maxLines bounds what is kept in memory.
const maxLines = 100_000

func (s *session) logs(cmd *cobra.Command, q applogs.Query, follow bool) error {
	c, err := s.open(cmd.Context())
	if err != nil {
		return err
	}
	r := &applogs.Reader{Controller: c, Files: s.files(), Emit: s.emit(), Warn: s.aside}
	if follow {
		return r.Follow(cmd.Context(), q)
	}
	return r.Last(cmd.Context(), q)
}

func (s *session) stagingLog(cmd *cobra.Command, q applogs.Query) error {
	c, err := s.open(cmd.Context())
	if err != nil {
		return err
	}
	r := &staginglog.Reader{Controller: c, Files: s.files(), Emit: s.emitStaging(), Warn: s.aside}
	return r.Newest(cmd.Context(), q.App, q.Lines)
}

// aside tells what goes with a log and is none of it.
func (s *session) aside(text string) { s.report().Linef("(%s)", text) }

// emit writes a line of an instance. One that cannot be written is dropped: whoever read has gone, and the signal says so.
func (s *session) emit() func(applogs.Line) {
	if s.format == render.JSON {
		encode := s.encode()
		return func(l applogs.Line) { encode(l) }
	}
	short := map[string]string{applogs.Stdout: "out", applogs.Stderr: "err"}
	onTerminal := terminal.Is(s.process.Out)
	painters := map[string]*terminal.Painter{} // what one leaves on is not for another
	return func(l applogs.Line) {
		if source := l.Instance + l.Stream; onTerminal {
			if painters[source] == nil {
				painters[source] = &terminal.Painter{}
			}
			l.Text = painters[source].Line(l.Text)
		}
		_, _ = fmt.Fprintf(s.process.Out, "[%d %s] %s\n", l.Index, short[l.Stream], l.Text)
	}
}

// textLine is a line of a staging's log or of a file, for programs.
type textLine struct {
	Text string `json:"text"`
}

// emitStaging is emit for a line of a staging.
func (s *session) emitStaging() func(string) {
	if s.format == render.JSON {
		encode := s.encode()
		return func(text string) { encode(textLine{text}) }
	}
	return progress.New(s.process.Out).Output
}

// encode writes values as JSON, one a line.
func (s *session) encode() func(any) {
	encoder := json.NewEncoder(s.process.Out)
	encoder.SetEscapeHTML(false)
	return func(value any) { _ = encoder.Encode(value) }
}
