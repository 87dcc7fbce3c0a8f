package progress

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ticking gives a time that moves on at each look.
func ticking(step time.Duration) func() time.Time {
	now := time.Unix(0, 0)
	return func() time.Time { now = now.Add(step); return now }
}

func TestPlainLinesWhereThereIsNoTerminal(t *testing.T) {
	var out bytes.Buffer
	r := New(&out)
	r.now = ticking(3 * time.Second)
	transfer := r.Transfer("Uploading", 4096)
	reader := transfer.Reader(strings.NewReader(strings.Repeat("x", 4096)))
	piece := make([]byte, 1024)
	for range 4 {
		_, err := io.ReadFull(reader, piece)
		require.NoError(t, err)
	}
	transfer.Done(false)
	require.Equal(t, "Uploading (4.0 KB)\nUploading: 50% of 4.0 KB\nUploading: done in 18.0s\n", out.String())
}

func TestAFailedTransferIsNotDone(t *testing.T) {
	var out bytes.Buffer
	New(&out).Transfer("Uploading", 10).Done(true)
	require.Equal(t, "Uploading (10 B)\n", out.String())
}

func TestBarOnATerminal(t *testing.T) {
	for name, failed := range map[string]bool{"done": false, "failed": true} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			r := New(&out)
			r.terminal = true
			transfer := r.Transfer("Uploading", 100)
			_, err := io.Copy(io.Discard, transfer.Reader(strings.NewReader(strings.Repeat("x", 60))))
			require.NoError(t, err)
			// Tried again from the beginning, as after a connection that broke.
			_, err = io.Copy(io.Discard, transfer.Reader(strings.NewReader(strings.Repeat("x", 70))))
			require.NoError(t, err)
			transfer.Done(failed)
			require.Equal(t, !failed, strings.Contains(out.String(), "done in"))
		})
	}
}

func TestLinesOfOthersSteerNoTerminal(t *testing.T) {
	const line = "\x1b[31mred\x1b[0m\x1b]0;title\x07"
	var out bytes.Buffer
	r := New(&out)
	r.Output(line)
	require.Equal(t, line+"\n", out.String(), "a file has what was written")
	out.Reset()
	r.terminal = true
	r.Output(line)
	require.Equal(t, "\x1b[31mred\x1b[0m\n", out.String())
}

// TestLinesSteerNoTerminal: a line of ours may have in it what an app or a server has said.
func TestLinesSteerNoTerminal(t *testing.T) {
	var out bytes.Buffer
	New(&out).Linef("(%s)", "it said \u009b2J\r\x1b]0;x\a\n  and more")
	require.Equal(t, "(it said \uFFFD2J \uFFFD]0;x\uFFFD\n  and more)\n", out.String())
}
