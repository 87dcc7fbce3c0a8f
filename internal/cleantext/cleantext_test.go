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
