package cli

import (
	"bufio"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/cleantext"
	"github.com/durable-dea/dea/starter/internal/applogs"
	"github.com/durable-dea/dea/starter/internal/render"
)

// TestNothingThatIsSaidSteersATerminal has each way in which what others said gets to a user write to a real terminal.
func TestNothingThatIsSaidSteersATerminal(t *testing.T) {
	const said = "\rforged\u009b2J\x9b2J\x1b[2J\u0085\x07\x08\u202e\u2028\x00\xff\x1b]0;title\x07\u009d0;title\u009c end"
	for name, write := range map[string]func(*session){
		"logs": func(s *session) {
			s.emit()(applogs.Line{Time: time.Unix(0, 0), App: said, Stream: applogs.Stdout, Text: said})
		},
		"logs --staging":   func(s *session) { s.emitStaging()(said) },
		"files --follow":   func(s *session) { s.emitFile()(said) },
		"warning":          func(s *session) { s.aside(said) },
		"failure":          func(s *session) { s.finish(errors.New(said)) },
		"failure to begin": func(s *session) { s.finish(usageError{errors.New(said)}) },
	} {
		for _, format := range []render.Format{render.Text, render.JSON} {
			t.Run(name+" "+string(format), func(t *testing.T) {
				ours, theirs, err := pty.Open()
				require.NoError(t, err)
				defer ours.Close()
				defer theirs.Close()
				s := &session{format: format, lines: true, process: Process{
					Out: theirs, Err: theirs, Env: func(string) string { return "" }, Now: time.Now,
				}}
				write(s)
				_, err = theirs.WriteString("the end\n")
				require.NoError(t, err)
				lines := 0
				for in := bufio.NewScanner(ours); ; lines++ {
					require.True(t, in.Scan())
					line := strings.NewReplacer("\x1b[36m", "", "\x1b[0m", "").Replace(strings.TrimSuffix(in.Text(), "\r"))
					if line == "the end" {
						break
					}
					require.Equal(t, -1, strings.IndexFunc(line, cleantext.Steers), "%q", line)
					require.Contains(t, line, "forged")
				}
				require.Positive(t, lines)
			})
		}
	}
}
