package terminal_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/cleantext"
	"github.com/durable-dea/dea/starter/internal/terminal"
)

func TestLine(t *testing.T) {
	const csi8, osc8 = "\u009b", "\u009d"
	for name, test := range map[string]struct{ in, want string }{
		"plain":                   {"-----> Compiling é 日本", ""},
		"empty":                   {"", ""},
		"colours":                 {"\x1b[1;32mok\x1b[0m done", ""},
		"rich colours":            {"\x1b[38;2;1;2;3mx\x1b[4:3my\x1b[m", ""},
		"progress bars":           {"10%\r20%\r\t30%\r", "10% 20% \t30%"},
		"written over":            {"\r[APP/0] OUT forged", " [APP/0] OUT forged"},
		"turned":                  {"a\u202eb\u2066c\u2028d\ufeff", "a\uFFFDb\uFFFDc d\uFFFD"},
		"left on":                 {"\x1b[31mred", "\x1b[31mred\x1b[0m"},
		"cursor":                  {"a\x1b[2Jb\x1b[10;10Hc\x1b[1Ad\x1b[?25le\x1b[>0qf", "abcdef"},
		"title":                   {"a\x1b]0;owned\x07b\x1b]2;owned\x1b\\c", "abc"},
		"clipboard, not ended":    {"a\x1b]52;c;b3duZWQ=", "a"},
		"a string broken off":     {"a\x1b]0;x\x1b[31mb\x1b[0m", "a\x1b[31mb\x1b[0m"},
		"device control":          {"a\x1bPq#0\x1b\\b\x1b_x\x1b\\c\x1b^x\x1b\\d\x1bXx\x1b\\e", "abcde"},
		"charsets and resets":     {"a\x1b(0b\x1bcc\x1b7d\x1b#8e", "abcde"},
		"single controls":         {"a\x07b\x08c\x00d\x0be\x0cf\x7fg\x0eh", "a\uFFFDb\uFFFDc\uFFFDd e f\uFFFDg\uFFFDh"},
		"eight bits, as UTF-8":    {"a" + csi8 + "2Jb" + osc8 + "0;x\u009cc\u0085d\u0090q\x07e\u0084", "abc de\uFFFD"},
		"eight bits, raw":         {"a\x9b2Jb\x85c", "ab\uFFFDc"},
		"Latin-1":                 {"caf\xe9 \xfc", "caf\uFFFD \uFFFD"},
		"an escape at the end":    {"a\x1b", "a"},
		"a sequence cut off":      {"a\x1b[31", "a"},
		"a reply of the terminal": {"\x1b[6n\x1b[c\x1b[5n", ""},
		"colours of a terminal":   {"a\x1b[31;1Hb\x1b[>4;2mc\x1b[?1md", "abcd"},
	} {
		t.Run(name, func(t *testing.T) {
			want := test.want
			if want == "" && name != "a reply of the terminal" {
				want = test.in
			}
			var p terminal.Painter
			require.Equal(t, want, p.Line(test.in))
		})
	}
}

func TestAttributesHoldForTheNextLine(t *testing.T) {
	var p terminal.Painter
	for _, test := range [][2]string{
		{"\x1b[1m\x1b[31mone", "\x1b[1m\x1b[31mone\x1b[0m"},
		{"two", "\x1b[1m\x1b[31mtwo\x1b[0m"},
		{"\x1b[0;32mthree", "\x1b[1m\x1b[31m\x1b[0;32mthree\x1b[0m"},
		{"four\x1b[m", "\x1b[0;32mfour\x1b[m"},
		{"five", "five"},
		{"\x1b[00;0mx", "\x1b[00;0mx"},
	} {
		require.Equal(t, test[1], p.Line(test[0]))
	}
	long := strings.Repeat("\x1b[1m", 1000)
	require.Equal(t, long+"\x1b[0m", p.Line(long))
	require.Less(t, len(p.Line("x")), 300, "what is carried along is bounded")
	require.Equal(t, "x", new(terminal.Painter).Line("\x1b["+strings.Repeat("1;", 1000)+"mx"))
}

func TestIs(t *testing.T) {
	require.False(t, terminal.Is(&bytes.Buffer{}))
}

func FuzzPainterLine(f *testing.F) {
	for _, seed := range []string{"\x1b[31mx", "\x1b]0;x\x07", "\x1b", "\x9b2J", "\u009bm", "\x1b[\x1b[m"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var p terminal.Painter
		text = strings.ReplaceAll(text, "\n", "")
		for range 2 {
			line := p.Line(text)
			require.True(t, utf8.ValidString(line), "%q", line)
			for i, r := range line {
				switch {
				case r == 0x1b:
					rest := strings.TrimLeft(line[i+1:], "[0123456789;:")
					require.True(t, strings.HasPrefix(line[i:], "\x1b[") && strings.HasPrefix(rest, "m"), "%q", line)
				case cleantext.Steers(r) && r != '\t':
					t.Fatalf("%q", line)
				}
			}
		}
	})
}
