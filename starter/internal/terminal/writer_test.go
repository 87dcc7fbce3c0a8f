package terminal_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/starter/internal/terminal"
)

// TestWriter: in whatever pieces a text comes, each line is as safe as Painter makes it.
func TestWriter(t *testing.T) {
	const text = "plain\n\x1b]0;owned\x07title\n\x1b[31mred\nstill\x1b[0m\n\n\x1b[2Jlast without an end"
	const want = "plain\ntitle\n\x1b[31mred\x1b[0m\n\x1b[31mstill\x1b[0m\n\nlast without an end"
	for _, size := range []int{1, 2, 7, len(text)} {
		var out bytes.Buffer
		w := &terminal.Writer{Out: &out}
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			written, err := w.Write([]byte(rest[:n]))
			require.NoError(t, err)
			require.Equal(t, n, written)
			rest = rest[n:]
		}
		require.NoError(t, w.Close())
		require.Equal(t, want, out.String(), size)
		require.NoError(t, w.Close(), "once is enough")
		require.Equal(t, want, out.String())
	}
}

func TestWriterHoldsNoEndlessLine(t *testing.T) {
	var out bytes.Buffer
	w := &terminal.Writer{Out: &out}
	for range 100 {
		_, err := w.Write([]byte(strings.Repeat("x", 10<<10)))
		require.NoError(t, err)
	}
	require.Greater(t, out.Len(), 900<<10)
	require.NoError(t, w.Close())
	require.Equal(t, 1000<<10, out.Len())
}

func TestWriterTearsNoCharacter(t *testing.T) {
	var out bytes.Buffer
	w := &terminal.Writer{Out: &out}
	text := "x" + strings.Repeat("\u20ac", 50_000)
	_, err := w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.Equal(t, text, out.String())
}
