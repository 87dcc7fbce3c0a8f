package cli

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/durable-dea/dea/starter/internal/applogs"
	"github.com/durable-dea/dea/starter/internal/render"
	"github.com/durable-dea/dea/starter/internal/tail"
)

const (
	defaultLines = 100
	// allStreams is the stream that stands for each of them.
	allStreams = "all"
)

func (s *session) logsCommand() *cobra.Command {
	q := applogs.Query{Lines: defaultLines}
	follow, stream := false, allStreams
	cmd := &cobra.Command{
		Use:   "logs NAME",
		Short: "Show what an app's instances write",
		Long: fmt.Sprintf(`Shows the last lines that an app's instances wrote to their standard output and standard error, each behind its
instance's index and its stream; at most what the last %d KB of each file hold. With --follow it goes on with what they
write, also with instances that start later, until it is interrupted or the app is deleted. With --output json each
line is an object of its own.`, tail.LastBytes>>10),
		Example: `  starter logs hello
  starter logs hello -f
  starter logs hello --index 1 --stream stderr --lines 20`,
		Args:              named("NAME"),
		ValidArgsFunction: s.completeApps(),
		RunE: s.work(func(cmd *cobra.Command, args []string) error {
			q.App = args[0]
			if !cmd.Flags().Changed("index") {
				q.Index = -1
			} else if q.Index < 0 {
				return usageError{errors.New("--index must be 0 or more")}
			}
			switch stream {
			case allStreams:
				q.Streams = []string{applogs.Stdout, applogs.Stderr}
			case applogs.Stdout, applogs.Stderr:
				q.Streams = []string{stream}
			default:
				return usageError{fmt.Errorf("--stream must be all, stdout or stderr, not %q", stream)}
			}
			if q.Lines < 1 || q.Lines > maxLines {
				return usageError{fmt.Errorf("--lines must be from 1 to %d", maxLines)}
			}
			return s.logs(cmd, q, follow)
		}),
	}
	f := cmd.Flags()
	f.BoolVarP(&follow, "follow", "f", false, "go on with what is written")
	f.IntVar(&q.Index, "index", q.Index, "the one instance to show, by `number`; without it all")
	f.StringVar(&stream, "stream", stream, "stdout, stderr or all")
	f.IntVarP(&q.Lines, "lines", "n", q.Lines, "`number` of lines of each file to begin with")
	return cmd
}

// maxLines bounds what is kept in memory.
const maxLines = 100_000

func (s *session) logs(cmd *cobra.Command, q applogs.Query, follow bool) error {
	c, err := s.open(cmd.Context())
	if err != nil {
		return err
	}
	report := s.report()
	r := &applogs.Reader{
		Controller: c, Files: s.files(), Emit: s.emit(),
		Warn: func(text string) { report.Linef("(%s)", text) },
	}
	if follow {
		return r.Follow(cmd.Context(), q)
	}
	return r.Last(cmd.Context(), q)
}

// emit writes a line. One that cannot be written is dropped: whoever read has gone, and the signal says so.
func (s *session) emit() func(applogs.Line) {
	if s.format == render.JSON {
		encoder := json.NewEncoder(s.process.Out)
		encoder.SetEscapeHTML(false)
		return func(l applogs.Line) { _ = encoder.Encode(l) }
	}
	short := map[string]string{applogs.Stdout: "out", applogs.Stderr: "err"}
	return func(l applogs.Line) {
		_, _ = fmt.Fprintf(s.process.Out, "[%d %s] %s\n", l.Index, short[l.Stream], l.Text)
	}
}
