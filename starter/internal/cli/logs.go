package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/starter/internal/applogs"
	"github.com/durable-dea/dea/starter/internal/progress"
	"github.com/durable-dea/dea/starter/internal/render"
	"github.com/durable-dea/dea/starter/internal/staginglog"
	"github.com/durable-dea/dea/starter/internal/terminal"
)

const (
	defaultLines = 100
	// allStreams is the stream that stands for each of them.
	allStreams = "all"
)

func (s *session) logsCommand() *cobra.Command {
	q := applogs.Query{Lines: defaultLines}
	wanted := wantedLogs{stream: allStreams}
	cmd := &cobra.Command{
		Use:   "logs NAME",
		Short: "Show what an app's instances write, or its staging",
		Long: `Shows the last lines that an app's instances wrote to their standard output (OUT) and standard error (ERR), all in the
order of time, each with its time and its instance's index; also those of instances that crashed, for as long as their nodes
keep them (crash_lifetime_secs, an hour by default; of each app the latest crash on each node). With --follow it goes on with
what they write, also with instances that start later, until it is interrupted or the app is deleted; a line is then held
for half a second, for those of other instances that are older. What was dropped or is missing is told. With --output json
each line is an object of its own, whose text has U+FFFD for bytes that are not UTF-8.

With --staging it is the log of the app's newest staging: all of it and until its end (as by --follow) while the staging
goes on, afterwards the last lines. A node keeps the log for a while after the end (staging.log_lifetime, an hour by default); later it is read from an
instance that runs.

` + logOnTerminal,
		Example: `  starter logs hello
  starter logs hello -f
  starter logs hello --since 10m
  starter logs hello --index 1 --stream stderr --lines 20
  starter logs hello --staging --output json | jq -r .text`,
		Args:              named("NAME"),
		ValidArgsFunction: s.completeApps(),
		RunE: s.work(func(cmd *cobra.Command, args []string) error {
			s.lines, q.App = true, args[0]
			if err := wanted.check(cmd, &q, s.process.Now()); err != nil {
				return usageError{err}
			}
			if wanted.staging {
				return s.stagingLog(cmd, q)
			}
			return s.logs(cmd, q, wanted.follow)
		}),
	}
	f := cmd.Flags()
	f.BoolVarP(&wanted.follow, "follow", "f", false, "go on with what is written")
	f.BoolVar(&wanted.staging, "staging", false, "show the log of the newest staging, instead of what instances write")
	f.IntVar(&q.Index, "index", q.Index, "the one instance to show, by `number`; without it all")
	f.StringVar(&wanted.stream, "stream", wanted.stream, "stdout, stderr or all")
	f.IntVarP(&q.Lines, "lines", "n", q.Lines, fmt.Sprintf("`number` of lines to begin with; with --since %d, unless it is given", maxLines))
	f.DurationVar(&wanted.since, "since", 0, "begin with lines that are as `old` at most, as 10m or 1h30m")
	return cmd
}

// wantedLogs are the flags that are no part of the query as they are.
type wantedLogs struct {
	follow, staging bool
	stream          string
	since           time.Duration
}

// check checks the flags and completes the query.
func (w wantedLogs) check(cmd *cobra.Command, q *applogs.Query, now time.Time) error {
	for _, name := range []string{"index", "stream", "since"} {
		if w.staging && cmd.Flags().Changed(name) {
			return fmt.Errorf("--%s is about instances, and a staging has none: leave it out, or --staging", name)
		}
	}
	if !cmd.Flags().Changed("index") {
		q.Index = -1
	} else if q.Index < 0 {
		return errors.New("--index must be 0 or more")
	}
	switch w.stream {
	case allStreams:
		q.Streams = []string{applogs.Stdout, applogs.Stderr}
	case applogs.Stdout, applogs.Stderr:
		q.Streams = []string{w.stream}
	default:
		return fmt.Errorf("--stream must be all, stdout or stderr, not %q", w.stream)
	}
	if cmd.Flags().Changed("since") {
		if w.since <= 0 {
			return errors.New("--since must be more than 0")
		}
		q.Since = now.Add(-w.since)
		if !cmd.Flags().Changed("lines") {
			q.Lines = maxLines
		}
	}
	if q.Lines < 1 || q.Lines > maxLines {
		return fmt.Errorf("--lines must be from 1 to %d", maxLines)
	}
	return nil
}

// maxLines bounds what is kept in memory.
const maxLines = controller.MaxLogLines

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

// logTime is the form of a line's time, which users of Cloud Foundry know.
const logTime = "2006-01-02T15:04:05.00-0700"

// emit writes a line of an instance. One that cannot be written is dropped: whoever read has gone, and the signal says so.
func (s *session) emit() func(applogs.Line) {
	if s.format == render.JSON {
		encode := s.encode()
		return func(l applogs.Line) { encode(l) }
	}
	short := map[string]string{applogs.Stdout: "OUT", applogs.Stderr: "ERR"}
	onTerminal := terminal.Is(s.process.Out)
	painters := map[string]*terminal.Painter{} // what one leaves on is not for another
	return func(l applogs.Line) {
		if source := l.Instance + l.Stream; onTerminal {
			if painters[source] == nil {
				painters[source] = &terminal.Painter{}
			}
			l.Text = painters[source].Line(l.Text)
		}
		head := fmt.Sprintf("%s [APP/%d] %s", l.Time.Local().Format(logTime), l.Index, short[l.Stream])
		if onTerminal {
			head = s.paint(head, l.Stream)
		}
		_, _ = fmt.Fprintf(s.process.Out, "%s %s\n", head, l.Text)
	}
}

// paint sets what we say before a line off from the line: that of standard error in red, other in cyan.
func (s *session) paint(head, stream string) string {
	if s.process.Env("NO_COLOR") != "" {
		return head
	}
	colour := "36"
	if stream == applogs.Stderr {
		colour = "31"
	}
	return "\x1b[" + colour + "m" + head + "\x1b[0m"
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
	return func(value any) { _ = s.render().Line(value) }
}
