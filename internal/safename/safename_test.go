package safename_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/safename"
)

func TestOfKeepsHarmlessNames(t *testing.T) {
	for _, name := range []string{"a", "go", "5b1e-42.zip", "_x", strings.Repeat("a", 120)} {
		require.Equal(t, name, safename.Of(name))
	}
}

func TestOfNeverLeavesADirectory(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{
		"", ".", "..", "../x", "a/b", "/a", "a\x00", "a\n", ".hidden", "-rf", "~abc", "ä", strings.Repeat("a", 121),
	} {
		got := safename.Of(name)
		require.Regexp(t, `^~[0-9a-f]{40}$`, got, "%q", name)
		require.Empty(t, seen[got], "%q and %q", name, seen[got])
		seen[got] = name
	}
}
