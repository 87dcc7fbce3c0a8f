package cleantext_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/cleantext"
)

func TestLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plain":                       "plain",
		"two\nlines\ttab":             "two lines tab",
		"\x1b]0;title\a evil":         "\uFFFD]0;title\uFFFD evil",
		"c1 \u009b2J":                 "c1 \uFFFD2J",
		"turned \u202e":               "turned \uFFFD",
		"not \xff UTF-8":              "not \uFFFD UTF-8",
		" \u00e4\u00f6 \U0001f600 \n": "\u00e4\u00f6 \U0001f600",
		"":                            "",
	} {
		require.Equal(t, want, cleantext.Line(text), "%q", text)
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"one\n  two\r\n\n\tthree": "one\n  two\n\nthree",
		"  \x1b[2J\n\u202e":       "  \uFFFD[2J\n\uFFFD",
		"end\n":                   "end\n",
		"":                        "",
	} {
		require.Equal(t, want, cleantext.Lines(text), "%q", text)
	}
}

func TestSteers(t *testing.T) {
	t.Parallel()
	for _, r := range "\x00\t\r\n\x1b\x7f\u0080\u009b\u009f\u00ad\u2028\u2029\u202e\u2066\ufeff\U000e0001" {
		require.True(t, cleantext.Steers(r), "%q", r)
	}
	for _, r := range " ~\u00a0\u00e9\u3000\ufffd\U0001f600" {
		require.False(t, cleantext.Steers(r), "%q", r)
	}
}
